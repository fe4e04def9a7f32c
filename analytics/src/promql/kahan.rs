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
        if self.overflowed {
            self.state.total()
        } else {
            self.state.sum / self.count + self.state.lost / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        values.iter().fold(Sum::default(), |sum, value| sum.plus(*value)).total()
    }

    fn mean(values: &[f64]) -> f64 {
        let mut mean = Mean::of(values[0]);
        values[1..].iter().for_each(|value| mean.add(*value));
        mean.mean()
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
