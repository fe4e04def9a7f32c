//! The reader's side: all writers' rows merged by union, in memory, shared by all queries.
//!
//! Knows up to which row of each (shard, writer) it has read; it only grows. Kept small for fleets of millions:
//! text once per source, metric sets shared, lookups through tables of 32-bit positions. It is a cache of what is
//! stored: losing it loses nothing. `select` finds sources by their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::condition::Label;
use super::postings::{Texts, Values};
use super::sets::{SetIndex, SharedSets};
use super::{Selection, SourceEntry, SourceSet, id_hash, index};
use crate::layout::{CatalogRow, Era, MetricFact};
use crate::model::{CatalogN, Metric, Shard, Source, SourceId, TagKey, TagValue, Tags, Tenant, WriterId};
use crate::read::Selector;

/// Position of a source in one [`CatalogIndex`]; means nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SourceIndex(u32);

impl SourceIndex {
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(super) const fn get(self) -> u32 {
        self.0
    }

    fn position(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The merged catalog. Every method holds its lock for a moment only.
#[derive(Debug, Default)]
pub struct CatalogIndex(RwLock<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sources: Vec<Indexed>,
    by_id: HashTable<SourceIndex>,
    /// The latest source of each device name; the others hang on it through [`Indexed::other`].
    by_device: HashTable<SourceIndex>,
    /// The device of each source.
    pub(super) devices: Texts,
    pub(super) tenants: Values<Tenant>,
    pub(super) tags: BTreeMap<TagKey, Values<TagValue>>,
    pub(super) sets: SharedSets,
    logs: BTreeMap<(Shard, WriterId), Vec<SourceIndex>>,
}

#[derive(Debug)]
pub(super) struct Indexed {
    entry: Arc<SourceEntry>,
    set: SetIndex,
    /// Another source of a device of the same name, in whatever tenant.
    other: Option<SourceIndex>,
}

impl CatalogIndex {
    /// How many rows of the writer's log it knows, all from 0 on.
    pub fn known(&self, shard: Shard, writer: WriterId) -> CatalogN {
        let state = self.read();
        CatalogN::new(index(state.logs.get(&(shard, writer)).map_or(0, Vec::len)))
    }

    /// The writers of a shard that it knows, with how many rows of each.
    pub fn writers(&self, shard: Shard) -> Vec<(WriterId, CatalogN)> {
        let first = (shard, WriterId::from_random(0));
        let state = self.read();
        let of_shard = state.logs.range(first..).take_while(|((of, _), _)| *of == shard);
        of_shard.map(|((_, writer), log)| (*writer, CatalogN::new(index(log.len())))).collect()
    }

    /// Takes rows in, in the order of their keys. A row that it knows already is passed over, and so is one whose
    /// predecessor it has not seen: the log of a writer is only ever known densely.
    pub fn extend(&self, shard: Shard, rows: &[CatalogRow]) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            state.enter(shard, row);
        }
    }

    /// The sources that the writer's rows `ns` are about; `None` where it does not know the row.
    pub fn resolve(
        &self,
        shard: Shard,
        writer: WriterId,
        ns: impl Iterator<Item = CatalogN>,
    ) -> Vec<Option<SourceIndex>> {
        let state = self.read();
        let log = state.logs.get(&(shard, writer)).map(Vec::as_slice).unwrap_or_default();
        ns.map(|n| log.get(usize::try_from(n.get()).ok()?).copied()).collect()
    }

    /// What is known of a source; `None` where it is not of this index.
    pub fn entry(&self, source: SourceIndex) -> Option<Arc<SourceEntry>> {
        self.read().sources.get(source.position()).map(|indexed| Arc::clone(&indexed.entry))
    }

    /// The sources at these positions, those of this index; in the order given.
    pub fn sources(&self, at: impl Iterator<Item = SourceIndex>) -> Vec<Option<Arc<Source>>> {
        let state = self.read();
        at.map(|at| state.source(at).cloned()).collect()
    }

    /// The ids of all sources, in no order that means anything.
    pub fn ids(&self) -> Vec<SourceId> {
        self.read().sources.iter().map(|indexed| indexed.entry.source.id()).collect()
    }

    /// The positions of sources; `None` where one is not known.
    pub fn positions(&self, ids: &[SourceId]) -> Vec<Option<SourceIndex>> {
        let state = self.read();
        ids.iter().map(|id| state.find(*id)).collect()
    }

    /// What is known of the sources of a set, in no order that means anything.
    pub fn entries(&self, sources: &SourceSet) -> Vec<Arc<SourceEntry>> {
        let state = self.read();
        let indexed = sources.iter().filter_map(|source| state.sources.get(source.position()));
        indexed.map(|indexed| Arc::clone(&indexed.entry)).collect()
    }

