//! Samples of one bucket by series, and what is kept of them. Pure.

use hashbrown::HashMap;

use super::Sample;
use crate::catalog::SourceIndex;
use crate::model::Metric;

/// A source in a [`SeriesTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceRow(usize);

/// A metric in a [`SeriesTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetricColumn(usize);

/// Where the samples of a series are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(usize);

/// What is kept of samples that come in correction order: of two at one time the later one wins.
pub(crate) trait Keep: Default {
    /// Whether what is kept grows with every sample.
    const KEEPS_ALL: bool;

    /// Takes a sample.
    fn put(&mut self, sample: Sample);
}

/// All samples, ascending, each time once.
#[derive(Debug, Default)]
pub(crate) struct All(Vec<Sample>);

impl Keep for All {
    const KEEPS_ALL: bool = true;

    fn put(&mut self, sample: Sample) {
        self.0.push(sample);
    }
}

/// Samples that did not add a time to their series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Repeats {
    /// Equal to the one before them in correction order.
    pub(crate) duplicates: u64,
    /// Different from it.
    pub(crate) corrections: u64,
}

impl All {
    /// The samples in order, each time once, and what was left out.
    pub(crate) fn settle(self) -> (Vec<Sample>, Repeats) {
        let (mut samples, mut repeats) = (self.0, Repeats::default());
        if !samples.is_sorted_by(|a, b| a.time < b.time) {
            samples.sort_by_key(|sample| sample.time);
            samples.dedup_by(|later, kept| {
                let is_same_time = later.time == kept.time;
                if is_same_time {
                    let is_duplicate = later.value == kept.value;
                    repeats.duplicates += u64::from(is_duplicate);
                    repeats.corrections += u64::from(!is_duplicate);
                    std::mem::swap(later, kept);
                }
                is_same_time
            });
        }
        (samples, repeats)
    }
}

/// The latest sample alone.
#[derive(Debug, Default)]
pub(crate) struct Last(pub(crate) Option<Sample>);

impl Keep for Last {
    const KEEPS_ALL: bool = false;

    fn put(&mut self, sample: Sample) {
        if self.0.as_ref().is_none_or(|last| last.time <= sample.time) {
            self.0 = Some(sample);
        }
    }
}

/// What is kept, by series. Found without hashing once its source and its metric are: most segments hold few
/// samples of each series.
#[derive(Debug)]
pub(crate) struct SeriesTable<K> {
    rows: HashMap<SourceIndex, SourceRow>,
    columns: HashMap<Metric, MetricColumn>,
    slots: Vec<(SourceIndex, Vec<Option<Slot>>)>,
    kept: Vec<(SourceIndex, Metric, K)>,
}

impl<K> Default for SeriesTable<K> {
    fn default() -> Self {
        Self { rows: HashMap::new(), columns: HashMap::new(), slots: Vec::new(), kept: Vec::new() }
    }
}

impl<K: Keep> SeriesTable<K> {
    /// The row of `source`.
    pub(crate) fn row(&mut self, source: SourceIndex) -> SourceRow {
        *self.rows.entry(source).or_insert_with(|| {
            self.slots.push((source, Vec::new()));
            SourceRow(self.slots.len() - 1)
        })
    }

    /// The column of `metric`.
    pub(crate) fn column(&mut self, metric: &Metric) -> MetricColumn {
        if let Some(&column) = self.columns.get(metric) {
            return column;
        }
        let column = MetricColumn(self.columns.len());
        self.columns.insert(metric.clone(), column);
        column
    }

    /// The slot of the series at `row` and `column`, which is that of `metric`.
    pub(crate) fn slot(&mut self, row: SourceRow, column: MetricColumn, metric: &Metric) -> Slot {
        let next = Slot(self.kept.len());
        let Some((source, slots)) = self.slots.get_mut(row.0) else { return next };
        if slots.len() <= column.0 {
            slots.resize(column.0 + 1, None);
        }
        let Some(slot) = slots.get_mut(column.0) else { return next };
        *slot.get_or_insert_with(|| {
            self.kept.push((*source, metric.clone(), K::default()));
            next
        })
    }

    /// What the slot keeps.
    pub(crate) fn at(&mut self, slot: Slot) -> Option<&mut K> {
        self.kept.get_mut(slot.0).map(|(_, _, kept)| kept)
    }

    /// The names of all series, in no order that means anything.
    pub(crate) fn names(&self) -> impl Iterator<Item = (SourceIndex, &Metric)> {
        self.kept.iter().map(|(source, metric, _)| (*source, metric))
    }

    /// All series, in no order that means anything.
    pub(crate) fn into_series(self) -> Vec<(SourceIndex, Metric, K)> {
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
            let mut repeats = Repeats::default();
            for (time, value) in times.into_iter().zip([0, 0, 1].into_iter().cycle()) {
                let sample = Sample { time: Timestamp::from_nanos(time).unwrap(), value: Value::I64(value) };
                let before = model.insert(sample.time, sample.clone());
                repeats.duplicates += u64::from(before.as_ref() == Some(&sample));
                repeats.corrections += u64::from(before.is_some_and(|before| before != sample));
                all.put(sample.clone());
                last.put(sample);
            }
            let expected: Vec<Sample> = model.into_values().collect();
            prop_assert_eq!(last.0.as_ref(), expected.last());
            prop_assert_eq!(all.settle(), (expected, repeats));
        }
    }
}
