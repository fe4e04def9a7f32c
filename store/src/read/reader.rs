//! The reader: what the layers above ask. Holds what queries share (eras, catalog, head) and no query's state.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hashbrown::hash_map::Entry;

use super::base::KeptLasts;
use super::blocks::Runs;
use super::bucket::Asked;
use super::chosen::Chosen;
use super::collect::Budget;
use super::compute::{Work, compute};
use super::eras::KnownEras;
use super::explain::Explain;
use super::head::Head;
use super::kept::{KeptPacks, Stock};
use super::live::Tails;
use super::named::named;
use super::overlay::append;
use super::presence::Presence;
use super::scope::scopes;
use super::snapshot::{BucketState, Snapshot, Snapshots};
use super::unchanged::Unchanged;
use super::{Explained, Feed, ReadFailure, ReadLimits, ReadOptions, Selector, Series, SeriesRun};
use crate::catalog::CatalogIndex;
use crate::layout::{BlockRow, Bucket, Eras, FrameRow, Period};
use crate::model::{Shard, TimeRange};
use crate::wide::{Order, Wide};

/// Bytes of numbers of periods that are kept for the next query.
const PERIODS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Answers queries from a store. Shared by all of them; every method may be called at any time from any task, and
/// dropping its future ends the query. What was acknowledged before a call began is in its answer (I3).
#[derive(Debug)]
pub struct Reader<W> {
    pub(super) wide: Arc<W>,
    pub(super) limits: ReadLimits,
    pub(super) options: ReadOptions,
    pub(super) eras: KnownEras,
    pub(super) snapshots: Snapshots<W>,
    pub(super) head: Arc<Head>,
    pub(super) tails: Tails,
    pub(super) presence: Presence,
    pub(super) lasts: KeptLasts,
    pub(super) packs: KeptPacks,
    /// In which periods a shard has seals between two buckets.
    pub(super) periods: Unchanged<(Shard, Bucket, Bucket), BTreeSet<Period>>,
}

impl<W: Wide> Reader<W> {
    /// A reader that knows nothing yet, of what is ground by default settings and kept for ever.
    pub fn new(wide: Arc<W>, limits: ReadLimits) -> Self {
        Self::with(wide, limits, ReadOptions::default())
    }

    /// A reader that knows nothing yet.
    pub fn with(wide: Arc<W>, limits: ReadLimits, options: ReadOptions) -> Self {
        Self {
            options,
            eras: KnownEras::new(limits.eras_age_max),
            snapshots: Snapshots::new(Arc::clone(&wide), limits),
            head: Arc::new(Head::new(limits.head_bytes_max / 2)),
            tails: Tails::new(limits.head_bytes_max / 2 + limits.lasts_bytes_max / 2),
            presence: Presence::new(limits.presence_bytes_max),
            lasts: KeptLasts::new(limits.lasts_bytes_max / 2),
            packs: KeptPacks::new(limits.packs_bytes_max),
            periods: Unchanged::new(PERIODS_BYTES_MAX),
            wide,
            limits,
        }
    }

    /// The samples in `range`, columnar, by series in the order of tenant, device, tags and metric; ascending in each.
    /// Series without samples in the range are left out. Where samples have expired, the answer begins with the first
    /// bucket that is there and says so in [`Explain::expired_before`].
    pub async fn runs(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Explained<Vec<SeriesRun>>, ReadFailure> {
        let snapshot = self.snapshot(selector, range).await?;
        let eras = snapshot.buckets.iter().map(|bucket| bucket.era);
        let chosen = Arc::new(Chosen::new(self.catalog(), Arc::clone(&snapshot.selection), eras));
        self.runs_by(snapshot, chosen, range).await
    }

    /// The samples of what a snapshot holds.
    async fn runs_by(
        &self,
        snapshot: Snapshot,
        chosen: Arc<Chosen>,
        range: TimeRange,
    ) -> Result<Explained<Vec<SeriesRun>>, ReadFailure> {
        let asked = Asked { chosen, range, budget: Arc::new(Budget::new(self.limits)) };
        // In the order of time, so that a series grows at its end.
        let mut buckets = stream::iter(snapshot.buckets)
            .map(|bucket| self.runs_of(bucket, asked.clone()))
            .buffered(self.limits.buckets_in_flight_max);
        let (mut all, mut explain) = (Runs::new(), Explain::default());
        while let Some((runs, of_bucket)) = buckets.try_next().await? {
            explain.add(&of_bucket);
            for (series, run) in runs {
                match all.entry(series) {
                    Entry::Occupied(mut entry) => append(entry.get_mut(), &run),
                    Entry::Vacant(entry) => {
                        entry.insert(run);
                    }
                }
            }
        }
        drop(buckets);
        let catalog = Arc::clone(self.catalog());
        let answer = compute(Work::Sort(all.len()), move || {
            let all = all.into_iter().map(|((source, metric), run)| (source, metric, run));
            let named = named(&catalog, all).into_iter();
            named.map(|(source, metric, run)| SeriesRun { source, metric, run }).collect()
        });
        Ok(Explained { answer: answer.await?, explain })
    }

    /// As [`Reader::runs`], sample by sample.
    pub async fn explained_samples(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Explained<Vec<Series>>, ReadFailure> {
        let Explained { answer: runs, explain } = self.runs(selector, range).await?;
        let samples = runs.iter().map(|series| series.run.len()).sum();
        let answer = compute(Work::Sort(samples), move || runs.into_iter().map(Series::from).collect());
        Ok(Explained { answer: answer.await?, explain })
    }

    /// As [`Reader::explained_samples`], without how it came about.
    pub async fn samples(&self, selector: &Selector, range: TimeRange) -> Result<Vec<Series>, ReadFailure> {
        Ok(self.explained_samples(selector, range).await?.answer)
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

    /// What is to be told of every segment that this process writes, once it is durable and before it is acknowledged;
    /// `eras` are those that it is written by. Then queries need not look for these segments.
    pub fn follow(&self, eras: Arc<Eras>) -> Feed {
        Feed::new(Arc::clone(&self.head), eras)
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

    /// Where blocks of a bucket come from.
    pub(super) fn block_stock(&self, bucket: &BucketState) -> Stock<'_, W, BlockRow> {
        let trusted_until = bucket.taken_at + self.limits.seals_trusted_for;
        Stock { wide: &*self.wide, kept: &self.packs.blocks, trusted_until }
    }

    /// Where frames of a bucket come from.
    pub(super) fn frame_stock(&self, bucket: &BucketState) -> Stock<'_, W, FrameRow> {
        let trusted_until = bucket.taken_at + self.limits.seals_trusted_for;
        Stock { wide: &*self.wide, kept: &self.packs.frames, trusted_until }
    }

    pub(super) async fn snapshot(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Snapshot, ReadFailure> {
        let eras = self.eras.get(&*self.wide).await?;
        self.snapshots.take(scopes(&eras, selector, range), selector).await
    }

    pub(super) async fn snapshot_of_marks(&self, selector: &Selector) -> Result<Snapshot, ReadFailure> {
        let eras = self.eras.get(&*self.wide).await?;
        self.snapshots.take_marks(scopes(&eras, selector, TimeRange::ALL), selector).await
    }
}
