//! Which of the known sources a query wants, as one bit each: a million sources cost 128 KiB for as long as the
//! query runs, and asking costs a shift.

use super::SourceIndex;
use crate::model::Metric;

/// A set of sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSet {
    words: Vec<u64>,
    len: usize,
}

impl SourceSet {
    /// Whether `source` is in the set.
    pub fn contains(&self, source: SourceIndex) -> bool {
        let (word, bit) = place(source);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Puts `source` into the set.
    pub fn insert(&mut self, source: SourceIndex) {
        let (word, bit) = place(source);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word).filter(|word| **word & bit == 0) {
            *word |= bit;
            self.len += 1;
        }
    }

    /// How many sources.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sources in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = SourceIndex> {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1).filter_map(move |bit| {
                Some(SourceIndex::new(u32::try_from(at).ok()?.checked_mul(u64::BITS)? + bit))
            })
        })
    }
}

fn place(source: SourceIndex) -> (usize, u64) {
    let index = source.get();
    (usize::try_from(index / u64::BITS).unwrap_or(usize::MAX), 1 << (index % u64::BITS))
}

/// What a query wants of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The sources, each of which has at least one of the metrics.
    pub sources: SourceSet,
    /// The metrics; empty means all.
    pub metrics: Vec<Metric>,
}

impl Selection {
    /// Whether `metric` is wanted.
    pub fn wants(&self, metric: &str) -> bool {
        self.metrics.is_empty() || self.metrics.iter().any(|wanted| wanted.as_str() == metric)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_sources_is_a_set(numbers in prop::collection::vec(0..300_u32, 0..80)) {
            let model: BTreeSet<u32> = numbers.iter().copied().collect();
            let mut set = SourceSet::default();
            for &n in &numbers {
                set.insert(SourceIndex::new(n));
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert!(set.iter().map(SourceIndex::get).eq(model.iter().copied()));
            prop_assert!((0..400).all(|n| set.contains(SourceIndex::new(n)) == model.contains(&n)));
        }
    }
}
