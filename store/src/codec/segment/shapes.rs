//! Shapes while building: the ordered lists of metrics that points share, each once.
//!
//! Most points have the shape of the one before, so a shape is compared with that one as it comes in, and only
//! collected and looked up where it turns out to differ.

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
    /// Where the last point's shape lies in `metrics`.
    last: Range<usize>,
    last_shape: u32,
    /// How many metrics of the coming shape are those of the last one; meaningless while `differs`.
    same: usize,
    /// Whether the coming shape is another; it is then collected at the end of `metrics`.
    differs: bool,
}

impl Shapes {
    pub(super) fn clear(&mut self) {
        self.metrics.clear();
        self.ends.clear();
        self.lookup.clear();
        self.last = 0..0;
        self.last_shape = 0;
        self.same = 0;
        self.differs = false;
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

    /// Adds a metric to the coming shape.
    pub(super) fn put(&mut self, metric: u32) {
        if !self.differs {
            let at = self.last.start + self.same;
            if at < self.last.end && self.metrics.get(at) == Some(&metric) {
                self.same += 1;
                return;
            }
            self.differ();
        }
        self.metrics.push(metric);
    }

    /// The coming shape is not the last one: collects what it has of it.
    #[cold]
    fn differ(&mut self) {
        self.differs = true;
        self.metrics.extend_from_within(self.last.start..self.last.start + self.same);
    }

    /// The shape of the metrics put since the last call, and whether it is new. Puts without metrics give `None`.
    pub(super) fn finish(&mut self) -> Option<(u32, bool)> {
        let same = std::mem::take(&mut self.same);
        if !self.differs {
            if same == self.last.len() {
                return (same > 0).then_some((self.last_shape, false));
            }
            if same == 0 {
                return None;
            }
            self.same = same;
            self.differ();
            self.same = 0;
        }
        self.differs = false;
        Some(self.find_or_enter())
    }

    fn find_or_enter(&mut self) -> (u32, bool) {
        let start = index(self.ends.last().copied().unwrap_or(0));
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
        for &metric in metrics {
            shapes.put(metric);
        }
        shapes.finish()
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
