//! The latest sample of each series: of each shard bucket by bucket from the newest back, until every series is found.
//! Of a bucket only the last samples are looked at, which `base` and `live` keep from query to query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;

use super::bucket::After;
use super::chosen::Chosen;
use super::compute::{Work, compute};
use super::explain::Explain;
use super::lasts::{Last, Lasts};
use super::live::{Few, Followed, LastsOf};
use super::named::named;
use super::presence::SeriesSet;
use super::reader::Reader;
use super::scope::Scope;
use super::snapshot::{BucketState, Sealed};
use super::unchanged::revisions;
use super::{Excess, Explained, Latest, ReadFailure, Sample, Selector};
use crate::catalog::{Selection, SourceIndex, SourceSet};
use crate::layout::tables::PERIODS;
use crate::layout::{Bucket, Era, Period, load_periods};
use crate::model::{Metric, Shard, TimeRange, Timestamp};
use crate::wide::Wide;

/// One query.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) chosen: Chosen,
    /// Bytes that it read, over all shards.
    bytes: AtomicUsize,
}

/// A search through one shard of one era.
#[derive(Debug)]
struct Walk {
    era: Era,
    shard: Shard,
    first: Bucket,
    last: Bucket,
    /// Buckets that have marks.
    marked: Vec<Bucket>,
    missing: SeriesSet,
}

/// How a search through a shard ended.
#[derive(Debug, Default)]
struct Walked {
    found: Vec<(SourceIndex, Metric, Sample)>,
    explain: Explain,
}

impl<W: Wide> Reader<W> {
    /// The latest sample of each selected series, by tenant, device, tags and metric. Samples may be dated ahead of
    /// now, as far as ingest lets them.
    ///
    /// Walks back in each shard until all known series are found, but no further than
    /// [`super::ReadLimits::latest_buckets_max`] and [`super::ReadLimits::latest_bytes_max`] say: series that are
    /// silent for longer are left out and counted in [`Explain::series_silent`].
    pub async fn latest(&self, selector: &Selector) -> Result<Explained<Vec<Latest>>, ReadFailure> {
        let snapshot = self.snapshot_of_marks(selector).await?;
        let eras = self.eras.get(&*self.wide).await?;
        let mut ranges: Vec<(Era, TimeRange)> = eras.split(TimeRange::ALL);
        ranges.reverse();
        let chosen = Chosen::new(self.catalog(), snapshot.selection, ranges.iter().map(|(era, _)| *era));
        let limit = self.limits.samples_max;
        if chosen.series_count() > limit {
            return Err(ReadFailure::TooLarge { what: Excess::Samples, limit });
        }
        let mut missing = chosen.series.clone();
        let search = Search { chosen, bytes: AtomicUsize::new(0) };
        let mut all = Walked::default();
        for (era, range) in ranges {
            let walks = walks(&search.chosen, &missing, &snapshot.buckets, (era, range));
            let mut walked = stream::iter(walks)
                .map(|walk| self.walk(&search, walk))
                .buffer_unordered(self.limits.reads_in_flight_max);
            while let Some(Walked { found, explain }) = walked.try_next().await? {
                all.explain.add(&explain);
                for (source, metric, _) in &found {
                    find(&mut missing, *source, metric);
                }
                all.found.extend(found);
            }
        }
        self.named_latest(all).await
    }

