//! Which sources exist and which metrics they have: the writers' logs, and the index over them.
//!
//! A writer numbers what it finds out, densely per shard, and names a source in segments by that number
//! (`log`). A reader merges all writers' rows by union (`index`) and finds sources by labels (`select`, `postings`). Pure: what is written and read where is
//! decided in `append` and `read`.

mod condition;
mod entry;
mod index;
mod log;
mod postings;
mod select;
mod selection;
mod sets;
mod source_set;

use crate::model::SourceId;

pub use condition::{Allowed, Condition, Label, Test};
pub use entry::{Kinds, MetricEntry, MetricSet, SourceEntry};
pub use index::{CatalogIndex, SourceIndex};
pub use log::{CatalogFull, CatalogLimits, CatalogLog, Fact, MetricSlot, SourceSlot};
pub use selection::Selection;
pub use source_set::{SourceSet, SourceSpan};

/// Ids are hashes already: half of one is a hash.
fn id_hash(id: SourceId) -> u64 {
    u64::try_from(id.get() & u128::from(u64::MAX)).unwrap_or(0)
}

/// A position from a length. 32 bits number more sources than fit into any memory.
fn index(length: usize) -> u32 {
    let index = u32::try_from(length);
    assert!(index.is_ok(), "a catalog outgrew 32-bit positions");
    index.unwrap_or(u32::MAX)
}
