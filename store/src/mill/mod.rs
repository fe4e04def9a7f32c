//! The mill: what turns the segments of a bucket into blocks and frames, and puts a seal on them (design §7).
//!
//! The path of a bucket, top to bottom: [`Mill`] (which shards are mine: `lease`; which buckets need work: `survey`,
//! `plan`) → `grind` (marks, seal, segments → `merge` → blocks and frames under a fresh generation → seal by
//! compare-and-set → marks) → `collect` (what the seal replaced, after a grace). `quarantine` takes what cannot be
//! ground. Answers are the same before, during and after (I4); a crash anywhere is harmless; leases only save work.

mod attempts;
mod collect;
mod compose;
mod coverage;
mod failure;
mod frames;
mod grind;
mod lease;
mod measure;
mod merge;
pub mod metrics;
mod miller;
mod old_blocks;
mod options;
mod output;
mod persistent;
mod plan;
mod quarantine;
mod segments;
mod share;
mod sources;
mod status;
mod survey;
mod verify;
mod worker;

use crate::layout::{BucketWidth, Place};

pub use failure::MillFailure;
pub use grind::{Effort, GrindOutcome, Ground};
pub use measure::Basis;
pub use metrics::MillMetrics;
pub use miller::Mill;
pub use options::{GrindTimes, LeaseTimes, MillOptions};
pub use status::ShardStatus;
pub use verify::{Checked, Difference, Verification};

/// A place with the width of its era's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Site {
    place: Place,
    width: BucketWidth,
}
