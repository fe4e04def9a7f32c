//! The writer's side: which sources and metrics of a shard this writer has announced, under which numbers.
//!
//! A new source gets the next number; a new metric, or a new kind of values of a known one, gets its source a new
//! row and so a new number, once for all that is found out between two calls of [`CatalogLog::take_rows`]. A row
//! holds only what is new: readers merge by union, and a source that sends each of its metrics alone costs as many
//! names as it has metrics, not their square.
//! Bounded (I6): what would pass a limit is refused. The hot path hashes no text: sources are found by their id,
//! and a metric is resolved once for each dictionary that names it.

use std::sync::Arc;

use hashbrown::{HashMap, HashTable};

use super::{id_hash, index};
use crate::layout::{CatalogRow, MetricFact};
use crate::model::{CatalogN, Metric, Source, SourceId, ValueKind, WriterId};

/// How much one writer announces in one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogLimits {
    /// Most sources.
    pub sources_max: usize,
    /// Most distinct metric names.
    pub metrics_max: usize,
    /// Most metrics of one source, a metric counting once for each kind of its values.
    pub source_metrics_max: usize,
}

impl Default for CatalogLimits {
    /// Room for a fleet of millions over a few dozen shards, in about 20 MiB a shard; a device that puts a
    /// counter into its tags or its metric names meets the limit long before memory does.
    fn default() -> Self {
        Self { sources_max: 200_000, metrics_max: 50_000, source_metrics_max: 1_000 }
    }
}

/// Why a point cannot be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CatalogFull {
    /// The shard has too many sources.
    #[error("the shard has its limit of sources; too many devices or combinations of tags")]
    Sources,
    /// The shard has too many metric names.
    #[error("the shard has its limit of metric names; names that change with every message look like this")]
    Metrics,
    /// The source has too many metrics.
    #[error("the source has its limit of metrics")]
    SourceMetrics,
}

/// A source in a [`CatalogLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceSlot(u32);

/// A metric name in a [`CatalogLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricSlot(u32);

/// The log of one (writer, shard).
#[derive(Debug)]
pub struct CatalogLog {
    writer: WriterId,
    limits: CatalogLimits,
    next: CatalogN,
    slots: HashTable<u32>,
    sources: Vec<Known>,
    metric_slots: HashMap<Metric, u32>,
    metrics: Vec<Metric>,
    /// Sources that get a row at the next [`CatalogLog::take_rows`].
    pending: Vec<SourceSlot>,
}

const FIRST_FACTS: usize = 8;

#[derive(Debug)]
struct Known {
    /// That of `source`, at hand.
    id: SourceId,
    source: Arc<Source>,
    /// Its latest row, which may still be pending.
    latest: CatalogN,
    /// The first of `facts`, at hand: most sources have no more, and a message finds them beside the id.
    first: [Fact; FIRST_FACTS],
    /// Metrics with kinds in the order in which they were found out.
    facts: Vec<Fact>,
    /// How many of `facts` are in rows that were taken.
    taken: u32,
    is_pending: bool,
}

/// What a source is known to send: a metric slot and a kind in one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact(u32);

impl Fact {
    const KINDS: u32 = 4;
    /// No fact: metrics are numbered below this.
    const NONE: Self = Self(u32::MAX);

    /// Values of `kind` of `metric`.
    pub const fn new(metric: MetricSlot, kind: ValueKind) -> Self {
        let kind = match kind {
            ValueKind::F64 => 0,
            ValueKind::I64 => 1,
            ValueKind::Bool => 2,
            ValueKind::Text => 3,
        };
        Self(metric.0 * Self::KINDS + kind)
    }

    const fn kind(self) -> ValueKind {
        match self.0 % Self::KINDS {
            0 => ValueKind::F64,
            1 => ValueKind::I64,
            2 => ValueKind::Bool,
            _ => ValueKind::Text,
        }
    }

    const fn metric(self) -> u32 {
        self.0 / Self::KINDS
    }
}

