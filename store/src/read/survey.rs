//! Reads the marks and then the seals of shards' buckets, and nothing else (I3). What is asked of several shards is
//! asked together: their marks, and of a period their seals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::scope::Scope;
use super::snapshot::{BucketState, Sealed};
use super::{Excess, ReadFailure, ReadLimits};
use crate::layout::tables::{MARKS, SEALS};
use crate::layout::{Bucket, BucketWidth, MarkRow, Period, Place, SealRow, load_periods};
use crate::wide::{Key, Row, Scan, Wide};

/// Marks or seals in a page; they are small.
const PAGE_ROWS: u32 = 2_000;
/// So many periods are looked into without asking which of them have seals.
const PERIODS_UNASKED_MAX: usize = 3;
/// Periods whose seals are read at once.
const PERIODS_IN_FLIGHT_MAX: usize = 4;

/// The marks of a scope.
type Marks = BTreeMap<Bucket, Vec<MarkRow>>;
/// The seals of a scope.
type Seals = BTreeMap<Bucket, SealRow>;

/// Reads for one query, which may look at so many rows in all.
#[derive(Debug)]
pub(super) struct Surveyor<'a, W> {
    wide: &'a W,
    rows: AtomicUsize,
    rows_max: usize,
}

impl<'a, W: Wide> Surveyor<'a, W> {
    pub(super) fn new(wide: &'a W, limits: &ReadLimits) -> Self {
        Self { wide, rows: AtomicUsize::new(0), rows_max: limits.marks_max }
    }

    /// The buckets with marks or seals of each scope. Scopes differ in their shards alone.
    pub(super) async fn survey(
        &self,
        scopes: &[Scope],
        sealed: Sealed,
    ) -> Result<Vec<Vec<BucketState>>, ReadFailure> {
        let taken_at = Instant::now();
        let marks = self.marks(scopes).await?;
        let seals = match sealed {
            Sealed::None => vec![BTreeMap::new(); scopes.len()],
            Sealed::All => self.seals(scopes).await?,
        };
        let of_scope = |(scope, (mut marks, mut seals)): (&Scope, (Marks, Seals))| {
            let buckets: BTreeSet<Bucket> = marks.keys().chain(seals.keys()).copied().collect();
            let state = |bucket: Bucket| BucketState {
                era: scope.era,
                place: Place { shard: scope.shard, bucket },
                marks: marks.remove(&bucket).unwrap_or_default(),
                seal: seals.remove(&bucket).map(Arc::new),
                taken_at,
            };
            buckets.into_iter().map(state).collect()
        };
        Ok(scopes.iter().zip(marks.into_iter().zip(seals)).map(of_scope).collect())
    }

    async fn marks(&self, scopes: &[Scope]) -> Result<Vec<Marks>, ReadFailure> {
        let mut all = vec![Marks::new(); scopes.len()];
        let Some(one) = scopes.first() else { return Ok(all) };
        let scan = Scan::partition(&MARKS, MarkRow::partition(one.shard))
            .within(MarkRow::between(one.first, one.last));
        let partitions: Vec<Key> = scopes.iter().map(|scope| MarkRow::partition(scope.shard)).collect();
        self.each(&scan, &partitions, |place, row| {
            let mark = MarkRow::from_row(row, one.era.bucket_width)?;
            if let Some(marks) = all.get_mut(place) {
                marks.entry(mark.bucket).or_default().push(mark);
            }
            Ok(())
        })
        .await?;
        Ok(all)
    }

    async fn seals(&self, scopes: &[Scope]) -> Result<Vec<Seals>, ReadFailure> {
        let periods = self.periods(scopes).await?;
        let mut found = stream::iter(periods)
            .map(|(period, places)| self.seals_of(scopes, period, places))
            .buffer_unordered(PERIODS_IN_FLIGHT_MAX);
        let mut all = vec![Seals::new(); scopes.len()];
        while let Some(of_period) = found.try_next().await? {
            for (place, seal) in of_period {
                if let Some(seals) = all.get_mut(place) {
                    seals.insert(seal.bucket, seal);
                }
            }
        }
        Ok(all)
    }

