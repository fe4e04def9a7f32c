//! What a query goes by: the marks, then the catalog rows that they count. In this order nothing is missed (I3): a
//! segment is durable only after its mark, and a mark only after the rows that it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::scope::Scope;
use super::{Excess, ReadFailure, ReadLimits, Selector};
use crate::catalog::{CatalogIndex, Selection};
use crate::layout::tables::{CATALOG, MARKS};
use crate::layout::{Bucket, CatalogRow, Era, MarkRow, MarkState, Place};
use crate::model::{CatalogN, Seq, Shard, WriterId};
use crate::wide::{Row, Scan, Wide};

/// Rows of the catalog in a page; they are small.
const CATALOG_PAGE_ROWS: u32 = 1_000;
/// Marks in a page; they are smaller.
const MARKS_PAGE_ROWS: u32 = 2_000;
/// Locks that keep queries from reading the same rows of the catalog at once.
const CATALOG_LOCKS: usize = 16;

/// A (shard, bucket) with at least one mark.
#[derive(Debug, Clone)]
pub(super) struct MarkedBucket {
    pub(super) era: Era,
    pub(super) place: Place,
    pub(super) marks: Vec<MarkRow>,
}

impl MarkedBucket {
    /// How far each writer went, where none of them goes on.
    pub(super) fn closed_through(&self) -> Option<BTreeMap<WriterId, Seq>> {
        let closed = self.marks.iter().map(|mark| match mark.state {
            MarkState::Open => None,
            MarkState::Closed(through) => Some((mark.writer, through)),
        });
        closed.collect()
    }
}

/// What a query goes by.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// In the order of time, then of shard.
    pub(super) buckets: Vec<MarkedBucket>,
    pub(super) selection: Arc<Selection>,
}

/// Where snapshots are taken, with the catalog that all of them share.
#[derive(Debug)]
pub(super) struct Snapshots<W> {
    wide: Arc<W>,
    limits: ReadLimits,
    catalog: Arc<CatalogIndex>,
    locks: [Mutex<()>; CATALOG_LOCKS],
}

impl<W: Wide> Snapshots<W> {
    pub(super) fn new(wide: Arc<W>, limits: ReadLimits) -> Self {
        Self { wide, limits, catalog: Arc::default(), locks: Default::default() }
    }

    pub(super) fn catalog(&self) -> &Arc<CatalogIndex> {
        &self.catalog
    }

    /// Takes a snapshot of `scopes` and keeps of it what may hold samples of `selector`.
    pub(super) async fn take(
        &self,
        scopes: Vec<Scope>,
        selector: &Selector,
    ) -> Result<Snapshot, ReadFailure> {
        let mut buckets = self.marks(scopes).await?;
        self.learn(&buckets).await?;
        let selection = self.catalog.select(selector);
        let mut shards: BTreeMap<i64, BTreeSet<Shard>> = BTreeMap::new();
        buckets.retain(|bucket| {
            let era = &bucket.era;
            let of_era = shards
                .entry(era.starts_at.nanos())
                .or_insert_with(|| self.catalog.shards(&selection.sources, era));
            of_era.contains(&bucket.place.shard)
        });
        Ok(Snapshot { buckets, selection: Arc::new(selection) })
    }

    async fn marks(&self, scopes: Vec<Scope>) -> Result<Vec<MarkedBucket>, ReadFailure> {
        let count = AtomicUsize::new(0);
        let mut found = stream::iter(scopes)
            .map(|scope| self.marks_of(scope, &count))
            .buffer_unordered(self.limits.reads_in_flight_max);
        let mut buckets = Vec::new();
        while let Some(marked) = found.try_next().await? {
            buckets.extend(marked);
        }
        buckets.sort_unstable_by_key(|bucket| (bucket.place.bucket, bucket.place.shard));
        Ok(buckets)
    }

    async fn marks_of(&self, scope: Scope, count: &AtomicUsize) -> Result<Vec<MarkedBucket>, ReadFailure> {
        let scan = Scan::partition(&MARKS, MarkRow::partition(scope.shard))
            .within(MarkRow::between(scope.first, scope.last))
            .in_pages_of(MARKS_PAGE_ROWS);
        let mut by_bucket: BTreeMap<Bucket, Vec<MarkRow>> = BTreeMap::new();
        self.each_page(&scan, |rows| {
            let limit = self.limits.marks_max;
            if count.fetch_add(rows.len(), Ordering::Relaxed) + rows.len() > limit {
                return Err(ReadFailure::TooLarge { what: Excess::Marks, limit });
            }
            for row in rows {
                let mark = MarkRow::from_row(row, scope.era.bucket_width)?;
                by_bucket.entry(mark.bucket).or_default().push(mark);
            }
            Ok(())
        })
        .await?;
        let marked = by_bucket.into_iter().map(|(bucket, marks)| MarkedBucket {
            era: scope.era,
            place: Place { shard: scope.shard, bucket },
            marks,
        });
        Ok(marked.collect())
    }

    /// Reads the rows of the catalog that `buckets` count and that are not known yet.
    async fn learn(&self, buckets: &[MarkedBucket]) -> Result<(), ReadFailure> {
        let mut needed: BTreeMap<(Shard, WriterId), CatalogN> = BTreeMap::new();
        for bucket in buckets {
            for mark in &bucket.marks {
                let count = needed.entry((bucket.place.shard, mark.writer)).or_default();
                *count = mark.catalog.max(*count);
            }
        }
        needed.retain(|(shard, writer), needed| self.catalog.known(*shard, *writer) < *needed);
        stream::iter(needed.into_iter().map(Ok))
            .try_for_each_concurrent(self.limits.reads_in_flight_max, |((shard, writer), needed)| {
                self.learn_log(shard, writer, needed)
            })
            .await
    }

    async fn learn_log(&self, shard: Shard, writer: WriterId, needed: CatalogN) -> Result<(), ReadFailure> {
        let lock = self.locks.get(usize::from(shard.get()) % CATALOG_LOCKS);
        let _one_at_a_time = match lock {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        let known = self.catalog.known(shard, writer);
        if known >= needed {
            return Ok(());
        }
        let scan = Scan::partition(&CATALOG, CatalogRow::partition(shard))
            .within(CatalogRow::between(writer, known, needed))
            .in_pages_of(CATALOG_PAGE_ROWS);
        self.each_page(&scan, |rows| {
            let rows: Result<Vec<CatalogRow>, _> = rows.iter().map(CatalogRow::from_row).collect();
            self.catalog.extend(shard, &rows?);
            Ok(())
        })
        .await?;
        let known = self.catalog.known(shard, writer);
        if known < needed {
            return Err(ReadFailure::CatalogHole { shard, writer, known, needed });
        }
        Ok(())
    }

    async fn each_page(
        &self,
        scan: &Scan,
        mut take: impl FnMut(&[Row]) -> Result<(), ReadFailure>,
    ) -> Result<(), ReadFailure> {
        let mut from = None;
        loop {
            let page = self.wide.scan(scan, from).await?;
            take(&page.rows)?;
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }
}
