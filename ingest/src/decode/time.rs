//! `ts` → [`Timestamp`]: exact decimal arithmetic for numbers, RFC 3339 for text. What is below a nanosecond is
//! cut off, towards the past.

use tidemill_store::model::Timestamp;

use super::Fault;
use super::number::{Decimal, Number};

/// The unit of a numeric `ts`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since the epoch.
    Seconds,
    /// Milliseconds since the epoch: what most devices send.
    #[default]
    Milliseconds,
    /// Microseconds since the epoch.
    Microseconds,
    /// Nanoseconds since the epoch.
    Nanoseconds,
    /// One of them, by the digits before the point: up to 11 are seconds, up to 14 milliseconds, up to 17
    /// microseconds, more nanoseconds. Right for all times between 1973 and 5138, and it cannot tell times nearer to
    /// the epoch.
    Magnitude,
}

impl TimeUnit {
    /// The unit that configuration calls `s`, `ms`, `us`, `ns` or `auto`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "s" => Some(Self::Seconds),
            "ms" => Some(Self::Milliseconds),
            "us" => Some(Self::Microseconds),
            "ns" => Some(Self::Nanoseconds),
            "auto" => Some(Self::Magnitude),
            _ => None,
        }
    }

    /// How configuration calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
            Self::Magnitude => "auto",
        }
    }

    /// Its length in nanoseconds, where it has one.
    pub(super) const fn nanos(self) -> Option<i64> {
        match self {
            Self::Seconds => Some(1_000_000_000),
            Self::Milliseconds => Some(1_000_000),
            Self::Microseconds => Some(1_000),
            Self::Nanoseconds => Some(1),
            Self::Magnitude => None,
        }
    }

    /// The power of ten of its length in nanoseconds, for a time of so many digits before the point.
    const fn exponent(self, digits: i32) -> i32 {
        match (self, digits) {
            (Self::Seconds, _) | (Self::Magnitude, ..=11) => 9,
            (Self::Milliseconds, _) | (Self::Magnitude, ..=14) => 6,
            (Self::Microseconds, _) | (Self::Magnitude, ..=17) => 3,
            (Self::Nanoseconds | Self::Magnitude, _) => 0,
        }
    }
}

/// The time that `number` of `unit` means.
pub(super) fn from_number(number: &Number<'_>, unit: TimeUnit) -> Result<Timestamp, Fault> {
    Timestamp::from_nanos(nanos(&number.decimal(), unit)?).map_err(|_| Fault::TimeOutOfRange)
}

/// The nanoseconds of so many `unit`.
pub(super) fn nanos(number: &Decimal, unit: TimeUnit) -> Result<i64, Fault> {
    let digits = number.mantissa.checked_ilog10().map_or(0, |log| log + 1);
    let exponent = number.exponent + unit.exponent(number.exponent.saturating_add_unsigned(digits));
    let power = 10_u64.checked_pow(exponent.unsigned_abs());
    let (nanos, cut) = match (number.mantissa, exponent, power) {
        (0, _, _) => (0, false),
        (mantissa, 0.., Some(power)) => (u128::from(mantissa) * u128::from(power), number.truncated),
        (_, 0.., None) => return Err(Fault::TimeOutOfRange),
        (mantissa, _, Some(power)) => {
            (u128::from(mantissa / power), number.truncated || mantissa % power != 0)
        }
        // A mantissa has 20 digits at most: nothing is left of it.
        (_, _, None) => (0, true),
    };
    let nanos = i64::try_from(nanos).map_err(|_| Fault::TimeOutOfRange)?;
    Ok(if number.negative { -nanos - i64::from(cut) } else { nanos })
}

/// The nanoseconds of so many `unit`, `double` standing for the shortest decimal that reads as it.
pub(super) fn nanos_of_double(double: f64, unit: TimeUnit) -> Result<i64, Fault> {
    if !double.is_finite() {
        return Err(Fault::TimeOutOfRange);
    }
    match Number::parse(&format!("{double:e}")) {
        Ok((number, _)) => nanos(&number.decimal(), unit),
        Err((fault, _)) => Err(fault),
    }
}

/// The time that `text` means. A leap second (`:60`) counts as the second before it: there is no other place for it.
pub(super) fn from_text(text: &str) -> Result<Timestamp, Fault> {
    let cut;
    let text = match fraction_beyond_nanos(text) {
        Some((kept, rest)) => {
            cut = [kept, rest].concat();
            &cut
        }
        None => text,
    };
    let time: jiff::Timestamp = text.parse().map_err(|_| Fault::TimeText)?;
    let nanos = i64::try_from(time.as_nanosecond()).map_err(|_| Fault::TimeOutOfRange)?;
    Timestamp::from_nanos(nanos).map_err(|_| Fault::TimeOutOfRange)
}

