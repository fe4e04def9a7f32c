//! From a selector to the sources that it means: conditions on labels are looked up where values are listed, and tested
//! on distinct values where they are not; what is left is looked at source by source.
//!
//! A million sources take milliseconds: nothing here follows a pointer for each of them unless a condition on whole
//! sources asks for it.

use std::borrow::Borrow;

use super::condition::{Allowed, Condition, Label};
use super::index::State;
use super::postings::Values;
use super::{MetricEntry, Selection, SourceIndex, SourceSet};
use crate::model::{Metric, ValueKind};
use crate::read::Selector;

/// Sources that are left; all as long as no condition was looked at.
#[derive(Debug)]
struct Left(Option<SourceSet>);

impl Left {
    fn keep(&mut self, those: SourceSet) {
        match &mut self.0 {
            Some(left) => left.intersect(&those),
            None => self.0 = Some(those),
        }
    }

    fn remove(&mut self, those: &SourceSet, all: usize) {
        self.0.get_or_insert_with(|| SourceSet::first(all)).subtract(those);
    }

    fn filter(&mut self, all: usize, keep: impl Fn(SourceIndex) -> bool) {
        let left = self.0.take().unwrap_or_else(|| SourceSet::first(all));
        let mut kept = SourceSet::default();
        left.iter().filter(|source| keep(*source)).for_each(|source| kept.insert(source));
        self.0 = Some(kept);
    }
}

impl State {
    /// The sources that `selector` means, and which of their metrics.
    pub(super) fn select(&self, selector: &Selector) -> Selection {
        let fits = self.sets.matching(|entry| metric_is_wanted(selector, entry));
        let metrics = if selector.conditions.iter().any(|condition| matches!(condition, Condition::Metric(_)))
        {
            self.metrics(|metric| selector.means_metric(metric))
        } else {
            selector.metrics.clone()
        };
        let all = self.sources.len();
        let mut left = Left(None);
        if !selector.devices.is_empty() {
            left.keep(self.devices_named(selector.devices.iter().map(Borrow::borrow)));
        }
        if let Some(tenant) = &selector.tenant {
            left.keep(sources_with(&self.tenants, std::iter::once(tenant.as_str())));
        }
        for condition in &selector.conditions {
            self.look_up(condition, &mut left);
        }
        for condition in &selector.conditions {
            match condition {
                Condition::Device(allowed @ Allowed::Tested(_)) => {
                    left.filter(all, |source| {
                        self.devices.get(source).is_some_and(|device| allowed.has(device))
                    });
                }
                Condition::Source(test) => {
                    left.filter(all, |source| self.source(source).is_some_and(|source| test.passes(source)));
                }
                Condition::Device(Allowed::Listed(_))
                | Condition::Tenant(_)
                | Condition::Tag(..)
                | Condition::Metric(_)
                | Condition::Numeric => {}
            }
        }
        left.filter(all, |source| self.set_of(source).is_some_and(|set| fits.get(set) == Some(&true)));
        Selection { sources: left.0.unwrap_or_default(), metrics }
    }

    /// Narrows by a condition that the index answers by itself.
    fn look_up(&self, condition: &Condition, left: &mut Left) {
        match condition {
            Condition::Tenant(allowed) => narrow(Some(&self.tenants), allowed, left, self.sources.len()),
            Condition::Tag(key, allowed) => {
                narrow(self.tags.get(key.as_str()), allowed, left, self.sources.len());
            }
            Condition::Device(Allowed::Listed(devices)) => {
                left.keep(self.devices_named(devices.iter().map(String::as_str)));
            }
            Condition::Device(Allowed::Tested(_))
            | Condition::Metric(_)
            | Condition::Source(_)
            | Condition::Numeric => {}
        }
    }

