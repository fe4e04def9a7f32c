//! The LSM tree: reading rows, and making commits durable.
//!
//! A partition lies in one keyspace ([`spaces`](super::spaces)) and a key carries its whole partition key. This file,
//! `spaces`, `journals`, `reclaim` and `migrate` alone name `fjall`. Keeps I1: a commit is in the journal and synced
//! before it is visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fjall::{Database, Guard, Keyspace, PersistMode};

use super::super::scan::PageFill;
use super::super::{Datum, Key, Order, Page, ReadError, Row, Scan, Table};
use super::Expired;
use super::journals::{Journals, Large};
use super::key::{self, KeyRange};
use super::migrate;
use super::open::{Claim, OpenError};
use super::options::LsmOptions;
use super::pending::{Chunk, Commit, Disk, DiskError, Encoded, Item, TableId};
use super::reclaim::Reclaimer;
use super::spaces::{Spaces, Window, disk_error};
use super::value;
use super::windows::ENDS_AT_KEY;
use crate::model::Timestamp;

/// Smallest limit of journals that the tree takes.
const JOURNAL_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// With fewer, a compaction costs a core more than it needs; see [`LsmOptions::WORKERS`].
const WORKERS_MIN: usize = 3;

/// An open tree. Fields go in this order: the claim is given up last.
pub(super) struct Tree {
    spaces: Spaces,
    database: Database,
    journals: Journals,
    claim: Claim,
    /// How many commits changed each table.
    revisions: Vec<AtomicU64>,
}

impl Tree {
    /// Opens the tree of a claimed directory with these tables.
    pub(super) fn open(
        claim: Claim,
        options: &LsmOptions,
        tables: &[&'static Table],
    ) -> Result<Self, OpenError> {
        let builder = Database::builder(claim.tree())
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes_max.max(JOURNAL_BYTES_MIN))
            .worker_threads(options.workers.max(WORKERS_MIN));
        let database = builder.open().map_err(|error| open_error(&claim, error))?;
        let spaces = Spaces::open(database.clone(), tables, options);
        let spaces = spaces.map_err(|error| open_error(&claim, error))?;
        let revisions = tables.iter().map(|_| AtomicU64::new(0)).collect();
        let journals = Journals::open(claim.tree(), &database);
        let journals = journals.map_err(|error| open_error(&claim, error))?;
        let mut tree = Self { spaces, database, journals, claim, revisions };
        if tree.claim.is_older() {
            migrate::cut_by_time(&tree.database, &tree, tables).map_err(|error| OpenError::Damaged {
                dir: tree.claim.dir().to_owned(),
                reason: error.to_string(),
            })?;
            tree.claim.renew()?;
        }
        Ok(tree)
    }

    /// The id of a table that the tree was opened with; panics for any other: a caller's bug.
    pub(super) fn id(&self, table: &Table) -> TableId {
        self.spaces.id(table)
    }

    /// Whether it can be told where `key` lies.
    pub(super) fn places(&self, table: &Table, key: &[u8]) -> bool {
        self.spaces.places(self.id(table), key)
    }

    /// The row under `key`.
    pub(super) fn row(
        &self,
        table: &'static Table,
        key: &[u8],
        clustering: Key,
    ) -> Result<Option<Row>, ReadError> {
        let Some(keyspace) = self.spaces.holding(self.id(table), key) else { return Ok(None) };
        let found = keyspace.get(key).map_err(|error| read_error(table, &error))?;
        match found {
            Some(stored) => Ok(Some(Row { clustering, cells: cells(table, key, &stored.into())? })),
            None => Ok(None),
        }
    }

    /// A page of the rows of `range`; clustering keys begin at `clustering_at` in each key.
    pub(super) fn page(&self, scan: &Scan, range: KeyRange, clustering_at: usize) -> Result<Page, ReadError> {
        // Held until the page is made: files of a keyspace that is dropped meanwhile stay as long.
        let Some(keyspace) = self.spaces.holding(self.id(scan.table), &range.start) else {
            return Ok(PageFill::new(scan).last());
        };
        let rows = within(&keyspace, range);
        match scan.order {
            Order::Ascending => page(scan, rows, clustering_at),
            Order::Descending => page(scan, rows.rev(), clustering_at),
        }
    }

    /// How many commits have changed a table.
    pub(super) fn revision(&self, table: &Table) -> u64 {
        let TableId(id) = self.id(table);
        self.revisions.get(id).map_or(0, |revision| revision.load(Ordering::Acquire))
    }

    /// Makes a commit durable and visible; what was removed from which keyspace.
    pub(super) fn commit(&self, commit: Commit) -> Result<Vec<(Keyspace, u64)>, DiskError> {
        let mut changed: Vec<TableId> = commit.items.iter().map(|item| item.table).collect();
        changed.sort_unstable_by_key(|table| table.0);
        changed.dedup();
        let done = self.write(commit);
        // After it is visible and before anybody is told: a read that began before may have missed it.
        for TableId(id) in changed {
            self.revisions.get(id).into_iter().for_each(revise);
        }
        done
    }

