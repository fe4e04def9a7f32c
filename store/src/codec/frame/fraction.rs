//! Sums of two doubles as whole numbers: multiples of a power of two, and fractions over a power of ten.

use super::rests::{split, whole};
use crate::rollup::nearest;

/// Above the line of a fraction stands less.
const ABOVE_MAX: f64 = 281_474_976_710_656.0;
/// Multiples are of 2^-SHIFT_MAX at the smallest, so that a fraction of this kind is one that fits 127 bits.
pub(super) const SHIFT_MAX: i32 = 74;
/// No more bits than these in a multiple: as many as two doubles hold, and some.
const MULTIPLE_BITS: i32 = 120;

/// What stands above `divisor` where `value` is about that fraction; `None` where that is too much.
pub(super) fn above(value: f64, divisor: f64) -> Option<i64> {
    let scaled = (value * divisor).round_ties_even();
    (scaled.abs() < ABOVE_MAX).then(|| integer(scaled))
}

/// The multiple of 2^-`shift` that is nearest to `above / divisor`, of which both are whole.
pub(super) fn multiple_near(above: i64, divisor: f64, shift: i32) -> i128 {
    let divisor = i128::from(integer(divisor)).max(1);
    let scaled = i128::from(above) << shift.clamp(0, SHIFT_MAX);
    scaled.wrapping_mul(2).wrapping_add(divisor).div_euclid(divisor * 2)
}

/// The sum of two doubles as a multiple of 2^-`shift`, where it is one.
pub(super) fn multiple([high, low]: [f64; 2], shift: i32) -> Option<i128> {
    let of = |double: f64| {
        let (whole, exponent) = split(double);
        let up = if whole == 0 { 0 } else { exponent + shift };
        (double.is_finite() && (0..=MULTIPLE_BITS - 53).contains(&up)).then(|| i128::from(whole) << up)
    };
    Some(of(high)? + of(low)?)
}

/// A multiple of 2^-`shift` as the sum of two doubles: the nearest, and what that leaves.
pub(super) fn doubles(multiple: i128, shift: i32) -> [f64; 2] {
    let unit = f64::from(-shift.clamp(0, SHIFT_MAX)).exp2();
    let high = nearest(multiple);
    [high * unit, nearest(multiple.saturating_sub(narrow(high))) * unit]
}

/// The least shift that makes each of these a multiple, as far as one does.
pub(super) fn shift(parts: impl Iterator<Item = [f64; 2]>) -> i32 {
    let needs = parts.flatten().map(|double| -split(double).1);
    needs.filter(|need| *need <= SHIFT_MAX).max().unwrap_or(0).max(0)
}

/// The fraction as one double.
pub(super) fn quotient(above: i64, divisor: f64) -> f64 {
    whole(above) / divisor
}

/// The integer that a double is; the nearest that there is where it is too large, 0 for NaN.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "saturates as it is meant to")]
pub(super) const fn integer(double: f64) -> i64 {
    double as i64
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "saturates as it is meant to")]
const fn narrow(double: f64) -> i128 {
    double as i128
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_of_doubles_come_back_from_multiples(terms in prop::collection::vec(-99_999..99_999_i32, 1..300)) {
            let mut sum = crate::rollup::Sum::ZERO;
            for term in terms {
                sum.add(f64::from(term) / 100.0);
            }
            let parts = sum.parts();
            let parts = [parts.high, parts.low];
            let shift = shift([parts].into_iter());
            let multiple = multiple(parts, shift).unwrap();
            prop_assert_eq!(doubles(multiple, shift).map(f64::to_bits), parts.map(f64::to_bits));
            let above = above(parts[0], 100.0).unwrap();
            let off = (multiple - multiple_near(above, 100.0, shift)).abs();
            prop_assert!(off < 1 << 20, "{off}");
        }
    }
}
