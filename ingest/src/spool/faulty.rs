//! A disk in memory that crashes, tears writes, flips bits, fills up and fails to sync, on demand and by a seed.
//!
//! What a crash leaves is what a real one may leave: all that was synced, any part of what was not, names that were not
//! synced or not. For tests and simulation.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;

/// The disk. Clones are the same disk, as after a restart of the process.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fault of its own, and any of them may come together"
)]
struct State {
    files: BTreeMap<String, Content>,
    /// Bytes that fit; none: all.
    room: Option<u64>,
    sync_fails: bool,
    reads_fail: bool,
    /// Operations that change something; the process dies before this many.
    operations: u64,
    dies_at: Option<u64>,
    lies: bool,
    loses_first: bool,
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
    is_named: bool,
}

impl FaultyDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on so many bytes fit in all.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// Whether syncs fail from now on.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().sync_fails = fail;
    }

    /// Whether reads fail from now on.
    pub fn fail_reads(&self, fail: bool) {
        self.state().reads_fail = fail;
    }

    /// Everything fails from the `operation`th change on, until [`FaultyDisk::crash`].
    pub fn die_at(&self, operation: Option<u64>) {
        self.state().dies_at = operation;
    }

    /// How many changes there were.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Sabotage: syncs say that all is well and do nothing.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// Sabotage: the first record of every file but the first goes nowhere.
    pub fn lose_at_rotation(&self) {
        self.state().loses_first = true;
    }

    /// The machine dies and is back: `random` says how much of each unsynced end is there.
    pub fn crash(&self, mut random: impl FnMut(u64) -> u64) {
        let mut state = self.state();
        state.dies_at = None;
        state.files.retain(|_, content| content.is_named || random(2) == 0);
        for content in state.files.values_mut() {
            let unsynced = content.bytes.len() - content.synced;
            let most = u64::try_from(unsynced).unwrap_or(u64::MAX);
            let kept = content.synced + usize::try_from(random(most + 1)).unwrap_or(0);
            content.bytes.truncate(kept);
            // A page that never came may read as zeros.
            if random(4) == 0 && kept < content.synced + unsynced {
                content.bytes.resize(content.synced + unsynced, 0);
            }
            content.synced = content.bytes.len();
            content.is_named = true;
        }
    }

    /// Flips one bit of `file`.
    pub fn flip(&self, file: &str, bit: usize) {
        let mut state = self.state();
        if let Some(byte) = state.files.get_mut(file).and_then(|content| content.bytes.get_mut(bit / 8)) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

impl State {
    fn change(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.dies_at {
            Some(at) if self.operations > at => Err(io::Error::other("the process is dead")),
            _ => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut Content> {
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let length = |content: &Content| u64::try_from(content.bytes.len()).unwrap_or(u64::MAX);
        Ok(state.files.iter().map(|(name, content)| (name.clone(), length(content))).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(name.to_owned(), Content::default());
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let dead = state.change();
        let used: usize = state.files.values().map(|content| content.bytes.len()).sum();
        let room = state.room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
        let fits = room.saturating_sub(used).min(bytes.len());
        // A process that dies in the middle leaves half.
        let fits = if dead.is_err() { fits.min(bytes.len() / 2) } else { fits };
        let loses = state.loses_first && state.files.len() > 1;
        let content = state.file(name)?;
        let is_first_record = content.bytes.len() == super::frame::RECORDS_AT;
        if !(loses && is_first_record && fits == bytes.len()) {
            content.bytes.extend_from_slice(bytes.get(..fits).unwrap_or(bytes));
        }
        dead?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        if state.lies {
            return Ok(());
        }
        let fails = state.sync_fails;
        let content = state.file(name)?;
        if fails {
            return Err(io::Error::other("the disk failed"));
        }
        content.synced = content.bytes.len();
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        if state.sync_fails {
            return Err(io::Error::other("the disk failed"));
        }
        state.files.values_mut().for_each(|content| content.is_named = true);
        Ok(())
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        if state.reads_fail {
            return Err(io::Error::other("the disk failed"));
        }
        let content = state.file(name)?;
        let rest = content.bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        Ok(rest.get(..length).unwrap_or(rest).to_vec())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
