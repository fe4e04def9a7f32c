//! Metric sets, each kept once however many sources have it, and forgotten with its last source.

use hashbrown::HashMap;

use super::{MetricEntry, MetricSet, index};
use crate::layout::MetricFact;
use crate::model::Metric;

/// Position of a set in a [`SharedSets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetIndex(u32);

#[derive(Debug)]
struct Shared {
    set: MetricSet,
    users: u32,
}

/// Metric sets by position.
#[derive(Debug, Default)]
pub(super) struct SharedSets {
    slots: Vec<Shared>,
    free: Vec<SetIndex>,
    by_set: HashMap<MetricSet, SetIndex>,
}

impl SharedSets {
    /// Takes part in `set`, given as one that the caller does not take part in yet.
    pub(super) fn join(&mut self, set: MetricSet) -> (SetIndex, MetricSet) {
        let at = match self.by_set.get(&set) {
            Some(&at) => at,
            None => self.enter(set),
        };
        let shared = self.slots.get_mut(at.position());
        assert!(shared.is_some(), "a metric set has no slot");
        let set = shared.map(|shared| {
            shared.users += 1;
            shared.set.clone()
        });
        (at, set.unwrap_or_default())
    }

    /// Stops taking part.
    pub(super) fn leave(&mut self, at: SetIndex) {
        let Some(shared) = self.slots.get_mut(at.position()) else { return };
        assert!(shared.users > 0, "a metric set was left more often than joined");
        shared.users -= 1;
        if shared.users == 0 {
            self.by_set.remove(&std::mem::take(&mut shared.set));
            self.free.push(at);
        }
    }

    /// The set at `at` with `facts`; `None` where they say nothing new.
    pub(super) fn extended(&self, at: SetIndex, facts: &[MetricFact]) -> Option<MetricSet> {
        self.slots.get(at.position())?.set.with(facts)
    }

    /// The metrics of the set at `at`.
    pub(super) fn metrics(&self, at: SetIndex) -> impl Iterator<Item = &Metric> {
        self.slots
            .get(at.position())
            .into_iter()
            .flat_map(|shared| shared.set.iter().map(|entry| &entry.metric))
    }

    /// The entries of the set at a position.
    pub(super) fn entries(&self, at: usize) -> impl Iterator<Item = &MetricEntry> {
        self.slots.get(at).into_iter().flat_map(|shared| shared.set.iter())
    }

    /// The metrics of all sets; one comes as often as sets have it.
    pub(super) fn all(&self) -> impl Iterator<Item = &Metric> {
        self.slots.iter().flat_map(|shared| shared.set.iter().map(|entry| &entry.metric))
    }

    /// For each position whether its set has one of the metrics that `wanted` accepts.
    pub(super) fn matching(&self, wanted: impl Fn(&MetricEntry) -> bool) -> Vec<bool> {
        let any = |shared: &Shared| shared.set.iter().any(&wanted);
        self.slots.iter().map(any).collect()
    }

    fn enter(&mut self, set: MetricSet) -> SetIndex {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Shared { set: MetricSet::default(), users: 0 });
            SetIndex(index(self.slots.len() - 1))
        });
        self.slots.get_mut(at.position()).into_iter().for_each(|shared| shared.set = set.clone());
        self.by_set.insert(set, at);
        at
    }
}

impl SetIndex {
    pub(super) fn position(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ValueKind;

    fn fact(name: &str) -> MetricFact {
        MetricFact { metric: Metric::new(name).unwrap(), kind: ValueKind::F64, unit: None }
    }

    #[test]
    fn equal_sets_share_a_slot_until_the_last_leaves() {
        let mut sets = SharedSets::default();
        let (a, _) = sets.join([fact("x")].into_iter().collect());
        let (b, _) = sets.join([fact("x")].into_iter().collect());
        assert_eq!(a, b);
        sets.leave(a);
        assert_eq!(sets.matching(|entry| entry.metric.as_str() == "x"), [true]);
        sets.leave(b);
        assert_eq!(sets.matching(|entry| entry.metric.as_str() == "x"), [false]);
        let (c, _) = sets.join([fact("y")].into_iter().collect());
        assert_eq!(c, a, "the slot is used again");
    }
}
