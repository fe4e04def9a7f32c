//! Samples handed on as they come out of their blocks: series by series in each bucket, bucket by bucket in the order
//! of time, shards at once. Whoever needs only what can be made of them piece by piece asks here, and no query holds
//! more than a bucket of a shard at a time (I6).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;

use super::blocks::{Runs, block_runs};
use super::bucket::{Asked, Loaded};
use super::chosen::Chosen;
use super::collect::Budget;
use super::compute::{Work, compute};
use super::explain::Explain;
use super::named::named;
use super::overlay::overlay;
use super::reader::Reader;
use super::snapshot::{BucketState, Snapshot};
use super::{Excess, Explained, ReadFailure, Selector};
use crate::catalog::{CatalogIndex, SourceIndex};
use crate::codec::block::{Limits, Pack, Scratch};
use crate::codec::{Piece, Run};
use crate::layout::BlockRow;
use crate::model::{Metric, Shard, Source, SourceId, TimeRange};
use crate::wide::Wide;

/// Takes the samples of one series.
pub trait Taker: Send + 'static {
    /// Takes samples that are later than all that it took before; never none.
    fn take(&mut self, piece: &Piece<'_>);
}

/// Where takers come from.
pub trait Takers: Send + Sync + 'static {
    /// What takes the samples of a series.
    type Taker: Taker;

    /// A taker for a series that has samples; `None` where they are not wanted.
    ///
    /// # Errors
    ///
    /// More of something than a query may have: it ends with [`ReadFailure::TooLarge`].
    fn begin(&self, source: &Source, metric: &Metric) -> Result<Option<Self::Taker>, (Excess, usize)>;
}

/// A series that was taken.
#[derive(Debug, Clone)]
pub struct Taken<T> {
    /// Whose.
    pub source: Arc<Source>,
    /// Of what.
    pub metric: Metric,
    /// What took it.
    pub taker: T,
}

/// The takers of a source, by metric; none for what is not wanted.
type OfSource<T> = Vec<(Metric, Option<T>)>;

/// The takers of each source.
type Takings<T> = HashMap<SourceIndex, OfSource<T>>;

impl<W: Wide> Reader<W> {
    /// Hands the samples in `range` to takers, each series to its own. Series by tenant, device, tags and metric, those
    /// without samples left out. Where samples have expired, [`Explain::expired_before`] says so.
    pub async fn taken<S: Takers>(
        &self,
        selector: &Selector,
        range: TimeRange,
        takers: Arc<S>,
    ) -> Result<Explained<Vec<Taken<S::Taker>>>, ReadFailure> {
        let snapshot = self.snapshot(selector, range).await?;
        let eras = snapshot.buckets.iter().map(|bucket| bucket.era);
        let chosen = Arc::new(Chosen::new(self.catalog(), Arc::clone(&snapshot.selection), eras));
        self.taken_by(snapshot, chosen, (range, takers)).await
    }

    /// The samples of what a snapshot holds.
    pub(super) async fn taken_by<S: Takers>(
        &self,
        snapshot: Snapshot,
        chosen: Arc<Chosen>,
        (range, takers): (TimeRange, Arc<S>),
    ) -> Result<Explained<Vec<Taken<S::Taker>>>, ReadFailure> {
        let asked = Asked { chosen, range, budget: Arc::new(Budget::new(self.limits)) };
        let (mut all, mut explain) = (Takings::new(), Explain::default());
        for shards in by_era_and_shard(snapshot.buckets) {
            let mut walks = Vec::new();
            for buckets in shards {
                let sources = buckets.first().map(|bucket| asked.chosen.of(bucket)).unwrap_or_default();
                let of_shard = sources.sources.iter().filter_map(|(_, source)| all.remove_entry(source));
                walks.push((buckets, of_shard.collect::<Takings<S::Taker>>()));
            }
            let mut walked = stream::iter(walks)
                .map(|(buckets, own)| self.take_shard(buckets, own, (asked.clone(), Arc::clone(&takers))))
                .buffer_unordered(self.limits.buckets_in_flight_max);
            while let Some((own, of_shard)) = walked.try_next().await? {
                explain.add(&of_shard);
                all.extend(own);
            }
        }
        let catalog = Arc::clone(self.catalog());
        let answer = compute(Work::Sort(all.len()), move || {
            let of_source = |(source, of_source): (SourceIndex, OfSource<S::Taker>)| {
                of_source.into_iter().filter_map(move |(metric, taker)| Some((source, metric, taker?)))
            };
            let named = named(&catalog, all.into_iter().flat_map(of_source)).into_iter();
            named.map(|(source, metric, taker)| Taken { source, metric, taker }).collect()
        });
        Ok(Explained { answer: answer.await?, explain })
    }

