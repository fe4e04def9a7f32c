//! All series of one (shard, bucket) that have samples which no seal covers, as its segments are followed.
//!
//! Each segment is taken once, in any order: what it adds does not depend on what came before. Pure.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::few::Few;
use super::over::Overs;
use super::series::{Grid, LiveSeries};
use super::unpacked::{Samples, Unpacked};
use crate::catalog::{Selection, SourceIndex};
use crate::layout::SegmentRow;
use crate::model::{Metric, Seq, TimeRange, WriterId};
use crate::read::chosen::ShardSources;
use crate::read::lasts::Last;
use crate::read::series::{MetricColumn, SeriesTable, SourceRow};

/// About how many bytes a series with some samples and folds takes.
pub(super) const SERIES_BYTES: usize = 512;
/// About how many bytes a series takes of which the last sample alone is kept.
const LAST_BYTES: usize = size_of::<(SourceIndex, Metric, LiveSeries)>();

/// Which segments of a writer were taken.
#[derive(Debug, Clone, Default)]
struct Taken {
    /// All before this one.
    next: Seq,
    /// And these behind a hole.
    beyond: BTreeSet<Seq>,
}

/// The points of one source in one segment, which is given by its place among those that are taken.
type OfSource = (SourceRow, usize, Range<usize>);

/// From where on segments have to be looked for, by writer; of others from where their seal ends.
pub(in crate::read) type Ends = HashMap<WriterId, Seq>;

/// What is followed of one (shard, bucket), behind one seal.
#[derive(Debug, Default)]
pub(in crate::read) struct Live {
    /// Without one only last samples are kept.
    grid: Option<Grid>,
    /// Whom it is about, where that is not all.
    few: Option<Arc<Few>>,
    taken: HashMap<WriterId, Taken>,
    series: SeriesTable<LiveSeries>,
    /// Whether there are more series than are kept: then nothing is.
    is_given_up: bool,
}

/// The last samples of one metric.
pub(in crate::read) struct LastsOf<'a> {
    live: &'a Live,
    column: MetricColumn,
}

impl LastsOf<'_> {
    /// The last sample of a source.
    pub(in crate::read) fn get(&self, source: SourceIndex) -> Option<&Last> {
        self.live.series.get(self.live.series.row_of(source)?, self.column)?.last()
    }
}

impl Live {
    pub(super) fn new(grid: Option<Grid>) -> Self {
        Self { grid, ..Self::default() }
    }

    /// What it has of `few`, to go on from there with these alone.
    pub(super) fn apart(&self, few: Arc<Few>) -> Self {
        let mut series = SeriesTable::<LiveSeries>::default();
        let rows = few.sources().filter_map(|source| Some((source, self.series.row_of(source)?)));
        for (source, known_row) in rows {
            for (metric, known_column) in self.series.columns().filter(|(metric, _)| few.wants(metric)) {
                let Some(known) = self.series.get(known_row, known_column) else { continue };
                let (row, column) = (series.row(source), series.column(metric));
                let slot = series.slot(row, column, metric);
                series.at(slot).into_iter().for_each(|series| series.clone_from(known));
            }
        }
        let (grid, taken, is_given_up) = (self.grid, self.taken.clone(), self.is_given_up);
        Self { grid, few: Some(few), taken, series, is_given_up }
    }

    /// From where on segments are new.
    pub(super) fn ends(&self) -> Ends {
        self.taken.iter().map(|(writer, taken)| (*writer, taken.next)).collect()
    }

    /// Whether a segment was taken already; a seal covers what is before `covered`.
    pub(super) fn has(&self, row: &SegmentRow, covered: Seq) -> bool {
        let taken = self.taken.get(&row.writer);
        row.seq < covered
            || taken.is_some_and(|taken| row.seq < taken.next || taken.beyond.contains(&row.seq))
    }

    /// Whom it is about, where that is not all.
    pub(super) fn few(&self) -> Option<Arc<Few>> {
        self.few.clone()
    }

