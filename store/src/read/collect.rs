//! From the segments of one bucket to the samples that a query wants, in correction order. Pure, and where a query
//! spends its processor time.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fetch::Fetched;
use super::overlay::{Gathered, run_bytes};
use super::series::{SeriesTable, SourceRow};
use super::{Excess, ReadFailure, ReadLimits, Sample};
use crate::catalog::{CatalogIndex, Selection, SourceIndex};
use crate::codec::Run;
use crate::codec::segment::{Heading, Limits, MetricPosition, Segment, SegmentError};
use crate::layout::{Place, SegmentRow};
use crate::model::{CatalogN, Metric, TimeRange, Timestamp, Value};
use crate::rollup::WindowState;

/// What a query has collected, over all its buckets.
#[derive(Debug)]
pub(super) struct Budget {
    samples: AtomicUsize,
    bytes: AtomicUsize,
    limits: ReadLimits,
}

impl Budget {
    pub(super) fn new(limits: ReadLimits) -> Self {
        Self { samples: AtomicUsize::new(0), bytes: AtomicUsize::new(0), limits }
    }

    /// Counts a run that is kept.
    pub(super) fn spend_run(&self, run: &Run) -> Result<(), ReadFailure> {
        self.spend(Spent { samples: run.len(), bytes: run_bytes(run) })
    }

    /// Counts windows that are kept.
    pub(super) fn spend_windows(&self, windows: usize) -> Result<(), ReadFailure> {
        let spent = windows.saturating_mul(size_of::<WindowState>());
        if self.bytes.fetch_add(spent, Ordering::Relaxed) + spent > self.limits.bytes_max {
            let limit = self.limits.bytes_max / size_of::<WindowState>();
            return Err(ReadFailure::TooLarge { what: Excess::Windows, limit });
        }
        Ok(())
    }

    fn spend(&self, spent: Spent) -> Result<(), ReadFailure> {
        let samples = self.samples.fetch_add(spent.samples, Ordering::Relaxed) + spent.samples;
        let bytes = self.bytes.fetch_add(spent.bytes, Ordering::Relaxed) + spent.bytes;
        if samples > self.limits.samples_max {
            return Err(ReadFailure::TooLarge { what: Excess::Samples, limit: self.limits.samples_max });
        }
        if bytes > self.limits.bytes_max {
            return Err(ReadFailure::TooLarge { what: Excess::Bytes, limit: self.limits.bytes_max });
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    samples: usize,
    bytes: usize,
}

impl Spent {
    fn count(&mut self, value: &Value) {
        let text = if let Value::Text(text) = value { text.len() } else { 0 };
        self.samples += 1;
        self.bytes += size_of::<Sample>() + text;
    }
}

/// What a query wants of a bucket.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) selection: Arc<Selection>,
    /// Ascending. What lies between them may come, too.
    pub(super) ranges: Vec<TimeRange>,
}

impl Wanted {
    fn hull(&self) -> TimeRange {
        let ends = self.ranges.first().zip(self.ranges.last());
        ends.and_then(|(first, last)| TimeRange::new(first.start(), last.end()).ok())
            .unwrap_or(TimeRange::ALL)
    }
}

/// A bucket's segments, and what is needed to understand them.
#[derive(Debug)]
pub(super) struct Bucket<'a> {
    pub(super) place: Place,
    pub(super) catalog: &'a CatalogIndex,
    pub(super) segments: &'a Fetched,
}

/// What the wanted samples of a series are put into, in correction order: of two at one time the later one wins.
pub(super) trait Gather: Default {
    /// Takes a sample.
    fn put(&mut self, time: Timestamp, value: Value);
}

impl Gather for Gathered {
    fn put(&mut self, time: Timestamp, value: Value) {
        Self::put(self, time, value);
    }
}

/// The last sample alone.
impl Gather for Option<Sample> {
    fn put(&mut self, time: Timestamp, value: Value) {
        if self.as_ref().is_none_or(|last| last.time <= time) {
            *self = Some(Sample { time, value });
        }
    }
}

/// What was found in a bucket.
#[derive(Debug)]
pub(super) struct Collected<T = Gathered> {
    /// The wanted samples, or what was made of them, by series.
    pub(super) table: SeriesTable<T>,
    /// How many segments were looked into.
    pub(super) segments: usize,
    /// Bytes of these.
    pub(super) bytes: usize,
}

