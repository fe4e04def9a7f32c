//! The latest sample of each series: bucket by bucket from the newest back, until every series is found.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;

use super::collect::{Budget, Wanted};
use super::reader::{Reader, names};
use super::series::Last;
use super::snapshot::MarkedBucket;
use super::{Latest, ReadFailure, Sample, Selector};
use crate::catalog::{Selection, SourceIndex, SourceSet};
use crate::model::{Metric, TimeRange};
use crate::wide::Wide;

/// What was found so far.
type Found = HashMap<(SourceIndex, Metric), Sample>;

impl<W: Wide> Reader<W> {
    /// The latest sample of each selected series, by tenant, device, tags and metric. Samples may be dated ahead of
    /// now, as far as ingest lets them.
    ///
    /// Walks back through at most [`super::ReadLimits::latest_buckets_max`] buckets: a series that is silent for
    /// longer is left out.
    pub async fn latest(&self, selector: &Selector) -> Result<Vec<Latest>, ReadFailure> {
        let snapshot = self.snapshot(selector, TimeRange::ALL).await?;
        let mut found = Found::new();
        let mut missing = snapshot.selection.sources.clone();
        let by_time = snapshot.buckets.chunk_by(|a, b| a.place.bucket == b.place.bucket);
        for buckets in by_time.rev().take(self.limits.latest_buckets_max) {
            if missing.is_empty() {
                break;
            }
            let selection = Selection { sources: missing, metrics: snapshot.selection.metrics.clone() };
            self.look_into(buckets, &selection, &mut found).await?;
            missing = self.still_missing(&selection, &found);
        }
        let named = found.into_iter().filter_map(|((source, metric), sample)| {
            let source = Arc::clone(&self.catalog().entry(source)?.source);
            Some(Latest { source, metric, sample })
        });
        let mut named: Vec<Latest> = named.collect();
        named.sort_unstable_by(|a, b| (names(&a.source), &a.metric).cmp(&(names(&b.source), &b.metric)));
        Ok(named)
    }

    /// Looks for the latest samples of `selection` in the buckets of one span of time.
    async fn look_into(
        &self,
        buckets: &[MarkedBucket],
        selection: &Selection,
        found: &mut Found,
    ) -> Result<(), ReadFailure> {
        let wanted = Wanted { selection: Arc::new(selection.clone()), range: TimeRange::ALL };
        let budget = Arc::new(Budget::new(self.limits));
        let mut tables = stream::iter(buckets.to_vec())
            .map(|bucket| self.collect::<Last>(bucket, wanted.clone(), Arc::clone(&budget)))
            .buffer_unordered(self.limits.buckets_in_flight_max);
        while let Some(table) = tables.try_next().await? {
            for (source, metric, last) in table.into_series() {
                // What is there already comes from a later bucket.
                if let Some(sample) = last.0 {
                    found.entry((source, metric)).or_insert(sample);
                }
            }
        }
        Ok(())
    }

    /// Of the sources of `selection`, those with a selected metric that is not found.
    fn still_missing(&self, selection: &Selection, found: &Found) -> SourceSet {
        let mut missing = SourceSet::default();
        for source in selection.sources.iter() {
            let Some(entry) = self.catalog().entry(source) else { continue };
            let mut wanted = entry.metrics.iter().filter(|entry| selection.wants(entry.metric.as_str()));
            if wanted.any(|entry| !found.contains_key(&(source, entry.metric.clone()))) {
                missing.insert(source);
            }
        }
        missing
    }
}
