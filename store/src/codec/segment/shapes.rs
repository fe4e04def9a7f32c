//! Shapes while building: the ordered lists of metrics that points share, each once.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::codec::convert::{index, position};

/// A dictionary of lists of metric positions, kept in one vector.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    metrics: Vec<u32>,
    ends: Vec<u32>,
    lookup: HashTable<u32>,
    hasher: DefaultHashBuilder,
    last: u32,
}

impl Shapes {
    pub(super) fn clear(&mut self) {
        self.metrics.clear();
        self.ends.clear();
        self.lookup.clear();
        self.last = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The metrics of each shape.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..position(self.len())).map(|shape| self.get(shape))
    }

    /// The metrics of a shape.
    pub(super) fn get(&self, shape: u32) -> &[u32] {
        self.metrics.get(range(&self.ends, shape)).unwrap_or_default()
    }

    /// Where metrics of the shape that [`Shapes::finish`] will find or enter are put.
    pub(super) fn put(&mut self, metric: u32) {
        self.metrics.push(metric);
    }

    /// The shape of the metrics put since the last call, and whether it is new. Puts without metrics give `None`.
    pub(super) fn finish(&mut self) -> Option<(u32, bool)> {
        let start = index(self.ends.last().copied().unwrap_or(0));
        let (known, put) = self.metrics.split_at_checked(start)?;
        if put.is_empty() {
            return None;
        }
        if known.get(range(&self.ends, self.last)) == Some(put) && !self.ends.is_empty() {
            self.metrics.truncate(start);
            return Some((self.last, false));
        }
        let hash = self.hasher.hash_one(put);
        let found =
            self.lookup.find(hash, |&shape| known.get(range(&self.ends, shape)) == Some(put)).copied();
        let (shape, is_new) = match found {
            Some(shape) => {
                self.metrics.truncate(start);
                (shape, false)
            }
            None => (self.enter(hash), true),
        };
        self.last = shape;
        Some((shape, is_new))
    }

    fn enter(&mut self, hash: u64) -> u32 {
        let shape = position(self.ends.len());
        self.ends.push(position(self.metrics.len()));
        let Self { metrics, ends, lookup, hasher, .. } = self;
        lookup.insert_unique(hash, shape, |&shape| {
            hasher.hash_one(metrics.get(range(ends, shape)).unwrap_or_default())
        });
        shape
    }
}

/// Where the metrics of `shape` lie.
fn range(ends: &[u32], shape: u32) -> Range<usize> {
    let at = index(shape);
    let start = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    index(start)..index(ends.get(at).copied().unwrap_or(start))
}
