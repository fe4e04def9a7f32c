//! What is kept by (shard, bucket), or by more than that, bounded in bytes: what was used longest ago goes first (I6).

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;

use crate::layout::Place;

/// Values by key.
#[derive(Debug)]
pub(super) struct Lru<V, K = Place> {
    bytes_max: usize,
    bytes: usize,
    entries: HashMap<K, Entry<V>>,
    /// Keys by their last use.
    by_use: BTreeMap<u64, K>,
    uses: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<V: Default, K: Clone + Eq + Hash> Lru<V, K> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// What is kept under `key`; used now.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        self.touch(key);
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Changes what is kept under `key`, beginning with nothing; `change` says how many bytes it takes then. What
    /// does not fit even alone is not kept.
    pub(super) fn update(&mut self, key: &K, change: impl FnOnce(&mut V, usize) -> usize) {
        let fresh = || Entry { value: V::default(), bytes: 0, used: 0 };
        let entry = self.entries.entry(key.clone()).or_insert_with(fresh);
        let bytes = change(&mut entry.value, entry.bytes);
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        self.touch(key);
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }

    /// All that is kept, in no order that means anything; that is no use of it.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|entry| &entry.value)
    }

    /// How many bytes are kept.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn touch(&mut self, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.by_use.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(self.uses, key.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::layout::{Bucket, BucketWidth};
    use crate::model::{Shard, Timestamp};

    fn place(shard: u16) -> Place {
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        Place { shard: Shard::new(shard), bucket: Bucket::at(Timestamp::EPOCH, width) }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut lru = Lru::<u16>::new(30);
        for shard in [1, 2, 3] {
            lru.update(&place(shard), |value, _| {
                *value = shard;
                10
            });
        }
        assert_eq!(lru.get(&place(1)), Some(&1));
        lru.update(&place(4), |_, before| before + 10);
        assert_eq!(
            [1, 2, 3, 4].map(|shard| lru.get(&place(shard)).copied()),
            [Some(1), None, Some(3), Some(0)]
        );
        assert_eq!(lru.bytes(), 30);
    }

    #[test]
    fn what_does_not_fit_alone_is_not_kept() {
        let mut lru = Lru::<u16>::new(10);
        lru.update(&place(1), |_, _| 10);
        lru.update(&place(2), |_, _| 11);
        assert_eq!([1, 2].map(|shard| lru.get(&place(shard)).copied()), [None, None]);
        assert_eq!(lru.bytes(), 0);
        lru.update(&place(3), |_, _| 10);
        lru.update(&place(3), |_, before| before - 5);
        assert_eq!(lru.bytes(), 5);
    }
}