    /// Takes those of `segments` that were not taken already; `covered` is where the seal of each writer ends. Series by
    /// series, so that each is looked up once however many segments it is in. Gives which were taken.
    pub(super) fn take<'a>(
        &mut self,
        segments: &'a [Unpacked<'_>],
        covered: impl Fn(&SegmentRow) -> Seq,
    ) -> Vec<&'a SegmentRow> {
        let new: Vec<&Unpacked<'_>> =
            segments.iter().filter(|segment| !self.has(segment.row, covered(segment.row))).collect();
        let mut runs: Vec<OfSource> = Vec::new();
        for (at, segment) in new.iter().enumerate() {
            let of_segment = segment.runs.iter();
            runs.extend(of_segment.map(|(source, run)| (self.series.row(*source), at, run.clone())));
        }
        // Stable: of each series samples mostly come in the order of time.
        runs.sort_by_key(|(row, ..)| *row);
        let metrics: BTreeSet<&Metric> =
            new.iter().flat_map(|segment| segment.columns.iter().map(|(metric, _)| metric)).collect();
        for metric in metrics {
            self.put_metric(metric, &new, &runs);
        }
        for segment in &new {
            self.note(segment.row, covered(segment.row));
        }
        new.into_iter().map(|segment| segment.row).collect()
    }

    /// Notes that a segment is taken.
    fn note(&mut self, row: &SegmentRow, covered: Seq) {
        let taken =
            self.taken.entry(row.writer).or_insert_with(|| Taken { next: covered, ..Taken::default() });
        taken.beyond.insert(row.seq);
        while taken.beyond.remove(&taken.next) {
            taken.next = taken.next.next();
        }
    }

    /// Takes the samples of a metric; `runs` are in the order of sources.
    fn put_metric(&mut self, metric: &Metric, segments: &[&Unpacked<'_>], runs: &[OfSource]) {
        let column = self.series.column(metric);
        let columns: Vec<_> = segments.iter().map(|segment| segment.column(metric)).collect();
        let samples = |(_, segment, run): &OfSource| columns.get(*segment)?.as_ref()?.samples(run);
        for of_source in runs.chunk_by(|(row, ..), (next, ..)| row == next) {
            let mut all = of_source.iter().filter_map(samples).peekable();
            let Some((row, ..)) = of_source.first().filter(|_| all.peek().is_some()) else { continue };
            let slot = self.series.slot(*row, column, metric);
            let Some(series) = self.series.at(slot) else { continue };
            let mut newest: Option<Samples<'_>> = None;
            for samples in all {
                if let Some(grid) = &self.grid {
                    samples.iter().for_each(|sample| series.put(grid, sample.time, sample.value));
                }
                newest = newest.filter(|newest| samples.standing() < newest.standing()).or(Some(samples));
            }
            if let Some(last) = newest.and_then(|newest| newest.last()) {
                series.put_last(last);
            }
        }
    }

    /// The last samples of a metric; `None` where there are none.
    pub(in crate::read) fn lasts_of(&self, metric: &Metric) -> Option<LastsOf<'_>> {
        self.series.column_of(metric).map(|column| LastsOf { live: self, column })
    }

    /// What is over the ground in `range` of what is selected of `sources`; `None` where that is not kept.
    pub(in crate::read) fn overs(
        &self,
        selection: &Selection,
        sources: &ShardSources,
        range: TimeRange,
    ) -> Option<Overs> {
        self.grid.as_ref()?;
        let mut overs = Overs::new();
        let columns = self.series.columns().filter(|(metric, _)| selection.wants(metric.as_str()));
        let columns: Vec<(&Metric, MetricColumn)> = columns.collect();
        for (_, source) in &sources.sources {
            let Some(row) = self.series.row_of(*source) else { continue };
            for (metric, column) in &columns {
                if let Some(over) = self.series.get(row, *column).and_then(|series| series.over(range)) {
                    overs.insert((*source, (*metric).clone()), over);
                }
            }
        }
        Some(overs)
    }

    /// Whether nothing is kept here, for there is too much. Once that is so it stays so, until the next seal.
    pub(super) const fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Keeps less where there are so many series that they would take more than `bytes_max`: of each the last sample
    /// only, and where that is too much, nothing.
    pub(super) fn bound(&mut self, bytes_max: usize) {
        if self.series.len() > bytes_max / LAST_BYTES {
            self.give_up();
        } else if self.grid.is_some() && self.series.len() > bytes_max / SERIES_BYTES {
            self.make_lean();
        }
    }

    /// Keeps nothing any more.
    pub(in crate::read) fn give_up(&mut self) {
        *self = Self { is_given_up: true, ..Self::default() };
    }

    /// Keeps the last samples only.
    pub(super) fn make_lean(&mut self) {
        self.grid = None;
        self.series.each_mut().for_each(LiveSeries::make_lean);
    }

    /// About how many bytes it takes.
    pub(super) fn size_bytes(&self) -> usize {
        let holes: usize = self.taken.values().map(|taken| taken.beyond.len()).sum();
        let series: usize = self.series.each().map(LiveSeries::size_bytes).sum();
        size_of::<Self>() + series + (self.taken.len() + holes) * 2 * size_of::<(WriterId, Taken)>()
    }
}
