//! What there is of a bucket by series: samples in the order in which they are to win, or whatever else. Pure.

use hashbrown::HashMap;

use super::overlay::Gathered;
use crate::catalog::SourceIndex;
use crate::codec::Run;
use crate::model::Metric;

/// A source in a [`SeriesTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceRow(usize);

/// A metric in a [`SeriesTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MetricColumn(usize);

/// Where the samples of a series are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// Something by series, samples for one. Found without hashing once its source and its metric are: most segments hold
/// few samples of each series.
#[derive(Debug)]
pub(super) struct SeriesTable<T = Gathered> {
    rows: HashMap<SourceIndex, SourceRow>,
    columns: HashMap<Metric, MetricColumn>,
    slots: Vec<(SourceIndex, Vec<Option<Slot>>)>,
    gathered: Vec<(SourceIndex, Metric, T)>,
}

impl<T> Default for SeriesTable<T> {
    fn default() -> Self {
        let (rows, columns) = (HashMap::new(), HashMap::new());
        Self { rows, columns, slots: Vec::new(), gathered: Vec::new() }
    }
}

impl<T: Default> SeriesTable<T> {
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
            self.gathered.push((*source, metric.clone(), T::default()));
            next
        })
    }

    /// What the slot holds.
    pub(super) fn at(&mut self, slot: Slot) -> Option<&mut T> {
        self.gathered.get_mut(slot.0).map(|(_, _, gathered)| gathered)
    }

    /// The metrics with their columns, in no order that means anything.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&Metric, MetricColumn)> {
        self.columns.iter().map(|(metric, column)| (metric, *column))
    }

    /// The column of a metric, if there is one.
    pub(super) fn column_of(&self, metric: &Metric) -> Option<MetricColumn> {
        self.columns.get(metric).copied()
    }

    /// The row of a source, if there is one.
    pub(super) fn row_of(&self, source: SourceIndex) -> Option<SourceRow> {
        self.rows.get(&source).copied()
    }

    /// What there is of a series.
    pub(super) fn get(&self, row: SourceRow, column: MetricColumn) -> Option<&T> {
        let (_, slots) = self.slots.get(row.0)?;
        let slot = (*slots.get(column.0)?)?;
        self.gathered.get(slot.0).map(|(_, _, one)| one)
    }

    /// How many series there are.
    pub(super) const fn len(&self) -> usize {
        self.gathered.len()
    }

    /// All there is with its series.
    pub(super) fn into_each(self) -> impl Iterator<Item = (SourceIndex, Metric, T)> {
        self.gathered.into_iter()
    }

    /// All there is.
    pub(super) fn each(&self) -> impl Iterator<Item = &T> {
        self.gathered.iter().map(|(_, _, one)| one)
    }

    /// All there is, to be changed.
    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.gathered.iter_mut().map(|(_, _, one)| one)
    }
}

impl SeriesTable {
    /// The runs of all series: of samples at one time the one that came last.
    pub(super) fn settle(self) -> impl Iterator<Item = ((SourceIndex, Metric), Run)> {
        self.gathered.into_iter().map(|(source, metric, gathered)| ((source, metric), gathered.settle()))
    }
}
