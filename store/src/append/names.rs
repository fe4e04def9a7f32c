//! What a batch's dictionaries stand for, looked up once for each entry and not once for each point.
//!
//! Most points have the metrics and kinds of the one before: what was found out about those is taken over whole.

use super::drafts::DraftId;
use crate::catalog::{CatalogFull, CatalogLog, Fact, MetricSlot, SourceSlot};
use crate::codec::segment::{MetricPosition, SegmentBuilder};
use crate::model::{Point, Points, ValueKind};

/// Lookups of the batch at hand. Keeps its memory from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Names {
    sources: Vec<Option<SourceSlot>>,
    metrics: Vec<Option<MetricSlot>>,
    positions: Vec<Option<MetricPosition>>,
    positions_of: Option<DraftId>,
    /// The metrics of the last point and the kinds of its values, and what they are to the catalog.
    last: Vec<(u32, ValueKind)>,
    facts: Vec<Fact>,
    /// Where these metrics stand in the segment of `positions_of`; nowhere yet where it is empty.
    of_point: Vec<MetricPosition>,
}

impl Names {
    /// Forgets the batch before and makes room for `batch`. Sources that are known are looked up here, all in a row: one
    /// by one each would wait for memory that another thread has written last.
    pub(super) fn begin(&mut self, batch: &Points, catalog: &CatalogLog) {
        self.sources.clear();
        self.sources.extend(batch.sources().iter().map(|source| catalog.hinted(source)));
        refill(&mut self.metrics, batch.metrics().len());
        refill(&mut self.positions, batch.metrics().len());
        self.positions_of = None;
        self.forget_last();
    }

    fn forget_last(&mut self) {
        self.last.clear();
        self.facts.clear();
        self.of_point.clear();
    }

    /// Whether `point` has the metrics and kinds of the last one.
    fn repeats(&self, point: Point<'_>) -> bool {
        let of_point = point.values.iter().map(|(metric, value)| (*metric, value.kind()));
        self.last.len() == point.values.len() && self.last.iter().copied().eq(of_point)
    }

    /// The point's source in `catalog`, announced with all metrics of the point.
    pub(super) fn announce(
        &mut self,
        batch: &Points,
        point: Point<'_>,
        catalog: &mut CatalogLog,
    ) -> Result<SourceSlot, CatalogFull> {
        let source = self.source(batch, point.source, catalog)?;
        if !self.repeats(point) {
            self.forget_last();
        } else if catalog.knows(source, &self.facts) {
            return Ok(source);
        }
        for (hint, (metric, value)) in point.values.iter().enumerate() {
            let fact = Fact::new(self.metric(batch, *metric, catalog)?, value.kind());
            catalog.learn(source, fact, hint)?;
            if self.last.len() == hint {
                self.last.push((*metric, value.kind()));
                self.facts.push(fact);
            }
        }
        Ok(source)
    }

    /// The positions of the metrics of the point announced last in the segment of draft `of`.
    pub(super) fn positions(
        &mut self,
        batch: &Points,
        point: Point<'_>,
        of: DraftId,
        builder: &mut SegmentBuilder,
    ) -> &[MetricPosition] {
        if self.positions_of != Some(of) {
            self.positions.fill(None);
            self.positions_of = Some(of);
            self.of_point.clear();
        }
        if !self.of_point.is_empty() {
            return &self.of_point;
        }
        for (metric, _) in point.values {
            let Some((known, name)) = entry(&mut self.positions, batch.metrics(), *metric) else { continue };
            self.of_point.push(*known.get_or_insert_with(|| builder.metric(name)));
        }
        assert!(
            self.of_point.len() == point.values.len(),
            "a point names a metric that its batch does not have"
        );
        &self.of_point
    }

    fn source(
        &mut self,
        batch: &Points,
        at: u32,
        catalog: &mut CatalogLog,
    ) -> Result<SourceSlot, CatalogFull> {
        let Some((known, source)) = entry(&mut self.sources, batch.sources(), at) else {
            return Err(CatalogFull::Sources);
        };
        match known {
            Some(slot) => Ok(*slot),
            None => Ok(*known.insert(catalog.source(source)?)),
        }
    }

    fn metric(
        &mut self,
        batch: &Points,
        at: u32,
        catalog: &mut CatalogLog,
    ) -> Result<MetricSlot, CatalogFull> {
        let Some((known, metric)) = entry(&mut self.metrics, batch.metrics(), at) else {
            return Err(CatalogFull::Metrics);
        };
        match known {
            Some(slot) => Ok(*slot),
            None => Ok(*known.insert(catalog.metric(metric)?)),
        }
    }
}

/// What is known of a dictionary's entry, and the entry. A batch never names an entry that it does not have.
fn entry<'a, K, T>(
    known: &'a mut [Option<K>],
    entries: &'a [T],
    at: u32,
) -> Option<(&'a mut Option<K>, &'a T)> {
    let at = usize::try_from(at).ok()?;
    Some((known.get_mut(at)?, entries.get(at)?))
}

fn refill<T: Clone>(known: &mut Vec<Option<T>>, length: usize) {
    known.clear();
    known.resize(length, None);
}
