//! The pure planner of one (writer, shard): points in, writes out.
//!
//! Decides what I1, I3 and I5 need: catalog rows before the mark that counts them, a mark before the first segment
//! that needs it, `seq` and `n` dense, write times of marks strictly growing and `received_at` never going back,
//! whatever the wall clock does. Its state runs ahead of the store by exactly one plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::buckets::{Buckets, BucketsFull, Closed, Due};
use super::drafts::{Cut, Draft, Drafts};
use super::names::Names;
use super::plan::{Appended, BucketSegments, Refusal, RefusalReason, WritePlan};
use crate::catalog::{CatalogLimits, CatalogLog};
use crate::layout::{Bucket, CatalogRow, Era, Eras, MarkRow, MarkState, Place};
use crate::model::{Point, Points, Shard, Timestamp, WriterId};
use crate::wide::{Row, WriteTime};

/// What an appender may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendLimits {
    /// Most bytes of a segment's body. Only a single point that is larger by itself passes it.
    pub segment_bytes_max: usize,
    /// Most buckets that it touches in its lifetime.
    pub buckets_max: usize,
    /// After which time a mark is written again before it is relied on.
    pub mark_age_max: Duration,
    /// For how long a bucket is left open after its last segment.
    pub idle_max: Duration,
    /// What it may announce.
    pub catalog: CatalogLimits,
}

impl Default for AppendLimits {
    /// 256 KiB stays under the row limit of every managed service. 32,768 buckets are years of hours.
    fn default() -> Self {
        Self {
            segment_bytes_max: 256 * 1024,
            buckets_max: 32_768,
            mark_age_max: Duration::from_hours(1),
            idle_max: Duration::from_mins(10),
            catalog: CatalogLimits::default(),
        }
    }
}

/// Rows of the catalog in one write: well under the batch limits of any server.
const CATALOG_ROWS_PER_WRITE: usize = 32;
/// Marks in one write.
const MARKS_PER_WRITE: usize = 64;
/// No segment is cut later than this, whatever is configured: its builder bounds the number of points.
const SEGMENT_BYTES_CEILING: usize = 8 * 1024 * 1024;

/// The planner of one (writer, shard).
#[derive(Debug)]
pub struct ShardAppender {
    shard: Shard,
    writer: WriterId,
    eras: Arc<Eras>,
    limits: AppendLimits,
    catalog: CatalogLog,
    buckets: Buckets,
    names: Names,
    drafts: Drafts,
    received_at: Timestamp,
    marks_at: WriteTime,
    outstanding: Arc<AtomicBool>,
}

impl ShardAppender {
    /// An appender that has written nothing yet. `writer` must be fresh: no other appender of this shard, in this
    /// process or any other, has ever used it.
    pub fn new(shard: Shard, writer: WriterId, eras: Arc<Eras>, limits: AppendLimits) -> Self {
        Self {
            shard,
            writer,
            eras,
            limits,
            catalog: CatalogLog::new(writer, limits.catalog),
            buckets: Buckets::new(limits.buckets_max),
            names: Names::default(),
            drafts: Drafts::default(),
            received_at: Timestamp::MIN,
            marks_at: WriteTime::from_micros(i64::MIN),
            outstanding: Arc::default(),
        }
    }

    /// Takes note of later eras. What was routed by the eras before must be placed alike by the new ones.
    pub fn set_eras(&mut self, eras: Arc<Eras>) {
        self.eras = eras;
    }

    /// How many buckets are open, and how many closed ones are remembered.
    pub fn buckets(&self) -> (usize, usize) {
        self.buckets.counts()
    }

    /// How many sources it has announced.
    pub fn sources(&self) -> usize {
        self.catalog.sources()
    }

