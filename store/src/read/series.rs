//! Samples of one bucket by series, and what is kept of them. Pure.

use hashbrown::HashMap;

use super::Sample;
use crate::catalog::SourceIndex;
use crate::model::Metric;

/// Where the samples of a series are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// What is kept of samples that come in correction order: of two at one time the later one wins.
pub(super) trait Keep: Default {
    /// Whether what is kept grows with every sample.
    const KEEPS_ALL: bool;

    /// Takes a sample.
    fn put(&mut self, sample: Sample);
}

/// All samples, ascending, each time once.
#[derive(Debug, Default)]
pub(super) struct All(Vec<Sample>);

impl Keep for All {
    const KEEPS_ALL: bool = true;

    fn put(&mut self, sample: Sample) {
        self.0.push(sample);
    }
}

impl All {
    /// The samples in order.
    pub(super) fn settle(self) -> Vec<Sample> {
        let mut samples = self.0;
        if !samples.is_sorted_by(|a, b| a.time < b.time) {
            samples.sort_by_key(|sample| sample.time);
            samples.dedup_by(|later, kept| {
                let is_same_time = later.time == kept.time;
                if is_same_time {
                    std::mem::swap(later, kept);
                }
                is_same_time
            });
        }
        samples
    }
}

/// The latest sample alone.
#[derive(Debug, Default)]
pub(super) struct Last(pub(super) Option<Sample>);

impl Keep for Last {
    const KEEPS_ALL: bool = false;

    fn put(&mut self, sample: Sample) {
        if self.0.as_ref().is_none_or(|last| last.time <= sample.time) {
            self.0 = Some(sample);
        }
    }
}

/// What is kept, by series.
#[derive(Debug)]
pub(super) struct SeriesTable<K> {
    slots: HashMap<(SourceIndex, u32), usize>,
    metrics: HashMap<Metric, u32>,
    kept: Vec<(SourceIndex, Metric, K)>,
}

impl<K> Default for SeriesTable<K> {
    fn default() -> Self {
        Self { slots: HashMap::new(), metrics: HashMap::new(), kept: Vec::new() }
    }
}

impl<K: Keep> SeriesTable<K> {
    /// A number for `metric`, the same for the same name.
    pub(super) fn metric(&mut self, metric: &Metric) -> u32 {
        if let Some(&number) = self.metrics.get(metric) {
            return number;
        }
        let number = u32::try_from(self.metrics.len()).unwrap_or(u32::MAX);
        self.metrics.insert(metric.clone(), number);
        number
    }

    /// The slot of a series; `number` is that of `metric`.
    pub(super) fn slot(&mut self, source: SourceIndex, number: u32, metric: &Metric) -> Slot {
        let next = self.kept.len();
        let at = *self.slots.entry((source, number)).or_insert(next);
        if at == next {
            self.kept.push((source, metric.clone(), K::default()));
        }
        Slot(at)
    }

    /// What the slot keeps.
    pub(super) fn at(&mut self, slot: Slot) -> Option<&mut K> {
        self.kept.get_mut(slot.0).map(|(_, _, kept)| kept)
    }

    /// All series, in no order that means anything.
    pub(super) fn into_series(self) -> Vec<(SourceIndex, Metric, K)> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Timestamp, Value};

    proptest! {
        #[test]
        fn the_last_of_equal_times_wins_and_times_ascend(times in prop::collection::vec(0..12_i64, 0..40)) {
            let (mut all, mut last, mut model) = (All::default(), Last::default(), BTreeMap::new());
            for (time, value) in times.into_iter().zip(0..) {
                let sample = Sample { time: Timestamp::from_nanos(time).unwrap(), value: Value::I64(value) };
                model.insert(sample.time, sample.clone());
                all.put(sample.clone());
                last.put(sample);
            }
            let expected: Vec<Sample> = model.into_values().collect();
            prop_assert_eq!(last.0.as_ref(), expected.last());
            prop_assert_eq!(all.settle(), expected);
        }
    }
}