impl CatalogLog {
    /// An empty log.
    pub fn new(writer: WriterId, limits: CatalogLimits) -> Self {
        Self {
            writer,
            limits,
            next: CatalogN::new(0),
            slots: HashTable::new(),
            sources: Vec::new(),
            metric_slots: HashMap::new(),
            metrics: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// How many rows there are, pending ones included: what a mark carries once they are durable.
    pub const fn count(&self) -> CatalogN {
        self.next
    }

    /// How many sources there are.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The slot of `source`, where it says the right one by itself.
    pub fn hinted(&self, source: &Source) -> Option<SourceSlot> {
        let hinted = source.catalog_hint();
        self.holds(hinted, source.id()).then_some(SourceSlot(hinted))
    }

    /// The slot of `source`, entered where it is new.
    pub fn source(&mut self, source: &Arc<Source>) -> Result<SourceSlot, CatalogFull> {
        if let Some(slot) = self.hinted(source) {
            return Ok(slot);
        }
        let slot = self.look_up(source)?;
        source.hint_catalog(slot.0);
        Ok(slot)
    }

    fn look_up(&mut self, source: &Arc<Source>) -> Result<SourceSlot, CatalogFull> {
        let hash = id_hash(source.id());
        if let Some(slot) = self.slots.find(hash, |&slot| self.holds(slot, source.id())) {
            return Ok(SourceSlot(*slot));
        }
        if self.sources.len() >= self.limits.sources_max {
            return Err(CatalogFull::Sources);
        }
        let slot = SourceSlot(index(self.sources.len()));
        let sources = &self.sources;
        self.slots.insert_unique(hash, slot.0, |&slot| {
            sources.get(usize_of(slot)).map_or(0, |known| id_hash(known.id))
        });
        self.sources.push(Known {
            id: source.id(),
            source: Arc::clone(source),
            latest: self.next,
            first: [Fact::NONE; FIRST_FACTS],
            facts: Vec::new(),
            taken: 0,
            is_pending: false,
        });
        self.announce(slot);
        Ok(slot)
    }

    /// The slot of `metric`, entered where it is new.
    pub fn metric(&mut self, metric: &Metric) -> Result<MetricSlot, CatalogFull> {
        if let Some(&slot) = self.metric_slots.get(metric) {
            return Ok(MetricSlot(slot));
        }
        if self.metrics.len() >= self.limits.metrics_max.min(usize_of(u32::MAX / Fact::KINDS)) {
            return Err(CatalogFull::Metrics);
        }
        let slot = index(self.metrics.len());
        self.metrics.push(metric.clone());
        self.metric_slots.insert(metric.clone(), slot);
        Ok(MetricSlot(slot))
    }

    /// Whether the source is announced with `facts`, and with these first: so it is where it always sent the same
    /// metrics in the same order.
    pub fn knows(&self, source: SourceSlot, facts: &[Fact]) -> bool {
        let known = self.sources.get(usize_of(source.0));
        known.is_some_and(|known| known.first.starts_with(facts) || known.facts.starts_with(facts))
    }

    /// Makes sure that the source is announced with `fact`. `hint` is where it would stand if the source always sent
    /// the same metrics in the same order.
    pub fn learn(&mut self, source: SourceSlot, fact: Fact, hint: usize) -> Result<(), CatalogFull> {
        let Some(known) = self.sources.get_mut(usize_of(source.0)) else { return Err(CatalogFull::Sources) };
        if known.facts.get(hint) == Some(&fact) || known.facts.contains(&fact) {
            return Ok(());
        }
        if known.facts.len() >= self.limits.source_metrics_max {
            return Err(CatalogFull::SourceMetrics);
        }
        if let Some(first) = known.first.get_mut(known.facts.len()) {
            *first = fact;
        }
        known.facts.push(fact);
        self.announce(source);
        Ok(())
    }

    /// The latest number of a source: what segments name it by.
    pub fn latest(&self, source: SourceSlot) -> CatalogN {
        self.sources.get(usize_of(source.0)).map_or(self.next, |known| known.latest)
    }

    /// The rows that were found out since the last call, in the order of their numbers. They must be durable
    /// before a mark that carries [`CatalogLog::count`].
    pub fn take_rows(&mut self) -> Vec<CatalogRow> {
        let pending = std::mem::take(&mut self.pending);
        pending.into_iter().filter_map(|slot| self.take_row(slot)).collect()
    }

    fn take_row(&mut self, slot: SourceSlot) -> Option<CatalogRow> {
        let known = self.sources.get_mut(usize_of(slot.0))?;
        let new = known.facts.get(usize_of(known.taken)..).unwrap_or_default();
        let metrics = new.iter().filter_map(|fact| {
            let metric = self.metrics.get(usize_of(fact.metric()))?.clone();
            Some(MetricFact { metric, kind: fact.kind(), unit: None })
        });
        let row = CatalogRow {
            writer: self.writer,
            n: known.latest,
            source: Arc::clone(&known.source),
            metrics: metrics.collect(),
        };
        known.taken = index(known.facts.len());
        known.is_pending = false;
        Some(row)
    }

    /// Gives the source a row at the next [`CatalogLog::take_rows`], unless it already gets one.
    fn announce(&mut self, slot: SourceSlot) {
        if let Some(known) = self.sources.get_mut(usize_of(slot.0)).filter(|known| !known.is_pending) {
            known.is_pending = true;
            known.latest = self.next;
            self.next = self.next.next();
            self.pending.push(slot);
        }
    }

    fn holds(&self, slot: u32, id: SourceId) -> bool {
        self.sources.get(usize_of(slot)).is_some_and(|known| known.id == id)
    }
}

fn usize_of(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Device, Tags, Tenant};

    fn log(limits: CatalogLimits) -> CatalogLog {
        CatalogLog::new(WriterId::from_random(2), limits)
    }

    fn source(name: &str) -> Arc<Source> {
        Arc::new(Source::new(Tenant::new("t").unwrap(), Device::new(name).unwrap(), Tags::default()))
    }

    fn learn(log: &mut CatalogLog, source: &str, metric: &str, kind: ValueKind) -> Result<u32, CatalogFull> {
        let slot = log.source(&self::source(source))?;
        let metric = log.metric(&Metric::new(metric).unwrap())?;
        log.learn(slot, Fact::new(metric, kind), 0)?;
        Ok(log.latest(slot).get())
    }

    fn rows(log: &mut CatalogLog) -> Vec<(u32, String, Vec<String>)> {
        let fact = |fact: &MetricFact| format!("{} {:?}", fact.metric, fact.kind);
        log.take_rows()
            .iter()
            .map(|row| (row.n.get(), row.source.device().to_string(), row.metrics.iter().map(fact).collect()))
            .collect()
    }

    #[test]
    fn numbers_are_dense_and_a_row_says_only_what_is_new() {
        let mut log = log(CatalogLimits::default());
        assert_eq!(learn(&mut log, "a", "x", ValueKind::F64), Ok(0));
        assert_eq!(learn(&mut log, "b", "x", ValueKind::F64), Ok(1));
        assert_eq!(learn(&mut log, "a", "y", ValueKind::F64), Ok(0), "still pending: the same row");
        let text = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            rows(&mut log),
            [(0, "a".into(), text(&["x F64", "y F64"])), (1, "b".into(), text(&["x F64"]))]
        );
        assert_eq!(learn(&mut log, "a", "x", ValueKind::F64), Ok(0));
        assert_eq!(rows(&mut log), []);
        assert_eq!(learn(&mut log, "a", "x", ValueKind::I64), Ok(2));
        assert_eq!(rows(&mut log), [(2, "a".into(), text(&["x I64"]))]);
        assert_eq!(log.count(), CatalogN::new(3));
    }

