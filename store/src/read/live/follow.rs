//! Brings what is kept of a (shard, bucket) up to date, takes of it what a query wants, and reads again what is not
//! kept of that.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::few::Few;
use super::over::Overs;
use super::place::{Live, SERIES_BYTES};
use super::series::Grid;
use super::tails::SharedLive;
use super::unpacked::Unpacked;
use crate::catalog::{CatalogIndex, Selection, SourceSet};
use crate::layout::SegmentRow;
use crate::model::{Seq, TimeRange};
use crate::read::blocks::Runs;
use crate::read::bucket::Asked;
use crate::read::collect::{Bucket, Wanted};
use crate::read::compute::{Work, compute};
use crate::read::explain::Explain;
use crate::read::fetch::{Fetched, fetch, held};
use crate::read::lasts::{Arrival, Lasts};
use crate::read::overlay::within;
use crate::read::plan::joined;
use crate::read::reader::Reader;
use crate::read::rolled::SeriesKey;
use crate::read::snapshot::BucketState;
use crate::read::{ReadFailure, Selector};
use crate::wide::Wide;

/// How often what was asked for lately is followed between queries.
const KEEP_UP_EVERY: Duration = Duration::from_millis(50);

/// A few sources are looked for in what came since all were followed, up to so many bytes; where that is more, all are
/// followed, and the next query finds it done.
const APART_BYTES_MAX: usize = 8 * 1024 * 1024;

/// So many bytes of segments are unpacked and taken at once.
const GROUP_BYTES: usize = 64 * 1024;

/// What is kept of what no seal covers in a bucket.
#[derive(Debug)]
pub(in crate::read) enum Followed {
    /// There is nothing.
    Nothing,
    /// All of it, or the last samples; unless another query gives it up meanwhile.
    Kept(SharedLive),
    /// Nothing of it: there are too many series.
    TooMuch,
}

/// What single series need read again.
pub(in crate::read) type Missing = HashMap<SeriesKey, Vec<TimeRange>>;

impl<W: Wide> Reader<W> {
    /// What no seal covers in a bucket, up to date; of `few` sources alone where a query wants no more.
    pub(in crate::read) async fn live(
        &self,
        bucket: &BucketState,
        few: Option<Few>,
        explain: &mut Explain,
    ) -> Result<Followed, ReadFailure> {
        if bucket.marks.is_empty() {
            return Ok(Followed::Nothing);
        }
        let all = self.tails.of(bucket, self.grid(bucket));
        let Some(ends) = all.kept().map(|kept| kept.ends()) else { return Ok(Followed::TooMuch) };
        let segments = fetch(&*self.wide, &self.head, (bucket, &ends), self.limits.bucket_bytes_max).await?;
        let live = match few.filter(|_| segments.bytes <= APART_BYTES_MAX) {
            Some(few) => all.apart(Arc::new(few)),
            None => all,
        };
        self.follow_in(bucket, &live, segments, explain).await?;
        Ok(if live.kept().is_some() { Followed::Kept(live) } else { Followed::TooMuch })
    }

    /// Which windows are folded: the finest that are made, where they fit the bucket.
    fn grid(&self, bucket: &BucketState) -> Option<Grid> {
        let fits = |resolution: &&crate::layout::Resolution| resolution.divides(bucket.era.bucket_width);
        let resolution = self.options.resolutions.iter().filter(fits).min().copied()?;
        Some(Grid { bucket: bucket.place.bucket, resolution, folded_from: self.limits.folded_from })
    }

    async fn follow_in(
        &self,
        bucket: &BucketState,
        live: &SharedLive,
        segments: Fetched,
        explain: &mut Explain,
    ) -> Result<(), ReadFailure> {
        if segments.bytes == 0 {
            return Ok(());
        }
        let (catalog, of, shared) = (Arc::clone(self.catalog()), bucket.clone(), live.clone());
        let work = Work::Decode(segments_bytes(bucket, live, &segments));
        let share = self.tails.share();
        let job = move || take_all((&catalog, &of), (&shared, share), segments.rows());
        let (taken, bytes) = compute(work, job).await??;
        if taken > 0 {
            explain.segments_merged += taken;
            explain.bytes_read += bytes;
            explain.raw = true;
            self.tails.measure(bucket.place, live);
        }
        Ok(())
    }