    /// The sources that a selector means, as far as they are known now.
    pub fn select(&self, selector: &Selector) -> Selection {
        self.read().select(selector)
    }

    /// The values of a label among the sources that a selector means, in order.
    pub fn values(&self, selector: &Selector, label: &Label) -> Vec<String> {
        self.read().values(selector, label)
    }

    /// The keys of the tags of the sources that a selector means, in order.
    pub fn tag_keys(&self, selector: &Selector) -> Vec<String> {
        self.read().tag_keys(selector)
    }

    /// The series that a selection means, as far as they are known: for each wanted metric its sources.
    pub fn series(&self, selection: &Selection) -> BTreeMap<Metric, SourceSet> {
        let state = self.read();
        // By metric set first, of which there are few: names are compared once for each, not for each source.
        let mut by_set: BTreeMap<SetIndex, Vec<SourceIndex>> = BTreeMap::new();
        for source in selection.sources.iter() {
            if let Some(indexed) = state.sources.get(source.position()) {
                by_set.entry(indexed.set).or_default().push(source);
            }
        }
        let mut series: BTreeMap<Metric, SourceSet> = BTreeMap::new();
        for (set, sources) in by_set {
            let metrics = state.sets.metrics(set).filter(|metric| selection.wants(metric.as_str()));
            for metric in metrics {
                let of_metric = series.entry(metric.clone()).or_default();
                for source in &sources {
                    of_metric.insert(*source);
                }
            }
        }
        series
    }

    /// The sources of a set by their shards in `era`, in the order of their ids.
    pub fn by_shard(&self, sources: &SourceSet, era: &Era) -> BTreeMap<Shard, Vec<(SourceId, SourceIndex)>> {
        let mut by_shard: BTreeMap<Shard, Vec<(SourceId, SourceIndex)>> = BTreeMap::new();
        let state = self.read();
        for (at, source) in sources.iter().filter_map(|at| Some((at, state.source(at)?))) {
            by_shard.entry(era.shard(source)).or_default().push((source.id(), at));
        }
        drop(state);
        for of_shard in by_shard.values_mut() {
            of_shard.sort_unstable();
        }
        by_shard
    }

    /// The shards of `era` in which sources of a set lie.
    pub fn shards(&self, sources: &SourceSet, era: &Era) -> BTreeSet<Shard> {
        let state = self.read();
        let mut shards = BTreeSet::new();
        for source in sources.iter().filter_map(|at| state.source(at)) {
            shards.insert(era.shard(source));
            if shards.len() == usize::from(era.shards.get()) {
                break;
            }
        }
        shards
    }

    /// How many sources there are.
    pub fn len(&self) -> usize {
        self.read().sources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, shard: Shard, row: &CatalogRow) {
        let known = self.logs.get(&(shard, row.writer)).map_or(0, Vec::len);
        if index(known) != row.n.get() {
            return;
        }
        let source = match self.find(row.source.id()) {
            Some(source) => {
                self.extend_metrics(source, &row.metrics);
                source
            }
            None => self.insert(row),
        };
        self.logs.entry((shard, row.writer)).or_default().push(source);
    }

    fn find(&self, id: SourceId) -> Option<SourceIndex> {
        let holds = |at: &SourceIndex| self.source(*at).is_some_and(|source| source.id() == id);
        self.by_id.find(id_hash(id), holds).copied()
    }

    /// The position of a source's set of metrics.
    pub(super) fn set_of(&self, at: SourceIndex) -> Option<usize> {
        self.sources.get(at.position()).map(|indexed| indexed.set.position())
    }

    pub(super) fn source(&self, at: SourceIndex) -> Option<&Arc<Source>> {
        self.sources.get(at.position()).map(|indexed| &indexed.entry.source)
    }

    fn extend_metrics(&mut self, at: SourceIndex, facts: &[MetricFact]) {
        let Some(indexed) = self.sources.get_mut(at.position()) else { return };
        let Some(set) = self.sets.extended(indexed.set, facts) else { return };
        self.sets.leave(indexed.set);
        let (set, metrics) = self.sets.join(set);
        let source = Arc::clone(&indexed.entry.source);
        indexed.set = set;
        indexed.entry = Arc::new(SourceEntry { source, metrics });
    }

