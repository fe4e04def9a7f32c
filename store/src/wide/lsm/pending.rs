//! The deciding core of a commit: which items a group of changes comes to, given what is on disk.
//!
//! Pure but for what it reads through [`Disk`]. There is one writer, so reading before writing is free of races;
//! changes of one group see each other. A key stands in the items at most once, because the tree gives all items
//! of a commit one sequence number. A stored row whose header cannot be read counts as older than anything.

use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::super::{Exchange, Expected, Key, Row, Rows, Table, WriteTime};
use super::Expired;
use super::key::KeyRange;
use super::value;
use crate::model::Timestamp;

/// Position of a table among those that the store was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TableId(pub(super) usize);

/// A row as bytes.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// One key of a commit: its new value, or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) table: TableId,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    /// Bytes of the value that is removed.
    pub(super) frees: usize,
}

/// Everything that a group of changes comes to.
#[derive(Debug, Default)]
pub(super) struct Commit {
    /// Each key once.
    pub(super) items: Vec<Item>,
    /// Rows that expire: a key of each put, and the latest end among its rows in milliseconds.
    pub(super) ends: Vec<(TableId, Bytes, i64)>,
}

/// What the disk said.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct DiskError(pub(super) String);

/// Committed rows, and the way to commit more.
pub(super) trait Disk {
    /// The value under `key`.
    fn value(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, DiskError>;

    /// The first rows of a range, up to the limits of [`Chunk`].
    fn chunk(&self, table: TableId, range: &KeyRange) -> Result<Chunk, DiskError>;

    /// Makes all items durable and visible, or fails for good.
    fn commit(&mut self, commit: Commit) -> Result<(), DiskError>;

    /// Drops what has expired at `now`.
    fn expire(&mut self, now: Timestamp) -> Result<Expired, DiskError>;
}

/// Rows in order, and where the rest begins.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) rows: Vec<Encoded>,
    pub(super) rest: Option<KeyRange>,
}

impl Chunk {
    /// Most rows: what a range delete removes in one commit, so that others do not wait long.
    pub(super) const ROWS_MAX: usize = 1024;

    /// Bytes after which a chunk ends.
    pub(super) const BYTES_MAX: usize = 4 * 1024 * 1024;
}

/// Writes rows of one partition.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) kind: Rows,
    pub(super) rows: Vec<Encoded>,
    pub(super) at: WriteTime,
    /// The latest end of the rows in milliseconds, where they expire.
    pub(super) ends_at: Option<i64>,
}

/// Replaces a row if the one before is as expected.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) table: &'static Table,
    pub(super) expected: Expected,
    pub(super) clustering: Key,
    pub(super) replacement: Encoded,
}

/// Removes rows of a range, some in each commit.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) table: TableId,
    pub(super) range: KeyRange,
    pub(super) at: WriteTime,
}

/// Why a compare-and-set could not be decided.
#[derive(Debug, thiserror::Error)]
pub(super) enum SwapError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the row there cannot be understood: {0}")]
    Damaged(#[from] value::ValueError),
}

/// What a commit will write.
#[derive(Debug, Default)]
pub(super) struct Pending {
    commit: Commit,
    places: HashMap<(TableId, Bytes), usize>,
}

impl Pending {
    /// Writes rows: blindly where rows never change, otherwise where nothing as new is there.
    pub(super) fn put(&mut self, disk: &impl Disk, table: TableId, put: Put) -> Result<(), DiskError> {
        let Put { kind, rows, at, ends_at } = put;
        if let (Some(first), Some(ends_at)) = (rows.first(), ends_at) {
            self.commit.ends.push((table, first.key.clone(), ends_at));
        }
        for Encoded { key, value } in rows {
            if kind == Rows::Immutable
                || self.current(disk, table, &key)?.is_none_or(|stored| is_older(&stored, |time| time < at))
            {
                self.set(table, key, Some(value), 0);
            }
        }
        Ok(())
    }

    /// Removes the row under `key` if it was written at or before `at`.
    pub(super) fn delete(
        &mut self,
        disk: &impl Disk,
        table: TableId,
        key: Bytes,
        at: WriteTime,
    ) -> Result<(), DiskError> {
        let stored = self.current(disk, table, &key)?;
        if let Some(stored) = stored.filter(|stored| is_older(stored, |time| time <= at)) {
            self.set(table, key, None, stored.len());
        }
        Ok(())
    }

    /// Removes the first rows of a sweep and gives what is left of it.
    pub(super) fn sweep(&mut self, disk: &impl Disk, sweep: &Sweep) -> Result<Option<Sweep>, DiskError> {
        let chunk = disk.chunk(sweep.table, &sweep.range)?;
        for Encoded { key, value } in chunk.rows {
            if is_older(&value, |time| time <= sweep.at) {
                self.set(sweep.table, key, None, value.len());
            }
        }
        Ok(chunk.rest.map(|range| Sweep { range, ..*sweep }))
    }

    /// Decides a compare-and-set.
    pub(super) fn exchange(
        &mut self,
        disk: &impl Disk,
        id: TableId,
        swap: Swap,
    ) -> Result<Exchange, SwapError> {
        let Swap { table, expected, clustering, replacement } = swap;
        let current = match self.current(disk, id, &replacement.key)? {
            Some(stored) => Some(value::decode(table.cells, &replacement.key, &stored)?),
            None => None,
        };
        let current = current.map(|cells| Row { clustering, cells });
        if !expected.is_met_by(table, current.as_ref()) {
            return Ok(Exchange::Refused(current));
        }
        self.set(id, replacement.key, Some(replacement.value), 0);
        Ok(Exchange::Applied)
    }

    /// Everything to commit.
    pub(super) fn into_commit(self) -> Commit {
        self.commit
    }

    fn current(&self, disk: &impl Disk, table: TableId, key: &Bytes) -> Result<Option<Bytes>, DiskError> {
        match self.places.get(&(table, key.clone())).and_then(|&place| self.commit.items.get(place)) {
            Some(item) => Ok(item.value.clone()),
            None => disk.value(table, key),
        }
    }

    fn set(&mut self, table: TableId, key: Bytes, value: Option<Bytes>, frees: usize) {
        match self.places.entry((table, key.clone())) {
            Entry::Vacant(place) => {
                place.insert(self.commit.items.len());
                self.commit.items.push(Item { table, key, value, frees });
            }
            Entry::Occupied(place) => {
                if let Some(item) = self.commit.items.get_mut(*place.get()) {
                    item.value = value;
                    item.frees = frees;
                }
            }
        }
    }
}

fn is_older(stored: &[u8], than: impl FnOnce(WriteTime) -> bool) -> bool {
    value::write_time(stored).map_or(true, than)
}
