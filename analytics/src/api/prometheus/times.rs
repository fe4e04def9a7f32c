//! Times and spans as Prometheus' clients write them. Pure.

use std::time::Duration;

use tidemill_store::model::Timestamp;

use crate::moment;

/// The first and the last time of Prometheus, as its clients write them.
const EARLIEST: &str = "-292273086-05-16T16:47:06Z";
const LATEST: &str = "292277025-08-18T07:12:54.999999999Z";

/// Unix seconds, also with a fraction or exponent, or RFC 3339; in nanoseconds. To the nanosecond where the text
/// has a plain fraction.
pub(super) fn moment(text: &str) -> Result<i64, String> {
    let wrong = || format!("cannot parse {text:?} to a valid timestamp");
    // Neither relative times nor dates alone are Prometheus'.
    let relative = text.starts_with("now") || text.ends_with(|c: char| c.is_ascii_lowercase() && c != 'z');
    let date = !text.contains(':') && text.trim_start_matches('-').contains('-');
    if !relative
        && !date
        && let Ok(time) = moment::parse(text, Timestamp::EPOCH)
    {
        return Ok(time.nanos());
    }
    match text {
        EARLIEST => return Ok(Timestamp::MIN.nanos()),
        LATEST => return Ok(Timestamp::MAX.nanos()),
        _ => {}
    }
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    // To the millisecond, as Prometheus: a double holds no more of today's times. Where nothing can be, nothing is.
    let ends = |nanos: f64| nanos.clamp(-9e18, 9e18);
    nanos(ends((seconds * 1e3).round() * 1e6)).filter(|_| seconds.is_finite()).ok_or_else(wrong)
}

/// Seconds as a number, or a duration such as `1h30m`; in nanoseconds.
pub(super) fn span(text: &str) -> Result<i64, String> {
    let wrong = || format!("cannot parse {text:?} to a valid duration");
    if let Ok(seconds) = text.parse::<f64>() {
        return nanos(seconds * 1e9).ok_or_else(wrong);
    }
    duration(text).ok_or_else(wrong)
}

/// The units of durations with their nanoseconds, in the order in which they may come.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];
const DAY: i64 = 86_400_000_000_000;

/// `1h30m`, each unit once and the longest first.
fn duration(text: &str) -> Option<i64> {
    let (mut rest, mut units, mut total) = (text, UNITS.iter(), 0_i64);
    while !rest.is_empty() {
        let (number, after) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit())?)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let (_, nanos) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*nanos)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A duration as Prometheus writes it: `1h30m`.
pub(super) fn shown(span: Duration) -> String {
    let mut left = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        // Years and weeks only where nothing is left.
        if left >= nanos && (nanos <= DAY || left % nanos == 0) {
            text.push_str(&(left / nanos).to_string());
            text.push_str(unit);
            left %= nanos;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Within what a [`Timestamp`] holds.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "the bounds are checked")]
fn nanos(value: f64) -> Option<i64> {
    (value.abs() <= 9e18).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_unix_seconds_or_rfc_3339() {
        assert_eq!(moment("1748779200.123456789"), Ok(1_748_779_200_123_456_789));
        assert_eq!(moment("1.5e3"), Ok(1_500_000_000_000));
        assert_eq!(moment("2025-06-01T12:00:00Z"), Ok(1_748_779_200_000_000_000));
        assert_eq!(
            [moment("1e30"), moment("-1e30")],
            [Ok(9_000_000_000_000_000_000), Ok(-9_000_000_000_000_000_000)]
        );
        assert_eq!(
            [moment(EARLIEST), moment(LATEST)],
            [Timestamp::MIN, Timestamp::MAX].map(|at| Ok(at.nanos()))
        );
        for wrong in ["", "now", "-1h", "2025-06-01", "x", "NaN", "Inf"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_shown_as_prometheus_does() {
        let shown =
            [0, 300, 5_400, 14 * 86_400, 23 * 86_400].map(|seconds| shown(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0s", "5m", "1h30m", "2w", "23d"]);
        assert_eq!(super::shown(Duration::from_millis(1_500)), "1s500ms");
    }

    #[test]
    fn spans_are_seconds_or_durations() {
        assert_eq!(span("0.5"), Ok(500_000_000));
        assert_eq!(span("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(
            [span("0s"), span("1y1ms"), span("-5")],
            [Ok(0), Ok(365 * DAY + 1_000_000), Ok(-5_000_000_000)]
        );
        for wrong in [
            "",
            "x",
            "1e30",
            "NaN",
            "1h30",
            "1m1h",
            "1h1h",
            "-1m",
            "1.5m",
            "h",
            "1h99999999999999999s",
            "300y",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