    /// Hands on what the buckets of a shard hold.
    async fn take_shard<S: Takers>(
        &self,
        buckets: Vec<BucketState>,
        mut own: Takings<S::Taker>,
        (asked, takers): (Asked, Arc<S>),
    ) -> Result<(Takings<S::Taker>, Explain), ReadFailure> {
        let mut explain = Explain::default();
        for bucket in buckets {
            let (loaded, of_bucket) = self.load(bucket, &asked).await?;
            explain.add(&of_bucket);
            let (asked, takers, catalog) = (asked.clone(), Arc::clone(&takers), Arc::clone(self.catalog()));
            own = compute(loaded.work(), move || {
                let mut giving =
                    Giving { catalog: &catalog, takers: &*takers, own, scratch: Scratch::default() };
                giving.give(loaded, &asked)?;
                Ok::<_, ReadFailure>(giving.own)
            })
            .await??;
        }
        Ok((own, explain))
    }
}

/// Eras in the order of time, in each its shards, in each its buckets in the order of time.
fn by_era_and_shard(buckets: Vec<BucketState>) -> Vec<Vec<Vec<BucketState>>> {
    let mut eras: BTreeMap<i64, BTreeMap<Shard, Vec<BucketState>>> = BTreeMap::new();
    for bucket in buckets {
        let of_era = eras.entry(bucket.era.starts_at.nanos()).or_default();
        of_era.entry(bucket.place.shard).or_default().push(bucket);
    }
    eras.into_values().map(|shards| shards.into_values().collect()).collect()
}

/// The takers of a shard at work.
struct Giving<'a, S: Takers> {
    catalog: &'a CatalogIndex,
    takers: &'a S,
    own: Takings<S::Taker>,
    scratch: Scratch,
}

impl<S: Takers> Giving<'_, S> {
    fn give(&mut self, loaded: Loaded, asked: &Asked) -> Result<(), ReadFailure> {
        let Loaded { bucket, mut uncovered, rows, sources } = loaded;
        for rows in rows.chunk_by(|a, b| a.first_source == b.first_source) {
            if let [row] = rows {
                self.give_pack(&bucket, row, (&sources.sources, asked), &mut uncovered)?;
                continue;
            }
            // The parts of one source that is too large for one row.
            for (series, run) in block_runs(&bucket, rows, &sources.sources, asked, &asked.budget)? {
                self.give_series(series.0, &series.1, run, &mut uncovered)?;
            }
        }
        for ((source, metric), run) in std::mem::take(&mut uncovered) {
            self.give_series(source, &metric, run, &mut uncovered)?;
        }
        Ok(())
    }

    fn give_pack(
        &mut self,
        bucket: &BucketState,
        row: &BlockRow,
        (sources, asked): (&[(SourceId, SourceIndex)], &Asked),
        uncovered: &mut Runs,
    ) -> Result<(), ReadFailure> {
        let damaged = |source| ReadFailure::Block { place: bucket.place, source };
        let start = sources.partition_point(|(id, _)| *id < row.first_source);
        let end = sources.partition_point(|(id, _)| *id <= row.last_source);
        let wanted = sources.get(start..end).unwrap_or_default();
        if wanted.is_empty() {
            return Ok(());
        }
        let pack = Pack::decode(row.body.clone(), Limits::DEFAULT).map_err(damaged)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        for (id, source) in wanted {
            let Some(position) = pack.position(*id) else { continue };
            for (series, metric) in pack.metrics(position).enumerate() {
                if !asked.chosen.selection.wants(metric.as_str()) {
                    continue;
                }
                if uncovered.is_empty() {
                    let piece = pack.piece_at(position, series, asked.range, &mut scratch);
                    if let Some(piece) = piece.map_err(damaged)? {
                        self.give_piece(*source, metric, &piece)?;
                    }
                } else if let Some(run) = pack.run_at(position, series, asked.range).map_err(damaged)? {
                    self.give_series(*source, metric, run, uncovered)?;
                }
            }
        }
        self.scratch = scratch;
        Ok(())
    }

    /// Gives the samples of a series in a bucket, with what is uncovered laid over them.
    fn give_series(
        &mut self,
        source: SourceIndex,
        metric: &Metric,
        base: Run,
        uncovered: &mut Runs,
    ) -> Result<(), ReadFailure> {
        let over = if uncovered.is_empty() { None } else { uncovered.remove(&(source, metric.clone())) };
        let run = match over {
            Some(over) => overlay(base, &over),
            None => base,
        };
        self.give_piece(source, metric, &Piece::from(&run))
    }

    fn give_piece(
        &mut self,
        source: SourceIndex,
        metric: &Metric,
        piece: &Piece<'_>,
    ) -> Result<(), ReadFailure> {
        if piece.is_empty() {
            return Ok(());
        }
        let of_source = self.own.entry(source).or_default();
        let known = of_source.iter().position(|(known, _)| known == metric);
        let place = known.unwrap_or(of_source.len());
        if known.is_none() {
            let named = self.catalog.sources(std::iter::once(source)).pop().flatten();
            let taker = named.map_or(Ok(None), |named| self.takers.begin(&named, metric));
            let taker = taker.map_err(|(what, limit)| ReadFailure::TooLarge { what, limit })?;
            of_source.push((metric.clone(), taker));
        }
        if let Some((_, Some(taker))) = of_source.get_mut(place) {
            taker.take(piece);
        }
        Ok(())
    }
}
