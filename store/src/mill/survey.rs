//! What a mill knows of the buckets of a shard: marks read anew each time, seals of marked buckets, and of segments
//! only what came since (heads alone). In the order marks, seals, segments, like every reader.
//!
//! It decides what is tried, never what is covered: a grind reads everything for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::coverage::{Coverage, Marked, Patience};
use super::persistent::Persistent;
use super::plan::{BucketView, Unground, Writers};
use super::{MillFailure, Site, segments};
use crate::layout::tables::{MARKS, SEALS};
use crate::layout::{
    Bucket, BucketWidth, Era, Eras, MarkRow, MarkState, Period, Place, SealRow, load_periods,
};
use crate::model::{SealVersion, Shard, Timestamp, WriterId};
use crate::wide::{ReadError, Row, Scan, Wide};

/// Marks in a page; they are small.
const MARKS_PAGE_ROWS: u32 = 2_000;
/// How often all seals of a shard are looked at: what an operator ground by hand is collected that much later.
const ADOPT_EVERY: Duration = Duration::from_hours(1);

/// A shard as it was last seen.
#[derive(Debug, Default)]
pub(super) struct ShardView {
    pub(super) buckets: BTreeMap<Bucket, Known>,
    /// When all seals were looked at, for what others left to be collected.
    adopted_at: Option<Instant>,
}

/// A bucket as it was last seen.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) width: BucketWidth,
    pub(super) seal: Option<SealRow>,
    /// Since when the seal was seen in this version.
    pub(super) seen_since: Instant,
    pub(super) writers: Vec<Marked>,
    /// Whether it was ground or collected since it was seen.
    pub(super) was_worked_on: bool,
    /// Failures in a row, and when the next attempt is due.
    pub(super) failures: u32,
    pub(super) not_before: Option<Instant>,
}

