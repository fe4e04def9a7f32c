//! Reads the rows of the catalog that snapshots count, each once, into the index that all queries share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::ReadFailure;
use super::snapshot::BucketState;
use super::unchanged::{Unchanged, revisions};
use crate::catalog::CatalogIndex;
use crate::layout::tables::{CATALOG, WRITERS};
use crate::layout::{CatalogRow, WriterRow, load_writers};
use crate::model::{CatalogN, Shard, WriterId};
use crate::wide::{Scan, Wide};

/// Rows of the catalog in a page; they are small.
const PAGE_ROWS: u32 = 1_000;
/// Locks that keep queries from reading the same rows of the catalog at once.
const LOCKS: usize = 16;
/// Bytes of rows about writers that are kept for the next query.
const WRITERS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many rows of each log are needed.
type Needed = BTreeMap<(Shard, WriterId), CatalogN>;

/// The catalog, and where it comes from.
#[derive(Debug)]
pub(super) struct Catalogs<W> {
    wide: Arc<W>,
    index: Arc<CatalogIndex>,
    locks: [Mutex<()>; LOCKS],
    writers: Unchanged<Shard, Arc<[WriterRow]>>,
    in_flight_max: usize,
}

impl<W: Wide> Catalogs<W> {
    pub(super) fn new(wide: Arc<W>, in_flight_max: usize) -> Self {
        let writers = Unchanged::new(WRITERS_BYTES_MAX);
        Self { wide, index: Arc::default(), locks: Default::default(), writers, in_flight_max }
    }

    pub(super) fn index(&self) -> &Arc<CatalogIndex> {
        &self.index
    }

    /// Reads what the marks and seals of `buckets` count.
    pub(super) async fn learn(&self, buckets: &[BucketState]) -> Result<(), ReadFailure> {
        let mut needed = Needed::new();
        for bucket in buckets {
            let shard = bucket.place.shard;
            for mark in &bucket.marks {
                need(&mut needed, (shard, mark.writer), mark.catalog);
            }
            for (&writer, covered) in bucket.seal.iter().flat_map(|seal| &seal.covered) {
                need(&mut needed, (shard, writer), covered.catalog);
            }
        }
        self.learn_needed(needed).await
    }

    /// Reads what any seal of `shards` counts.
    pub(super) async fn learn_sealed(&self, shards: BTreeSet<Shard>) -> Result<(), ReadFailure> {
        let load = |shard| async move { Ok::<_, ReadFailure>((shard, self.writers(shard).await?)) };
        let mut writers = stream::iter(shards).map(load).buffer_unordered(self.in_flight_max);
        let mut needed = Needed::new();
        while let Some((shard, rows)) = writers.try_next().await? {
            for WriterRow { writer, catalog } in rows.iter() {
                need(&mut needed, (shard, *writer), *catalog);
            }
        }
        drop(writers);
        self.learn_needed(needed).await
    }

    async fn writers(&self, shard: Shard) -> Result<Arc<[WriterRow]>, ReadFailure> {
        let revisions = revisions(&*self.wide, &[&WRITERS]);
        if let Some(kept) = revisions.as_ref().and_then(|now| self.writers.get(&shard, now)) {
            return Ok(kept);
        }
        let writers: Arc<[WriterRow]> = load_writers(&*self.wide, shard).await?.into();
        if let Some(revisions) = revisions {
            self.writers.keep(
                &shard,
                revisions,
                Arc::clone(&writers),
                writers.len() * size_of::<WriterRow>(),
            );
        }
        Ok(writers)
    }

    async fn learn_needed(&self, mut needed: Needed) -> Result<(), ReadFailure> {
        needed.retain(|(shard, writer), needed| self.index.known(*shard, *writer) < *needed);
        stream::iter(needed.into_iter().map(Ok))
            .try_for_each_concurrent(self.in_flight_max, |((shard, writer), needed)| {
                self.learn_log(shard, writer, needed)
            })
            .await
    }

    async fn learn_log(&self, shard: Shard, writer: WriterId, needed: CatalogN) -> Result<(), ReadFailure> {
        let lock = self.locks.get(usize::from(shard.get()) % LOCKS);
        let _one_at_a_time = match lock {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        let known = self.index.known(shard, writer);
        if known >= needed {
            return Ok(());
        }
        let scan = Scan::partition(&CATALOG, CatalogRow::partition(shard))
            .within(CatalogRow::between(writer, known, needed))
            .in_pages_of(PAGE_ROWS);
        let mut from = None;
        loop {
            let page = self.wide.scan(&scan, from).await?;
            let rows: Result<Vec<CatalogRow>, _> = page.rows.iter().map(CatalogRow::from_row).collect();
            self.index.extend(shard, &rows?);
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        let known = self.index.known(shard, writer);
        if known < needed {
            return Err(ReadFailure::CatalogHole { shard, writer, known, needed });
        }
        Ok(())
    }
}

fn need(needed: &mut Needed, log: (Shard, WriterId), count: CatalogN) {
    let needed = needed.entry(log).or_default();
    *needed = count.max(*needed);
}