    fn devices_named<'a>(&self, devices: impl Iterator<Item = &'a str>) -> SourceSet {
        let mut found = SourceSet::default();
        for device in devices {
            self.of_device(device).for_each(|(source, _)| found.insert(source));
        }
        found
    }

    /// The metrics of any source that `wanted` accepts, in the order of their names.
    fn metrics(&self, wanted: impl Fn(&str) -> bool) -> Vec<Metric> {
        let mut metrics: Vec<Metric> =
            self.sets.all().filter(|metric| wanted(metric.as_str())).cloned().collect();
        metrics.sort_unstable();
        metrics.dedup();
        metrics
    }

    /// The values of a label among the sources and metrics of a selection, in order, each once.
    pub(super) fn values(&self, selector: &Selector, label: &Label) -> Vec<String> {
        let selected = self.select(selector).sources;
        let mut values: Vec<String> = match label {
            Label::Tenant => met(&self.tenants, &selected, self.sources.len()),
            Label::Tag(key) => self
                .tags
                .get(key.as_str())
                .map(|tag| met(tag, &selected, self.sources.len()))
                .unwrap_or_default(),
            Label::Device => {
                selected.iter().filter_map(|source| self.devices.get(source)).map(str::to_owned).collect()
            }
            Label::Metric => {
                let mut sets: Vec<usize> = selected.iter().filter_map(|source| self.set_of(source)).collect();
                sets.sort_unstable();
                sets.dedup();
                let entries = sets.into_iter().flat_map(|set| self.sets.entries(set));
                let wanted = entries.filter(|entry| metric_is_wanted(selector, entry));
                wanted.map(|entry| entry.metric.as_str().to_owned()).collect()
            }
        };
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The keys of tags that any selected source has, in order.
    pub(super) fn tag_keys(&self, selector: &Selector) -> Vec<String> {
        let selected = self.select(selector).sources;
        let is_met = |tag: &Values<_>| tag.iter().any(|(_, posting)| posting.meets(&selected));
        self.tags.iter().filter(|(_, tag)| is_met(tag)).map(|(key, _)| key.as_str().to_owned()).collect()
    }
}

fn metric_is_wanted(selector: &Selector, entry: &MetricEntry) -> bool {
    let is_number = || entry.kinds.iter().any(|kind| kind != ValueKind::Text);
    selector.means_metric(entry.metric.as_str())
        && (!selector.conditions.contains(&Condition::Numeric) || is_number())
}

fn sources_with<'a, V: Borrow<str> + Clone>(
    values: &Values<V>,
    wanted: impl Iterator<Item = &'a str>,
) -> SourceSet {
    let mut found = SourceSet::default();
    for posting in wanted.filter_map(|value| values.get(value)) {
        posting.iter().for_each(|source| found.insert(source));
    }
    found
}

/// Keeps the sources whose label has an allowed value; where a label may be missing, what remains is all but those
/// with a value that is not allowed.
fn narrow<V: Borrow<str> + Clone>(
    values: Option<&Values<V>>,
    allowed: &Allowed,
    left: &mut Left,
    all: usize,
) {
    let none = Values::default();
    let values = values.unwrap_or(&none);
    let may_miss = allowed.has("");
    if let (Allowed::Listed(listed), false) = (allowed, may_miss) {
        return left.keep(sources_with(values, listed.iter().map(String::as_str)));
    }
    let mut found = SourceSet::default();
    for (_, posting) in values.iter().filter(|(value, _)| allowed.has(value) != may_miss) {
        posting.iter().for_each(|source| found.insert(source));
    }
    if may_miss { left.remove(&found, all) } else { left.keep(found) }
}

