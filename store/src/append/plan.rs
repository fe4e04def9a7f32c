//! What is to be written for some points: three stages, in order. A plan shrinks as it is carried out, so that one
//! that was interrupted goes on where it stopped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::catalog::CatalogFull;
use crate::layout::Place;
use crate::model::Shard;
use crate::wide::{Row, WriteTime};

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

    /// Lets the appender make its next plan.
    pub(super) fn release(&self) {
        assert!(self.is_finished(), "a plan was released before it was carried out");
        self.outstanding.store(false, Ordering::Release);
    }
}