    fn write(&self, commit: Commit) -> Result<Vec<(Keyspace, u64)>, DiskError> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), commit.items.len())
            .durability(Some(PersistMode::SyncData));
        let (mut freed, expires) = (Vec::new(), !commit.ends.is_empty());
        for Item { table, key, value, frees } in commit.items {
            if let Some(value) = value {
                batch.insert(&self.spaces.to_hold(table, &key)?, key, value);
            } else if let Some(keyspace) = self.spaces.holding(table, &key) {
                batch.remove(&keyspace, key);
                freed.push((keyspace, u64::try_from(frees).unwrap_or(u64::MAX)));
            }
        }
        // Each once: the tree gives all items of a commit one sequence number.
        let mut raised: Vec<Arc<Window>> = Vec::new();
        for (table, key, ends_at) in commit.ends {
            let window = self.spaces.window(table, &key).filter(|window| window.raise(ends_at));
            raised.extend(window.filter(|window| !raised.iter().any(|other| Arc::ptr_eq(other, window))));
        }
        for window in raised {
            batch.insert(&window.keyspace, ENDS_AT_KEY, window.ends_at_value());
        }
        batch.commit().map_err(disk_error)?;
        if expires {
            self.spaces.bound_buffers()?;
        }
        Ok(freed)
    }

    /// Drops the windows that have expired.
    pub(super) fn expire(&self, now: Timestamp) -> Result<Expired, DiskError> {
        let expired = self.spaces.expire(now);
        self.revisions.iter().for_each(revise);
        expired
    }

    /// Makes everything durable that is not yet.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        self.database.persist(PersistMode::SyncAll).map_err(disk_error)
    }

    /// Whether flushes and compactions in the background still work. May wait for a commit under way.
    pub(super) fn examine(&self) -> Result<(), DiskError> {
        self.database.persist(PersistMode::Buffer).map_err(disk_error)
    }

    /// Has journals that are large beside the rest made small.
    pub(super) fn settle(&self, large: Large) -> Result<(), DiskError> {
        self.journals.settle(large, &self.database, &self.spaces.keyspaces())
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, DiskError> {
        let stored: u64 = self.spaces.keyspaces().iter().map(Keyspace::disk_space).sum();
        Ok(stored + self.journals.bytes()?)
    }
}

fn revise(revision: &AtomicU64) {
    revision.fetch_add(1, Ordering::Release);
}

fn within(keyspace: &Keyspace, range: KeyRange) -> fjall::Iter {
    match range.end {
        Some(end) => keyspace.range(range.start..end),
        None => keyspace.range(range.start..),
    }
}

/// What the thread that commits works on.
pub(super) struct Writer {
    pub(super) tree: Arc<Tree>,
    pub(super) reclaimer: Reclaimer,
}

impl Disk for Writer {
    fn value(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let Some(keyspace) = self.tree.spaces.holding(table, key) else { return Ok(None) };
        let found = keyspace.get(key).map_err(disk_error)?;
        Ok(found.map(Bytes::from))
    }

    fn chunk(&self, table: TableId, range: &KeyRange) -> Result<Chunk, DiskError> {
        let mut chunk = Chunk::default();
        let Some(keyspace) = self.tree.spaces.holding(table, &range.start) else { return Ok(chunk) };
        let mut bytes = 0;
        for guard in within(&keyspace, range.clone()) {
            let (key, value) = guard.into_inner().map_err(disk_error)?;
            if chunk.rows.len() == Chunk::ROWS_MAX || bytes >= Chunk::BYTES_MAX {
                chunk.rest = Some(KeyRange { start: key.to_vec(), end: range.end.clone() });
                return Ok(chunk);
            }
            bytes += value.len();
            chunk.rows.push(Encoded { key: key.into(), value: value.into() });
        }
        Ok(chunk)
    }

    fn commit(&mut self, commit: Commit) -> Result<(), DiskError> {
        for (keyspace, bytes) in self.tree.commit(commit)? {
            self.reclaimer.note(&keyspace, bytes);
        }
        self.reclaimer.settle();
        Ok(())
    }

    fn expire(&mut self, now: Timestamp) -> Result<Expired, DiskError> {
        let expired = self.tree.expire(now)?;
        self.reclaimer.forget(&expired.windows);
        Ok(expired)
    }
}

fn page(scan: &Scan, rows: impl Iterator<Item = Guard>, clustering_at: usize) -> Result<Page, ReadError> {
    let mut page = PageFill::new(scan);
    for guard in rows {
        if !page.has_room() {
            return Ok(page.cut());
        }
        let (key, value) = guard.into_inner().map_err(|error| read_error(scan.table, &error))?;
        let clustering = key::decode(scan.table.clustering, &key, clustering_at)
            .map_err(|error| ReadError::Corrupt { table: scan.table.name, reason: error.to_string() })?;
        page.push(Row { clustering, cells: cells(scan.table, &key, &value.into())? });
    }
    Ok(page.last())
}

fn cells(table: &Table, key: &[u8], value: &Bytes) -> Result<Vec<Datum>, ReadError> {
    value::decode(table.cells, key, value)
        .map_err(|error| ReadError::Corrupt { table: table.name, reason: error.to_string() })
}

fn open_error(claim: &Claim, error: fjall::Error) -> OpenError {
    let dir = claim.dir().to_owned();
    if let fjall::Error::Io(source) = error {
        OpenError::Io { path: claim.tree(), source }
    } else if matches!(error, fjall::Error::Locked) {
        OpenError::Locked { dir }
    } else {
        OpenError::Damaged { dir, reason: error.to_string() }
    }
}

fn read_error(table: &Table, error: &fjall::Error) -> ReadError {
    let reason = error.to_string();
    if matches!(error, fjall::Error::Io(_) | fjall::Error::Storage(fjall::LsmError::Io(_))) {
        ReadError::Unavailable { reason }
    } else {
        ReadError::Corrupt { table: table.name, reason }
    }
}