    /// Reads the catalog, which takes seconds where it is large, so that the first query finds it; then follows the
    /// segments that this process writes to what was asked for lately, so that the next query finds little to do.
    /// Never ends; from then on it costs nothing while nobody asks.
    pub async fn keep_up(&self) {
        // What fails here fails the query that needs it.
        let _known = self.snapshot_of_marks(&Selector::default()).await;
        loop {
            let warm = self.tails.warm();
            if warm.is_empty() {
                self.tails.asked.notified().await;
            }
            for (bucket, live) in warm {
                let Some(ends) = live.kept().map(|kept| kept.ends()) else { continue };
                let segments = held(&self.head, (&bucket, &ends));
                // What fails here fails the query that needs it.
                let _ = self.follow_in(&bucket, &live, segments, &mut Explain::default()).await;
            }
            tokio::time::sleep(KEEP_UP_EVERY).await;
        }
    }

    /// What is over the ground of a bucket in the range and of the series that are asked for.
    pub(in crate::read) async fn overs(
        &self,
        bucket: &BucketState,
        asked: &Asked,
        explain: &mut Explain,
    ) -> Result<Overs, ReadFailure> {
        let sources = asked.chosen.of(bucket);
        let wanted = sources.sources.iter().map(|(_, source)| *source);
        let live = match self.live(bucket, Few::of(wanted, &asked.chosen.selection.metrics), explain).await {
            Ok(Followed::Kept(live)) => live,
            Ok(Followed::Nothing) => return Ok(Overs::new()),
            // Or a segment is damaged, which may lie outside of what is asked for.
            Ok(Followed::TooMuch) | Err(ReadFailure::Segment { .. }) => {
                return self.all_overs(bucket, asked, explain).await;
            }
            Err(failure) => return Err(failure),
        };
        let asked_of = asked.clone();
        let work = Work::Decode(sources.sources.len() * SERIES_BYTES);
        let overs =
            compute(work, move || live.lock().overs(&asked_of.chosen.selection, &sources, asked_of.range));
        if let Some(overs) = overs.await? {
            explain.raw |= !overs.is_empty();
            return Ok(overs);
        }
        // Too much to be kept, now at least: another query may have made it less since.
        self.all_overs(bucket, asked, explain).await
    }

    /// The same from all segments.
    async fn all_overs(
        &self,
        bucket: &BucketState,
        asked: &Asked,
        explain: &mut Explain,
    ) -> Result<Overs, ReadFailure> {
        let runs = self.collected(bucket, asked, (&asked.chosen.selection, &[asked.range]), explain).await?;
        Ok(runs.into_iter().map(|(series, run)| (series, run.into())).collect())
    }

    /// Reads what is missing from the segments of a bucket, and nothing else.
    pub(in crate::read) async fn reread(
        &self,
        bucket: &BucketState,
        asked: &Asked,
        missing: &Missing,
        explain: &mut Explain,
    ) -> Result<Runs, ReadFailure> {
        if missing.is_empty() {
            return Ok(Runs::new());
        }
        let mut sources = SourceSet::default();
        missing.keys().for_each(|(source, _)| {
            sources.insert(*source);
        });
        let mut ranges: Vec<TimeRange> = missing.values().flatten().copied().collect();
        ranges.sort_unstable_by_key(TimeRange::start);
        let selection = Selection { sources, metrics: asked.chosen.selection.metrics.clone() };
        let mut runs = self.collected(bucket, asked, (&selection, &joined(ranges)), explain).await?;
        runs.retain(|series, run| {
            *run = within(run, missing.get(series).map(Vec::as_slice).unwrap_or_default());
            !run.is_empty()
        });
        Ok(runs)
    }

