//! What a query goes by: the marks, then the seals, then the catalog rows that both count. In this order nothing is
//! missed (I3): a segment is durable only after its mark, a mark only after the rows that it counts, and a mark is
//! deleted only after a seal that covers it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::learn::Catalogs;
use super::scope::Scope;
use super::survey::Surveyor;
use super::unchanged::{Unchanged, revisions};
use super::{ReadFailure, ReadLimits, Selector};
use crate::catalog::{CatalogIndex, Selection};
use crate::layout::tables::{MARKS, PERIODS, SEALS};
use crate::layout::{Covered, Era, MarkRow, MarkState, Period, Place, SealRow};
use crate::model::{Generation, Seq, Shard, WriterId};
use crate::wide::Wide;

/// Bytes of marks and seals that are kept for the next query.
const SURVEYS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Shards that are asked about together.
const SHARDS_AT_ONCE: usize = 16;
/// What keeping a survey takes beside its buckets.
const SURVEY_BYTES: usize = 256;

/// A (shard, bucket) with a mark or a seal.
#[derive(Debug, Clone)]
pub(super) struct BucketState {
    pub(super) era: Era,
    pub(super) place: Place,
    pub(super) marks: Vec<MarkRow>,
    pub(super) seal: Option<Arc<SealRow>>,
    /// When its marks were about to be read.
    pub(super) taken_at: Instant,
}

impl BucketState {
    /// How far each writer went, where none of them goes on.
    pub(super) fn closed_through(&self) -> Option<BTreeMap<WriterId, Seq>> {
        let closed = self.marks.iter().map(|mark| match mark.state {
            MarkState::Open => None,
            MarkState::Closed(through) => Some((mark.writer, through)),
        });
        closed.collect()
    }

    /// The generation whose blocks and frames are in force.
    pub(super) fn generation(&self) -> Option<Generation> {
        self.seal.as_ref().map(|seal| seal.generation)
    }

    /// How many marks and seals.
    fn rows(&self) -> usize {
        self.marks.len() + usize::from(self.seal.is_some())
    }

    /// About how many bytes it takes.
    fn size_bytes(&self) -> usize {
        let covered = self.seal.as_ref().map_or(0, |seal| seal.covered.len());
        let of_seal = size_of::<SealRow>() + covered * 2 * size_of::<(WriterId, Covered)>();
        size_of::<Self>() + self.marks.len() * size_of::<MarkRow>() + of_seal
    }

    /// What the seal covers of `writer`.
    pub(super) fn covered(&self, writer: WriterId) -> Covered {
        self.seal.as_ref().and_then(|seal| seal.covered.get(&writer)).copied().unwrap_or_default()
    }
}

/// Which seals are read along with the marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sealed {
    /// All in scope.
    All,
    /// None.
    None,
}

/// What a query goes by.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// In the order of time, then of shard.
    pub(super) buckets: Vec<BucketState>,
    pub(super) selection: Arc<Selection>,
}

/// Where snapshots are taken, with the catalog that all of them share.
#[derive(Debug)]
pub(super) struct Snapshots<W> {
    wide: Arc<W>,
    limits: ReadLimits,
    catalogs: Catalogs<W>,
    surveys: Unchanged<(Scope, Sealed), Arc<[BucketState]>>,
}

impl<W: Wide> Snapshots<W> {
    pub(super) fn new(wide: Arc<W>, limits: ReadLimits) -> Self {
        let catalogs = Catalogs::new(Arc::clone(&wide), limits.reads_in_flight_max);
        Self { wide, limits, catalogs, surveys: Unchanged::new(SURVEYS_BYTES_MAX) }
    }

    pub(super) fn catalog(&self) -> &Arc<CatalogIndex> {
        self.catalogs.index()
    }

    /// Takes a snapshot of `scopes` and keeps of it what may hold samples of `selector`.
    pub(super) async fn take(
        &self,
        scopes: Vec<Scope>,
        selector: &Selector,
    ) -> Result<Snapshot, ReadFailure> {
        let buckets = self.survey(scopes, Sealed::All).await?;
        Ok(self.select(buckets, selector))
    }

