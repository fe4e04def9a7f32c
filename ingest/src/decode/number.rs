//! JSON numbers → exact integers, correctly rounded doubles, exact decimal times.
//!
//! A number is scanned once into sign, up to 19 significant digits and a power of ten. Where that is all of it
//! and a double holds both parts exactly, one multiplication or division rounds correctly (Clinger, 1990);
//! everything else goes through the standard library's parser.

use tidemill_store::model::Value;

use super::Fault;

/// A scanned number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    text: &'a str,
    negative: bool,
    /// The first significant digits, at most 19.
    mantissa: u64,
    exponent: i32,
    /// Whether digits that are not zero were left out of `mantissa`.
    truncated: bool,
    integer: bool,
}

/// `± mantissa × 10^exponent`, as far as 19 digits tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal {
    /// Below zero, or minus zero.
    pub(super) negative: bool,
    /// The first significant digits.
    pub(super) mantissa: u64,
    /// The power of ten that `mantissa` is multiplied with.
    pub(super) exponent: i32,
    /// Whether digits that are not zero were left out of `mantissa`.
    pub(super) truncated: bool,
}

impl Decimal {
    /// A whole number of up to 64 bits and a sign.
    pub(super) fn integer(integer: i128) -> Result<Self, Fault> {
        let mantissa = u64::try_from(integer.unsigned_abs()).map_err(|_| Fault::NumberOutOfRange)?;
        Ok(Self { negative: integer < 0, mantissa, exponent: 0, truncated: false })
    }

    /// `mantissa × 10^exponent`.
    pub(super) fn fraction(mantissa: i64, exponent: i32) -> Self {
        let exponent = exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX);
        Self { negative: mantissa < 0, mantissa: mantissa.unsigned_abs(), exponent, truncated: false }
    }

    /// The double next to it.
    pub(super) fn double(&self) -> Result<f64, Fault> {
        let sign = if self.negative { "-" } else { "" };
        match format!("{sign}{}e{}", self.mantissa, self.exponent).parse::<f64>() {
            Ok(double) if double.is_finite() => Ok(double),
            _ => Err(Fault::NumberOutOfRange),
        }
    }
}

/// The value that an integer of any size makes: exact, or refused.
pub(super) fn integer_value(integer: i128) -> Result<Value, Fault> {
    if let Ok(integer) = i64::try_from(integer) {
        return Ok(Value::I64(integer));
    }
    match Number::parse(&integer.to_string()) {
        Ok((number, _)) => number.value(),
        Err((fault, _)) => Err(fault),
    }
}

/// The value of text in a format that has no types: an integer, else a double, else a boolean, else text.
/// `None` for text.
pub(super) fn untyped(text: &str) -> Option<Result<Value, Fault>> {
    match Number::parse(text) {
        Ok((number, length)) if length == text.len() => return Some(number.value()),
        Ok(_) | Err(_) => {}
    }
    match text {
        "true" | "True" | "TRUE" => return Some(Ok(Value::Bool(true))),
        "false" | "False" | "FALSE" => return Some(Ok(Value::Bool(false))),
        _ => {}
    }
    // What JSON does not allow and devices write: a plus sign, leading zeros, nothing before or after the point.
    if let Ok(integer) = text.parse::<i128>() {
        return Some(integer_value(integer));
    }
    match text.parse::<f64>() {
        // Infinity is a word, and no number with digits is so large.
        Ok(double) if double.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) => {
            Some(Err(Fault::NumberOutOfRange))
        }
        Ok(double) => Some(Ok(Value::F64(double))),
        Err(_) => None,
    }
}

