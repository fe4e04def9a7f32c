//! A histogram whose observations carry a weight, so that a group of messages costs one observation.

/// Counts by upper bound. The last count is of what is above every bound.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, which ascend.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Adds `weight` observations of `value`.
    pub(super) fn observe(&mut self, value: f64, weight: u64) {
        let at = self.bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.counts.get_mut(at) {
            *count += weight;
        }
        let weight = u32::try_from(weight).map_or(f64::from(u32::MAX), f64::from);
        self.sum += value * weight;
    }

    /// Each upper bound with how many observations are at or below it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        self.bounds.iter().zip(&self.counts).map(move |(&bound, count)| {
            total += count;
            (bound, total)
        })
    }

    /// How many observations.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub(super) fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_by_its_weight_at_and_above_its_value() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        histogram.observe(1.0, 3);
        histogram.observe(1.5, 2);
        histogram.observe(9.0, 1);
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1.0, 3), (2.0, 5)]);
        assert_eq!(histogram.count(), 6);
        assert!((histogram.sum() - 15.0).abs() < 1e-9);
    }
}
