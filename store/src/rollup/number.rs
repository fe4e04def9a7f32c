//! Numbers as values hold them, integer or double: compared, added and divided without loss.
//!
//! [`Total`] is what sums of them give: exact while all are integers, and rounded once where doubles are among them.

use std::cmp::Ordering;

use crate::model::Value;

/// A numeric value. A boolean counts as the integer 0 or 1, text is no number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Exact.
    Integer(i64),
    /// A double, NaN and infinities included.
    Float(f64),
}

impl Number {
    /// The number in `value`.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::F64(float) => Some(Self::Float(*float)),
            Value::I64(integer) => Some(Self::Integer(*integer)),
            Value::Bool(truth) => Some(Self::Integer(i64::from(*truth))),
            Value::Text(_) => None,
        }
    }

    /// Whether this is NaN.
    pub fn is_nan(self) -> bool {
        matches!(self, Self::Float(float) if float.is_nan())
    }

    /// The double nearest to it.
    pub fn nearest(self) -> f64 {
        match self {
            Self::Integer(integer) => nearest(i128::from(integer)),
            Self::Float(float) => float,
        }
    }

    /// The integer that it is, where it is whole and an `i64`.
    pub(super) fn whole(self) -> Option<Self> {
        let integer = match self {
            Self::Integer(integer) => integer,
            #[expect(
                clippy::as_conversions,
                clippy::cast_possible_truncation,
                reason = "checked by the way back"
            )]
            Self::Float(float) => float as i64,
        };
        (self.compare(Self::Integer(integer)) == Some(Ordering::Equal)).then_some(Self::Integer(integer))
    }

    /// Compares exactly, also an integer with a double; `None` where one is NaN.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Integer(a), Self::Float(b)) => compare_mixed(a, b),
            (Self::Float(a), Self::Integer(b)) => compare_mixed(b, a).map(Ordering::reverse),
        }
    }
}

/// A sum or a difference of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Total {
    /// Exact.
    Integer(i128),
    /// A double, NaN and infinities included.
    Float(f64),
}

impl Total {
    /// The double nearest to it.
    pub fn nearest(self) -> f64 {
        match self {
            Self::Integer(integer) => nearest(integer),
            Self::Float(float) => float,
        }
    }
}

/// Beyond ±2^63 the double decides alone; inside, its whole part is an exact integer and its fraction breaks ties.
fn compare_mixed(integer: i64, float: f64) -> Option<Ordering> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        None
    } else if float >= LIMIT {
        Some(Ordering::Less)
    } else if float < -LIMIT {
        Some(Ordering::Greater)
    } else {
        #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "whole and within ±2^63")]
        let whole = float.trunc() as i64;
        Some(integer.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)))
    }
}

/// The double nearest to `integer`.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "rounding to nearest is what is asked for"
)]
pub fn nearest(integer: i128) -> f64 {
    integer as f64
}

/// `sum / count` for a positive `count`, without first rounding a large `sum`.
pub fn quotient(sum: i128, count: u64) -> f64 {
    let count = i128::from(count.max(1));
    nearest(sum / count) + nearest(sum % count) / nearest(count)
}

/// Two doubles whose exact sum is `integer` (up to 2^106).
pub fn halves(integer: i128) -> (f64, f64) {
    let high = nearest(integer);
    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a rounded i128 is whole")]
    let rest = integer.saturating_sub(high as i128);
    (high, nearest(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_doubles_compare_by_value_and_not_by_rounding() {
        let compare = |a, b| Number::Integer(a).compare(Number::Float(b));
        // 2^53 + 1 rounds to 2^53 as a double.
        assert_eq!(compare(9_007_199_254_740_993, 9_007_199_254_740_992.0), Some(Ordering::Greater));
        assert_eq!(compare(i64::MAX, 9_223_372_036_854_775_808.0), Some(Ordering::Less));
        assert_eq!(compare(i64::MIN, -9_223_372_036_854_775_808.0), Some(Ordering::Equal));
        assert_eq!(compare(-1, -1.5), Some(Ordering::Greater));
        assert_eq!(compare(1, 1.5), Some(Ordering::Less));
        assert_eq!(compare(0, -0.0), Some(Ordering::Equal));
        assert_eq!(compare(0, f64::INFINITY), Some(Ordering::Less));
        assert_eq!(compare(0, f64::NAN), None);
        assert_eq!(Number::Float(1.5).compare(Number::Integer(1)), Some(Ordering::Greater));
    }

    #[test]
    fn a_mean_of_large_integers_is_not_rounded_twice() {
        assert_eq!(
            quotient(i128::from(i64::MAX) * 3, 3).to_bits(),
            9_223_372_036_854_775_807.0_f64.to_bits()
        );
        assert_eq!(quotient(-7, 2).to_bits(), (-3.5_f64).to_bits());
        assert_eq!(halves(9_007_199_254_740_993), (9_007_199_254_740_992.0, 1.0));
    }
}