    /// Takes a snapshot of all marks in `scopes`, knowing every source there is; seals are left to be read later,
    /// bucket by bucket.
    pub(super) async fn take_marks(
        &self,
        scopes: Vec<Scope>,
        selector: &Selector,
    ) -> Result<Snapshot, ReadFailure> {
        let shards: BTreeSet<Shard> = scopes.iter().map(|scope| scope.shard).collect();
        let buckets = self.survey(scopes, Sealed::None).await?;
        self.catalogs.learn_sealed(shards).await?;
        Ok(self.select(buckets, selector))
    }

    fn select(&self, mut buckets: Vec<BucketState>, selector: &Selector) -> Snapshot {
        let catalog = self.catalog();
        let selection = catalog.select(selector);
        let mut shards: BTreeMap<i64, BTreeSet<Shard>> = BTreeMap::new();
        buckets.retain(|bucket| {
            let era = &bucket.era;
            let of_era = shards
                .entry(era.starts_at.nanos())
                .or_insert_with(|| catalog.shards(&selection.sources, era));
            of_era.contains(&bucket.place.shard)
        });
        Snapshot { buckets, selection: Arc::new(selection) }
    }

    /// Every bucket in `scopes` with a mark or a seal, in the order of time, then of shard. All sources that they
    /// need are known then.
    pub(super) async fn survey(
        &self,
        scopes: Vec<Scope>,
        sealed: Sealed,
    ) -> Result<Vec<BucketState>, ReadFailure> {
        let surveyor = Surveyor::new(&*self.wide, &self.limits);
        let taken_at = Instant::now();
        // In the order in which they are read: marks first.
        let revisions = revisions(&*self.wide, &[&MARKS, &PERIODS, &SEALS]);
        let mut buckets = Vec::new();
        let mut unknown = Vec::new();
        for scope in scopes {
            let kept = revisions.as_ref().and_then(|now| self.surveys.get(&(scope, sealed), now));
            match kept {
                Some(kept) => {
                    surveyor.count(kept.iter().map(BucketState::rows).sum())?;
                    buckets.extend(kept.iter().map(|bucket| BucketState { taken_at, ..bucket.clone() }));
                }
                None => unknown.push(scope),
            }
        }
        let alike = unknown.chunk_by(Scope::differs_in_shard);
        let together: Vec<Vec<Scope>> =
            alike.flat_map(|alike| alike.chunks(SHARDS_AT_ONCE)).map(<[Scope]>::to_vec).collect();
        let survey = async |scopes: Vec<Scope>| {
            let found = surveyor.survey(&scopes, sealed).await?;
            Ok::<_, ReadFailure>((scopes, found))
        };
        let mut found = stream::iter(together).map(survey).buffer_unordered(self.limits.reads_in_flight_max);
        while let Some((scopes, of_scopes)) = found.try_next().await? {
            for (scope, of_scope) in scopes.into_iter().zip(of_scopes) {
                if let Some(revisions) = &revisions {
                    let bytes = of_scope.iter().map(BucketState::size_bytes).sum::<usize>() + SURVEY_BYTES;
                    self.surveys.keep(&(scope, sealed), revisions.clone(), of_scope.clone().into(), bytes);
                }
                buckets.extend(of_scope);
            }
        }
        drop(found);
        buckets.sort_unstable_by_key(|bucket| (bucket.place.bucket, bucket.place.shard));
        self.catalogs.learn(&buckets).await?;
        Ok(buckets)
    }

    /// One bucket as it is now.
    pub(super) async fn bucket(&self, era: Era, place: Place) -> Result<BucketState, ReadFailure> {
        let scope = Scope { era, shard: place.shard, first: place.bucket, last: place.bucket };
        let found = self.survey(vec![scope], Sealed::All).await?.pop();
        let nothing = || BucketState { era, place, marks: Vec::new(), seal: None, taken_at: Instant::now() };
        Ok(found.unwrap_or_else(nothing))
    }

    /// The seal of a bucket that is in force now.
    pub(super) async fn seal(&self, era: Era, place: Place) -> Result<Option<SealRow>, ReadFailure> {
        let period = Period::of_seal(place.bucket, era.bucket_width);
        let partition = SealRow::partition(place.shard, period);
        let row = self.wide.get(&SEALS, &partition, &SealRow::key(place.bucket)).await?;
        Ok(row.map(|row| SealRow::from_row(&row, era.bucket_width)).transpose()?)
    }
}