    /// The latest sample of each selected series in the buckets that `range` touches; in the order of
    /// [`Reader::latest`]. It may lie before the range, or after it, which says nothing of what the series had before.
    pub async fn latest_within(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Explained<Vec<Latest>>, ReadFailure> {
        let snapshot = self.snapshot(selector, range).await?;
        let eras = snapshot.buckets.iter().map(|bucket| bucket.era);
        let chosen = Chosen::new(self.catalog(), snapshot.selection, eras);
        let mut by_shard: BTreeMap<(i64, Shard), Vec<BucketState>> = BTreeMap::new();
        // The newest first: that is where each search begins.
        for bucket in snapshot.buckets.into_iter().rev() {
            by_shard.entry((bucket.era.starts_at.nanos(), bucket.place.shard)).or_default().push(bucket);
        }
        let mut missing = chosen.series.clone();
        let search = Search { chosen, bytes: AtomicUsize::new(0) };
        let mut all = Walked::default();
        // Eras one after another, the last first; its shards at once.
        let mut eras: Vec<i64> = by_shard.keys().map(|(era, _)| *era).collect();
        eras.dedup();
        for of_era in eras.into_iter().rev() {
            let shards: Vec<Vec<BucketState>> = by_shard
                .extract_if((of_era, Shard::new(0))..=(of_era, Shard::new(u16::MAX)), |_, _| true)
                .map(|(_, buckets)| buckets)
                .collect();
            let known = &missing;
            let mut walked = stream::iter(shards)
                .map(|buckets| self.look_back(&search, buckets, known))
                .buffer_unordered(self.limits.reads_in_flight_max);
            let mut found = Vec::new();
            while let Some(of_shard) = walked.try_next().await? {
                all.explain.add(&of_shard.explain);
                found.extend(of_shard.found);
            }
            drop(walked);
            for (source, metric, _) in &found {
                find(&mut missing, *source, metric);
            }
            all.found.extend(found);
        }
        self.named_latest(all).await
    }

    /// Looks through the buckets of one shard, the newest first, for what is `missing` there.
    async fn look_back(
        &self,
        search: &Search,
        buckets: Vec<BucketState>,
        missing: &SeriesSet,
    ) -> Result<Walked, ReadFailure> {
        let mut walked = Walked::default();
        let Some(newest) = buckets.first() else { return Ok(walked) };
        let sources = search.chosen.of(newest);
        let mut of_shard = SeriesSet::new();
        for (metric, missing) in missing {
            for (_, source) in sources.sources.iter().filter(|(_, source)| missing.contains(*source)) {
                of_shard.entry(metric.clone()).or_default().insert(*source);
            }
        }
        for bucket in buckets {
            self.look_into(search, bucket, &mut of_shard, &mut walked).await?;
        }
        Ok(walked)
    }

    async fn named_latest(&self, all: Walked) -> Result<Explained<Vec<Latest>>, ReadFailure> {
        let (catalog, found) = (Arc::clone(self.catalog()), all.found);
        let answer = compute(Work::Sort(found.len()), move || {
            let named = named(&catalog, found.into_iter()).into_iter();
            named.map(|(source, metric, sample)| Latest { source, metric, sample }).collect()
        });
        Ok(Explained { answer: answer.await?, explain: all.explain })
    }

    async fn walk(&self, search: &Search, mut walk: Walk) -> Result<Walked, ReadFailure> {
        let (mut walked, mut buckets_left) = (Walked::default(), self.limits.latest_buckets_max);
        for period in self.periods(&walk).await?.into_iter().rev() {
            if walk.missing.is_empty() {
                break;
            }
            let Some(scope) = scope(&walk, period) else { continue };
            for bucket in self.snapshots.survey(vec![scope], Sealed::All).await?.into_iter().rev() {
                if walk.missing.is_empty() {
                    break;
                }
                if buckets_left == 0 || search.bytes.load(Ordering::Relaxed) > self.limits.latest_bytes_max {
                    walked.explain.series_silent = walk.missing.values().map(SourceSet::len).sum();
                    return Ok(walked);
                }
                buckets_left -= 1;
                self.look_into(search, bucket, &mut walk.missing, &mut walked).await?;
            }
        }
        Ok(walked)
    }

    /// The periods in which the shard has marks or seals.
    async fn periods(&self, walk: &Walk) -> Result<BTreeSet<Period>, ReadFailure> {
        let width = walk.era.bucket_width;
        let mut periods = self.announced(walk).await?;
        periods.extend(walk.marked.iter().map(|bucket| Period::of_seal(*bucket, width)));
        Ok(periods)
    }

    async fn announced(&self, walk: &Walk) -> Result<BTreeSet<Period>, ReadFailure> {
        let (width, key) = (walk.era.bucket_width, (walk.shard, walk.first, walk.last));
        let revisions = revisions(&*self.wide, &[&PERIODS]);
        if let Some(kept) = revisions.as_ref().and_then(|now| self.periods.get(&key, now)) {
            return Ok(kept);
        }
        let periods = load_periods(&*self.wide, walk.shard, (walk.first, walk.last), width).await?;
        if let Some(revisions) = revisions {
            let bytes = (periods.len() + 8) * size_of::<Period>() * 2;
            self.periods.keep(&key, revisions, periods.clone(), bytes);
        }
        Ok(periods)
    }

    /// Looks for what is missing in one bucket.
    async fn look_into(
        &self,
        search: &Search,
        mut bucket: BucketState,
        missing: &mut SeriesSet,
        walked: &mut Walked,
    ) -> Result<(), ReadFailure> {
        let mut retries = 0;
        loop {
            let sources = self.presence.narrow(&bucket, missing);
            if sources.is_empty() {
                return Ok(());
            }
            let mut explain = Explain { buckets: 1, retries, ..Explain::default() };
            let read = self.last_samples(&search.chosen, &bucket, (missing, &sources), &mut explain).await;
            search.bytes.fetch_add(explain.bytes_read, Ordering::Relaxed);
            match self.after(&bucket, read, retries).await? {
                After::Done(found) => {
                    walked.explain.add(&explain);
                    let names = found.iter().map(|(source, metric, _)| (*source, metric));
                    self.presence.learn(&bucket, (missing, &sources), names);
                    for (source, metric, _) in &found {
                        find(missing, *source, metric);
                    }
                    walked.found.extend(found);
                    return Ok(());
                }
                After::Again(now) => bucket = now,
            }
            retries += 1;
        }
    }

    async fn last_samples(
        &self,
        chosen: &Chosen,
        bucket: &BucketState,
        (missing, sources): (&SeriesSet, &SourceSet),
        explain: &mut Explain,
    ) -> Result<Vec<(SourceIndex, Metric, Sample)>, ReadFailure> {
        let place = bucket.place;
        let is_raw_gone = bucket.seal.is_some() && self.options.shelf().raw_expired(place.bucket);
        let live = if is_raw_gone {
            Followed::Nothing
        } else {
            self.live(bucket, Few::of(sources.iter(), &chosen.selection.metrics), explain).await?
        };
        let base = self.base(chosen, bucket, sources, explain).await?;
        let selection = || Selection { sources: sources.clone(), metrics: chosen.selection.metrics.clone() };
        self.lasts_over(bucket, (base.as_deref(), &live), (missing, selection), explain).await
    }

    /// The last samples of what is missing, of what is ground and of what is not.
    pub(super) async fn lasts_over(
        &self,
        bucket: &BucketState,
        (base, live): (Option<&Lasts>, &Followed),
        (missing, selection): (&SeriesSet, impl FnOnce() -> Selection),
        explain: &mut Explain,
    ) -> Result<Vec<(SourceIndex, Metric, Sample)>, ReadFailure> {
        let found = match live {
            Followed::Nothing => Some(lasts_of(missing, base, |_| None::<LastsOf<'_>>)),
            // It may have been given up while the base was read.
            Followed::Kept(live) => {
                live.kept().map(|live| lasts_of(missing, base, |metric| live.lasts_of(metric)))
            }
            Followed::TooMuch => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let new = self.lasts_of_segments(bucket, selection(), explain).await?;
        Ok(lasts_of(missing, base, |metric| new.of(metric)))
    }
}

/// Last samples of a metric by source.
trait BySource {
    fn last(&self, source: SourceIndex) -> Option<&Last>;
}

impl BySource for LastsOf<'_> {
    fn last(&self, source: SourceIndex) -> Option<&Last> {
        self.get(source)
    }
}

impl BySource for &HashMap<SourceIndex, Last> {
    fn last(&self, source: SourceIndex) -> Option<&Last> {
        self.get(&source)
    }
}

/// Of each series that is missing the last of its samples, ground or new.
fn lasts_of<N: BySource>(
    missing: &SeriesSet,
    base: Option<&Lasts>,
    new_of: impl Fn(&Metric) -> Option<N>,
) -> Vec<(SourceIndex, Metric, Sample)> {
    let mut found = Vec::new();
    for (metric, of_metric) in missing {
        let (ground, new) = (base.and_then(|base| base.of(metric)), new_of(metric));
        if ground.is_none() && new.is_none() {
            continue;
        }
        for source in of_metric.iter() {
            let ground = ground.and_then(|ground| ground.get(&source));
            let new = new.as_ref().and_then(|new| new.last(source));
            if let Some(last) = later(ground, new) {
                found.push((source, metric.clone(), last.sample.clone()));
            }
        }
    }
    found
}

fn later<'a>(ground: Option<&'a Last>, new: Option<&'a Last>) -> Option<&'a Last> {
    match (ground, new) {
        (Some(ground), Some(new)) => Some(if ground.is_before(new) { new } else { ground }),
        (one, other) => one.or(other),
    }
}

/// Takes a series out of those that are missing.
fn find(missing: &mut SeriesSet, source: SourceIndex, metric: &Metric) {
    if let Some(sources) = missing.get_mut(metric) {
        sources.remove(source);
        if sources.is_empty() {
            missing.remove(metric);
        }
    }
}

/// Searches through each shard of an era that may hold something of what is missing.
fn walks(
    chosen: &Chosen,
    missing: &SeriesSet,
    marked: &[BucketState],
    (era, range): (Era, TimeRange),
) -> Vec<Walk> {
    let before_end = range.end().saturating_sub(std::time::Duration::from_nanos(1));
    let (first, last) = (era.bucket(range.start()), era.bucket(before_end));
    let walk = |(shard, sources): (Shard, &Arc<super::chosen::ShardSources>)| {
        let mut of_shard = SeriesSet::new();
        for (metric, missing) in missing {
            for (_, source) in sources.sources.iter().filter(|(_, source)| missing.contains(*source)) {
                of_shard.entry(metric.clone()).or_default().insert(*source);
            }
        }
        let is_here = |bucket: &&BucketState| bucket.place.shard == shard && bucket.era == era;
        let marked = marked.iter().filter(is_here).map(|bucket| bucket.place.bucket).collect();
        (!of_shard.is_empty()).then_some(Walk { era, shard, first, last, marked, missing: of_shard })
    };
    chosen.shards(&era).filter_map(walk).collect()
}

/// The buckets of a period that a walk goes through.
fn scope(walk: &Walk, period: Period) -> Option<Scope> {
    let width = walk.era.bucket_width;
    let at = |millis: i64| {
        let nanos =
            millis.saturating_mul(1_000_000).clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos() - 1);
        Timestamp::from_nanos(nanos).ok().map(|time| walk.era.bucket(time))
    };
    let first = at(period.start_millis())?.max(walk.first);
    let last = at(period.end_of_seals_millis(width) - 1)?.min(walk.last);
    (first <= last).then_some(Scope { era: walk.era, shard: walk.shard, first, last })
}
