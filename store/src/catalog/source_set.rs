//! Sets of sources, one bit each: a million sources cost 128 KiB for as long as a query runs, and asking costs a
//! shift. What is kept for longer has no bits before its first source and after its last.

use super::SourceIndex;

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

    /// Takes `source` out of the set.
    pub fn remove(&mut self, source: SourceIndex) {
        let (word, bit) = place(source);
        if let Some(word) = self.words.get_mut(word).filter(|word| **word & bit != 0) {
            *word &= !bit;
            self.len -= 1;
        }
    }

    /// The set with those of `others` in it that `keep` accepts; it is asked for 64 sources at once.
    fn extend_words(&mut self, others: &[u64], keep: impl Fn(usize) -> u64) {
        if self.words.len() < others.len() {
            self.words.resize(others.len(), 0);
        }
        for (at, (word, other)) in
            self.words.iter_mut().zip(others).enumerate().filter(|(_, (_, o))| **o != 0)
        {
            let both = *word | (other & keep(at));
            self.len += usize::try_from((both ^ *word).count_ones()).unwrap_or(0);
            *word = both;
        }
    }

    /// Puts all of `others` into the set.
    pub fn extend(&mut self, others: &Self) {
        self.extend_words(&others.words, |_| u64::MAX);
    }

    /// Puts those of `others` into the set that were never looked for, or that were found.
    pub fn extend_unless_absent(
        &mut self,
        others: &Self,
        looked_for: &SourceSpan,
        found: Option<&SourceSpan>,
    ) {
        self.extend_words(&others.words, |at| !looked_for.word(at) | found.map_or(0, |found| found.word(at)));
    }

    /// The first `count` sources.
    pub(super) fn first(count: usize) -> Self {
        let mut words = vec![u64::MAX; count / 64];
        if !count.is_multiple_of(64) {
            words.push((1 << (count % 64)) - 1);
        }
        Self { words, len: count }
    }

    /// Takes all out that are not in `others`.
    pub fn intersect(&mut self, others: &Self) {
        self.words.truncate(others.words.len());
        self.words.iter_mut().zip(&others.words).for_each(|(word, other)| *word &= other);
        self.recount();
    }

    /// Takes all out that are in `others`.
    pub(super) fn subtract(&mut self, others: &Self) {
        self.words.iter_mut().zip(&others.words).for_each(|(word, other)| *word &= !other);
        self.recount();
    }

    fn recount(&mut self) {
        let ones: u64 = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        self.len = usize::try_from(ones).unwrap_or(0);
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

/// A set of sources that is kept for long: no memory for the sources before its first and after its last. Sources
/// of one shard are mostly learnt together, so their indices lie close.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSpan {
    first_word: usize,
    words: Box<[u64]>,
}

impl SourceSpan {
    /// The union with `sources`.
    #[must_use]
    pub fn with(&self, sources: &SourceSet) -> Self {
        let first_word = sources.words.iter().take_while(|word| **word == 0).count();
        if first_word == sources.words.len() {
            return self.clone();
        }
        let end = sources.words.iter().rposition(|word| *word != 0).map_or(first_word, |last| last + 1);
        let (first_word, end) = if self.words.is_empty() {
            (first_word, end)
        } else {
            (first_word.min(self.first_word), end.max(self.first_word + self.words.len()))
        };
        let word = |at| self.word(at) | sources.words.get(at).copied().unwrap_or(0);
        Self { first_word, words: (first_word..end).map(word).collect() }
    }

    /// How much memory it takes.
    pub fn size_bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    fn word(&self, at: usize) -> u64 {
        at.checked_sub(self.first_word).and_then(|at| self.words.get(at)).copied().unwrap_or(0)
    }
}

fn place(source: SourceIndex) -> (usize, u64) {
    let index = source.get();
    (usize::try_from(index / u64::BITS).unwrap_or(usize::MAX), 1 << (index % u64::BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const ALL: std::ops::Range<u32> = 0..400;

    fn numbers() -> impl Strategy<Value = BTreeSet<u32>> {
        prop::collection::btree_set(ALL, 0..60)
    }

    fn set(numbers: &BTreeSet<u32>) -> SourceSet {
        let mut set = SourceSet::default();
        for &n in numbers {
            set.insert(SourceIndex::new(n));
        }
        set
    }

    fn is(set: &SourceSet, model: &BTreeSet<u32>) -> bool {
        set.len() == model.len()
            && set.is_empty() == model.is_empty()
            && set.iter().map(SourceIndex::get).eq(model.iter().copied())
            && ALL.chain(400..500).all(|n| set.contains(SourceIndex::new(n)) == model.contains(&n))
    }

    proptest! {
        #[test]
        fn a_set_of_sources_is_a_set(a in numbers(), b in numbers()) {
            let mut changed = set(&a);
            prop_assert!(is(&changed, &a));
            changed.extend(&set(&b));
            prop_assert!(is(&changed, &(&a | &b)));
            for &n in &b {
                changed.remove(SourceIndex::new(n));
            }
            prop_assert!(is(&changed, &(&a - &b)));
            let (mut both, mut rest) = (set(&a), set(&a));
            both.intersect(&set(&b));
            rest.subtract(&set(&b));
            prop_assert!(is(&both, &(&a & &b)) && is(&rest, &(&a - &b)));
            let many = a.len() * 7 % 400;
            prop_assert!(is(&SourceSet::first(many), &(0..u32::try_from(many).unwrap()).collect()));
        }

        #[test]
        fn what_was_looked_for_and_not_found_is_left_out(
            (a, b, looked_for, found) in (numbers(), numbers(), numbers(), numbers()),
        ) {
            let (looked, seen) = (SourceSpan::default().with(&set(&looked_for)), SourceSpan::default().with(&set(&found)));
            let mut changed = set(&a);
            changed.extend_unless_absent(&set(&b), &looked, Some(&seen));
            prop_assert!(is(&changed, &(&a | &(&b - &(&looked_for - &found)))));
            let mut changed = set(&a);
            changed.extend_unless_absent(&set(&b), &looked, None);
            prop_assert!(is(&changed, &(&a | &(&b - &looked_for))));
        }

        #[test]
        fn spans_grow_at_both_ends(a in numbers(), b in numbers()) {
            let both = SourceSpan::default().with(&set(&a)).with(&set(&b));
            let mut seen = SourceSet::default();
            seen.extend_unless_absent(&set(&ALL.collect()), &SourceSpan::default().with(&set(&ALL.collect())), Some(&both));
            prop_assert!(is(&seen, &(&a | &b)));
            prop_assert_eq!(both.with(&SourceSet::default()), both);
        }
    }
}
