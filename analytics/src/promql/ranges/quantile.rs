//! Quantiles of a window. NaN is the smallest value; between two values the quantile is interpolated.

use super::super::value::{ABSENT, count, whole};
use super::{Kernel, Window};

/// `quantile_over_time`.
pub(super) struct Quantile {
    /// The quantile of each step.
    wanted: Vec<f64>,
    sorted: Vec<f64>,
}

impl Quantile {
    pub(super) const fn new(wanted: Vec<f64>) -> Self {
        Self { wanted, sorted: Vec::new() }
    }
}

impl Kernel for Quantile {
    fn value(&mut self, window: &Window<'_>) -> f64 {
        self.sorted.clear();
        self.sorted.extend_from_slice(window.values);
        let wanted = self.wanted.get(window.step).copied().unwrap_or(f64::NAN);
        quantile(wanted, &mut self.sorted)
    }

    fn depends_on_step(&self) -> bool {
        true
    }
}

/// The quantile of `values`, which it puts into another order.
pub(in super::super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let rank = q * count(values.len() - 1);
    let place = whole(rank.floor()).min(values.len() - 1);
    let weight = rank - rank.floor();
    let (_, lower, above) = values.select_nth_unstable_by(place, |a, b| nan_first(*a, *b));
    let lower = *lower;
    let upper = above.iter().copied().min_by(|a, b| nan_first(*a, *b)).unwrap_or(lower);
    lower * (1.0 - weight) + upper * weight
}

fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// `mad_over_time`: the median of the distances from the median.
pub(super) fn absolute_deviation(values: &[f64]) -> f64 {
    if values.is_empty() {
        return ABSENT;
    }
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    let median = quantile(0.5, &mut sorted);
    for value in &mut sorted {
        *value = (*value - median).abs();
    }
    quantile(0.5, &mut sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_and_bounded() {
        assert_eq!(quantile(0.75, &mut [4.0, 0.0, 1.0]), 2.5);
        assert_eq!(quantile(-1.0, &mut [1.0]), f64::NEG_INFINITY);
        assert!((quantile(0.8, &mut [f64::NAN, 0.0, 1.0]) - 0.6).abs() < 1e-12);
        assert!(quantile(0.2, &mut [1.0, f64::NAN, 0.0]).is_nan());
    }

    #[test]
    fn the_deviation_is_from_the_median() {
        assert_eq!(absolute_deviation(&[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0]), 1.0);
        assert!(absolute_deviation(&[1.0, f64::NAN]).is_nan());
    }
}
