//! The keyspaces of an open tree: one for each table whose rows stay, one for each window of the others.
//!
//! Windows are listed when the tree is opened, made when a row first needs one, and dropped whole. Only the thread
//! that commits makes and drops them; readers look them up beside it, and what a reader holds stays readable until it
//! lets go. Keeps I6: what waits in memory to be written to files is bounded over all windows together, however
//! many are written to.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};
use hashbrown::HashMap;

use super::super::{Table, Workload};
use super::Expired;
use super::options::LsmOptions;
use super::pending::{DiskError, TableId};
use super::windows::{Cut, ENDS_AT_KEY, Family, Windows, expires_at_millis};
use crate::model::Timestamp;

/// From this many bytes on, a row is kept apart from its key, so that compaction moves keys and not bodies (a fifth
/// less CPU and a third less disk traffic at 64 KiB). Smaller ones lie beside their neighbours: scans read twice
/// as many a second.
const BODY_BYTES_MIN: u32 = 4096;
/// Files of bodies that are no larger are cheap to write again when most of what is in them was deleted.
const BODY_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Flushes that may wait before the next one is waited for.
const FLUSHES_WAITING_MAX: usize = 8;
/// How the name of a keyspace begins that holds nothing but its number: see [`Spaces::hold_number`].
const NUMBER_PREFIX: &str = "number@";

/// A window of time of a table.
pub(super) struct Window {
    pub(super) keyspace: Keyspace,
    /// The latest end of its rows in milliseconds; [`UNKNOWN`] where it has none.
    ends_at: AtomicI64,
}

const UNKNOWN: i64 = i64::MIN;

/// Where the rows of a table are.
enum Space {
    Whole(Keyspace),
    Cut { cut: Cut, windows: RwLock<Windows<Arc<Window>>> },
}

/// All keyspaces.
pub(super) struct Spaces {
    tables: Vec<Space>,
    ids: HashMap<&'static str, TableId>,
    database: Database,
    options: LsmOptions,
}

