//! The LSM tree: the only file that names `fjall`.
//!
//! Each table has a keyspace of its own, named like the table. A partition lies in one keyspace and a key carries
//! its whole partition key, so a table can be cut by time later without touching its keys: a keyspace
//! `TABLE@WINDOW` for each window of its partitions' time, chosen by the partition alone, and retention then drops
//! whole keyspaces. Keeps I1: a commit is in the journal and synced before it is visible.

use bytes::Bytes;
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use hashbrown::HashMap;

use super::super::scan::PageFill;
use super::super::{Datum, Key, Order, Page, ReadError, Row, Scan, Table, Workload};
use super::key::{self, KeyRange};
use super::open::{Claim, OpenError};
use super::options::LsmOptions;
use super::pending::{Chunk, Disk, DiskError, Encoded, Item, TableId};
use super::value;

/// From this many bytes on, a row is kept apart from its key, so that compaction moves keys and not bodies (a fifth
/// less CPU and a third less disk traffic at 64 KiB). Smaller ones lie beside their neighbours: scans read twice
/// as many a second.
const BODY_BYTES_MIN: u32 = 4096;

/// Smallest limit of journals that the tree takes.
const JOURNAL_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// An open tree. Fields go in this order: the claim is given up last.
pub(super) struct Tree {
    keyspaces: Vec<Keyspace>,
    ids: HashMap<&'static str, TableId>,
    database: Database,
    claim: Claim,
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
            .worker_threads(options.workers.max(2));
        let database = builder.open().map_err(|error| open_error(&claim, error))?;
        let mut tree = Self { keyspaces: Vec::new(), ids: HashMap::new(), database, claim };
        for table in tables {
            let create = || keyspace_options(table, options);
            let keyspace = tree.database.keyspace(table.name, create);
            let keyspace = keyspace.map_err(|error| open_error(&tree.claim, error))?;
            tree.ids.insert(table.name, TableId(tree.keyspaces.len()));
            tree.keyspaces.push(keyspace);
        }
        Ok(tree)
    }

    /// The id of a table that the tree was opened with; panics for any other: a caller's bug.
    pub(super) fn id(&self, table: &Table) -> TableId {
        let id = self.ids.get(table.name).copied();
        assert!(id.is_some(), "the store was opened without the table {}", table.name);
        id.unwrap_or(TableId(0))
    }

    /// The row under `key`.
    pub(super) fn row(
        &self,
        table: &'static Table,
        key: &[u8],
        clustering: Key,
    ) -> Result<Option<Row>, ReadError> {
        let found = self.keyspace(self.id(table)).get(key).map_err(|error| read_error(table, &error))?;
        match found {
            Some(stored) => Ok(Some(Row { clustering, cells: cells(table, key, &stored.into())? })),
            None => Ok(None),
        }
    }

    /// A page of the rows of `range`; clustering keys begin at `clustering_at` in each key.
    pub(super) fn page(&self, scan: &Scan, range: KeyRange, clustering_at: usize) -> Result<Page, ReadError> {
        let rows = self.range(self.id(scan.table), range);
        match scan.order {
            Order::Ascending => page(scan, rows, clustering_at),
            Order::Descending => page(scan, rows.rev(), clustering_at),
        }
    }

    /// Makes everything durable that is not yet.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        self.database.persist(PersistMode::SyncAll).map_err(disk_error)
    }

    /// Whether flushes and compactions in the background still work. May wait for a commit under way.
    pub(super) fn examine(&self) -> Result<(), DiskError> {
        self.database.persist(PersistMode::Buffer).map_err(disk_error)
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, DiskError> {
        self.database.disk_space().map_err(disk_error)
    }

    fn range(&self, table: TableId, range: KeyRange) -> fjall::Iter {
        let keyspace = self.keyspace(table);
        match range.end {
            Some(end) => keyspace.range(range.start..end),
            None => keyspace.range(range.start..),
        }
    }

    fn keyspace(&self, TableId(index): TableId) -> &Keyspace {
        self.keyspaces.get(index).unwrap_or_else(|| unreachable!("ids are given out for keyspaces alone"))
    }
}

impl Disk for std::sync::Arc<Tree> {
    fn value(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let found = self.keyspace(table).get(key).map_err(disk_error)?;
        Ok(found.map(Bytes::from))
    }

    fn chunk(&self, table: TableId, range: &KeyRange) -> Result<Chunk, DiskError> {
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        for guard in self.range(table, range.clone()) {
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

    fn commit(&self, items: Vec<Item>) -> Result<(), DiskError> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), items.len())
            .durability(Some(PersistMode::SyncData));
        for Item { table, key, value } in items {
            let keyspace = self.keyspace(table);
            match value {
                Some(value) => batch.insert(keyspace, key, value),
                None => batch.remove(keyspace, key),
            }
        }
        batch.commit().map_err(disk_error)
    }
}

fn keyspace_options(table: &Table, options: &LsmOptions) -> KeyspaceCreateOptions {
    let bodies = match table.workload {
        Workload::Index => None,
        Workload::Log | Workload::Archive => {
            Some(KvSeparationOptions::default().separation_threshold(BODY_BYTES_MIN))
        }
    };
    KeyspaceCreateOptions::default().max_memtable_size(options.write_buffer_bytes).with_kv_separation(bodies)
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

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn disk_error(error: fjall::Error) -> DiskError {
    DiskError(error.to_string())
}
