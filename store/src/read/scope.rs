//! Which shards and buckets a query has to look at, as far as the selector alone says. Pure.

use std::collections::BTreeSet;

use super::Selector;
use crate::layout::{Bucket, Era, Eras};
use crate::model::{Shard, Source, Tags, TimeRange, Timestamp};

/// A shard of an era, with the buckets from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    pub(super) era: Era,
    pub(super) shard: Shard,
    pub(super) first: Bucket,
    pub(super) last: Bucket,
}

impl Scope {
    /// Whether it is of the same buckets as another, or of those of another shard.
    pub(super) fn differs_in_shard(&self, other: &Self) -> bool {
        (self.era, self.first, self.last) == (other.era, other.first, other.last)
    }
}

/// Everything that may hold samples of `selector` in `range`.
pub(super) fn scopes(eras: &Eras, selector: &Selector, range: TimeRange) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for (era, range) in eras.split(range) {
        let (first, last) = (era.bucket(range.start()), era.bucket(just_before(range.end())));
        scopes.extend(shards(&era, selector).into_iter().map(|shard| Scope { era, shard, first, last }));
    }
    scopes
}

/// Devices are placed by tenant and name: without the tenant any shard may hold them.
fn shards(era: &Era, selector: &Selector) -> BTreeSet<Shard> {
    match &selector.tenant {
        Some(tenant) if !selector.devices.is_empty() => {
            let source = |device| Source::new(tenant.clone(), device, Tags::default());
            selector.devices.iter().cloned().map(|device| era.shard(&source(device))).collect()
        }
        Some(_) | None => era.shards.shards().collect(),
    }
}

fn just_before(end: Timestamp) -> Timestamp {
    end.saturating_sub(std::time::Duration::from_nanos(1))
}
