//! The latest sample of each series: bucket by bucket from the newest back, until every series is found.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;

use super::collect::{Budget, Collected, Wanted};
use super::compute::{Work, compute};
use super::presence::SeriesSet;
use super::reader::{Reader, names};
use super::series::Last;
use super::snapshot::BucketState;
use super::{Excess, Latest, ReadFailure, Sample, Selector};
use crate::catalog::{Selection, SourceIndex, SourceSet};
use crate::model::{Metric, TimeRange};
use crate::wide::Wide;

/// How far a query has come.
struct Search {
    /// Known series that are not found yet.
    missing: SeriesSet,
    found: HashMap<(SourceIndex, Metric), Sample>,
    /// Bytes of the segments that it looked through.
    bytes: usize,
}

impl<W: Wide> Reader<W> {
    /// The latest sample of each selected series, by tenant, device, tags and metric. Samples may be dated ahead of
    /// now, as far as ingest lets them.
    ///
    /// Walks back until all known series are found, but no further than [`super::ReadLimits::latest_buckets_max`] and
    /// [`super::ReadLimits::latest_bytes_max`] say: a series that is silent for longer is left out.
    pub async fn latest(&self, selector: &Selector) -> Result<Vec<Latest>, ReadFailure> {
        let snapshot = self.snapshot(selector, TimeRange::ALL).await?;
        let missing = self.catalog().series(&snapshot.selection);
        let limit = self.limits.samples_max;
        if missing.values().map(SourceSet::len).sum::<usize>() > limit {
            return Err(ReadFailure::TooLarge { what: Excess::Samples, limit });
        }
        let mut search = Search { missing, found: HashMap::new(), bytes: 0 };
        let by_time = snapshot.buckets.chunk_by(|a, b| a.place.bucket == b.place.bucket);
        for buckets in by_time.rev().take(self.limits.latest_buckets_max) {
            if search.missing.is_empty() || search.bytes > self.limits.latest_bytes_max {
                break;
            }
            self.look_into(buckets, &mut search).await?;
        }
        let (catalog, found) = (Arc::clone(self.catalog()), search.found);
        compute(Work::Sort(found.len()), move || {
            let named = found.into_iter().filter_map(|((source, metric), sample)| {
                let source = Arc::clone(&catalog.entry(source)?.source);
                Some(Latest { source, metric, sample })
            });
            let mut named: Vec<Latest> = named.collect();
            named.sort_unstable_by(|a, b| (names(&a.source), &a.metric).cmp(&(names(&b.source), &b.metric)));
            named
        })
        .await
    }

    /// Looks for what is missing in the buckets of one span of time.
    async fn look_into(&self, buckets: &[BucketState], search: &mut Search) -> Result<(), ReadFailure> {
        let budget = Arc::new(Budget::new(self.limits));
        let mut looks = stream::iter(buckets.to_vec())
            .map(|bucket| self.look(bucket, &search.missing, &budget))
            .buffer_unordered(self.limits.buckets_in_flight_max);
        let mut last = Vec::new();
        while let Some(collected) = looks.try_next().await? {
            last.extend(collected);
        }
        drop(looks);
        for Collected { table, bytes } in last {
            search.bytes += bytes;
            for (source, metric, last) in table.into_series() {
                if let Some(sample) = last.0 {
                    search.find(source, metric, sample);
                }
            }
        }
        Ok(())
    }

    /// The latest samples of one bucket; `None` where it is known to hold none of `missing`.
    async fn look(
        &self,
        bucket: BucketState,
        missing: &SeriesSet,
        budget: &Arc<Budget>,
    ) -> Result<Option<Collected<Last>>, ReadFailure> {
        let sources = self.presence.narrow(&bucket, missing);
        if sources.is_empty() {
            return Ok(None);
        }
        let selection = Arc::new(Selection { sources, metrics: missing.keys().cloned().collect() });
        let wanted = Wanted { selection: Arc::clone(&selection), range: TimeRange::ALL };
        let collected = self.collect::<Last>(bucket.clone(), wanted, Arc::clone(budget)).await?;
        self.presence.learn(&bucket, (missing, &selection.sources), collected.table.names());
        Ok(Some(collected))
    }
}

impl Search {
    /// What was found already comes from a later bucket and stays.
    fn find(&mut self, source: SourceIndex, metric: Metric, sample: Sample) {
        if let Some(missing) = self.missing.get_mut(&metric) {
            missing.remove(source);
            if missing.is_empty() {
                self.missing.remove(&metric);
            }
        }
        self.found.entry((source, metric)).or_insert(sample);
    }
}
