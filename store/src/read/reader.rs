//! The reader: what the layers above ask. Holds what queries share (eras, catalog, head) and no query's state.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::collect::{Bucket, Budget, Collected, Wanted};
use super::compute::{Work, compute};
use super::eras::KnownEras;
use super::fetch::fetch;
use super::head::Head;
use super::presence::Presence;
use super::scope::scopes;
use super::series::{All, Keep};
use super::snapshot::{BucketState, Snapshot, Snapshots};
use super::{Excess, ReadFailure, ReadLimits, Sample, Selector, Series};
use crate::catalog::{CatalogIndex, SourceEntry, SourceIndex};
use crate::model::{Metric, Source, TimeRange};
use crate::wide::{Order, Wide};

/// Answers queries from a store. Shared by all of them; every method may be called at any time from any task, and
/// dropping its future ends the query. What was acknowledged before a call began is in its answer (I3).
#[derive(Debug)]
pub struct Reader<W> {
    pub(super) wide: Arc<W>,
    pub(super) limits: ReadLimits,
    eras: KnownEras,
    snapshots: Snapshots<W>,
    head: Head,
    pub(super) presence: Presence,
}

impl<W: Wide> Reader<W> {
    /// A reader that knows nothing yet.
    pub fn new(wide: Arc<W>, limits: ReadLimits) -> Self {
        Self {
            eras: KnownEras::new(limits.eras_age_max),
            snapshots: Snapshots::new(Arc::clone(&wide), limits),
            head: Head::new(limits.head_bytes_max),
            presence: Presence::new(limits.presence_bytes_max),
            wide,
            limits,
        }
    }

    /// The sources that have at least one of the selected metrics, by tenant, device and tags.
    pub async fn sources(&self, selector: &Selector) -> Result<Vec<Arc<SourceEntry>>, ReadFailure> {
        let snapshot = self.snapshot_of_marks(selector).await?;
        let limit = self.limits.sources_max;
        if snapshot.selection.sources.len() > limit {
            return Err(ReadFailure::TooLarge { what: Excess::Sources, limit });
        }
        let catalog = Arc::clone(self.catalog());
        let sources = snapshot.selection;
        compute(Work::Sort(sources.sources.len()), move || {
            let mut entries = catalog.entries(&sources.sources);
            entries.sort_unstable_by(|a, b| names(&a.source).cmp(&names(&b.source)));
            entries
        })
        .await
    }

    /// The samples in `range`, by series in the order of tenant, device, tags and metric; ascending in each. Series
    /// without samples in the range are left out.
    pub async fn samples(&self, selector: &Selector, range: TimeRange) -> Result<Vec<Series>, ReadFailure> {
        let snapshot = self.snapshot(selector, range).await?;
        let wanted = Wanted { selection: snapshot.selection, range };
        let budget = Arc::new(Budget::new(self.limits));
        // In the order of time, so that a series grows at its end.
        let mut buckets = stream::iter(snapshot.buckets)
            .map(|bucket| self.collect::<All>(bucket, wanted.clone(), Arc::clone(&budget)))
            .buffered(self.limits.buckets_in_flight_max);
        let mut series: HashMap<(SourceIndex, Metric), Vec<Sample>> = HashMap::new();
        while let Some(collected) = buckets.try_next().await? {
            for (source, metric, all) in collected.table.into_series() {
                match series.entry((source, metric)) {
                    Entry::Occupied(mut entry) => entry.get_mut().extend(all.settle().0),
                    Entry::Vacant(entry) => {
                        entry.insert(all.settle().0);
                    }
                }
            }
        }
        drop(buckets);
        let catalog = Arc::clone(self.catalog());
        compute(Work::Sort(series.len()), move || {
            let named = series.into_iter().filter_map(|((source, metric), samples)| {
                let source = Arc::clone(&catalog.entry(source)?.source);
                Some(Series { source, metric, samples })
            });
            let mut named: Vec<Series> = named.collect();
            named.sort_unstable_by(|a, b| (names(&a.source), &a.metric).cmp(&(names(&b.source), &b.metric)));
            named
        })
        .await
    }

    /// Parts of `range`, cut at the bounds of buckets, that may hold samples of `selector`, in the order of time;
    /// the rest of the range holds none. A caller that reads them one after another reads a long range in little
    /// memory; where one part is still too large, its halves will do.
    pub async fn slices(
        &self,
        selector: &Selector,
        range: TimeRange,
        order: Order,
    ) -> Result<Vec<TimeRange>, ReadFailure> {
        let snapshot = self.snapshot(selector, range).await?;
        let mut buckets: Vec<_> = snapshot.buckets.iter().map(|bucket| bucket.place.bucket).collect();
        buckets.dedup();
        let part = |bucket: &crate::layout::Bucket| {
            TimeRange::new(bucket.start(), bucket.end()).ok()?.intersection(&range)
        };
        let mut slices: Vec<TimeRange> = buckets.iter().filter_map(part).collect();
        if order == Order::Descending {
            slices.reverse();
        }
        Ok(slices)
    }

    /// Bytes of segments held for the next query.
    pub fn head_bytes(&self) -> usize {
        self.head.bytes()
    }

    /// Sources known so far.
    pub fn sources_known(&self) -> usize {
        self.catalog().len()
    }

    pub(super) fn catalog(&self) -> &Arc<CatalogIndex> {
        self.snapshots.catalog()
    }

    pub(super) async fn snapshot(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Snapshot, ReadFailure> {
        let eras = self.eras.get(&*self.wide).await?;
        self.snapshots.take(scopes(&eras, selector, range), selector).await
    }

    async fn snapshot_of_marks(&self, selector: &Selector) -> Result<Snapshot, ReadFailure> {
        let eras = self.eras.get(&*self.wide).await?;
        self.snapshots.take_marks(scopes(&eras, selector, TimeRange::ALL), selector).await
    }

    /// What one bucket holds of what is wanted.
    pub(super) async fn collect<K: Keep + Send + 'static>(
        &self,
        bucket: BucketState,
        wanted: Wanted,
        budget: Arc<Budget>,
    ) -> Result<Collected<K>, ReadFailure> {
        let segments = fetch(&*self.wide, &self.head, &bucket, self.limits.bucket_bytes_max).await?;
        let bytes = segments.bytes;
        let (catalog, place) = (Arc::clone(self.catalog()), bucket.place);
        let job = move || Bucket { place, catalog: &catalog, segments: &segments }.collect(&wanted, &budget);
        compute(Work::Decode(bytes), job).await?
    }
}

/// What sources are ordered by.
pub(super) fn names(source: &Source) -> impl Ord + '_ {
    (source.tenant(), source.device(), source.tags())
}