const DIGITS_MAX: u32 = 19;
/// Exponents are held here: far beyond every double and every time.
const EXPONENT_MAX: i32 = 100_000;
/// Every integer up to this is a double.
const EXACT_MAX: u64 = 1 << 53;
/// The powers of ten that are doubles.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The value of the number that `bytes` begin with and how long it is, where it is written as devices mostly do: up to
/// [`SHORT_DIGITS_MAX`] digits, maybe with a point among them, and no exponent. `None` says nothing: [`Number`] tells.
#[inline]
pub(super) fn short_number(bytes: &[u8]) -> Option<(Short, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (whole, digits) = digits_from(bytes, start, 0);
    let point = start + digits;
    if digits == 0 || (digits > 1 && bytes.get(start) == Some(&b'0')) {
        return None;
    }
    let is_integer = bytes.get(point) != Some(&b'.');
    let (mantissa, places) = if is_integer { (whole, 0) } else { digits_from(bytes, point + 1, whole) };
    let end = if is_integer { point } else { point + 1 + places };
    let is_plain = (is_integer || places > 0) && !matches!(bytes.get(end), Some(b'e' | b'E'));
    if !is_plain || digits + places > SHORT_DIGITS_MAX {
        return None;
    }
    if is_integer {
        // An i64 has no minus zero.
        let integer = mantissa.cast_signed();
        if negative && integer == 0 {
            return None;
        }
        return Some((Short::Integer(if negative { -integer } else { integer }), end));
    }
    let magnitude = exact(mantissa) / POWERS.get(places)?;
    Some((Short::Double(if negative { -magnitude } else { magnitude }), end))
}

/// The value of a short number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Short {
    Integer(i64),
    Double(f64),
}

impl From<Short> for Value {
    #[inline]
    fn from(short: Short) -> Self {
        match short {
            Short::Integer(integer) => Self::I64(integer),
            Short::Double(double) => Self::F64(double),
        }
    }
}

/// So many digits always make an integer that is a double.
const SHORT_DIGITS_MAX: usize = 15;

/// `value` with the digits from `at` on behind it, and how many they are; wraps around where they are too many.
#[inline]
fn digits_from(bytes: &[u8], at: usize, mut value: u64) -> (u64, usize) {
    let left = bytes.get(at..).unwrap_or_default();
    for (count, byte) in left.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (value, count);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    (value, left.len())
}

/// A scan in progress.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    mantissa: u64,
    digits: u32,
    exponent: i32,
    truncated: bool,
}

impl<'a> Number<'a> {
    /// Scans the number that `text` begins with; gives it with its length, or a fault with its offset.
    pub(super) fn parse(text: &'a str) -> Result<(Self, usize), (Fault, usize)> {
        let mut scan =
            Scan { bytes: text.as_bytes(), at: 0, mantissa: 0, digits: 0, exponent: 0, truncated: false };
        let integer = scan.number().map_err(|what| (Fault::Syntax(what), scan.at))?;
        let number = Number {
            text: text.get(..scan.at).unwrap_or_default(),
            negative: text.starts_with('-'),
            mantissa: scan.mantissa,
            exponent: scan.exponent,
            truncated: scan.truncated,
            integer,
        };
        Ok((number, scan.at))
    }

    /// Its digits.
    pub(super) fn decimal(&self) -> Decimal {
        let Self { negative, mantissa, exponent, truncated, .. } = *self;
        Decimal { negative, mantissa, exponent, truncated }
    }

    /// The value of a metric: an exact integer where it is written as one and fits, a double else.
    pub(super) fn value(&self) -> Result<Value, Fault> {
        if !self.integer {
            return self.double().map(Value::F64);
        }
        if self.exponent == 0 && !self.truncated {
            match (self.negative, i64::try_from(self.mantissa)) {
                // An i64 has no minus zero: only the double keeps the sign.
                (true, Ok(0)) => return Ok(Value::F64(-0.0)),
                (true, Ok(magnitude)) => return Ok(Value::I64(-magnitude)),
                (false, Ok(magnitude)) => return Ok(Value::I64(magnitude)),
                (true, Err(_)) if self.mantissa == i64::MIN.unsigned_abs() => {
                    return Ok(Value::I64(i64::MIN));
                }
                (_, Err(_)) => {}
            }
        }
        let double = self.double()?;
        // The decimal expansion of a whole double is finite, and printed whole.
        if format!("{double:.0}") == self.text { Ok(Value::F64(double)) } else { Err(Fault::IntegerInexact) }
    }