/// What stands before and behind the digits of a fraction of a second that are below a nanosecond, where there are any.
fn fraction_beyond_nanos(text: &str) -> Option<(&str, &str)> {
    let start = text.find(['.', ','])? + 1;
    let digits = text.get(start..)?.bytes().take_while(u8::is_ascii_digit).count();
    (digits > NANOS_DIGITS).then_some(())?;
    Some((text.get(..start + NANOS_DIGITS)?, text.get(start + digits..)?))
}

/// Digits of a second down to a nanosecond.
const NANOS_DIGITS: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str, unit: TimeUnit) -> Result<i64, Fault> {
        let (number, _) = Number::parse(text).map_err(|(fault, _)| fault)?;
        from_number(&number, unit).map(Timestamp::nanos)
    }

    #[test]
    fn fractions_are_exact_in_every_unit() {
        use TimeUnit as U;
        assert_eq!(nanos("1700000000.123456789", U::Seconds), Ok(1_700_000_000_123_456_789));
        assert_eq!(nanos("1700000000123.456789", U::Milliseconds), Ok(1_700_000_000_123_456_789));
        assert_eq!(nanos("1.7e9", U::Seconds), Ok(1_700_000_000_000_000_000));
        assert_eq!(nanos("1700000000123456789", U::Nanoseconds), Ok(1_700_000_000_123_456_789));
        assert_eq!(nanos("0e5", U::Microseconds), Ok(0));
    }

    #[test]
    fn the_unit_may_be_told_by_the_magnitude() {
        let expected = Ok(1_700_000_000_123_456_789 / 1_000_000_000 * 1_000_000_000);
        for text in ["1700000000", "1700000000000", "1700000000000000", "1700000000000000000", "1.7e12"] {
            assert_eq!(nanos(text, TimeUnit::Magnitude), expected, "{text}");
        }
        assert_eq!(nanos("-1700000000.5", TimeUnit::Magnitude), Ok(-1_700_000_000_500_000_000));
        assert_eq!(nanos("0", TimeUnit::Magnitude), Ok(0));
    }

    #[test]
    fn a_double_is_the_shortest_decimal_that_reads_as_it() {
        let read = |double| super::nanos_of_double(double, TimeUnit::Seconds);
        assert_eq!(read(1_276_020_076.001), Ok(1_276_020_076_001_000_000));
        assert_eq!(read(-0.25), Ok(-250_000_000));
        assert_eq!(read(f64::NAN), Err(Fault::TimeOutOfRange));
        assert_eq!(read(1e300), Err(Fault::TimeOutOfRange));
    }

    #[test]
    fn what_is_below_a_nanosecond_is_cut_off_towards_the_past() {
        use TimeUnit as U;
        assert_eq!(nanos("0.9", U::Nanoseconds), Ok(0));
        assert_eq!(nanos("-0.9", U::Nanoseconds), Ok(-1));
        assert_eq!(nanos("-1", U::Nanoseconds), Ok(-1));
        assert_eq!(nanos("1700000000.12345678999999", U::Seconds), Ok(1_700_000_000_123_456_789));
        assert_eq!(nanos("-1700000000.12345678900001", U::Seconds), Ok(-1_700_000_000_123_456_790));
        assert_eq!(nanos("1e-99999", U::Seconds), Ok(0));
    }

    #[test]
    fn times_out_of_range_are_refused() {
        use TimeUnit as U;
        assert_eq!(nanos("1e99999", U::Nanoseconds), Err(Fault::TimeOutOfRange));
        assert_eq!(nanos("9223372036", U::Seconds), Err(Fault::TimeOutOfRange));
        assert_eq!(nanos("1700000000123", U::Seconds), Err(Fault::TimeOutOfRange));
        assert_eq!(from_text("9999-01-01T00:00:00Z"), Err(Fault::TimeOutOfRange));
    }

    #[test]
    fn text_is_rfc_3339_with_any_offset() {
        let expected = Timestamp::from_millis(1_714_564_800_250).unwrap();
        assert_eq!(from_text("2024-05-01T12:00:00.250Z"), Ok(expected));
        assert_eq!(from_text("2024-05-01T14:00:00.25+02:00"), Ok(expected));
        assert_eq!(from_text("2024-05-01T12:00:00.2500000009999999Z"), Ok(expected));
        assert_eq!(from_text("2024-05-01T14:00:00,25000000099+02:00"), Ok(expected));
        assert_eq!(from_text("2016-12-31T23:59:60Z"), from_text("2016-12-31T23:59:59Z"));
        for text in [
            "",
            "2024-05-01",
            "2024-05-01T12:00:00",
            "2024-05-01T12:00:00.1234567890",
            "2024.1234567890",
            "1714564800",
            "yesterday",
        ] {
            assert_eq!(from_text(text), Err(Fault::TimeText), "{text:?}");
        }
    }

    #[test]
    fn a_unit_has_one_name() {
        use TimeUnit as U;
        for unit in [U::Seconds, U::Milliseconds, U::Microseconds, U::Nanoseconds, U::Magnitude] {
            assert_eq!(TimeUnit::from_name(unit.name()), Some(unit));
        }
        assert_eq!(TimeUnit::from_name("m"), None);
    }
}
