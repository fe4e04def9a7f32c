//! Which sources have which value of a label: ascending positions, a byte or two each.
//!
//! Sources come in the order of their positions and keep their labels, so lists only ever grow at their ends.

use std::borrow::Borrow;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::{SourceIndex, SourceSet, index};

/// Ascending positions of sources: the first, then each distance in base 128.
#[derive(Debug)]
pub(super) struct Posting {
    first: u32,
    last: u32,
    len: u32,
    rest: Vec<u8>,
}

impl Posting {
    const fn of(source: SourceIndex) -> Self {
        Self { first: source.get(), last: source.get(), len: 1, rest: Vec::new() }
    }

    /// Adds a source behind all others; one that is the last already is passed over.
    fn push(&mut self, source: SourceIndex) {
        assert!(source.get() >= self.last, "sources come in the order of their positions");
        let mut distance = source.get() - self.last;
        if distance == 0 {
            return;
        }
        (self.last, self.len) = (source.get(), self.len + 1);
        while let (byte, true) = (low_bits(distance), distance >= 128) {
            self.rest.push(byte | 128);
            distance >>= 7;
        }
        self.rest.push(low_bits(distance));
    }

    /// The sources, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = SourceIndex> {
        let (mut at, mut bytes) = (self.first, self.rest.iter());
        let more = std::iter::from_fn(move || {
            let (mut distance, mut shift) = (0, 0);
            loop {
                let byte = bytes.next()?;
                distance |= u32::from(byte & 127) << shift;
                shift += 7;
                if byte & 128 == 0 {
                    break;
                }
            }
            at += distance;
            Some(SourceIndex::new(at))
        });
        std::iter::once(SourceIndex::new(self.first)).chain(more)
    }

    /// Whether any of its sources is in `set`.
    pub(super) fn meets(&self, set: &SourceSet) -> bool {
        self.iter().any(|source| set.contains(source))
    }
}

fn low_bits(number: u32) -> u8 {
    u8::try_from(number & 127).unwrap_or(0)
}

/// The values of one label, each with its sources.
#[derive(Debug)]
pub(super) struct Values<V> {
    values: Vec<(V, Posting)>,
    by_text: HashTable<u32>,
}

impl<V> Default for Values<V> {
    fn default() -> Self {
        Self { values: Vec::new(), by_text: HashTable::new() }
    }
}

impl<V: Borrow<str> + Clone> Values<V> {
    /// Enters that `source`, which lies behind all others, has `value`; gives the value that is kept, whose text the
    /// source may share.
    pub(super) fn enter(&mut self, value: &V, source: SourceIndex) -> V {
        if let Some((kept, posting)) = self.find(value.borrow()).and_then(|at| self.values.get_mut(at)) {
            posting.push(source);
            return kept.clone();
        }
        let at = index(self.values.len());
        self.values.push((value.clone(), Posting::of(source)));
        let values = &self.values;
        self.by_text.insert_unique(hash(value.borrow()), at, |at| {
            values.get(position(*at)).map_or(0, |(value, _)| hash(value.borrow()))
        });
        value.clone()
    }

    fn find(&self, text: &str) -> Option<usize> {
        let is_it =
            |at: &u32| self.values.get(position(*at)).is_some_and(|(value, _)| value.borrow() == text);
        self.by_text.find(hash(text), is_it).map(|at| position(*at))
    }

    /// The sources of a value.
    pub(super) fn get(&self, text: &str) -> Option<&Posting> {
        self.values.get(self.find(text)?).map(|(_, posting)| posting)
    }

    /// All values, in the order in which they were found.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Posting)> {
        self.values.iter().map(|(value, posting)| (value.borrow(), posting))
    }
}

fn position(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// Texts by position, one behind the other: going through a million of them touches memory in order.
#[derive(Debug, Default)]
pub(super) struct Texts {
    text: String,
    ends: Vec<u64>,
}

impl Texts {
    /// Adds a text behind all others.
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(u64::try_from(self.text.len()).unwrap_or(u64::MAX));
    }

    /// The text at a position.
    pub(super) fn get(&self, at: SourceIndex) -> Option<&str> {
        let at = position(at.get());
        let end = usize::try_from(*self.ends.get(at)?).ok()?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before));
        self.text.get(start.map_or(Some(0), |start| usize::try_from(*start).ok())?..end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_posting_gives_what_was_put_in(numbers in prop::collection::btree_set(any::<u32>(), 1..50)) {
            let mut sources = numbers.iter().map(|n| SourceIndex::new(*n));
            let mut posting = Posting::of(sources.next().unwrap());
            for source in sources {
                posting.push(source);
                posting.push(source);
            }
            prop_assert!(posting.iter().map(SourceIndex::get).eq(numbers.iter().copied()));
            prop_assert_eq!(usize::try_from(posting.len).unwrap(), numbers.len());
        }

        #[test]
        fn values_know_their_sources(of in prop::collection::vec(0..4_u8, 0..60)) {
            let (mut values, mut texts) = (Values::<String>::default(), Texts::default());
            for (value, at) in of.iter().zip(0..) {
                values.enter(&format!("v{value}"), SourceIndex::new(at));
                texts.push(&"x".repeat((*value).into()));
            }
            for value in 0..5_u8 {
                let expected: BTreeSet<u32> = (0..).zip(&of).filter(|(_, v)| **v == value).map(|(at, _)| at).collect();
                let posting = values.get(&format!("v{value}"));
                let found: Option<BTreeSet<u32>> = posting.map(|posting| posting.iter().map(SourceIndex::get).collect());
                prop_assert_eq!(found.unwrap_or_default(), expected);
            }
            for (value, at) in of.iter().zip(0..) {
                prop_assert_eq!(texts.get(SourceIndex::new(at)).map(str::len), Some((*value).into()));
            }
        }
    }
}
