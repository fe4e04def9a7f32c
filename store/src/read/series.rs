//! Samples of one bucket by series, in the order in which they are to win. Pure.

use hashbrown::HashMap;

use super::overlay::Gathered;
use crate::catalog::SourceIndex;
use crate::codec::Run;
use crate::model::Metric;

/// A source in a [`SeriesTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceRow(usize);

/// A metric in a [`SeriesTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MetricColumn(usize);

/// Where the samples of a series are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// Samples by series. Found without hashing once its source and its metric are: most segments hold few
/// samples of each series.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    rows: HashMap<SourceIndex, SourceRow>,
    columns: HashMap<Metric, MetricColumn>,
    slots: Vec<(SourceIndex, Vec<Option<Slot>>)>,
    gathered: Vec<(SourceIndex, Metric, Gathered)>,
}

impl SeriesTable {
    /// The row of `source`.
    pub(super) fn row(&mut self, source: SourceIndex) -> SourceRow {
        *self.rows.entry(source).or_insert_with(|| {
            self.slots.push((source, Vec::new()));
            SourceRow(self.slots.len() - 1)
        })
    }

    /// The column of `metric`.
    pub(super) fn column(&mut self, metric: &Metric) -> MetricColumn {
        if let Some(&column) = self.columns.get(metric) {
            return column;
        }
        let column = MetricColumn(self.columns.len());
        self.columns.insert(metric.clone(), column);
        column
    }

    /// The slot of the series at `row` and `column`, which is that of `metric`.
    pub(super) fn slot(&mut self, row: SourceRow, column: MetricColumn, metric: &Metric) -> Slot {
        let next = Slot(self.gathered.len());
        let Some((source, slots)) = self.slots.get_mut(row.0) else { return next };
        if slots.len() <= column.0 {
            slots.resize(column.0 + 1, None);
        }
        let Some(slot) = slots.get_mut(column.0) else { return next };
        *slot.get_or_insert_with(|| {
            self.gathered.push((*source, metric.clone(), Gathered::default()));
            next
        })
    }

    /// What the slot holds.
    pub(super) fn at(&mut self, slot: Slot) -> Option<&mut Gathered> {
        self.gathered.get_mut(slot.0).map(|(_, _, gathered)| gathered)
    }

    /// The runs of all series: of samples at one time the one that came last.
    pub(super) fn settle(self) -> impl Iterator<Item = ((SourceIndex, Metric), Run)> {
        self.gathered.into_iter().map(|(source, metric, gathered)| ((source, metric), gathered.settle()))
    }
}