    fn insert(&mut self, row: &CatalogRow) -> SourceIndex {
        let at = SourceIndex(index(self.sources.len()));
        let source = self.with_shared_labels(&row.source, at);
        let (set, metrics) = self.sets.join(row.metrics.iter().cloned().collect());
        let entry = Arc::new(SourceEntry { source, metrics });
        self.devices.push(entry.source.device().as_str());
        let other = self.put_first_of_device(at, entry.source.device().as_str());
        let hash = id_hash(entry.source.id());
        self.sources.push(Indexed { entry, set, other });
        let sources = &self.sources;
        self.by_id.insert_unique(hash, at, |at| {
            sources.get(at.position()).map_or(0, |indexed| id_hash(indexed.entry.source.id()))
        });
        at
    }

    /// Makes `at` the head of its device's chain and gives the head before it.
    fn put_first_of_device(&mut self, at: SourceIndex, device: &str) -> Option<SourceIndex> {
        let sources = &self.sources;
        let device_at = |at: &SourceIndex| {
            sources.get(at.position()).map(|indexed| indexed.entry.source.device().as_str())
        };
        let same = |at: &SourceIndex| device_at(at) == Some(device);
        if let Some(head) = self.by_device.find_mut(name_hash(device), same) {
            return Some(std::mem::replace(head, at));
        }
        // A table that grows asks for the hash of what it holds; `at` itself is pushed after this.
        self.by_device.insert_unique(name_hash(device), at, |at| device_at(at).map_or(0, name_hash));
        None
    }

    pub(super) fn of_device(&self, device: &str) -> impl Iterator<Item = (SourceIndex, &Indexed)> {
        let same =
            |at: &SourceIndex| self.source(*at).is_some_and(|source| source.device().as_str() == device);
        let head = self.by_device.find(name_hash(device), same).copied();
        std::iter::successors(head, |at| self.sources.get(at.position())?.other)
            .filter_map(|at| Some((at, self.sources.get(at.position())?)))
    }

    /// The same source with the texts of its tenant and tags shared: there are many sources and few of these. Enters
    /// it under all of them.
    fn with_shared_labels(&mut self, source: &Arc<Source>, at: SourceIndex) -> Arc<Source> {
        let tenant = self.tenants.enter(source.tenant(), at);
        let mut tags = Vec::with_capacity(source.tags().iter().len());
        for (key, value) in source.tags().iter() {
            let values = self.tags.entry(key.clone()).or_default();
            let value = values.enter(value, at);
            let key = self.tags.get_key_value(key).map_or_else(|| key.clone(), |(kept, _)| kept.clone());
            tags.push((key, value));
        }
        let tags = Tags::new(tags).unwrap_or_else(|_| source.tags().clone());
        Arc::new(Source::new(tenant, source.device().clone(), tags))
    }
}