impl Spaces {
    /// Opens the keyspaces of these tables.
    pub(super) fn open(
        database: Database,
        tables: &[&'static Table],
        options: &LsmOptions,
    ) -> fjall::Result<Self> {
        let mut names: Vec<String> = Vec::new();
        for name in database.list_keyspace_names() {
            names.push(name.to_string());
        }
        let mut opened = Self { tables: Vec::new(), ids: HashMap::new(), database, options: options.clone() };
        for table in tables {
            let space = match Cut::of(table) {
                None => Space::Whole(opened.keyspace(table, table.name)?),
                Some(cut) => {
                    let windows = opened.windows(table, &cut, &names)?;
                    Space::Cut { cut, windows: RwLock::new(windows) }
                }
            };
            opened.ids.insert(table.name, TableId(opened.tables.len()));
            opened.tables.push(space);
        }
        Ok(opened)
    }

    /// The id of a table; panics for one that the tree was not opened with: a caller's bug.
    pub(super) fn id(&self, table: &Table) -> TableId {
        let id = self.ids.get(table.name).copied();
        assert!(id.is_some(), "the store was opened without the table {}", table.name);
        id.unwrap_or(TableId(0))
    }

    /// The keyspace that may hold `key`; `None` where there is none.
    pub(super) fn holding(&self, table: TableId, key: &[u8]) -> Option<Keyspace> {
        match self.space(table) {
            Space::Whole(keyspace) => Some(keyspace.clone()),
            Space::Cut { .. } => self.window(table, key).map(|window| window.keyspace.clone()),
        }
    }

    /// The keyspace that is to hold `key`, made where there is none. For the thread that commits alone.
    pub(super) fn to_hold(&self, table: TableId, key: &[u8]) -> Result<Keyspace, DiskError> {
        if let Some(keyspace) = self.holding(table, key) {
            return Ok(keyspace);
        }
        let Space::Cut { cut, windows } = self.space(table) else {
            unreachable!("a table that is not cut has its keyspace")
        };
        let place = cut.place(key).ok_or_else(|| DiskError(format!("no key of {}", cut.table().name)))?;
        let hours = cut.window(place, &self.options.expiry, &read(windows));
        let name = cut.name(place.family, &hours);
        let keyspace = self.keyspace(cut.table(), &name).map_err(disk_error)?;
        let window = Arc::new(Window { keyspace: keyspace.clone(), ends_at: AtomicI64::new(UNKNOWN) });
        write(windows).insert(place.family, &hours, window);
        Ok(keyspace)
    }

    /// Whether it can be told where `key` lies.
    pub(super) fn places(&self, table: TableId, key: &[u8]) -> bool {
        match self.space(table) {
            Space::Whole(_) => true,
            Space::Cut { cut, .. } => cut.place(key).is_some(),
        }
    }

    /// The window that holds `key`, where the table has windows and this one is there.
    pub(super) fn window(&self, table: TableId, key: &[u8]) -> Option<Arc<Window>> {
        match self.space(table) {
            Space::Whole(_) => None,
            Space::Cut { cut, windows } => cut.place(key).and_then(|place| read(windows).get(place).cloned()),
        }
    }

    /// Drops the windows whose rows have all expired at `now`. For the thread that commits alone.
    pub(super) fn expire(&self, now: Timestamp) -> Result<Expired, DiskError> {
        let (mut expired, mut dropped) = (Expired::default(), Vec::new());
        for space in &self.tables {
            let Space::Cut { cut, windows } = space else { continue };
            for (family, hours) in self.due(cut, windows, now) {
                let Some(window) = write(windows).remove(family, hours.start) else { continue };
                expired.bytes = expired.bytes.saturating_add(window.keyspace.disk_space());
                expired.windows.push(cut.name(family, &hours));
                dropped.push(window.keyspace.clone());
            }
        }
        if dropped.is_empty() {
            return Ok(expired);
        }
        self.hold_number(&dropped).map_err(disk_error)?;
        for keyspace in dropped {
            self.database.delete_keyspace(keyspace).map_err(disk_error)?;
        }
        // The journals of before hold on to the files of keyspaces that were dropped, and can go only then.
        flush(&self.keyspaces())?;
        Ok(expired)
    }

    /// Makes a keyspace with a higher number than those about to be dropped, where none that stays has one. After a
    /// restart the tree numbers keyspaces on from the highest that is there: without it a window could get the number of
    /// one that was dropped, and with it, by the restart after that, what was noted and journalled of that one, above all
    /// its end.
    fn hold_number(&self, dropped: &[Keyspace]) -> fjall::Result<()> {
        let names = self.database.list_keyspace_names();
        let held = names.iter().filter(|name| name.starts_with(NUMBER_PREFIX));
        let held = held.map(|name| self.database.keyspace(name, KeyspaceCreateOptions::default));
        let held: Vec<Keyspace> = held.collect::<fjall::Result<_>>()?;
        let highest = dropped.iter().map(Keyspace::id).max().unwrap_or(0);
        if self.keyspaces().iter().chain(&held).any(|stays| stays.id() > highest) {
            return Ok(());
        }
        self.database.keyspace(&format!("{NUMBER_PREFIX}{highest}"), KeyspaceCreateOptions::default)?;
        held.into_iter().try_for_each(|held| self.database.delete_keyspace(held))
    }

    fn due(
        &self,
        cut: &Cut,
        windows: &RwLock<Windows<Arc<Window>>>,
        now: Timestamp,
    ) -> Vec<(Family, Range<i64>)> {
        let windows = read(windows);
        let due = windows.iter().filter_map(|(family, hours, window)| {
            let retention = cut.retention(family, &self.options.expiry)?;
            (expires_at_millis(&hours, window.ends_at(), retention) <= now.millis_floor())
                .then_some((family, hours))
        });
        due.collect()
    }

    /// Has the largest windows in memory written to files until all together are within their bound.
    pub(super) fn bound_buffers(&self) -> Result<(), DiskError> {
        let mut buffers: Vec<(u64, Keyspace)> = Vec::new();
        for space in &self.tables {
            if let Space::Cut { windows, .. } = space {
                let windows = read(windows);
                let all = windows.iter().map(|(_, _, window)| window.keyspace.clone());
                buffers.extend(all.map(|keyspace| (keyspace.tree.active_memtable().size(), keyspace)));
            }
        }
        let mut total: u64 = buffers.iter().map(|(bytes, _)| bytes).sum();
        if total <= self.options.window_buffers_bytes_max {
            return Ok(());
        }
        buffers.sort_by_key(|(bytes, _)| *bytes);
        while let Some((bytes, keyspace)) =
            buffers.pop().filter(|_| total > self.options.window_buffers_bytes_max)
        {
            if self.database.outstanding_flushes() < FLUSHES_WAITING_MAX {
                keyspace.rotate_memtable().map(drop).map_err(disk_error)?;
            } else {
                keyspace.rotate_memtable_and_wait().map_err(disk_error)?;
            }
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }

    /// Every keyspace.
    pub(super) fn keyspaces(&self) -> Vec<Keyspace> {
        let mut all = Vec::new();
        for space in &self.tables {
            match space {
                Space::Whole(keyspace) => all.push(keyspace.clone()),
                Space::Cut { windows, .. } => {
                    all.extend(read(windows).iter().map(|(_, _, window)| window.keyspace.clone()));
                }
            }
        }
        all
    }

    fn windows(
        &self,
        table: &'static Table,
        cut: &Cut,
        names: &[String],
    ) -> fjall::Result<Windows<Arc<Window>>> {
        let mut windows = Windows::default();
        for name in names {
            let Some((family, hours)) = cut.parse(name) else { continue };
            let keyspace = self.keyspace(table, name)?;
            let ends_at = keyspace.get(ENDS_AT_KEY)?.and_then(|bytes| bytes.first_chunk().copied());
            let ends_at = AtomicI64::new(ends_at.map_or(UNKNOWN, i64::from_be_bytes));
            windows.insert(family, &hours, Arc::new(Window { keyspace, ends_at }));
        }
        Ok(windows)
    }

    fn keyspace(&self, table: &'static Table, name: &str) -> fjall::Result<Keyspace> {
        self.database.keyspace(name, || keyspace_options(table, &self.options))
    }

    fn space(&self, TableId(index): TableId) -> &Space {
        self.tables.get(index).unwrap_or_else(|| unreachable!("ids are given out for spaces alone"))
    }
}

impl Window {
    fn ends_at(&self) -> Option<i64> {
        let ends_at = self.ends_at.load(Ordering::Relaxed);
        (ends_at != UNKNOWN).then_some(ends_at)
    }

    /// Notes that a row ends at `millis`; whether that is later than all before.
    pub(super) fn raise(&self, millis: i64) -> bool {
        self.ends_at.fetch_max(millis, Ordering::Relaxed) < millis
    }

    /// What is to stand under [`ENDS_AT_KEY`].
    pub(super) fn ends_at_value(&self) -> [u8; 8] {
        self.ends_at.load(Ordering::Relaxed).to_be_bytes()
    }
}

/// Has everything that these have in memory written to files.
pub(super) fn flush(keyspaces: &[Keyspace]) -> Result<(), DiskError> {
    for keyspace in keyspaces {
        if keyspace.tree.active_memtable().size() > 0 {
            keyspace.rotate_memtable().map_err(disk_error)?;
        }
    }
    Ok(())
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn keyspace_options(table: &Table, options: &LsmOptions) -> KeyspaceCreateOptions {
    let bodies = match table.workload {
        Workload::Index => None,
        Workload::Log | Workload::Archive => Some(
            KvSeparationOptions::default()
                .separation_threshold(BODY_BYTES_MIN)
                .file_target_size(BODY_FILE_BYTES)
                // A file is written again as soon as a quarter of it is deleted, however young it is.
                .age_cutoff(1.0),
        ),
    };
    KeyspaceCreateOptions::default().max_memtable_size(options.write_buffer_bytes).with_kv_separation(bodies)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn disk_error(error: fjall::Error) -> DiskError {
    DiskError(error.to_string())
}
