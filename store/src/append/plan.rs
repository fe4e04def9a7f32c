//! What is to be written for some points: three stages, in order. A plan shrinks as it is carried out, so that one
//! that was interrupted goes on where it stopped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::catalog::CatalogFull;
use crate::layout::tables::{CATALOG, MARKS, SEGMENTS};
use crate::layout::{CatalogRow, MarkRow, MarkState, Place, SegmentRow};
use crate::model::{CatalogN, Shard, WriterId};
use crate::wide::{Key, Row, Table, WriteTime};

/// The stages of a plan; each is durable before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// What readers must know to name the sources of the segments.
    Catalog,
    /// Which buckets readers must look into.
    Marks,
    /// The samples.
    Segments,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 3] = [Self::Catalog, Self::Marks, Self::Segments];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Marks => "marks",
            Self::Segments => "segments",
        }
    }
}

/// A point that is not in the plan, because a limit stands against it. It must be kept elsewhere (I2, I7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Position of its batch among those that were given.
    pub batch: usize,
    /// Position of the point in its batch.
    pub point: usize,
    /// Which limit.
    pub reason: RefusalReason,
}

/// Which limit a point would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusalReason {
    /// One of the catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogFull),
    /// That of buckets which one writer touches in its lifetime.
    #[error("the writer touched too many buckets of time; restart it, or send history in order")]
    Buckets,
}

/// What a plan wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Rows of the catalog.
    pub catalog_rows: usize,
    /// Marks.
    pub marks: usize,
    /// Segments.
    pub segments: usize,
    /// Samples in the segments.
    pub samples: usize,
    /// Bytes of the segments' bodies.
    pub bytes: usize,
}

/// Writes that make some points durable. To be carried out by an [`super::Executor`], wholly, before its appender
/// makes the next one. Dropping an unfinished plan leaves a hole in a bucket's seq: its appender is of no more use.
#[derive(Debug)]
#[must_use = "points are durable only after their plan was carried out"]
pub struct WritePlan {
    pub(super) shard: Shard,
    pub(super) writer: WriterId,
    /// All rows of the writer's catalog once this plan is carried out.
    pub(super) catalog_count: CatalogN,
    /// Rows that may be written in any order among themselves.
    pub(super) catalog: Vec<Vec<Row>>,
    pub(super) marks: Vec<Vec<Row>>,
    pub(super) marks_at: WriteTime,
    pub(super) segments: Vec<BucketSegments>,
    /// The write time of what is written once only.
    pub(super) at: WriteTime,
    /// What spreads the repeats of this writer and shard: the writer is random, so no two processes keep step.
    pub(super) jitter: u64,
    pub(super) refusals: Vec<Refusal>,
    pub(super) appended: Appended,
    pub(super) outstanding: Arc<AtomicBool>,
}

/// One write of a plan, for whoever carries it out later and elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedWrite {
    /// The table.
    pub table: &'static Table,
    /// The partition.
    pub partition: Key,
    /// The write time; of marks the least, see [`WritePlan::writes`].
    pub at: WriteTime,
    /// The rows.
    pub rows: Vec<Row>,
}

/// The segments of one bucket, to be written one after another.
#[derive(Debug)]
pub(super) struct BucketSegments {
    pub(super) place: Place,
    pub(super) rows: VecDeque<Row>,
}

impl WritePlan {
    /// Points that are not part of the plan, in order.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// What it writes, or wrote, from first to last.
    pub const fn appended(&self) -> Appended {
        self.appended
    }

    /// Whether nothing is left to write.
    pub fn is_finished(&self) -> bool {
        self.catalog.is_empty() && self.marks.is_empty() && self.segments.is_empty()
    }

    /// All that is left to write, in the order in which it must become durable: complete by itself, with a mark for
    /// every bucket that gets a segment, because by the time somebody else carries it out the mark that is in the
    /// store may be taken for abandoned, or be gone. Who does so writes all of a writer's plans in order, and marks
    /// at a time of its own that is not below the one given and grows from mark to mark.
    pub fn writes(&self) -> Vec<PlannedWrite> {
        let catalog = self.catalog.iter().map(|rows| PlannedWrite {
            table: &CATALOG,
            partition: CatalogRow::partition(self.shard),
            at: self.at,
            rows: rows.clone(),
        });
        let mark = |rows: Vec<Row>| PlannedWrite {
            table: &MARKS,
            partition: MarkRow::partition(self.shard),
            at: self.marks_at,
            rows,
        };
        let covering = self.segments.iter().map(|segments| {
            let (bucket, written_at) = (segments.place.bucket, self.marks_at);
            let (writer, catalog) = (self.writer, self.catalog_count);
            mark(vec![MarkRow { bucket, writer, state: MarkState::Open, catalog, written_at }.to_row()])
        });
        let segments = self.segments.iter().flat_map(|segments| {
            segments.rows.iter().map(|row| PlannedWrite {
                table: &SEGMENTS,
                partition: SegmentRow::partition(segments.place),
                at: self.at,
                rows: vec![row.clone()],
            })
        });
        catalog.chain(self.marks.iter().cloned().map(mark)).chain(covering).chain(segments).collect()
    }

    /// Ends the plan for its appender: what [`WritePlan::writes`] gave is durable elsewhere, and whoever has it
    /// carries it out. From now on that is true of every later plan of this appender, too: none may be carried out
    /// before those that were handed over.
    pub fn hand_over(&mut self) {
        self.catalog.clear();
        self.marks.clear();
        self.segments.clear();
        self.release();
    }

    /// Lets the appender make its next plan.
    pub(super) fn release(&self) {
        assert!(self.is_finished(), "a plan was released before it was carried out");
        self.outstanding.store(false, Ordering::Release);
    }
}