    #[test]
    fn what_would_pass_a_limit_is_refused_and_the_rest_goes_on() {
        let mut log = log(CatalogLimits { sources_max: 2, metrics_max: 3, source_metrics_max: 2 });
        assert_eq!(learn(&mut log, "a", "x", ValueKind::F64), Ok(0));
        assert_eq!(learn(&mut log, "a", "y", ValueKind::F64), Ok(0));
        assert_eq!(learn(&mut log, "a", "z", ValueKind::F64), Err(CatalogFull::SourceMetrics));
        assert_eq!(learn(&mut log, "b", "z", ValueKind::F64), Ok(1));
        assert_eq!(learn(&mut log, "b", "w", ValueKind::F64), Err(CatalogFull::Metrics));
        assert_eq!(learn(&mut log, "c", "x", ValueKind::F64), Err(CatalogFull::Sources));
        assert_eq!(learn(&mut log, "a", "y", ValueKind::F64), Ok(0));
        assert_eq!(log.sources(), 2);
    }

    #[test]
    fn what_another_log_said_of_a_source_misleads_nobody() {
        let (mut one, mut other) = (log(CatalogLimits::default()), log(CatalogLimits::default()));
        let sources = ["a", "b", "c"].map(source);
        let slots: Vec<_> = sources.iter().map(|source| one.source(source).unwrap()).collect();
        let others: Vec<_> = sources.iter().rev().map(|source| other.source(source).unwrap()).collect();
        for (at, source) in sources.iter().enumerate() {
            assert_eq!((one.source(source), other.source(source)), (Ok(slots[at]), Ok(others[2 - at])));
        }
        assert_eq!((one.sources(), other.sources()), (3, 3));
    }

    #[test]
    fn facts_are_known_however_many_there_are() {
        let mut log = log(CatalogLimits::default());
        let slot = log.source(&source("a")).unwrap();
        let facts: Vec<Fact> = (0..2 * FIRST_FACTS)
            .map(|n| Fact::new(log.metric(&Metric::new(&format!("m{n}")).unwrap()).unwrap(), ValueKind::I64))
            .collect();
        for (at, fact) in facts.iter().enumerate() {
            assert!(log.knows(slot, &facts[..at]) && !log.knows(slot, &facts[..=at]), "{at}");
            log.learn(slot, *fact, at).unwrap();
        }
        assert!(log.knows(slot, &facts) && !log.knows(slot, &facts[1..]));
    }

    #[test]
    fn equal_sources_share_a_slot_even_when_they_are_not_the_same_object() {
        let mut log = log(CatalogLimits::default());
        assert_eq!(log.source(&source("a")), log.source(&source("a")));
        assert_eq!(log.sources(), 1);
    }
}
