//! What line protocol means, by example, and what the points of another writer mean.

use proptest::prelude::*;
use tidemill_store::model::{Timestamp, Value};

use super::super::testing::{Said, decode_with, pairs, tags};
use super::super::{DecodeError, Format, Reading, TimeUnit};

fn decode_in(unit: TimeUnit, text: &str) -> Result<Vec<Said>, DecodeError> {
    decode_with(&Reading::new(Format::LineProtocol, Some(unit)), text.as_bytes())
}

fn decode(text: &str) -> Result<Vec<Said>, DecodeError> {
    decode_in(TimeUnit::Nanoseconds, text)
}

fn one(text: &str) -> Said {
    let mut points = decode(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(points.len(), 1, "{text:?}");
    points.remove(0)
}

fn refused(text: &str) -> String {
    decode(text).expect_err(text).to_string()
}

#[test]
fn a_line_is_a_point_with_tags_fields_and_a_time() {
    let said = one("weather,site=north,line=2 temp=21.5,count=3i,open=t,state=\"on\" 1700000000123456789");
    assert_eq!(said.tags, tags(&[("site", "north"), ("line", "2")]));
    let values = [
        ("weather.temp", Value::F64(21.5)),
        ("weather.count", Value::I64(3)),
        ("weather.open", Value::Bool(true)),
        ("weather.state", Value::Text("on".into())),
    ];
    assert_eq!(said.values, pairs(&values));
    assert_eq!(said.time, Timestamp::from_nanos(1_700_000_000_123_456_789).ok());
    assert_eq!(one("m v=1").time, None);
}

#[test]
fn a_time_is_in_the_configured_unit() {
    let expected = Timestamp::from_millis(1_700_000_000_000).ok();
    let units = [
        (TimeUnit::Seconds, "m v=1 1700000000"),
        (TimeUnit::Milliseconds, "m v=1 1700000000000"),
        (TimeUnit::Microseconds, "m v=1 1700000000000000"),
        (TimeUnit::Magnitude, "m v=1 1700000000000"),
    ];
    for (unit, text) in units {
        assert_eq!(decode_in(unit, text).unwrap()[0].time, expected, "{text}");
    }
    let ignored = Reading::new(Format::LineProtocol, None);
    assert_eq!(decode_with(&ignored, b"m v=1 99").unwrap()[0].time, None);
}

#[test]
fn values_have_every_type_of_the_protocol() {
    let value = |text: &str| one(&format!("m v={text}")).values.remove(0).1;
    for (text, expected) in
        [("1", 1.0), ("-1.5", -1.5), ("1.", 1.0), ("+1e-3", 0.001), (".5", 0.5), ("1E6", 1e6)]
    {
        assert_eq!(value(text), Value::F64(expected), "{text}");
    }
    assert_eq!(value("-9223372036854775808i"), Value::I64(i64::MIN));
    assert_eq!(value("9223372036854775807u"), Value::I64(i64::MAX));
    assert_eq!(value("9223372036854775808u"), Value::F64(9_223_372_036_854_775_808.0));
    for text in ["t", "T", "true", "True", "TRUE"] {
        assert_eq!(value(text), Value::Bool(true), "{text}");
    }
    for text in ["f", "F", "false", "False", "FALSE"] {
        assert_eq!(value(text), Value::Bool(false), "{text}");
    }
    assert_eq!(value(r#""a, b=c \"d\" \\ \n""#), Value::Text(r#"a, b=c "d" \ \n"#.into()));
    assert_eq!(value("\"two\nlines\""), Value::Text("two\nlines".into()));
    assert_eq!(value("\"\""), Value::Text("".into()));
}

#[test]
fn names_may_hold_what_ends_them_behind_a_backslash() {
    let said = one(r"my\ m\,x,a\=b=c\ d\,e f\ g=1,h\=i=2,back\slash=3");
    assert_eq!(said.tags, tags(&[("a=b", "c d,e")]));
    let values = [
        ("my m,x.f g", Value::F64(1.0)),
        ("my m,x.h=i", Value::F64(2.0)),
        (r"my m,x.back\slash", Value::F64(3.0)),
    ];
    assert_eq!(said.values, pairs(&values));
    // An equals sign ends no measurement, so nothing escapes it there.
    assert_eq!(one(r"a\=b v=1").values, pairs(&[(r"a\=b.v", Value::F64(1.0))]));
}

#[test]
fn empty_lines_comments_and_line_ends_of_any_kind_are_passed_over() {
    let points = decode("# a comment, v=1\n\n  m v=1\r\nm v=2 5 \n\r\nm v=3").unwrap();
    let values: Vec<Value> = points.into_iter().map(|mut point| point.values.remove(0).1).collect();
    assert_eq!(values, [1.0, 2.0, 3.0].map(Value::F64));
}

#[test]
fn what_is_no_line_is_refused_with_its_line() {
    let cases = [
        ("m v=1\nm", "at line 2 (byte 7): not line protocol: expected a space before the fields"),
        ("m ", "at line 1 (byte 2): not line protocol: the key of a field is empty"),
        (",a=b v=1", "the measurement is empty"),
        ("m,=b v=1", "the key of a tag is empty"),
        ("m,a= v=1", "the value of a tag is empty"),
        ("m,a v=1", "expected = after the key of a tag"),
        ("m,a=b=c v=1", "expected a space before the fields"),
        ("m v", "expected = after the key of a field"),
        ("m v=", "a malformed number"),
        ("m v=on", "a value that is no number, boolean or string in quotes"),
        ("m v=nan", "a value that is no number, boolean or string in quotes"),
        ("m v=1.5i", "an integer that is none of 64 bits"),
        ("m v=-1u", "an integer that is none of 64 bits"),
        ("m v=1e999", "a number out of the range of a double"),
        (
            "m v=18446744073709551615u",
            "an integer outside of 64 bits with a sign, and no double represents it exactly",
        ),
        ("m v=\"on", "the string does not end"),
        ("m v=\"on\"x", "expected a comma, a space or the end of the line after a field"),
        ("m v=1 1.5", "expected the end of the line"),
        ("m v=1 now", "expected a time, an integer"),
        ("m v=1 5 6", "expected the end of the line"),
        ("m v=1,v=2", "the metric stands twice"),
        ("m v=1 9223372036854775807", "the time lies outside of the years 1684 to 2255; is its unit right?"),
        ("# nothing", "there is no value to store"),
    ];
    for (text, expected) in cases {
        assert!(refused(text).ends_with(expected), "{text:?}: {}", refused(text));
    }
}

/// A point as another writer would write it.
fn point() -> impl Strategy<Value = (String, Said)> {
    let name = "[a-z ,=é\"]{0,5}[a-z]";
    let value = prop_oneof![
        any::<i64>().prop_map(|v| (format!("{v}i"), Value::I64(v))),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| (format!("{v:?}"), Value::F64(v))),
        any::<bool>().prop_map(|v| (v.to_string(), Value::Bool(v))),
        "[a-z \"\\\\,=]{0,6}".prop_map(|v| {
            (format!("\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"")), Value::Text(v.as_str().into()))
        }),
    ];
    let fields = prop::collection::btree_map(name, value, 1..4);
    let tag_map = prop::collection::btree_map(name, "[a-z ,=]{0,5}[a-z]", 0..3);
    (name, tag_map, fields, prop::option::of(-4_000_000_000_000_000_000..4_000_000_000_000_000_000_i64))
        .prop_map(|(measurement, tag_map, fields, time)| {
            let escape_measurement = |name: &str| name.replace(',', "\\,").replace(' ', "\\ ");
            let escape = |name: &str| escape_measurement(name).replace('=', "\\=");
            let tag_text: Vec<String> =
                tag_map.iter().map(|(key, value)| format!(",{}={}", escape(key), escape(value))).collect();
            let tag_text = tag_text.concat();
            let field_text: Vec<String> =
                fields.iter().map(|(key, (text, _))| format!("{}={text}", escape(key))).collect();
            let time_text = time.map_or(String::new(), |time| format!(" {time}"));
            let front = escape_measurement(&measurement);
            let line = format!("{front}{tag_text} {}{time_text}", field_text.join(","));
            let values = fields.into_iter().map(|(key, (_, value))| (format!("{measurement}.{key}"), value));
            let time = time.map(|time| Timestamp::from_nanos(time).unwrap());
            (line, Said { time, tags: tag_map.into_iter().collect(), values: values.collect() })
        })
}

proptest! {
    #[test]
    fn what_was_written_is_read(points in prop::collection::vec(point(), 1..5)) {
        let text: Vec<&str> = points.iter().map(|(line, _)| line.as_str()).collect();
        let expected: Vec<Said> = points.iter().map(|(_, said)| said.clone()).collect();
        prop_assert_eq!(decode(&text.join("\n")), Ok(expected));
    }

    #[test]
    fn any_text_gives_points_or_an_error_within_it(text in "[a-c ,=\"\\\\\n\r0-9.eitu#-]{0,40}") {
        if let Err(error) = decode(&text) {
            prop_assert!(error.offset <= text.len());
        }
    }
}