    /// The last samples of the selected series that no seal covers, from the segments.
    pub(in crate::read) async fn lasts_of_segments(
        &self,
        bucket: &BucketState,
        selection: Selection,
        explain: &mut Explain,
    ) -> Result<Lasts, ReadFailure> {
        let all = super::Ends::new();
        let segments = fetch(&*self.wide, &self.head, (bucket, &all), self.limits.bucket_bytes_max).await?;
        let wanted = Wanted { selection: Arc::new(selection), ranges: vec![TimeRange::ALL] };
        let (catalog, place) = (Arc::clone(self.catalog()), bucket.place);
        let lasts = compute(Work::Decode(segments.bytes), move || {
            let bucket = Bucket { place, catalog: &catalog, segments: &segments };
            let collected = bucket.last_of(&wanted)?;
            let mut lasts = Lasts::default();
            for (source, metric, last) in collected.table.into_each() {
                if let Some(last) = last {
                    lasts.put(source, &metric, last, Arrival::Uncovered);
                }
            }
            Ok::<_, ReadFailure>((lasts, collected.segments, collected.bytes))
        });
        let (lasts, segments, bytes) = lasts.await??;
        explain.segments_merged += segments;
        explain.bytes_read += bytes;
        explain.raw = true;
        Ok(lasts)
    }

    /// The samples in ascending ranges that no seal covers, from the segments.
    async fn collected(
        &self,
        bucket: &BucketState,
        asked: &Asked,
        (selection, ranges): (&Selection, &[TimeRange]),
        explain: &mut Explain,
    ) -> Result<Runs, ReadFailure> {
        let all = super::Ends::new();
        let segments = fetch(&*self.wide, &self.head, (bucket, &all), self.limits.bucket_bytes_max).await?;
        let wanted = Wanted { selection: Arc::new(selection.clone()), ranges: ranges.to_vec() };
        let (catalog, place, budget) = (Arc::clone(self.catalog()), bucket.place, Arc::clone(&asked.budget));
        let collected = compute(Work::Decode(segments.bytes), move || {
            let bucket = Bucket { place, catalog: &catalog, segments: &segments };
            let collected = bucket.collect(&wanted, &budget)?;
            let runs: Runs = collected.table.settle().collect();
            Ok::<_, ReadFailure>((runs, collected.segments, collected.bytes))
        });
        let (runs, segments, bytes) = collected.await??;
        explain.segments_merged += segments;
        explain.bytes_read += bytes;
        explain.raw = true;
        Ok(runs)
    }
}

fn covered(bucket: &BucketState, row: &SegmentRow) -> Seq {
    Seq::new(bucket.covered(row.writer).segments)
}

/// Bytes of the segments that following would look at.
fn segments_bytes(bucket: &BucketState, live: &SharedLive, segments: &Fetched) -> usize {
    let live = live.lock();
    segments.rows().filter(|row| !live.has(row, covered(bucket, row))).map(|row| row.body.len()).sum()
}

/// Takes segments a group at a time, so that others need not wait for all of them; ends where that is too much to be
/// kept.
fn take_all<'a>(
    (catalog, bucket): (&CatalogIndex, &BucketState),
    (live, bytes_max): (&SharedLive, usize),
    rows: impl Iterator<Item = &'a SegmentRow>,
) -> Result<(usize, usize), ReadFailure> {
    let (mut taken, mut bytes, place) = (0, 0, bucket.place);
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let Some((group, few)) = live.kept().map(|live| (next_group((&live, bucket), &mut rows), live.few()))
        else {
            break;
        };
        let mut unpacked = Vec::with_capacity(group.len());
        for row in group {
            let failed = |source| ReadFailure::Segment { place, writer: row.writer, seq: row.seq, source };
            unpacked.extend(Unpacked::of(row, (catalog, place.shard), few.as_deref()).map_err(failed)?);
        }
        let Some(mut live) = live.kept() else { break };
        let took = live.take(&unpacked, |row| covered(bucket, row));
        live.bound(bytes_max);
        drop(live);
        taken += took.len();
        bytes += took.iter().map(|row| row.body.len()).sum::<usize>();
    }
    Ok((taken, bytes))
}

/// Segments that were not taken yet, as many as are unpacked at once.
fn next_group<'a>(
    (live, bucket): (&Live, &BucketState),
    rows: &mut impl Iterator<Item = &'a SegmentRow>,
) -> Vec<&'a SegmentRow> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    for row in rows.filter(|row| !live.has(row, covered(bucket, row))) {
        group.push(row);
        bytes += row.body.len();
        if bytes >= GROUP_BYTES {
            break;
        }
    }
    group
}