    fn double(&self) -> Result<f64, Fault> {
        if let Some(double) = self.exact_double() {
            return Ok(double);
        }
        match self.text.parse::<f64>() {
            Ok(double) if double.is_finite() => Ok(double),
            _ => Err(Fault::NumberOutOfRange),
        }
    }

    fn exact_double(&self) -> Option<f64> {
        if self.truncated || self.mantissa > EXACT_MAX {
            return None;
        }
        let power = *POWERS.get(usize::try_from(self.exponent.unsigned_abs()).ok()?)?;
        let mantissa = exact(self.mantissa);
        let magnitude = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "at most 2^53: every one is a double")]
fn exact(mantissa: u64) -> f64 {
    mantissa as f64
}

impl Scan<'_> {
    /// Scans a whole number; says whether it is written as an integer.
    #[inline]
    fn number(&mut self) -> Result<bool, &'static str> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
            if self.digit().is_some() {
                return Err("a number with a leading zero");
            }
        } else {
            self.digits(0)?;
        }
        let mut integer = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits(-1)?;
            integer = false;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.power()?;
            integer = false;
        }
        Ok(integer)
    }

    /// Scans one digit or more; `step` is what each taken digit adds to the exponent.
    #[inline]
    fn digits(&mut self, step: i32) -> Result<(), &'static str> {
        let start = self.at;
        while let Some(digit) = self.digit() {
            self.at += 1;
            if self.digits < DIGITS_MAX {
                self.mantissa = self.mantissa * 10 + u64::from(digit);
                // Leading zeros are no significant digits.
                self.digits += u32::from(self.mantissa != 0);
                self.exponent += step;
            } else {
                self.truncated |= digit != 0;
                self.exponent = (self.exponent + step + 1).min(EXPONENT_MAX);
            }
        }
        if self.at == start { Err("expected a digit") } else { Ok(()) }
    }

    fn power(&mut self) -> Result<(), &'static str> {
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(matches!(self.peek(), Some(b'-' | b'+')));
        let (start, mut power) = (self.at, 0_i32);
        while let Some(digit) = self.digit() {
            self.at += 1;
            power = (power * 10 + i32::from(digit)).min(EXPONENT_MAX);
        }
        self.exponent += if negative { -power } else { power };
        if self.at == start { Err("expected a digit of an exponent") } else { Ok(()) }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn digit(&self) -> Option<u8> {
        self.peek().map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Result<Value, Fault> {
        let (number, length) = Number::parse(text).map_err(|(fault, _)| fault)?;
        assert_eq!(length, text.len(), "{text}");
        number.value()
    }

    #[test]
    fn integers_that_fit_are_exact() {
        for number in [0, 1, -1, 9_007_199_254_740_993, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(value(&number.to_string()), Ok(Value::I64(number)));
        }
    }

    #[test]
    fn integers_beyond_64_bits_are_doubles_only_where_nothing_is_lost() {
        assert_eq!(value("9223372036854775808"), Ok(Value::F64(9_223_372_036_854_775_808.0)));
        assert_eq!(value("9223372036854775809"), Err(Fault::IntegerInexact));
        assert_eq!(value("18446744073709551615"), Err(Fault::IntegerInexact));
        assert_eq!(value("10000000000000000000000"), Ok(Value::F64(1e22)));
        assert_eq!(value("-10000000000000000000000"), Ok(Value::F64(-1e22)));
        assert_eq!(value("100000000000000000000000"), Err(Fault::IntegerInexact));
        assert_eq!(value(&"9".repeat(400)), Err(Fault::NumberOutOfRange));
    }

    #[test]
    fn text_without_a_type_is_the_first_kind_that_reads_all_of_it() {
        let kind = |text: &str| untyped(text).map(|value| value.unwrap());
        assert_eq!(kind("21"), Some(Value::I64(21)));
        assert_eq!(kind("+007"), Some(Value::I64(7)));
        assert_eq!((kind(".5"), kind("-1.")), (Some(Value::F64(0.5)), Some(Value::F64(-1.0))));
        assert_eq!((kind("True"), kind("false")), (Some(Value::Bool(true)), Some(Value::Bool(false))));
        assert_eq!(kind("nan"), Some(Value::F64(f64::NAN)));
        assert_eq!((kind("on"), kind("1 2"), kind("0x10"), kind("")), (None, None, None, None));
        assert_eq!(untyped("18446744073709551615"), Some(Err(Fault::IntegerInexact)));
        for text in ["1e999", "+1e999", "-01e999", ".1e999"] {
            assert_eq!(untyped(text), Some(Err(Fault::NumberOutOfRange)), "{text}");
        }
        assert_eq!(untyped("-inf"), Some(Ok(Value::F64(f64::NEG_INFINITY))));
    }

    #[test]
    fn minus_zero_keeps_its_sign() {
        for text in ["-0", "-0.0", "-0e5"] {
            assert_eq!(value(text), Ok(Value::F64(-0.0)), "{text}");
        }
        assert_eq!(value("0"), Ok(Value::I64(0)));
    }

    #[test]
    fn numbers_out_of_the_range_of_a_double_are_refused_and_tiny_ones_round() {
        assert_eq!(value("1e309"), Err(Fault::NumberOutOfRange));
        assert_eq!(value("-1e99999999999999"), Err(Fault::NumberOutOfRange));
        assert_eq!(value("1e-400"), Ok(Value::F64(0.0)));
        assert_eq!(value("5e-324"), Ok(Value::F64(5e-324)));
        assert_eq!(value("0e99999999999"), Ok(Value::F64(0.0)));
    }

    #[test]
    fn what_the_grammar_does_not_allow_is_refused() {
        for text in ["", "-", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "+1", "--1"] {
            assert!(matches!(value(text), Err(Fault::Syntax(_))), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn short_numbers_mean_what_they_mean_to_the_scan(
            text in r"-?[0-9]{0,17}(\.[0-9]{0,17})?([eE][+-]?[0-9]{1,3})?[,}. a-]{0,2}",
        ) {
            if let Some((short, length)) = short_number(text.as_bytes()) {
                let short = Value::from(short);
                let (number, expected) = Number::parse(&text).map_err(|_| TestCaseError::fail("refused"))?;
                prop_assert_eq!((number.value(), expected), (Ok(short.clone()), length));
                // Minus zero is equal to zero, and is not the same.
                prop_assert_eq!(format!("{:?}", number.value()), format!("{:?}", Ok::<_, Fault>(short)));
            }
        }

        #[test]
        fn what_devices_mostly_write_is_short(text in r"-?(0|[1-9][0-9]{0,6})(\.[0-9]{1,8})?,") {
            prop_assert!(text == "-0," || short_number(text.as_bytes()).is_some());
        }

        #[test]
        fn decimals_round_as_the_standard_library_does(text in r"-?(0|[1-9][0-9]{0,24})\.[0-9]{1,24}([eE][+-]?[0-9]{1,3})?") {
            let expected: f64 = text.parse().unwrap();
            let expected = if expected.is_finite() { Ok(Value::F64(expected)) } else { Err(Fault::NumberOutOfRange) };
            prop_assert_eq!(value(&text), expected);
        }

        #[test]
        fn doubles_come_back_bit_for_bit(bits: u64) {
            let double = f64::from_bits(bits);
            prop_assume!(double.is_finite());
            let text = format!("{double:e}");
            prop_assert_eq!(value(&text), if text.contains(['.', 'e']) { Ok(Value::F64(double)) } else { value(&text) });
        }

        #[test]
        fn integers_of_any_length_are_exact_or_refused(text in "-?[1-9][0-9]{0,40}") {
            match value(&text) {
                Ok(Value::I64(integer)) => prop_assert_eq!(integer.to_string(), text),
                Ok(Value::F64(double)) => {
                    prop_assert!(text.parse::<i64>().is_err());
                    prop_assert_eq!(format!("{double:.0}"), text);
                }
                other => prop_assert_eq!(other, Err(Fault::IntegerInexact)),
            }
        }
    }
}