    /// The seals of a period in the scopes at these places, each with its scope's place.
    async fn seals_of(
        &self,
        scopes: &[Scope],
        period: Period,
        places: Vec<usize>,
    ) -> Result<Vec<(usize, SealRow)>, ReadFailure> {
        let there = places.iter().filter_map(|&place| scopes.get(place));
        let partitions: Vec<Key> = there.map(|scope| SealRow::partition(scope.shard, period)).collect();
        let (Some(one), Some(first)) = (scopes.first(), partitions.first()) else { return Ok(Vec::new()) };
        let scan = Scan::partition(&SEALS, first.clone()).within(SealRow::between(one.first, one.last));
        let mut seals = Vec::new();
        self.each(&scan, &partitions, |partition, row| {
            let seal = SealRow::from_row(row, one.era.bucket_width)?;
            seals.extend(places.get(partition).map(|&place| (place, seal)));
            Ok(())
        })
        .await?;
        Ok(seals)
    }

    /// The periods that may have seals, with the places of the scopes in which they may: a few periods are all tried,
    /// of many those are that were announced.
    async fn periods(&self, scopes: &[Scope]) -> Result<BTreeMap<Period, Vec<usize>>, ReadFailure> {
        let Some(&Scope { first, last, era, .. }) = scopes.first() else { return Ok(BTreeMap::new()) };
        let width = era.bucket_width;
        let few: Vec<Period> = periods(first, last, width).take(PERIODS_UNASKED_MAX + 1).collect();
        if few.len() <= PERIODS_UNASKED_MAX {
            return Ok(few.into_iter().map(|period| (period, (0..scopes.len()).collect())).collect());
        }
        let mut loads = Vec::with_capacity(scopes.len());
        for scope in scopes {
            loads.push(load_periods(self.wide, scope.shard, (first, last), width));
        }
        let announced = try_join_all(loads).await?;
        let mut all: BTreeMap<Period, Vec<usize>> = BTreeMap::new();
        for (place, periods) in announced.into_iter().enumerate() {
            for period in periods {
                all.entry(period).or_default().push(place);
            }
        }
        Ok(all)
    }

    /// Counts rows that are looked at, of a kept survey too.
    pub(super) fn count(&self, rows: usize) -> Result<(), ReadFailure> {
        let limit = self.rows_max;
        if self.rows.fetch_add(rows, Ordering::Relaxed) + rows > limit {
            return Err(ReadFailure::TooLarge { what: Excess::Marks, limit });
        }
        Ok(())
    }

    /// Every row of a scan of each of these partitions, with the partition's place.
    async fn each(
        &self,
        scan: &Scan,
        partitions: &[Key],
        mut take: impl FnMut(usize, &Row) -> Result<(), ReadFailure>,
    ) -> Result<(), ReadFailure> {
        let scan = scan.clone().in_pages_of(PAGE_ROWS);
        let pages = self.wide.scan_each(&scan, partitions).await?;
        for (place, (mut page, partition)) in pages.into_iter().zip(partitions).enumerate() {
            loop {
                self.count(page.rows.len())?;
                page.rows.iter().try_for_each(|row| take(place, row))?;
                let Some(next) = page.next else { break };
                page = self.wide.scan(&scan.clone().of(partition.clone()), Some(next)).await?;
            }
        }
        Ok(())
    }
}

/// The periods of seals from that of `first` to that of `last`, both included.
fn periods(first: Bucket, last: Bucket, width: BucketWidth) -> impl Iterator<Item = Period> {
    let end = Period::of_seal(last, width);
    std::iter::successors(Some(Period::of_seal(first, width)), move |period| {
        Some(period.next_of_seals(width))
    })
    .take_while(move |period| *period <= end)
}
