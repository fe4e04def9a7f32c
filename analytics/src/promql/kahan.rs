//! Compensated sums (Neumaier's form of Kahan's): the error of each addition is kept and added at the end.

/// A running sum and what rounding took from it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) sum: f64,
    pub(super) lost: f64,
}

impl Sum {
    /// Starts with one value.
    pub(super) const fn of(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    /// With one more value.
    #[must_use]
    pub(super) fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        let lost = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.lost + ((self.sum - sum) + value)
        } else {
            self.lost + ((value - sum) + self.sum)
        };
        Self { sum, lost }
    }

    pub(super) fn add(&mut self, value: f64) {
        *self = self.plus(value);
    }

    /// With one more value, where nothing overflows; else it is not finite. The same as [`Sum::plus`], because what
    /// rounding takes from a sum of two is a double, and both find it; this way without a branch (Knuth's).
    #[must_use]
    #[inline]
    pub(super) fn plus_plain(self, value: f64) -> Self {
        let sum = self.sum + value;
        let added = sum - self.sum;
        Self { sum, lost: self.lost + ((self.sum - (sum - added)) + (value - added)) }
    }

    /// Of some values, where nothing overflows; else it is not finite.
    #[must_use]
    #[inline]
    pub(super) fn of_plain(values: &[f64]) -> Self {
        values.iter().fold(Self::default(), |sum, value| sum.plus_plain(*value))
    }

    pub(super) const fn is_finite(self) -> bool {
        self.sum.is_finite() && self.lost.is_finite()
    }

    /// The mean of `count` values.
    pub(super) fn over(self, count: f64) -> f64 {
        self.sum / count + self.lost / count
    }

    #[must_use]
    pub(super) fn times(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, lost: self.lost * factor }
    }

    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// A mean that survives sums beyond the largest double: the sum over the count as long as the sum is finite, then
/// a mean that moves with each value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mean {
    count: f64,
    /// The sum, or once it has overflowed the mean.
    state: Sum,
    overflowed: bool,
}

impl Mean {
    pub(super) const fn of(value: f64) -> Self {
        Self { count: 1.0, state: Sum::of(value), overflowed: false }
    }

    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.overflowed {
            let next = self.state.plus(value);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.overflowed = true;
            let before = self.count - 1.0;
            self.state = Sum { sum: self.state.sum / before, lost: self.state.lost / before };
        }
        let weight = (self.count - 1.0) / self.count;
        self.state = self.state.times(weight).plus(value / self.count);
    }

    pub(super) fn mean(self) -> f64 {
        if self.overflowed { self.state.total() } else { self.state.over(self.count) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        values.iter().fold(Sum::default(), |sum, value| sum.plus(*value)).total()
    }

    fn mean(values: &[f64]) -> f64 {
        let mut mean = Mean::of(values[0]);
        values[1..].iter().for_each(|value| mean.add(*value));
        mean.mean()
    }

    proptest! {
        #[test]
        fn a_plain_sum_is_the_same_or_not_finite(
            values in prop::collection::vec(prop_oneof![any::<f64>(), -1e3..1e3_f64, Just(f64::MAX), Just(-0.0)], 0..40),
        ) {
            let plain = Sum::of_plain(&values);
            let sum = values.iter().fold(Sum::default(), |sum, value| sum.plus(*value));
            let bits = |sum: Sum| (sum.sum.to_bits(), sum.lost.to_bits());
            prop_assert!(bits(plain) == bits(sum) || !plain.is_finite(), "{plain:?} {sum:?}");
        }
    }

    #[test]
    fn small_values_survive_large_ones_that_cancel() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(mean(&[1.0, 1e100, 1.0, -1e100]), 0.5);
    }

    #[test]
    fn a_mean_exists_where_the_sum_overflows() {
        let big = 9.988_465_674_311_58e307;
        assert_eq!(mean(&[big; 4]), big);
        assert_eq!(sum(&[big; 4]), f64::INFINITY);
        assert_eq!(mean(&[-big, -big, big, big]), 0.0);
        assert!(mean(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(mean(&[0.0, f64::INFINITY, f64::INFINITY, 0.0]), f64::INFINITY);
    }
}
