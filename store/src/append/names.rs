//! What a batch's dictionaries stand for, looked up once for each entry and not once for each point.

use super::drafts::DraftId;
use crate::catalog::{CatalogFull, CatalogLog, MetricSlot, SourceSlot};
use crate::codec::segment::{MetricPosition, SegmentBuilder};
use crate::model::{Point, Points};

/// Lookups of the batch at hand. Keeps its memory from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Names {
    sources: Vec<Option<SourceSlot>>,
    metrics: Vec<Option<MetricSlot>>,
    positions: Vec<Option<MetricPosition>>,
    positions_of: Option<DraftId>,
    of_point: Vec<MetricPosition>,
}

impl Names {
    /// Forgets the batch before and makes room for `batch`.
    pub(super) fn begin(&mut self, batch: &Points) {
        refill(&mut self.sources, batch.sources().len());
        refill(&mut self.metrics, batch.metrics().len());
        refill(&mut self.positions, batch.metrics().len());
        self.positions_of = None;
    }

    /// The point's source in `catalog`, announced with all metrics of the point.
    pub(super) fn announce(
        &mut self,
        batch: &Points,
        point: Point<'_>,
        catalog: &mut CatalogLog,
    ) -> Result<SourceSlot, CatalogFull> {
        let source = self.source(batch, point.source, catalog)?;
        for (hint, (metric, value)) in point.values.iter().enumerate() {
            let metric = self.metric(batch, *metric, catalog)?;
            catalog.learn(source, metric, value.kind(), hint)?;
        }
        Ok(source)
    }

    /// The positions of the point's metrics in the segment of draft `of`.
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
        }
        self.of_point.clear();
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
