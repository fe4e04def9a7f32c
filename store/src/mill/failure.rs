//! Why a piece of the mill's work was not done. Nothing is lost by any of them: what was written so far is under a
//! generation that no seal names, and the bucket is tried again.

use crate::codec::block::BlockError;
use crate::layout::{ErasFailure, Place};
use crate::model::{CatalogN, Shard, WriterId};
use crate::wide::{ReadError, WriteError};

/// Why a bucket was not ground, collected or verified.
#[derive(Debug, thiserror::Error)]
pub enum MillFailure {
    /// The store gave no answer.
    #[error("the store gave no answer")]
    Read(#[from] ReadError),
    /// The store did not take a write.
    #[error("the store did not take a write")]
    Write(#[from] WriteError),
    /// The eras are not known, so nobody knows where to look.
    #[error("the eras are not known")]
    Eras(#[from] ErasFailure),
    /// Another mill changed the bucket meanwhile; its work stands.
    #[error("another mill changed {0:?} meanwhile")]
    Overtaken(Place),
    /// Rows of the catalog that are counted are not there.
    #[error("writer {writer} counts {needed} rows of the catalog in shard {shard}, only {known} are there")]
    CatalogHole {
        /// The shard.
        shard: Shard,
        /// Who counts.
        writer: WriterId,
        /// How many rows there are without a hole.
        known: CatalogN,
        /// How many are counted.
        needed: CatalogN,
    },
    /// A block is not what was written. What is sealed is never written anew from too little.
    #[error("a block of {place:?} cannot be decoded")]
    Block {
        /// Where it is.
        place: Place,
        /// What is wrong with it.
        source: BlockError,
    },
    /// The blocks of a seal are not all there. What is sealed is never written anew from too little.
    #[error("the blocks of {place:?} hold {found} samples, the seal counts {sealed}")]
    BlocksMissing {
        /// Where.
        place: Place,
        /// How many samples there are.
        found: u64,
        /// How many there must be.
        sealed: u64,
    },
    /// A segment was written by a later version: a mill of that version must grind it.
    #[error("a segment of {0:?} was written by a later version of this program")]
    LaterVersion(Place),
    /// The lease has no number left for another attempt.
    #[error("the lease of shard {0} has no attempts left")]
    AttemptsSpent(Shard),
    /// A thread that works for the mill ended before its work.
    #[error("the program is ending")]
    Ending,
}

impl MillFailure {
    /// Whether the same may succeed later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(error) => error.is_transient(),
            Self::Write(error) => error.is_transient(),
            Self::Eras(failure) => failure.is_transient(),
            Self::Overtaken(_) | Self::AttemptsSpent(_) | Self::Ending => true,
            Self::CatalogHole { .. }
            | Self::Block { .. }
            | Self::BlocksMissing { .. }
            | Self::LaterVersion(_) => false,
        }
    }
}
