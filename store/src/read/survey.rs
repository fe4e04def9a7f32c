//! Reads the marks and then the seals of a shard's buckets, and nothing else (I3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::scope::Scope;
use super::snapshot::{BucketState, Sealed};
use super::{Excess, ReadFailure, ReadLimits};
use crate::layout::tables::{MARKS, SEALS};
use crate::layout::{Bucket, BucketWidth, MarkRow, Period, Place, SealRow, load_periods};
use crate::wide::{Row, Scan, Wide};

/// Marks or seals in a page; they are small.
const PAGE_ROWS: u32 = 2_000;
/// So many periods are looked into without asking which of them have seals.
const PERIODS_UNASKED_MAX: usize = 3;
/// Periods of one shard whose seals are read at once.
const PERIODS_IN_FLIGHT_MAX: usize = 4;

/// Seals to read: those of the buckets from `first` to `last`, both included, which lie in `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    period: Period,
    first: Bucket,
    last: Bucket,
}

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

    /// The buckets of a shard with marks or seals.
    pub(super) async fn survey(&self, scope: Scope, sealed: Sealed) -> Result<Vec<BucketState>, ReadFailure> {
        let taken_at = Instant::now();
        let mut marks = self.marks(scope).await?;
        let parts = match sealed {
            Sealed::None => Vec::new(),
            Sealed::All => self.parts(scope).await?,
        };
        let mut seals = self.seals(scope, parts).await?;
        let buckets: BTreeSet<Bucket> = marks.keys().chain(seals.keys()).copied().collect();
        let state = |bucket: Bucket| BucketState {
            era: scope.era,
            place: Place { shard: scope.shard, bucket },
            marks: marks.remove(&bucket).unwrap_or_default(),
            seal: seals.remove(&bucket).map(Arc::new),
            taken_at,
        };
        Ok(buckets.into_iter().map(state).collect())
    }

    async fn marks(&self, scope: Scope) -> Result<BTreeMap<Bucket, Vec<MarkRow>>, ReadFailure> {
        let scan = Scan::partition(&MARKS, MarkRow::partition(scope.shard))
            .within(MarkRow::between(scope.first, scope.last));
        let mut by_bucket: BTreeMap<Bucket, Vec<MarkRow>> = BTreeMap::new();
        self.each(scan, |row| {
            let mark = MarkRow::from_row(row, scope.era.bucket_width)?;
            by_bucket.entry(mark.bucket).or_default().push(mark);
            Ok(())
        })
        .await?;
        Ok(by_bucket)
    }

    async fn seals(&self, scope: Scope, parts: Vec<Part>) -> Result<BTreeMap<Bucket, SealRow>, ReadFailure> {
        let mut found = stream::iter(parts)
            .map(|part| self.seals_of(scope, part))
            .buffer_unordered(PERIODS_IN_FLIGHT_MAX);
        let mut seals = BTreeMap::new();
        while let Some(of_part) = found.try_next().await? {
            seals.extend(of_part.into_iter().map(|seal| (seal.bucket, seal)));
        }
        Ok(seals)
    }

    async fn seals_of(&self, scope: Scope, part: Part) -> Result<Vec<SealRow>, ReadFailure> {
        let scan = Scan::partition(&SEALS, SealRow::partition(scope.shard, part.period))
            .within(SealRow::between(part.first, part.last));
        let mut seals = Vec::new();
        self.each(scan, |row| {
            seals.push(SealRow::from_row(row, scope.era.bucket_width)?);
            Ok(())
        })
        .await?;
        Ok(seals)
    }

    /// Where seals of a scope may be: a few periods are all tried, of many those are that were announced.
    async fn parts(&self, scope: Scope) -> Result<Vec<Part>, ReadFailure> {
        let (Scope { shard, first, last, .. }, width) = (scope, scope.era.bucket_width);
        let part = |period| Part { period, first, last };
        let few: Vec<Period> = periods(first, last, width).take(PERIODS_UNASKED_MAX + 1).collect();
        if few.len() <= PERIODS_UNASKED_MAX {
            return Ok(few.into_iter().map(part).collect());
        }
        let announced = load_periods(self.wide, shard, (first, last), width).await?;
        Ok(announced.into_iter().map(part).collect())
    }

    /// Counts rows that are looked at, of a kept survey too.
    pub(super) fn count(&self, rows: usize) -> Result<(), ReadFailure> {
        let limit = self.rows_max;
        if self.rows.fetch_add(rows, Ordering::Relaxed) + rows > limit {
            return Err(ReadFailure::TooLarge { what: Excess::Marks, limit });
        }
        Ok(())
    }

    async fn each(
        &self,
        scan: Scan,
        mut take: impl FnMut(&Row) -> Result<(), ReadFailure>,
    ) -> Result<(), ReadFailure> {
        let scan = scan.in_pages_of(PAGE_ROWS);
        let mut from = None;
        loop {
            let page = self.wide.scan(&scan, from).await?;
            self.count(page.rows.len())?;
            page.rows.iter().try_for_each(&mut take)?;
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
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
