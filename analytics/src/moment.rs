//! Times and spans as text: RFC 3339, Unix seconds and relative times in, RFC 3339 out.
//!
//! Exact to the nanosecond both ways: no time passes through a double. Pure: `now` is an argument.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use tidemill_store::model::Timestamp;

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// None of the forms.
    #[error(
        "is not a time; use RFC 3339 (2025-06-01T12:00:00Z, or 2025-06-01 for its midnight in UTC), Unix seconds \
         (1748779200.5), now, or relative (-1h, now-30m)"
    )]
    Form,
    /// RFC 3339 in shape, not in meaning.
    #[error("is not a valid RFC 3339 time (a day or hour that does not exist, or no offset such as Z)")]
    Calendar,
    /// More digits than a nanosecond has.
    #[error("has more than 9 digits after the point")]
    TooFine,
    /// A moment that Tidemill cannot hold.
    #[error("lies outside of the years 1684 to 2255 (Unix times are in seconds, not milliseconds)")]
    OutOfRange,
    /// The relative part is no span.
    #[error("is not a relative time: {0}")]
    Span(#[from] SpanError),
}

/// Why a text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// Not numbers with units.
    #[error("a span is whole numbers with units, such as 90s or 1h30m")]
    Form,
    /// A unit that is not known.
    #[error("{0:?} is not a unit; use ns, us, ms, s, m, h, d or w")]
    Unit(String),
    /// Longer than any range of time.
    #[error("the span is longer than 292 years")]
    TooLong,
}

/// Reads a span: whole numbers with units `ns us ms s m h d w`, one after another (`1h30m`). A day is 24 hours.
pub fn parse_span(text: &str) -> Result<Duration, SpanError> {
    let mut total: u64 = 0;
    let mut rest = text;
    loop {
        let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
        let (unit, after) = split_while(after, char::is_alphabetic);
        if digits.is_empty() || unit.is_empty() {
            return Err(SpanError::Form);
        }
        let count: u64 = digits.parse().map_err(|_| SpanError::TooLong)?;
        let part = unit_nanos(unit)?.checked_mul(count).ok_or(SpanError::TooLong)?;
        total = total.checked_add(part).ok_or(SpanError::TooLong)?;
        if after.is_empty() {
            return i64::try_from(total).map(|_| Duration::from_nanos(total)).map_err(|_| SpanError::TooLong);
        }
        rest = after;
    }
}

fn unit_nanos(unit: &str) -> Result<u64, SpanError> {
    const SECOND: u64 = 1_000_000_000;
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        "w" => 604_800 * SECOND,
        other => return Err(SpanError::Unit(other.to_owned())),
    })
}

/// `text` cut before the first character that is not `wanted`.
pub(crate) fn split_while(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

/// Reads a time: RFC 3339 with an offset, or its date alone, which is midnight in UTC; Unix seconds with up to 9 digits after the point; `now`; or relative
/// to `now` (`-1h`, `now-1h30m`, `now+5m`). A relative time beyond what a [`Timestamp`] holds is held at its bounds.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
    let signed = text.strip_prefix("now").unwrap_or(text);
    match (signed.chars().next(), signed.len() < text.len()) {
        (None, true) => Ok(now),
        (Some('-'), _) if ends_in_unit(signed) => Ok(now.saturating_sub(parse_span(unsigned(signed))?)),
        // A plus that was not escaped arrives as a space.
        (Some('+' | ' '), _) if ends_in_unit(signed) => Ok(now.saturating_add(parse_span(unsigned(signed))?)),
        (Some(_), true) | (None, false) => Err(MomentError::Form),
        (Some(_), false) if begins_like(text, "0000-00-00T") => parse_rfc3339(text),
        (Some(_), false) if text.len() == 10 && begins_like(text, "0000-00-00") => {
            parse_rfc3339(&format!("{text}T00:00:00Z"))
        }
        (Some(_), false) => parse_unix(text),
    }
}

fn unsigned(text: &str) -> &str {
    text.get(1..).unwrap_or_default()
}

fn ends_in_unit(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphabetic())
}

/// Whether `text` begins as `pattern` does, where a 0 stands for any digit.
fn begins_like(text: &str, pattern: &str) -> bool {
    let shape = |c: char| if c.is_ascii_digit() { '0' } else { c.to_ascii_uppercase() };
    text.chars().take(pattern.len()).map(shape).eq(pattern.chars())
}

fn parse_rfc3339(text: &str) -> Result<Timestamp, MomentError> {
    let (before, fraction) = text.split_once('.').unwrap_or((text, ""));
    if split_while(fraction, |c| c.is_ascii_digit()).0.len() > 9 {
        return Err(MomentError::TooFine);
    }
    if before.get(11..19).is_none_or(|time| time.chars().filter(|c| *c == ':').count() != 2) {
        return Err(MomentError::Calendar);
    }
    // The plus of an offset that was not escaped arrives as a space; nothing else here may hold one.
    let moment: jiff::Timestamp = text.replace(' ', "+").parse().map_err(|_| MomentError::Calendar)?;
    from_nanos(moment.as_nanosecond())
}

fn parse_unix(text: &str) -> Result<Timestamp, MomentError> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return Err(MomentError::Form),
        Some(parts) => parts,
        None => (digits, ""),
    };
    if whole.is_empty() || !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit()) {
        return Err(MomentError::Form);
    }
    if fraction.len() > 9 {
        return Err(MomentError::TooFine);
    }
    let seconds: i64 = whole.parse().map_err(|_| MomentError::OutOfRange)?;
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| MomentError::Form)?;
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    from_nanos(if negative { -total } else { total })
}

