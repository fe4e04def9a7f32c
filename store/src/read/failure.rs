//! Why a query has no answer. Knows no HTTP: an error says whose fault it is and what to change.

use std::fmt;

use crate::codec::block::BlockError;
use crate::codec::frame::FrameError;
use crate::codec::segment::SegmentError;
use crate::layout::{ErasFailure, Place, Resolution};
use crate::model::{CatalogN, Seq, Shard, Timestamp, WriterId};
use crate::wide::ReadError;

/// Of what there is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Excess {
    /// Samples.
    Samples,
    /// Bytes of samples in memory.
    Bytes,
    /// Sources.
    Sources,
    /// Marks and seals of buckets.
    Marks,
    /// Bytes of segments, blocks or frames in one (shard, bucket): its era's buckets are too wide for what comes in.
    BucketBytes,
    /// Windows in memory.
    Windows,
    /// Series.
    Series,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Samples => "samples",
            Self::Bytes => "bytes of samples",
            Self::Sources => "sources",
            Self::Marks => "marks and seals of buckets",
            Self::BucketBytes => "bytes in one bucket",
            Self::Windows => "windows",
            Self::Series => "series",
        })
    }
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The store gave none.
    #[error("the store gave no answer")]
    Store(#[from] ReadError),
    /// The eras are not known, so nobody knows where to look.
    #[error("the eras are not known")]
    Eras(#[from] ErasFailure),
    /// The query passes a limit.
    #[error(
        "the query needs more than {limit} {what}; ask for fewer devices or metrics, or for a shorter range"
    )]
    TooLarge {
        /// Of what.
        what: Excess,
        /// How much is allowed.
        limit: usize,
    },
    /// A segment is not what was written.
    #[error("segment {seq} of writer {writer} at {place:?} cannot be decoded")]
    Segment {
        /// Where it is.
        place: Place,
        /// Who wrote it.
        writer: WriterId,
        /// Which it is.
        seq: Seq,
        /// What is wrong with it.
        source: SegmentError,
    },
    /// Rows of the catalog that a mark counts are not there.
    #[error("writer {writer} counts {needed} rows of the catalog in shard {shard}, only {known} are there")]
    CatalogHole {
        /// The shard.
        shard: Shard,
        /// Who wrote the mark.
        writer: WriterId,
        /// How many rows there are without a hole.
        known: CatalogN,
        /// How many the mark counts.
        needed: CatalogN,
    },
    /// A block is not what was written.
    #[error("a block at {place:?} cannot be decoded")]
    Block {
        /// Where it is.
        place: Place,
        /// What is wrong with it.
        source: BlockError,
    },
    /// A frame is not what was written.
    #[error("a frame at {place:?} cannot be decoded")]
    Frame {
        /// Where it is.
        place: Place,
        /// What is wrong with it.
        source: FrameError,
    },
    /// Rows that a seal names are not there: the bucket was ground anew while it was read, time and again.
    #[error("blocks or frames vanished while they were read")]
    Vanished,
    /// Samples that the answer needs have expired.
    #[error(
        "samples before {before:?} have expired; {}",
        what_is_left(*resolution)
    )]
    Expired {
        /// Everything at and after this is there.
        before: Timestamp,
        /// The finest resolution that is still there for what has expired.
        resolution: Option<Resolution>,
    },
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

/// What to ask for where samples have expired, of which windows of `resolution` are left.
#[must_use]
pub fn what_is_left(resolution: Option<Resolution>) -> String {
    match resolution {
        Some(resolution) => format!(
            "what is left of them are windows of {}: ask for times that are multiples of it",
            Span(resolution)
        ),
        None => "nothing is left of them: ask for a later start".to_owned(),
    }
}

/// A resolution as people write it.
struct Span(Resolution);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.seconds();
        for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
            if seconds.is_multiple_of(unit) {
                return write!(f, "{}{name}", seconds / unit);
            }
        }
        write!(f, "{seconds}s")
    }
}

impl ReadFailure {
    /// Whether the same query may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Eras(failure) => failure.is_transient(),
            Self::Vanished | Self::Ending => true,
            Self::TooLarge { .. }
            | Self::Segment { .. }
            | Self::Block { .. }
            | Self::Frame { .. }
            | Self::CatalogHole { .. }
            | Self::Expired { .. } => false,
        }
    }
}
