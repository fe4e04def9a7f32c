//! What is known of a source: its metrics, their kinds and units. Merged by union, whatever the order of rows.

use std::ops::Deref;
use std::sync::Arc;

use crate::layout::MetricFact;
use crate::model::{Metric, Source, Unit, ValueKind};

/// A set of kinds of values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kinds(u8);

/// A metric of a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MetricEntry {
    /// The metric.
    pub metric: Metric,
    /// The kinds of values that it has had.
    pub kinds: Kinds,
    /// Its unit, where known. Where rows disagree, the first in byte order: every reader says the same.
    pub unit: Option<Unit>,
}

/// Metrics in the order of their names, each once. Shared between sources that have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MetricSet(Arc<[MetricEntry]>);

/// A source and its metrics, as far as a reader knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// The source.
    pub source: Arc<Source>,
    /// Its metrics.
    pub metrics: MetricSet,
}

impl Kinds {
    const ALL: [ValueKind; 4] = [ValueKind::F64, ValueKind::I64, ValueKind::Bool, ValueKind::Text];

    const fn bit(kind: ValueKind) -> u8 {
        match kind {
            ValueKind::F64 => 1,
            ValueKind::I64 => 2,
            ValueKind::Bool => 4,
            ValueKind::Text => 8,
        }
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: ValueKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// The set with `kind` in it.
    #[must_use]
    pub const fn with(self, kind: ValueKind) -> Self {
        Self(self.0 | Self::bit(kind))
    }

    /// The kinds in the set, in the order of [`ValueKind`].
    pub fn iter(self) -> impl Iterator<Item = ValueKind> {
        Self::ALL.into_iter().filter(move |&kind| self.contains(kind))
    }
}

impl FromIterator<ValueKind> for Kinds {
    fn from_iter<I: IntoIterator<Item = ValueKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), Self::with)
    }
}

impl Default for MetricSet {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl Deref for MetricSet {
    type Target = [MetricEntry];

    fn deref(&self) -> &[MetricEntry] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a MetricSet {
    type Item = &'a MetricEntry;
    type IntoIter = std::slice::Iter<'a, MetricEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl MetricSet {
    /// The entry of `metric`.
    pub fn entry(&self, metric: &Metric) -> Option<&MetricEntry> {
        let at = self.0.binary_search_by(|entry| entry.metric.cmp(metric)).ok()?;
        self.0.get(at)
    }

    /// The union with `facts`; `None` where they say nothing new.
    pub fn with(&self, facts: &[MetricFact]) -> Option<Self> {
        if facts.iter().all(|fact| self.says(fact)) {
            return None;
        }
        let mut entries = self.0.to_vec();
        for fact in facts {
            add(&mut entries, fact);
        }
        Some(Self(entries.into()))
    }

    fn says(&self, fact: &MetricFact) -> bool {
        self.entry(&fact.metric).is_some_and(|entry| {
            entry.kinds.contains(fact.kind)
                && lesser(entry.unit.as_ref(), fact.unit.as_ref()) == entry.unit.as_ref()
        })
    }
}

impl FromIterator<MetricFact> for MetricSet {
    fn from_iter<I: IntoIterator<Item = MetricFact>>(facts: I) -> Self {
        let facts: Vec<MetricFact> = facts.into_iter().collect();
        Self::default().with(&facts).unwrap_or_default()
    }
}

fn add(entries: &mut Vec<MetricEntry>, fact: &MetricFact) {
    let at = entries.partition_point(|entry| entry.metric < fact.metric);
    match entries.get_mut(at).filter(|entry| entry.metric == fact.metric) {
        Some(entry) => {
            entry.kinds = entry.kinds.with(fact.kind);
            entry.unit = lesser(entry.unit.as_ref(), fact.unit.as_ref()).cloned();
        }
        None => entries.insert(
            at,
            MetricEntry {
                metric: fact.metric.clone(),
                kinds: Kinds::default().with(fact.kind),
                unit: fact.unit.clone(),
            },
        ),
    }
}

/// The lesser of the units that are known.
fn lesser<'a>(a: Option<&'a Unit>, b: Option<&'a Unit>) -> Option<&'a Unit> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (known, None) | (None, known) => known,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fact() -> impl Strategy<Value = MetricFact> {
        let unit = prop::option::of(prop::sample::select(vec!["Cel", "K"]));
        (0..4_u8, prop::sample::select(Kinds::ALL.to_vec()), unit).prop_map(|(name, kind, unit)| MetricFact {
            metric: Metric::new(&format!("m{name}")).unwrap(),
            kind,
            unit: unit.map(|unit| Unit::new(unit).unwrap()),
        })
    }

    proptest! {
        #[test]
        fn the_order_of_facts_and_their_repetition_do_not_matter(
            facts in prop::collection::vec(fact(), 0..12),
        ) {
            let forward: MetricSet = facts.iter().cloned().collect();
            let backward: MetricSet = facts.iter().rev().cloned().collect();
            prop_assert_eq!(&forward, &backward);
            prop_assert_eq!(forward.with(&facts), None);
            prop_assert!(forward.is_sorted_by(|a, b| a.metric < b.metric));
            for fact in &facts {
                prop_assert!(forward.entry(&fact.metric).unwrap().kinds.contains(fact.kind));
            }
        }
    }

    #[test]
    fn a_set_of_kinds_holds_what_was_put_in() {
        let kinds: Kinds = [ValueKind::Text, ValueKind::F64].into_iter().collect();
        assert_eq!(kinds.iter().collect::<Vec<_>>(), [ValueKind::F64, ValueKind::Text]);
        assert!(!kinds.contains(ValueKind::I64));
    }
}