impl ShardView {
    /// Looks at `shard` again.
    pub(super) async fn look<W: Wide>(
        &mut self,
        store: &Persistent<W>,
        eras: &Arc<Eras>,
        shard: Shard,
    ) -> Result<(), MillFailure> {
        let marked = marks_by_bucket(store, eras, shard).await?;
        if self.adopted_at.is_none_or(|at| at.elapsed() >= ADOPT_EVERY) {
            self.adopt(store, eras, shard).await?;
        }
        let mut wanted: BTreeSet<Bucket> = marked.keys().copied().collect();
        let unfinished = self.buckets.iter().filter(|(_, known)| known.was_worked_on || known.has_garbage());
        wanted.extend(unfinished.map(|(bucket, _)| *bucket));
        let seals = seals(store, eras, shard, &wanted).await?;
        self.buckets.retain(|bucket, _| wanted.contains(bucket));
        for bucket in wanted {
            let width = width_of(eras, bucket);
            let known = self.buckets.entry(bucket).or_insert_with(|| Known::new(width));
            known.see(seals.get(&bucket).cloned());
            let site = Site { place: Place { shard, bucket }, width };
            known.follow(store, site, marked.get(&bucket).map(Vec::as_slice).unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Finds the buckets without marks whose seals replaced something that is still there.
    async fn adopt<W: Wide>(
        &mut self,
        store: &Persistent<W>,
        eras: &Eras,
        shard: Shard,
    ) -> Result<(), MillFailure> {
        for seal in all_seals(store, eras, shard, None).await? {
            if seal.summary.garbage_bytes > 0 {
                let known = Known::new(width_of(eras, seal.bucket));
                self.buckets.entry(seal.bucket).or_insert(known).see(Some(seal));
            }
        }
        self.adopted_at = Some(Instant::now());
        Ok(())
    }
}

/// The seals of a shard, of all buckets or of those from the first to the last.
pub(super) async fn all_seals<W: Wide>(
    store: &Persistent<W>,
    eras: &Eras,
    shard: Shard,
    within: Option<(Timestamp, Timestamp)>,
) -> Result<Vec<SealRow>, MillFailure> {
    let (start, end) = within.unwrap_or((Timestamp::MIN, Timestamp::MAX));
    let range = crate::model::TimeRange::new(start, end).unwrap_or(crate::model::TimeRange::ALL);
    let mut seals = Vec::new();
    for (era, range) in eras.split(range) {
        if shard.get() >= era.shards.get() {
            continue;
        }
        let ends = (era.bucket(range.start()), last_bucket(&era, range.end()));
        for period in load_periods(&**store.wide(), shard, ends, era.bucket_width).await? {
            let scan = Scan::partition(&SEALS, SealRow::partition(shard, period))
                .within(SealRow::between(ends.0, ends.1));
            seals.extend(store.all(&scan, |row| SealRow::from_row(row, era.bucket_width)).await?);
        }
    }
    Ok(seals)
}

/// The last bucket that begins before `end`.
fn last_bucket(era: &Era, end: Timestamp) -> Bucket {
    era.bucket(end.saturating_sub(std::time::Duration::from_nanos(1)))
}

/// The width of the buckets of the era that `bucket` belongs to.
pub(super) fn width_of(eras: &Eras, bucket: Bucket) -> BucketWidth {
    eras.at(bucket.start()).bucket_width
}

async fn marks_by_bucket<W: Wide>(
    store: &Persistent<W>,
    eras: &Eras,
    shard: Shard,
) -> Result<BTreeMap<Bucket, Vec<MarkRow>>, ReadError> {
    let scan = Scan::partition(&MARKS, MarkRow::partition(shard)).in_pages_of(MARKS_PAGE_ROWS);
    let parse = |row: &Row| {
        let start = row.clustering.part(0).and_then(crate::wide::Datum::as_instant).unwrap_or_default();
        // The first bucket of all begins before the first moment.
        let start = Timestamp::from_millis(start).unwrap_or(Timestamp::MIN);
        MarkRow::from_row(row, eras.at(start).bucket_width)
    };
    let mut by_bucket: BTreeMap<Bucket, Vec<MarkRow>> = BTreeMap::new();
    for mark in store.all(&scan, parse).await? {
        by_bucket.entry(mark.bucket).or_default().push(mark);
    }
    Ok(by_bucket)
}

/// The seals of some buckets, read by period.
async fn seals<W: Wide>(
    store: &Persistent<W>,
    eras: &Eras,
    shard: Shard,
    wanted: &BTreeSet<Bucket>,
) -> Result<BTreeMap<Bucket, SealRow>, ReadError> {
    let mut periods: BTreeMap<(Period, i64), (Bucket, Bucket)> = BTreeMap::new();
    for &bucket in wanted {
        let width = width_of(eras, bucket);
        let key =
            (Period::of_seal(bucket, width), bucket.end().nanos().saturating_sub(bucket.start().nanos()));
        periods.entry(key).and_modify(|(_, last)| *last = bucket).or_insert((bucket, bucket));
    }
    let mut seals = BTreeMap::new();
    for ((period, _), (first, last)) in periods {
        let scan =
            Scan::partition(&SEALS, SealRow::partition(shard, period)).within(SealRow::between(first, last));
        let width = width_of(eras, first);
        let found = store.all(&scan, |row| SealRow::from_row(row, width)).await?;
        seals.extend(found.into_iter().map(|seal| (seal.bucket, seal)));
    }
    Ok(seals)
}

impl Known {
    fn new(width: BucketWidth) -> Self {
        let seen_since = Instant::now();
        Self {
            width,
            seal: None,
            seen_since,
            writers: Vec::new(),
            was_worked_on: false,
            failures: 0,
            not_before: None,
        }
    }

    pub(super) fn version(&self) -> Option<SealVersion> {
        self.seal.as_ref().map(|seal| seal.version)
    }

    fn has_garbage(&self) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.summary.garbage_bytes > 0)
    }

    fn see(&mut self, seal: Option<SealRow>) {
        if self.version() != seal.as_ref().map(|seal| seal.version) {
            self.seen_since = Instant::now();
        }
        self.seal = seal;
        self.was_worked_on = false;
    }

    /// Takes in the marks, and of each marked writer the segments that came since.
    async fn follow<W: Wide>(
        &mut self,
        store: &Persistent<W>,
        site: Site,
        marks: &[MarkRow],
    ) -> Result<(), ReadError> {
        let writers = std::mem::take(&mut self.writers).into_iter();
        let mut before: BTreeMap<WriterId, Marked> =
            writers.map(|marked| (marked.mark.writer, marked)).collect();
        for mark in marks {
            let covered = segments::covered(self.seal.as_ref(), mark.writer);
            let mut heads = before.remove(&mark.writer).map(|marked| marked.heads).unwrap_or_default();
            heads.retain(|head| !covered.contains(head.seq));
            // What lies behind a hole is read again: the hole may be filled by now.
            let dense =
                heads.iter().zip(covered.segments..).take_while(|(head, n)| head.seq.get() == *n).count();
            heads.truncate(dense);
            let next = heads.last().map_or(covered.segments, |head| head.seq.get().saturating_add(1));
            let is_complete = matches!(mark.state, MarkState::Closed(through) if through.get() < next);
            if !is_complete {
                heads.extend(segments::heads(store, site, (mark.writer, next)).await?);
            }
            self.writers.push(Marked { mark: *mark, heads });
        }
        Ok(())
    }

    /// What would be covered now.
    pub(super) fn coverage(&self, patience: &Patience) -> Coverage {
        patience.coverage(self.seal.as_ref(), &self.writers)
    }

    /// What the planner goes by.
    pub(super) fn view(&self, bucket: Bucket, patience: &Patience) -> BucketView {
        let coverage = self.coverage(patience);
        let is_over = |marked: &Marked| marked.mark.state != MarkState::Open || patience.is_old(&marked.mark);
        let writers = match self.writers.as_slice() {
            [] => Writers::None,
            some if some.iter().all(is_over) => Writers::Closed,
            _ => Writers::Open,
        };
        let all: usize = self.writers.iter().map(|marked| marked.heads.len()).sum();
        BucketView {
            bucket,
            writers,
            unground: Unground {
                settled_bytes: coverage.bytes,
                settled: coverage.received,
                more: all > coverage.segments,
            },
            spent_marks: coverage.spent_marks.len(),
            ground_bytes: self.seal.as_ref().map_or(0, |seal| seal.summary.segment_bytes),
            collectable_for: self.has_garbage().then(|| self.seen_since.elapsed()),
        }
    }

    /// Whether some writer has a mark.
    pub(super) fn is_marked(&self) -> bool {
        !self.writers.is_empty()
    }

    /// Bytes of what no seal covers.
    pub(super) fn unground_bytes(&self) -> u64 {
        let bytes = |marked: &Marked| marked.heads.iter().map(|head| head.bytes).sum::<usize>();
        u64::try_from(self.writers.iter().map(bytes).sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// The time of the oldest sample that no seal covers.
    pub(super) fn oldest_unground(&self) -> Option<Timestamp> {
        self.writers.iter().flat_map(|marked| &marked.heads).map(|head| head.min_time).min()
    }

    /// Whether there is anything that no seal covers.
    pub(super) fn is_dirty(&self) -> bool {
        self.writers.iter().any(|marked| !marked.heads.is_empty())
    }
}