fn name_hash(device: &str) -> u64 {
    xxh3_64(device.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Device, ValueKind};

    fn source(tenant: &str, device: &str, site: u8) -> Arc<Source> {
        let tag = (TagKey::new("site").unwrap(), TagValue::new(&site.to_string()).unwrap());
        let tags = Tags::new(if site == 0 { vec![] } else { vec![tag] }).unwrap();
        Arc::new(Source::new(Tenant::new(tenant).unwrap(), Device::new(device).unwrap(), tags))
    }

    fn fact(metric: u8) -> MetricFact {
        MetricFact { metric: Metric::new(&format!("m{metric}")).unwrap(), kind: ValueKind::F64, unit: None }
    }

    /// Rows of three writers in one shard, each with dense numbers.
    fn rows() -> impl Strategy<Value = Vec<CatalogRow>> {
        let row = (0..3_u64, "[ab]", "[a-d]", 0..3_u8, prop::collection::vec(0..5_u8, 0..3));
        prop::collection::vec(row, 0..40).prop_map(|rows| {
            let mut next = BTreeMap::new();
            let row = |(writer, tenant, device, site, metrics): (u64, String, String, u8, Vec<u8>)| {
                let n = next.entry(writer).or_insert(CatalogN::new(0));
                let number = *n;
                *n = n.next();
                CatalogRow {
                    writer: WriterId::from_random(writer * 2),
                    n: number,
                    source: source(&tenant, &device, site),
                    metrics: metrics.into_iter().map(fact).collect(),
                }
            };
            rows.into_iter().map(row).collect()
        })
    }

    fn selector() -> impl Strategy<Value = Selector> {
        let tenant = prop::option::of("[ab]");
        let devices = prop::collection::vec("[a-e]", 0..3);
        (tenant, devices, prop::collection::vec(0..6_u8, 0..3)).prop_map(|(tenant, devices, metrics)| {
            Selector {
                tenant: tenant.map(|tenant| Tenant::new(&tenant).unwrap()),
                devices: devices.iter().map(|device| Device::new(device).unwrap()).collect(),
                metrics: metrics.into_iter().map(|metric| fact(metric).metric).collect(),
                conditions: Vec::new(),
            }
        })
    }

    /// What the rows say, merged the slow way.
    fn model(rows: &[CatalogRow]) -> BTreeMap<SourceId, Vec<String>> {
        let mut model: BTreeMap<SourceId, Vec<String>> = BTreeMap::new();
        for row in rows {
            let metrics = model.entry(row.source.id()).or_default();
            metrics.extend(row.metrics.iter().map(|fact| fact.metric.to_string()));
            metrics.sort();
            metrics.dedup();
        }
        model
    }

    fn is_wanted(entry: &SourceEntry, selector: &Selector) -> bool {
        selector.tenant.as_ref().is_none_or(|tenant| tenant == entry.source.tenant())
            && (selector.devices.is_empty() || selector.devices.contains(entry.source.device()))
            && entry
                .metrics
                .iter()
                .any(|m| selector.metrics.is_empty() || selector.metrics.contains(&m.metric))
    }

    proptest! {
        #[test]
        fn rows_are_merged_by_union_and_selected_by_every_part(
            rows in rows(),
            repeated in any::<bool>(),
            selectors in prop::collection::vec(selector(), 4),
        ) {
            let index = CatalogIndex::default();
            index.extend(Shard::new(1), &rows);
            if repeated {
                index.extend(Shard::new(1), &rows);
            }
            let mut all = SourceSet::default();
            (0..index.len()).for_each(|at| all.insert(SourceIndex(u32::try_from(at).unwrap())));
            let entries = index.entries(&all);
            let names = |entry: &SourceEntry| entry.metrics.iter().map(|m| m.metric.to_string()).collect::<Vec<_>>();
            let merged: BTreeMap<_, _> = entries.iter().map(|e| (e.source.id(), names(e))).collect();
            prop_assert_eq!(merged, model(&rows));
            for selector in selectors {
                let mut found: Vec<_> =
                    index.entries(&index.select(&selector).sources).iter().map(|e| e.source.id()).collect();
                let mut wanted: Vec<_> =
                    entries.iter().filter(|e| is_wanted(e, &selector)).map(|e| e.source.id()).collect();
                found.sort();
                wanted.sort();
                prop_assert_eq!(found, wanted);
                let selection = index.select(&selector);
                let bucket_width = crate::layout::BucketWidth::new(std::time::Duration::from_hours(1)).unwrap();
                let shards = crate::layout::ShardCount::new(3).unwrap();
                let era = Era { starts_at: crate::model::Timestamp::MIN, shards, bucket_width };
                for (shard, sources) in index.by_shard(&selection.sources, &era) {
                    prop_assert!(sources.is_sorted_by(|a, b| a.0 < b.0));
                    for (id, at) in sources {
                        let entry = index.entry(at).unwrap();
                        prop_assert_eq!((entry.source.id(), era.shard(&entry.source)), (id, shard));
                    }
                }
                let series = index.series(&selection);
                for source in selection.sources.iter() {
                    let entry = index.entry(source).unwrap();
                    for metric in entry.metrics.iter().map(|entry| &entry.metric) {
                        let is_wanted = selection.wants(metric.as_str());
                        prop_assert_eq!(series.get(metric).is_some_and(|of| of.contains(source)), is_wanted);
                    }
                }
            }
            for row in &rows {
                let found = index.resolve(Shard::new(1), row.writer, [row.n].into_iter());
                prop_assert_eq!(&index.entry(found[0].unwrap()).unwrap().source, &row.source);
            }
        }
    }

    #[test]
    fn a_row_after_a_hole_waits_for_the_hole_to_be_filled() {
        let (index, writer) = (CatalogIndex::default(), WriterId::from_random(8));
        let row = |n| CatalogRow {
            writer,
            n: CatalogN::new(n),
            source: source("t", &format!("d{n}"), 0),
            metrics: vec![fact(0)],
        };
        index.extend(Shard::new(0), &[row(0), row(2)]);
        assert_eq!(index.known(Shard::new(0), writer), CatalogN::new(1));
        index.extend(Shard::new(0), &[row(1), row(2)]);
        assert_eq!(index.writers(Shard::new(0)), [(writer, CatalogN::new(3))]);
        assert_eq!(index.writers(Shard::new(1)), []);
        let unknown = index.resolve(Shard::new(0), writer, [CatalogN::new(3)].into_iter());
        assert_eq!(unknown, [None]);
    }
}
