//! All series of one (shard, bucket) that have samples which no seal covers, as its segments are followed.
//!
//! Each segment is taken once, in any order: what it adds does not depend on what came before. Pure.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::over::Overs;
use super::series::{Grid, LiveSeries};
use crate::catalog::{CatalogIndex, Selection, SourceIndex};
use crate::codec::segment::{Limits, Segment, SegmentError};
use crate::layout::SegmentRow;
use crate::model::{Metric, Seq, Shard, TimeRange, Timestamp, WriterId};
use crate::read::Sample;
use crate::read::chosen::ShardSources;
use crate::read::lasts::{Arrival, Last};
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

/// From where on segments have to be looked for, by writer; of others from where their seal ends.
pub(in crate::read) type Ends = HashMap<WriterId, Seq>;

/// What is followed of one (shard, bucket), behind one seal.
#[derive(Debug, Default)]
pub(in crate::read) struct Live {
    /// Without one only last samples are kept.
    grid: Option<Grid>,
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

    /// Takes a segment, unless it was taken already. One that names a source which is not known yet is left for
    /// later: it was not acknowledged when the query began that read its mark.
    pub(super) fn take(
        &mut self,
        catalog: &CatalogIndex,
        (shard, covered): (Shard, Seq),
        row: &SegmentRow,
    ) -> Result<bool, SegmentError> {
        if self.has(row, covered) {
            return Ok(false);
        }
        let segment = Segment::decode(row.body.clone(), Limits::DEFAULT)?;
        let sources = catalog.resolve(shard, row.writer, segment.sources().map(|(n, _)| n));
        let Some(sources) = sources.into_iter().collect::<Option<Vec<SourceIndex>>>() else {
            return Ok(false);
        };
        self.put_segment(&segment, &sources, Arrival::Segment(row.received_at, row.writer, row.seq))?;
        let taken =
            self.taken.entry(row.writer).or_insert_with(|| Taken { next: covered, ..Taken::default() });
        taken.beyond.insert(row.seq);
        while taken.beyond.remove(&taken.next) {
            taken.next = taken.next.next();
        }
        Ok(true)
    }

    fn put_segment(
        &mut self,
        segment: &Segment,
        sources: &[SourceIndex],
        arrival: Arrival,
    ) -> Result<(), SegmentError> {
        let rows: Vec<SourceRow> = sources.iter().map(|source| self.series.row(*source)).collect();
        let columns: Result<Vec<_>, SegmentError> = segment
            .metric_positions()
            .map(|(position, metric)| Ok((metric, segment.column(position, segment.all())?)))
            .collect();
        // Nothing is taken of a segment that is damaged.
        for (metric, values) in columns? {
            let column = self.series.column(metric);
            let mut points = values.points().enumerate().peekable();
            for ((_, of_run), row) in segment.sources().zip(&rows) {
                let of_run = std::iter::from_fn(|| points.next_if(|(_, point)| *point < of_run.end));
                let samples = of_run.filter_map(|(at, point)| Some((*segment.times().get(point)?, at)));
                let mut samples = samples.peekable();
                if samples.peek().is_none() {
                    continue;
                }
                let slot = self.series.slot(*row, column, metric);
                let Some(series) = self.series.at(slot) else { continue };
                let mut last: Option<(Timestamp, usize)> = None;
                for (time, at) in samples {
                    last = last.filter(|(last, _)| time < *last).or(Some((time, at)));
                    if let (Some(grid), Some(value)) = (&self.grid, values.values().get(at)) {
                        series.put(grid, time, value);
                    }
                }
                if let Some((time, value)) =
                    last.and_then(|(time, at)| Some((time, values.values().get(at)?)))
                {
                    series.put_last(Last::new(Sample { time, value }, arrival));
                }
            }
        }
        Ok(())
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
