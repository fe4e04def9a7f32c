//! A compensated sum of doubles, after Neumaier ("Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
//! Summen", ZAMM 54, 1974): the error does not grow with the number of terms.
//!
//! Where the running sum leaves the range of a double although every term is inside it, the sum goes on scaled
//! down by 2^64, so that an average or a sum that comes back into range is still right.

/// 2^-64 and its inverse: exact to multiply by, and no 2^64 doubles overflow below it.
const DOWN: f64 = 1.0 / 18_446_744_073_709_551_616.0;
const UP: f64 = 18_446_744_073_709_551_616.0;

/// A running sum. Infinities and NaN give what plain addition gives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    running: f64,
    compensation: f64,
    scaled: bool,
}

/// What a sum is made of, to be stored: `high + low` is the sum, `low` below half a unit in the last place of `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SumParts {
    /// The sum, rounded.
    pub(crate) high: f64,
    /// What rounding took away; 0 where the sum is not finite.
    pub(crate) low: f64,
    /// Whether both are scaled down by 2^64.
    pub(crate) scaled: bool,
}

impl Sum {
    /// Of no terms.
    pub const ZERO: Self = Self { running: 0.0, compensation: 0.0, scaled: false };

    /// Whether it is finite and in its usual scale.
    pub(super) const fn is_plain(&self) -> bool {
        self.running.is_finite() && self.compensation.is_finite() && !self.scaled
    }

    /// Of integers below 2^106 in all: their exact sum.
    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "sums of integers are whole")]
    pub(super) const fn whole(&self) -> i128 {
        self.running as i128 + self.compensation as i128
    }

    /// Adds a term.
    #[inline]
    pub fn add(&mut self, term: f64) {
        self.accumulate(if self.scaled { term * DOWN } else { term });
    }

    /// Adds all terms of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.scaled && !self.scaled {
            self.scale_down();
        }
        let in_scale = |sum: &Self, term| if sum.scaled && !other.scaled { term * DOWN } else { term };
        self.accumulate(in_scale(self, other.running));
        if other.running.is_finite() {
            self.accumulate(in_scale(self, other.compensation));
        }
    }

    /// Adds a term that is in this sum's scale.
    fn accumulate(&mut self, term: f64) {
        let total = self.running + term;
        if total.is_finite() {
            self.compensation += if self.running.abs() >= term.abs() {
                (self.running - total) + term
            } else {
                (term - total) + self.running
            };
            self.running = total;
        } else if self.running.is_finite() && term.is_finite() && !self.scaled {
            self.scale_down();
            self.accumulate(term * DOWN);
        } else {
            self.running = total;
        }
    }

    fn scale_down(&mut self) {
        *self = Self { running: self.running * DOWN, compensation: self.compensation * DOWN, scaled: true };
    }

    /// The sum; infinite where it does not fit a double.
    pub fn total(&self) -> f64 {
        self.compensated() * self.scale()
    }

    /// The sum divided by `count`, even where the sum itself does not fit.
    pub fn mean(&self, count: f64) -> f64 {
        self.compensated() / count * self.scale()
    }

    /// What it is made of.
    pub(crate) fn parts(&self) -> SumParts {
        if !self.running.is_finite() {
            return SumParts { high: self.running, low: 0.0, scaled: self.scaled };
        }
        let high = self.running + self.compensation;
        // Exact, because the compensation is the smaller one: what it is not is lost to every double anyway.
        let low = self.compensation - (high - self.running);
        SumParts { high, low, scaled: self.scaled }
    }

    /// Made of parts, of which any are allowed.
    pub(crate) const fn from_parts(parts: SumParts) -> Self {
        Self { running: parts.high, compensation: parts.low, scaled: parts.scaled }
    }

    fn compensated(&self) -> f64 {
        if self.running.is_finite() { self.running + self.compensation } else { self.running }
    }

    fn scale(&self) -> f64 {
        if self.scaled { UP } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rollup::number::nearest;

    fn sum(terms: &[f64]) -> Sum {
        let mut sum = Sum::default();
        for term in terms {
            sum.add(*term);
        }
        sum
    }

    #[test]
    fn what_plain_addition_loses_is_kept() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]).total().to_bits(), 2.0_f64.to_bits());
        assert_eq!(sum(&[0.1; 10]).total().to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_sum_beyond_the_range_of_a_double_still_has_a_mean_and_may_come_back() {
        let big = sum(&[f64::MAX, f64::MAX]);
        assert_eq!(big.total().to_bits(), f64::INFINITY.to_bits());
        assert_eq!(big.mean(2.0).to_bits(), f64::MAX.to_bits());
        let back = sum(&[f64::MAX, f64::MAX, -f64::MAX, -f64::MAX, 2e300]);
        assert_eq!(back.total().to_bits(), 2e300_f64.to_bits());
    }

    #[test]
    fn infinities_and_nan_behave_as_in_plain_addition() {
        assert_eq!(sum(&[1.0, f64::NEG_INFINITY, 2.0]).total().to_bits(), f64::NEG_INFINITY.to_bits());
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).total().is_nan());
        assert!(sum(&[f64::NAN, 1.0]).total().is_nan());
    }

    proptest! {
        #[test]
        fn merged_sums_are_the_sum_of_all_terms(terms in prop::collection::vec(prop_oneof![
            -1e9..1e9_f64, -1e-9..1e-9_f64, Just(1e300), Just(-1e300), Just(f64::MAX), Just(-f64::MAX),
        ], 0..100), cut: prop::sample::Index) {
            let (some, more) = terms.split_at(cut.index(terms.len() + 1));
            let mut merged = sum(some);
            merged.merge(&Sum::from_parts(sum(more).parts()));
            let (whole, largest) = (sum(&terms), terms.iter().fold(0.0_f64, |max, term| max.max(term.abs())));
            let close = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a - b).abs() <= largest * 1e-28;
            prop_assert!(close(merged.mean(4.0), whole.mean(4.0)), "{:?} {:?}", merged, whole);
        }

        /// Multiples of 1/1024 below 2^40 add up exactly as integers.
        #[test]
        fn sums_of_exact_fractions_are_exact(terms in prop::collection::vec(-(1_i64 << 50)..(1 << 50), 0..500)) {
            let exact: i64 = terms.iter().sum();
            let floats: Vec<f64> = terms.iter().map(|term| nearest(i128::from(*term)) / 1024.0).collect();
            let expected = nearest(i128::from(exact)) / 1024.0;
            prop_assert_eq!(sum(&floats).total().to_bits(), (expected + 0.0).to_bits());
        }
    }
}