impl Bucket<'_> {
    /// The wanted samples, from every segment that may hold some in the wanted range.
    pub(super) fn collect(&self, wanted: &Wanted, budget: &Budget) -> Result<Collected, ReadFailure> {
        self.gather(wanted, |spent| budget.spend(spent))
    }

    /// The last of the wanted samples of each series.
    pub(super) fn last_of(&self, wanted: &Wanted) -> Result<Collected<Option<Sample>>, ReadFailure> {
        // What is kept of a series does not grow with its samples.
        self.gather(wanted, |_| Ok(()))
    }

    fn gather<T: Gather>(
        &self,
        wanted: &Wanted,
        count: impl Fn(Spent) -> Result<(), ReadFailure>,
    ) -> Result<Collected<T>, ReadFailure> {
        let mut collected = Collected { table: SeriesTable::default(), segments: 0, bytes: 0 };
        for row in self.in_correction_order(&wanted.ranges) {
            collected.segments += 1;
            collected.bytes += row.body.len();
            let spent = self.add(row, wanted, &mut collected.table).map_err(|source| {
                ReadFailure::Segment { place: self.place, writer: row.writer, seq: row.seq, source }
            })?;
            count(spent)?;
        }
        Ok(collected)
    }

    /// Segments that may hold samples in any of `ranges`: those received later override earlier ones.
    fn in_correction_order(&self, ranges: &[TimeRange]) -> Vec<&SegmentRow> {
        let overlaps = |row: &&SegmentRow| {
            ranges.iter().any(|range| row.min_time < range.end() && row.max_time >= range.start())
        };
        let mut rows: Vec<&SegmentRow> = self.segments.rows().filter(overlaps).collect();
        rows.sort_unstable_by_key(|row| (row.received_at, row.writer, row.seq));
        rows
    }

    fn add<T: Gather>(
        &self,
        row: &SegmentRow,
        wanted: &Wanted,
        table: &mut SeriesTable<T>,
    ) -> Result<Spent, SegmentError> {
        let heading = Heading::decode(row.body.clone(), Limits::DEFAULT)?;
        let sources = self.catalog.resolve(self.place.shard, row.writer, heading.sources());
        let mut spent = Spent::default();
        if !sources.iter().flatten().any(|&source| wanted.selection.sources.contains(source)) {
            return Ok(spent);
        }
        let segment = heading.segment(Limits::DEFAULT)?;
        let runs = wanted_runs(&segment, &sources, wanted, table);
        if !runs.is_empty() {
            for (position, metric) in segment.metric_positions() {
                if wanted.selection.wants(metric.as_str()) {
                    add_column(&segment, (position, metric), &runs, table, &mut spent)?;
                }
            }
        }
        Ok(spent)
    }
}

/// The points of a wanted source within the wanted range.
#[derive(Debug)]
struct Points {
    row: SourceRow,
    points: Range<usize>,
}

/// A source that is not known belongs to a catalog row that no mark counted when the query read them: its segment
/// was not acknowledged by then.
fn wanted_runs<T: Gather>(
    segment: &Segment,
    sources: &[Option<SourceIndex>],
    wanted: &Wanted,
    table: &mut SeriesTable<T>,
) -> Vec<Points> {
    let (selection, range) = (&wanted.selection, wanted.hull());
    let run = |((_, points), source): ((CatalogN, Range<usize>), &Option<SourceIndex>)| {
        let source = (*source).filter(|&source| selection.sources.contains(source))?;
        let times = segment.times().get(points.clone()).unwrap_or_default();
        let start = points.start + times.partition_point(|&time| time < range.start());
        let end = points.start + times.partition_point(|&time| time < range.end());
        (start < end).then(|| Points { row: table.row(source), points: start..end })
    };
    segment.sources().zip(sources).filter_map(run).collect()
}

fn add_column<T: Gather>(
    segment: &Segment,
    (position, metric): (MetricPosition, &Metric),
    runs: &[Points],
    table: &mut SeriesTable<T>,
    spent: &mut Spent,
) -> Result<(), SegmentError> {
    let hull = runs.first().map_or(0, |run| run.points.start)..runs.last().map_or(0, |run| run.points.end);
    let values = segment.column(position, hull)?;
    let column = table.column(metric);
    let mut runs = runs.iter().peekable();
    let mut slot = None;
    for (point, value) in values.iter() {
        while runs.next_if(|run| run.points.end <= point).is_some() {
            slot = None;
        }
        let Some(run) = runs.peek() else { break };
        let Some(&time) = segment.times().get(point).filter(|_| run.points.start <= point) else { continue };
        let slot = *slot.get_or_insert_with(|| table.slot(run.row, column, metric));
        if let Some(gathered) = table.at(slot) {
            spent.count(&value);
            gathered.put(time, value);
        }
    }
    Ok(())
}
