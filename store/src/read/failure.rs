//! Why a query has no answer. Knows no HTTP: an error says whose fault it is and what to change.

use std::fmt;

use crate::codec::segment::SegmentError;
use crate::layout::{ErasFailure, Place};
use crate::model::{CatalogN, Seq, Shard, WriterId};
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
    /// Buckets that writers touched.
    Marks,
    /// Bytes of segments in one (shard, bucket): its era's buckets are too wide for what comes in.
    BucketBytes,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Samples => "samples",
            Self::Bytes => "bytes of samples",
            Self::Sources => "sources",
            Self::Marks => "marks of buckets",
            Self::BucketBytes => "bytes of segments in one bucket",
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
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

impl ReadFailure {
    /// Whether the same query may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Eras(failure) => failure.is_transient(),
            Self::Ending => true,
            Self::TooLarge { .. } | Self::Segment { .. } | Self::CatalogHole { .. } => false,
        }
    }
}
