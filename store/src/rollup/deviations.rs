//! Sums of squared deviations from the mean, and how two of them become one.
//!
//! Chan, Golub, `LeVeque`: "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979. The
//! means come from exact or compensated sums and keep what a double would round away, so that the distance between
//! two means is right even where they are large and close.

use super::fold::NumberSum;
use super::number::nearest;

/// A mean as the sum of two doubles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mean {
    high: f64,
    low: f64,
}

impl Mean {
    /// The mean of `count` numbers.
    pub(super) fn of(sum: &NumberSum, count: u64) -> Self {
        let count = nearest(i128::from(count));
        let parts = sum.mixed().parts();
        if parts.scaled {
            return Self { high: sum.mixed().mean(count), low: 0.0 };
        }
        let high = parts.high / count;
        let rest = (-high).mul_add(count, parts.high) + parts.low;
        Self { high, low: rest / count }
    }

    fn distance(self, other: Self) -> f64 {
        (self.high - other.high) + (self.low - other.low)
    }
}

/// The deviations of all numbers from their common mean.
pub(super) fn merged_m2(m2: [f64; 2], means: [Mean; 2], counts: [u64; 2]) -> f64 {
    let ([a, b], [mean_a, mean_b]) = (m2, means);
    let [count_a, count_b] = counts.map(|count| nearest(i128::from(count)));
    let distance = mean_b.distance(mean_a);
    a + b + distance * distance * (count_a / (count_a + count_b) * count_b)
}