/// The values that any of `selected` has.
fn met<V: Borrow<str> + Clone>(values: &Values<V>, selected: &SourceSet, all: usize) -> Vec<String> {
    let is_all = selected.len() == all;
    let met = values.iter().filter(|(_, posting)| is_all || posting.meets(selected));
    met.map(|(value, _)| value.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::condition::Test;
    use super::super::{CatalogIndex, SourceEntry};
    use super::*;
    use crate::layout::{CatalogRow, MetricFact};
    use crate::model::{CatalogN, Device, Shard, Source, TagKey, TagValue, Tags, Tenant, WriterId};

    fn index() -> CatalogIndex {
        let index = CatalogIndex::default();
        let rows = (0..150_u32).map(|n| {
            let tag = |key: &str, value: u32| {
                (TagKey::new(key).unwrap(), TagValue::new(&format!("v{value}")).unwrap())
            };
            let tags = [("site", 3), ("floor", 5)].into_iter().filter(|(_, every)| n % every != 0);
            let tags = Tags::new(tags.map(|(key, every)| tag(key, n / every % 4)).collect()).unwrap();
            let (tenant, device) = (format!("t{}", n % 2), format!("d{}", n / 2 % 40));
            let source = Source::new(Tenant::new(&tenant).unwrap(), Device::new(&device).unwrap(), tags);
            let kind = if n % 7 == 0 { ValueKind::Text } else { ValueKind::F64 };
            let metric = Metric::new(&format!("m{}", n % 3)).unwrap();
            let metrics = vec![MetricFact { metric, kind, unit: None }];
            CatalogRow {
                writer: WriterId::from_random(2),
                n: CatalogN::new(n),
                source: Arc::new(source),
                metrics,
            }
        });
        index.extend(Shard::new(0), &rows.collect::<Vec<_>>());
        index
    }

    fn allowed() -> impl Strategy<Value = Allowed> {
        let listed = prop::collection::vec(
            prop::sample::select(vec!["v0", "v1", "v2", "t0", "d3", "d7", "m1", ""]),
            0..4,
        );
        prop_oneof![
            listed.prop_map(|values| Allowed::Listed(values.into_iter().map(str::to_owned).collect())),
            prop::sample::select(vec!["1", "2", "7", ""])
                .prop_map(|end| Allowed::Tested(Test::new(move |v: &str| v.ends_with(end)))),
            Just(Allowed::Tested(Test::new(|v: &str| v != "v1" && v != "d3"))),
        ]
    }

    fn condition() -> impl Strategy<Value = Condition> {
        (0..7, allowed()).prop_map(|(which, allowed)| match which {
            0 => Condition::Tenant(allowed),
            1 => Condition::Device(allowed),
            2 => Condition::Metric(allowed),
            3 => Condition::Tag("site".into(), allowed),
            4 => Condition::Tag("none".into(), allowed),
            5 => Condition::Tag("floor".into(), allowed),
            _ => Condition::Numeric,
        })
    }

    fn all(index: &CatalogIndex) -> Vec<Arc<SourceEntry>> {
        index.entries(&index.select(&Selector::default()).sources)
    }

    proptest! {
        #[test]
        fn what_is_looked_up_is_what_each_source_says(conditions in prop::collection::vec(condition(), 0..4)) {
            let index = index();
            let selector = Selector { conditions, ..Selector::default() };
            let means = |entry: &&Arc<SourceEntry>| {
                selector.means(&entry.source) && entry.metrics.iter().any(|metric| metric_is_wanted(&selector, metric))
            };
            let (all, ids) = (all(&index), |entries: Vec<Arc<SourceEntry>>| {
                entries.iter().map(|entry| entry.source.id()).collect::<BTreeSet<_>>()
            });
            let expected: Vec<Arc<SourceEntry>> = all.iter().filter(means).cloned().collect();
            let devices: BTreeSet<String> = expected.iter().map(|e| e.source.device().to_string()).collect();
            let sites: BTreeSet<String> =
                expected.iter().filter_map(|e| Some(e.source.tags().get("site")?.to_string())).collect();
            let keys = expected.iter().flat_map(|e| e.source.tags().iter().map(|(key, _)| key.to_string()));
            prop_assert!(keys.collect::<BTreeSet<_>>().into_iter().eq(index.tag_keys(&selector)));
            prop_assert!(devices.into_iter().eq(index.values(&selector, &Label::Device)));
            prop_assert!(sites.into_iter().eq(index.values(&selector, &Label::Tag("site".into()))));
            let found = index.select(&selector);
            prop_assert_eq!(ids(index.entries(&found.sources)), ids(expected));
            if selector.conditions.iter().any(|condition| matches!(condition, Condition::Metric(_))) {
                prop_assert!(found.metrics.iter().all(|metric| selector.means_metric(metric.as_str())));
            }
        }
    }
}
