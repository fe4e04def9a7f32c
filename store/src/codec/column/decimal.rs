//! Doubles that are short decimals, as integers: 21.53 is 2153 / 10^2.
//!
//! The idea is that of ALP (Afroozeh, Kuffo, Boncz: ALP: Adaptive Lossless floating-Point Compression, 2023), with
//! one exponent for a column and a division instead of two multiplications: a decimal of at most 15 digits is read
//! by a parser as the double nearest to it, and that is what the division, correctly rounded, gives as well.
//! An integer may stand for the double only where the way back gives its very bits, so -0.0 and NaN never do.

/// Powers of ten that a column may be scaled by; the exponent is the position.
pub(crate) const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
const POWERS_I64: [i64; 16] = {
    let mut powers = [1; 16];
    let mut at = 1;
    while at < powers.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks it")]
        {
            powers[at] = powers[at - 1] * 10;
        }
        at += 1;
    }
    powers
};

/// Adding it rounds a double below 2^51 to an integer that then stands in the low bits of the sum.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// Integers of a larger magnitude are not used: the rounding trick ends there.
const SCALED_MAX: u64 = 1 << 51;

/// A power of ten from 10^0 to 10^15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exponent(u8);

impl Exponent {
    const ZERO: Self = Self(0);

    /// From its number, of which only the low four bits count.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x0f)
    }

    /// Its number, below 16.
    pub(crate) const fn get(self) -> u8 {
        self.0
    }

    /// All from this one on.
    fn and_above(self) -> impl Iterator<Item = Self> {
        (self.0..16).map(Self)
    }

    /// How to scale by it.
    pub(crate) fn scale(self) -> Scale {
        let at = usize::from(self.0);
        Scale {
            power: POWERS.get(at).copied().unwrap_or(1.0),
            power_i64: POWERS_I64.get(at).copied().unwrap_or(1),
        }
    }
}

/// The power of ten itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    power: f64,
    power_i64: i64,
}

impl Scale {
    /// The integer that stands for `value`, where there is one.
    pub(crate) fn scaled(self, value: f64) -> Option<i64> {
        let shifted = value * self.power + MAGIC;
        let scaled = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).cast_signed();
        (scaled.unsigned_abs() < SCALED_MAX && self.unscaled(scaled).to_bits() == value.to_bits())
            .then_some(scaled)
    }

    /// The integer closest to what stands for `value`; `None` where that is out of reach.
    pub(crate) fn nearest(self, value: f64) -> Option<i64> {
        let shifted = value * self.power + MAGIC;
        let scaled = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).cast_signed();
        (scaled.unsigned_abs() < SCALED_MAX).then_some(scaled)
    }

    /// Whether the number that an integer stands for is whole.
    pub(crate) const fn is_whole(self, scaled: i64) -> bool {
        scaled % self.power_i64 == 0
    }

    /// The double that `scaled` stands for; any double where `scaled` did not come from [`Scale::scaled`].
    pub(crate) fn unscaled(self, scaled: i64) -> f64 {
        (f64::from_bits(MAGIC.to_bits().wrapping_add(scaled.cast_unsigned())) - MAGIC) / self.power
    }

    /// The integer that stands for the integer `value`, where there is one.
    pub(crate) fn scaled_i64(self, value: i64) -> Option<i64> {
        value.checked_mul(self.power_i64).filter(|scaled| scaled.unsigned_abs() < SCALED_MAX)
    }

    /// The integer that `scaled` stands for.
    pub(crate) const fn unscaled_i64(self, scaled: i64) -> i64 {
        scaled / self.power_i64
    }
}

/// How many values are looked at to choose an exponent.
const SAMPLE: usize = 32;

/// The exponent for a column, from a sample of its doubles; `None` where most of the sample has no short decimal.
/// A value in eight may be left out, so that a few odd ones do not make all others wide.
pub(crate) fn choose(values: impl ExactSizeIterator<Item = f64>) -> Option<Exponent> {
    let stride = values.len().div_ceil(SAMPLE).max(1);
    let mut needs = [0_u32; 16];
    let mut hint = None;
    let (mut seen, mut found) = (0, 0);
    for value in values.step_by(stride) {
        seen += 1;
        let from = hint.unwrap_or(Exponent::ZERO);
        let Some(need) = from.and_above().find(|exponent| exponent.scale().scaled(value).is_some()) else {
            continue;
        };
        hint.get_or_insert(need);
        found += 1;
        if let Some(count) = needs.get_mut(usize::from(need.0)) {
            *count += 1;
        }
    }
    if found == 0 || found * 2 < seen {
        return None;
    }
    let mut covered = 0;
    Exponent::ZERO.and_above().zip(needs).find_map(|(exponent, count)| {
        covered += count;
        (covered * 8 >= found * 7).then_some(exponent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_scaled_comes_back_bit_for_bit(value: f64, bits in 0..16_u8) {
            let scale = Exponent::from_bits(bits).scale();
            if let Some(scaled) = scale.scaled(value) {
                prop_assert_eq!(scale.unscaled(scaled).to_bits(), value.to_bits());
            }
        }

        #[test]
        fn every_decimal_of_up_to_fifteen_digits_can_be_scaled(
            digits in -999_999_999_999_999_i64..=999_999_999_999_999, bits in 0..16_u8,
        ) {
            let value: f64 = format!("{digits}e-{bits}").parse().unwrap();
            prop_assert_eq!(Exponent::from_bits(bits).scale().scaled(value), Some(digits));
        }
    }

    #[test]
    fn what_has_no_short_decimal_is_not_scaled() {
        for value in [-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 1e300, 1.0 / 3.0] {
            assert!((0..16).all(|bits| Exponent::from_bits(bits).scale().scaled(value).is_none()), "{value}");
        }
    }

    #[test]
    fn the_exponent_is_the_least_that_most_values_need() {
        let chosen = |values: &[f64]| choose(values.iter().copied()).map(Exponent::get);
        assert_eq!(chosen(&[21.5, 21.53, 3.0, 21.1]), Some(2));
        let mut values = vec![0.5; 30];
        values.extend([0.123_456_789_012, f64::NAN]);
        assert_eq!(chosen(&values), Some(1));
        assert_eq!(chosen(&[1.0 / 3.0, 2.0 / 3.0, 0.5]), None);
    }
}
