//! Shapes while building: the ordered lists of metrics that points share, each once.
//!
//! Most points have the shape of the one before, so a shape is compared with that one first, and only collected and
//! looked up where it differs.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::MetricPosition;
use crate::codec::convert::{index, position};

/// A dictionary of lists of metric positions, kept in one vector.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    metrics: Vec<u32>,
    ends: Vec<u32>,
    lookup: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Where the last point's shape lies in `metrics`.
    last: Range<usize>,
    last_shape: u32,
}

impl Shapes {
    pub(super) fn clear(&mut self) {
        self.metrics.clear();
        self.ends.clear();
        self.lookup.clear();
        self.last = 0..0;
        self.last_shape = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The metrics of the shape of all points, where there is one that is short and has each of its metrics once.
    pub(super) fn only(&self) -> Option<&[u32]> {
        let shape = self.iter().next().filter(|shape| self.len() == 1 && shape.len() <= ONLY_MAX)?;
        // Shapes are short, and most are in order.
        let once = shape.is_sorted_by(|a, b| a < b)
            || (0..).zip(shape).all(|(at, metric)| !shape.iter().take(at).any(|before| before == metric));
        once.then_some(shape)
    }

    /// The metrics of each shape.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..position(self.len())).map(|shape| self.get(shape))
    }

    /// The metrics of a shape.
    pub(super) fn get(&self, shape: u32) -> &[u32] {
        self.metrics.get(range(&self.ends, shape)).unwrap_or_default()
    }

    /// The shape of a point with these metrics, and whether it is new. A point without metrics has none.
    #[inline]
    pub(super) fn of(&mut self, metrics: &[MetricPosition]) -> Option<(u32, bool)> {
        if metrics.is_empty() {
            return None;
        }
        let last = self.metrics.get(self.last.clone()).unwrap_or_default();
        if last.iter().eq(metrics.iter().map(|metric| &metric.0)) {
            return Some((self.last_shape, false));
        }
        Some(self.find_or_enter(metrics))
    }

    fn find_or_enter(&mut self, metrics: &[MetricPosition]) -> (u32, bool) {
        let start = self.metrics.len();
        self.metrics.extend(metrics.iter().map(|metric| metric.0));
        let (known, put) = self.metrics.split_at(start);
        let hash = self.hasher.hash_one(put);
        let found =
            self.lookup.find(hash, |&shape| known.get(range(&self.ends, shape)) == Some(put)).copied();
        if found.is_some() {
            self.metrics.truncate(start);
        }
        let shape = found.unwrap_or_else(|| self.enter(hash));
        self.last = range(&self.ends, shape);
        self.last_shape = shape;
        (shape, found.is_none())
    }

    fn enter(&mut self, hash: u64) -> u32 {
        let shape = position(self.ends.len());
        self.ends.push(position(self.metrics.len()));
        let Self { metrics, ends, lookup, hasher, .. } = self;
        let rehash = |&shape: &u32| hasher.hash_one(metrics.get(range(ends, shape)).unwrap_or_default());
        lookup.insert_unique(hash, shape, rehash);
        shape
    }
}

/// A longer shape is not worth the search for each of its metrics.
const ONLY_MAX: usize = 64;

/// Where the metrics of `shape` lie.
fn range(ends: &[u32], shape: u32) -> Range<usize> {
    let at = index(shape);
    let start = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    index(start)..index(ends.get(at).copied().unwrap_or(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(shapes: &mut Shapes, metrics: &[u32]) -> Option<(u32, bool)> {
        shapes.of(&metrics.iter().map(|&metric| MetricPosition(metric)).collect::<Vec<_>>())
    }

    #[test]
    fn equal_lists_are_one_shape_and_parts_of_a_list_are_others() {
        let mut shapes = Shapes::default();
        assert_eq!(enter(&mut shapes, &[]), None);
        assert_eq!(enter(&mut shapes, &[1, 2, 3]), Some((0, true)));
        assert_eq!(enter(&mut shapes, &[1, 2, 3]), Some((0, false)));
        assert_eq!(enter(&mut shapes, &[1, 2]), Some((1, true)));
        assert_eq!(enter(&mut shapes, &[]), None);
        assert_eq!(enter(&mut shapes, &[1, 2, 3]), Some((0, false)));
        assert_eq!(enter(&mut shapes, &[1, 3, 2]), Some((2, true)));
        assert_eq!(enter(&mut shapes, &[1, 3, 2, 2]), Some((3, true)));
        assert_eq!(enter(&mut shapes, &[1, 2]), Some((1, false)));
        assert_eq!(shapes.iter().collect::<Vec<_>>(), [&[1, 2, 3][..], &[1, 2], &[1, 3, 2], &[1, 3, 2, 2]]);
    }
}