    /// The writes that make `batches` durable, in order of arrival. `now` is the monotonic clock.
    ///
    /// Panics where the plan before it was not carried out, or where a point belongs to another shard: either would
    /// hide samples from readers.
    pub fn plan<'a>(
        &mut self,
        batches: impl IntoIterator<Item = &'a Points>,
        received_at: Timestamp,
        now: Instant,
    ) -> WritePlan {
        self.begin(received_at);
        let mut refusals = Vec::new();
        for (at, batch) in batches.into_iter().enumerate() {
            self.names.begin(batch, &self.catalog);
            for (index, point) in batch.iter().enumerate() {
                if let Err(reason) = self.add(batch, point, now) {
                    refusals.push(Refusal { batch: at, point: index, reason });
                }
            }
        }
        let drafts = self.drafts.finish(self.cut(), &mut self.buckets);
        let catalog = self.catalog.take_rows();
        let marks = self.marks_for(&drafts, now);
        WritePlan { refusals, ..self.wrap(&catalog, drafts, &marks) }
    }

    /// Closes the marks of buckets without a segment for as long as the limit says.
    pub fn close_idle(&mut self, received_at: Timestamp, now: Instant) -> WritePlan {
        self.close(received_at, now.checked_sub(self.limits.idle_max))
    }

    /// Closes all marks, for a graceful end.
    pub fn close_all(&mut self, received_at: Timestamp, now: Instant) -> WritePlan {
        self.close(received_at, Some(now))
    }

    /// Closes the marks of buckets last used at or before `used_by`; of none where the clock has no such moment.
    fn close(&mut self, received_at: Timestamp, used_by: Option<Instant>) -> WritePlan {
        self.begin(received_at);
        let closed = used_by.map(|used_by| self.buckets.close(used_by)).unwrap_or_default();
        let row = |closed: &Closed| self.mark(closed.bucket, MarkState::Closed(closed.through));
        let marks: Vec<Row> = closed.iter().map(row).collect();
        self.wrap(&[], Vec::new(), &marks)
    }

    fn begin(&mut self, received_at: Timestamp) {
        let is_outstanding = self.outstanding.swap(true, Ordering::AcqRel);
        assert!(!is_outstanding, "the plan before this one was not carried out");
        self.received_at = received_at.floor_to_millis().max(self.received_at);
        let micros = self.received_at.micros_floor();
        self.marks_at = WriteTime::from_micros(micros.max(self.marks_at.micros().saturating_add(1)));
    }

    fn add(&mut self, batch: &Points, point: Point<'_>, now: Instant) -> Result<(), RefusalReason> {
        let source = self.names.announce(batch, point, &mut self.catalog)?;
        let era = self.era_of(batch, point);
        // Buckets of all eras tile the line, so none but the era's own can hold the time.
        if !self.drafts.is_for(point.time) {
            let bucket = era.bucket(point.time);
            if !self.drafts.turn_to(bucket) {
                self.buckets.open(bucket, now).map_err(|BucketsFull| RefusalReason::Buckets)?;
                self.drafts.begin(bucket);
            }
        }
        let (n, cut) = (self.catalog.latest(source), self.cut());
        self.drafts.add(batch, point, n, &mut self.names, cut, &mut self.buckets);
        Ok(())
    }

    fn era_of(&self, batch: &Points, point: Point<'_>) -> Era {
        let era = self.eras.at(point.time);
        let source = usize::try_from(point.source).ok().and_then(|at| batch.sources().get(at));
        let is_ours = source.is_some_and(|source| era.shard(source) == self.shard);
        assert!(is_ours, "a point belongs to another shard");
        era
    }

    fn cut(&self) -> Cut {
        Cut {
            writer: self.writer,
            received_at: self.received_at,
            segment_bytes_max: self.limits.segment_bytes_max.min(SEGMENT_BYTES_CEILING),
        }
    }

    /// The marks that must be durable before the segments of `drafts`.
    fn marks_for(&mut self, drafts: &[Draft], now: Instant) -> Vec<Row> {
        let (count, due) = (self.catalog.count(), Due { now, age_max: self.limits.mark_age_max });
        let mut marks = Vec::new();
        for draft in drafts {
            if self.buckets.mark(draft.bucket, draft.needed, count, due) {
                marks.push(self.mark(draft.bucket, MarkState::Open));
            }
        }
        marks
    }

    /// A mark of now. It carries all rows of the catalog: each is durable before any mark of the same plan.
    fn mark(&self, bucket: Bucket, state: MarkState) -> Row {
        let catalog = self.catalog.count();
        MarkRow { bucket, writer: self.writer, state, catalog, written_at: self.marks_at }.to_row()
    }

    fn wrap(&mut self, catalog: &[CatalogRow], drafts: Vec<Draft>, marks: &[Row]) -> WritePlan {
        let appended = Appended {
            catalog_rows: catalog.len(),
            marks: marks.len(),
            ..std::mem::take(&mut self.drafts.appended)
        };
        let rows = |rows: &[CatalogRow]| rows.iter().map(CatalogRow::to_row).collect();
        let segments = drafts.into_iter().filter(|draft| !draft.rows.is_empty()).map(|draft| {
            let place = Place { shard: self.shard, bucket: draft.bucket };
            BucketSegments { place, rows: draft.rows }
        });
        WritePlan {
            shard: self.shard,
            writer: self.writer,
            catalog_count: self.catalog.count(),
            catalog: catalog.chunks(CATALOG_ROWS_PER_WRITE).map(rows).collect(),
            marks: marks.chunks(MARKS_PER_WRITE).map(<[Row]>::to_vec).collect(),
            marks_at: self.marks_at,
            segments: segments.collect(),
            at: WriteTime::from_micros(self.received_at.micros_floor()),
            jitter: self.writer.get().cast_unsigned() ^ u64::from(self.shard.get()),
            refusals: Vec::new(),
            appended,
            outstanding: Arc::clone(&self.outstanding),
        }
    }
}