fn from_nanos(nanos: i128) -> Result<Timestamp, MomentError> {
    let nanos = i64::try_from(nanos).map_err(|_| MomentError::OutOfRange)?;
    Timestamp::from_nanos(nanos).map_err(|_| MomentError::OutOfRange)
}

/// The same moment in jiff's type.
pub(crate) fn civil(time: Timestamp) -> jiff::Timestamp {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(time.nanos()));
    assert!(moment.is_ok(), "every timestamp lies within the calendar");
    moment.unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// Prints as RFC 3339 in UTC (`2025-06-01T12:00:00.5Z`), with as many fractional digits as the time needs.
#[derive(Debug, Clone, Copy)]
pub struct Utc(pub Timestamp);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&civil(self.0), f)
    }
}

/// Prints as RFC 3339 with the offset that a time zone has at that moment. Where that offset is no whole minute
/// (local mean time, before zones), RFC 3339 cannot say it, and UTC is printed.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a>(pub Timestamp, pub &'a TimeZone);

impl fmt::Display for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = civil(self.0);
        let offset = self.1.to_offset(moment);
        if offset.seconds() % 60 == 0 {
            fmt::Display::fmt(&moment.display_with_offset(offset), f)
        } else {
            fmt::Display::fmt(&moment, f)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_748_779_200_000_000_000;

    fn nanos(text: &str) -> Result<i64, MomentError> {
        parse(text, Timestamp::from_nanos(NOW).unwrap()).map(Timestamp::nanos)
    }

    #[test]
    fn every_form_of_a_time_is_read_exactly() {
        const HOUR: i64 = 3_600_000_000_000;
        for (text, expected) in [
            ("2025-06-01T12:00:00Z", NOW),
            ("2025-06-01t12:00:00z", NOW),
            ("2025-06-01T14:00:00+02:00", NOW),
            ("2025-06-01T14:00:00 02:00", NOW),
            ("2025-06-01T12:00:00.000000001Z", NOW + 1),
            ("2025-06-01", NOW - 12 * HOUR),
            ("1748779200", NOW),
            ("1748779200.000000001", NOW + 1),
            ("-1.5", -1_500_000_000),
            ("0", 0),
            ("-0.000000001", -1),
            ("now", NOW),
            ("-1h", NOW - HOUR),
            ("now-1h", NOW - HOUR),
            ("now-1h30m", NOW - HOUR * 3 / 2),
            ("+1h", NOW + HOUR),
            ("now 1h", NOW + HOUR),
            ("-90s", NOW - 90_000_000_000),
            ("-1w", NOW - 7 * 24 * HOUR),
        ] {
            assert_eq!(nanos(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_reason() {
        for (text, expected) in [
            ("", MomentError::Form),
            ("yesterday", MomentError::Form),
            ("1.", MomentError::Form),
            (".5", MomentError::Form),
            ("--5", MomentError::Form),
            ("1e9", MomentError::Form),
            ("2025-6-1", MomentError::Form),
            ("2025-02-30", MomentError::Calendar),
            ("nowish", MomentError::Form),
            ("now-", MomentError::Form),
            ("2025-06-01T12:00:00", MomentError::Calendar),
            ("2025-06-01T12:00Z", MomentError::Calendar),
            ("2025-02-30T12:00:00Z", MomentError::Calendar),
            ("2025-06-01T12:00:00.0123456789Z", MomentError::TooFine),
            ("1.0123456789", MomentError::TooFine),
            ("1748779200000", MomentError::OutOfRange),
            ("99999999999999999999", MomentError::OutOfRange),
            ("1500-01-01T00:00:00Z", MomentError::OutOfRange),
            ("-1y", MomentError::Span(SpanError::Unit("y".into()))),
            ("-h", MomentError::Span(SpanError::Form)),
            ("-1h30", MomentError::Form),
            ("-999999w", MomentError::Span(SpanError::TooLong)),
        ] {
            assert_eq!(nanos(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn an_offset_is_printed_unless_rfc_3339_cannot_say_it() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| parse(text, Timestamp::EPOCH).unwrap();
        assert_eq!(Local(at("2025-06-01T12:00:00Z"), &berlin).to_string(), "2025-06-01T14:00:00+02:00");
        assert_eq!(Local(at("1850-01-01T00:00:00Z"), &berlin).to_string(), "1850-01-01T00:00:00Z");
        assert_eq!(Utc(at("2025-06-01T12:00:00.250Z")).to_string(), "2025-06-01T12:00:00.25Z");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos in Timestamp::MIN.nanos()..=Timestamp::MAX.nanos(), zone in 0..4_usize) {
            let time = Timestamp::from_nanos(nanos).unwrap();
            let zone = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"][zone];
            let zone = TimeZone::get(zone).unwrap();
            prop_assert_eq!(parse(&Utc(time).to_string(), Timestamp::EPOCH), Ok(time));
            prop_assert_eq!(parse(&Local(time, &zone).to_string(), Timestamp::EPOCH), Ok(time));
        }

        #[test]
        fn unix_seconds_are_read_to_the_nanosecond(nanos in Timestamp::MIN.nanos()..=Timestamp::MAX.nanos()) {
            let (sign, size) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
            let text = format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000);
            prop_assert_eq!(parse(&text, Timestamp::EPOCH).unwrap().nanos(), nanos);
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "\\PC{0,40}") {
            let _ = parse(&text, Timestamp::EPOCH);
        }
    }
}
