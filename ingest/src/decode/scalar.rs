//! One value a message: the payload is an integer, a double, a boolean or text, as it reads, white space around it
//! apart. The topic or the template names the metric; the time is that of receipt.

use super::json::utf8;
use super::number::untyped;
use super::sink::Sink;
use super::{DecodeError, Fault};

/// Decodes `payload` as the value of `metric`.
pub(super) fn decode(payload: &[u8], metric: Option<&str>, mut sink: Sink<'_>) -> Result<(), DecodeError> {
    let text = utf8(payload)?.trim();
    let added = match (text, metric) {
        ("", _) => Err(Fault::EmptyPayload),
        (_, None) => Err(Fault::NoMetricName),
        (text, Some(metric)) => untyped(text)
            .unwrap_or_else(|| sink.text(text))
            .and_then(|value| sink.metric(metric, value))
            .map(|()| sink.finish_point(None)),
    };
    added.map_err(|fault| DecodeError { fault, pointer: String::new(), offset: 0 })
}

/// Whether `payload` is a number or a boolean and nothing else, as no other format that is told apart is.
pub(super) fn is_certain(payload: &[u8]) -> bool {
    let text = std::str::from_utf8(payload).unwrap_or_default().trim();
    let starts = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    (starts && untyped(text).is_some()) || matches!(text, "true" | "false")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemill_store::model::Value;

    use super::*;
    use crate::decode::{DecodeLimits, Message, MetricNames};

    fn decoded(payload: &[u8], metric: Option<&str>) -> Result<Value, Fault> {
        let (mut names, mut message) = (MetricNames::default(), Message::default());
        let limits = DecodeLimits { text_bytes_max: 8, ..DecodeLimits::default() };
        decode(payload, metric, Sink::new(&limits, &mut names, &mut message)).map_err(|error| error.fault)?;
        let points: Vec<_> = message.points().collect();
        assert!(points.len() == 1 && points[0].time.is_none() && points[0].values.len() == 1);
        assert_eq!(names.metric(points[0].values[0].0).map(tidemill_store::model::Metric::as_str), metric);
        Ok(points[0].values[0].1.clone())
    }

    #[test]
    fn a_payload_is_the_value_that_it_reads_as() {
        let value = |payload: &str| decoded(payload.as_bytes(), Some("m")).unwrap();
        assert_eq!((value("21"), value(" -21.5\n")), (Value::I64(21), Value::F64(-21.5)));
        assert_eq!((value("true"), value("ON")), (Value::Bool(true), Value::Text("ON".into())));
        assert_eq!(value("9223372036854775807"), Value::I64(i64::MAX));
    }

    #[test]
    fn what_makes_no_value_is_refused() {
        assert_eq!(decoded(b" \n", Some("m")), Err(Fault::EmptyPayload));
        assert_eq!(decoded(b"\xff", Some("m")), Err(Fault::NotUtf8));
        assert_eq!(decoded(b"1", None), Err(Fault::NoMetricName));
        assert_eq!(decoded(b"123 bytes", Some("m")), Err(Fault::TextTooLong(8)));
        assert!(matches!(decoded(b"1", Some("a\nb")), Err(Fault::Name(_))));
        assert_eq!(decoded(b"18446744073709551615", Some("m")), Err(Fault::IntegerInexact));
    }

    #[test]
    fn only_numbers_and_booleans_are_certain() {
        for payload in ["1", "-1.5e3", "true", " 7\n", "+.5"] {
            assert!(is_certain(payload.as_bytes()), "{payload}");
        }
        for payload in ["", "on", "nan", "{}", "a b=1", "1 2", "1,2", "\u{80}"] {
            assert!(!is_certain(payload.as_bytes()), "{payload}");
        }
    }

    proptest! {
        #[test]
        fn integers_and_doubles_come_back_exactly(integer: i64, double: f64) {
            prop_assert_eq!(decoded(integer.to_string().as_bytes(), Some("m")), Ok(Value::I64(integer)));
            prop_assert_eq!(decoded(format!("{double:?}").as_bytes(), Some("m")), Ok(Value::F64(double)));
        }
    }
}
