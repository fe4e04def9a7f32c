//! Keeping the journals small beside what is stored.
//!
//! A commit lies in a journal, and is written to files of its tables when there is enough of it. The tree removes a
//! journal once everything in it is in files, but begins another only when the last one is full: a small store would
//! be mostly journal, for ever. So where the journals are [`Large`] beside what is stored, everything in memory is
//! written to files, and the last journal is filled up with nothing, so that the tree begins another.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::pending::DiskError;
use super::spaces::{disk_error, flush};

/// A journal with more is full.
const FULL_BYTES: u64 = 64_000_000;
/// What a journal is filled up with goes to a keyspace of this name, in parts under one key, and nobody reads it.
const FILLING: &str = "filling";
const PART_BYTES: usize = 64 * 1024;
/// So much of it in memory at a time.
const FILLING_BUFFER_BYTES: u64 = 4 * 1024 * 1024;
/// In what metadata counts.
const BLOCK_BYTES: u64 = 512;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A second is long for the removal of a file; large journals that are still written to may stay large.
const REMOVAL_LOOKS_MAX: u32 = 100;

/// The journals in the directory of a tree.
pub(super) struct Journals {
    dir: PathBuf,
    /// It is never dropped: the journal names it.
    filling: Keyspace,
}

/// From when on journals are worth the write of [`FULL_BYTES`] that makes them small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Large {
    /// Never if they have fewer.
    bytes_min: u64,
    /// Only where they are more than one part in so many of what is stored.
    share: u64,
}

impl Large {
    /// While the store is in use, and they grow again.
    pub(super) const IN_USE: Self = Self { bytes_min: 8 * 1024 * 1024, share: 8 };
    /// When it is closed, and they stay as they are: the next start reads them.
    pub(super) const AT_CLOSE: Self = Self { bytes_min: 1024 * 1024, share: 64 };
}

/// What the directory shows of them.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    bytes: u64,
    /// The number of the last one, and its own bytes.
    newest: (u64, u64),
}

impl Journals {
    /// The journals of a tree that was opened in `dir`.
    pub(super) fn open(dir: PathBuf, database: &Database) -> fjall::Result<Self> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(FILLING_BUFFER_BYTES);
        Ok(Self { dir, filling: database.keyspace(FILLING, options)? })
    }

    /// Bytes that they take on disk; the room that a file is made with takes none.
    pub(super) fn bytes(&self) -> Result<u64, DiskError> {
        self.look().map(|seen| seen.bytes)
    }

    fn look(&self) -> Result<Seen, DiskError> {
        self.list().map_err(|error| DiskError(format!("the journals cannot be listed: {error}")))
    }

    fn list(&self) -> io::Result<Seen> {
        let mut seen = Seen::default();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".jnl")).map(str::parse::<u64>);
            let Some(Ok(number)) = number else { continue };
            // One that is removed meanwhile takes no space.
            let Ok(about) = entry.metadata() else { continue };
            let bytes = about.blocks() * BLOCK_BYTES;
            seen.bytes += bytes;
            seen.newest = seen.newest.max((number, bytes));
        }
        Ok(seen)
    }

    /// Makes them small where they are large beside `keyspaces`, which are all that there are.
    pub(super) fn settle(
        &self,
        large: Large,
        database: &Database,
        keyspaces: &[Keyspace],
    ) -> Result<(), DiskError> {
        let before = self.look()?;
        let stored: u64 = keyspaces.iter().map(Keyspace::disk_space).sum();
        let bytes_max = large.bytes_min.max(stored / large.share);
        if before.bytes < bytes_max {
            return Ok(());
        }
        let newest = before.newest.1;
        if newest >= large.bytes_min {
            self.fill(database, FULL_BYTES.saturating_sub(newest))?;
        }
        flush(std::slice::from_ref(&self.filling))?;
        flush(keyspaces)?;
        wait_for_flushes(database, keyspaces)?;
        let after = self.wait_for_removal(bytes_max)?;
        tracing::debug!(before = before.bytes, after, stored, "journals were made small");
        Ok(())
    }

    /// Waits until there are fewer bytes: the tree removes what nobody needs after the last flush. Gives how many are
    /// left.
    #[expect(clippy::disallowed_methods, reason = "a thread that may block, and the tree tells nobody")]
    fn wait_for_removal(&self, bytes_max: u64) -> Result<u64, DiskError> {
        let mut bytes = self.bytes()?;
        for _ in 0..REMOVAL_LOOKS_MAX {
            if bytes < bytes_max {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
            bytes = self.bytes()?;
        }
        Ok(bytes)
    }

    /// Fills the newest journal up with so many bytes, and has the tree begin another.
    fn fill(&self, database: &Database, bytes: u64) -> Result<(), DiskError> {
        let part = vec![0; PART_BYTES];
        // One more than fit: the journal is to be more than full.
        for _ in 0..=bytes.div_ceil(u64::try_from(PART_BYTES).unwrap_or(FULL_BYTES)) {
            self.filling.insert([0], part.as_slice()).map_err(disk_error)?;
        }
        // The tree looks whether its journal is full whenever it writes what is in memory to a file.
        self.filling.insert([0], []).map_err(disk_error)?;
        flush(std::slice::from_ref(&self.filling))?;
        wait_for_flushes(database, std::slice::from_ref(&self.filling))
    }
}

/// Waits until what these no longer write to in memory is in files, or the tree has failed.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread that may block, and the tree tells nobody that it is done"
)]
fn wait_for_flushes(database: &Database, keyspaces: &[Keyspace]) -> Result<(), DiskError> {
    while keyspaces.iter().any(|keyspace| keyspace.sealed_memtable_count() > 0) {
        database.persist(PersistMode::Buffer).map_err(disk_error)?;
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::LsmOptions;
    use super::super::spaces::keyspace_options;
    use super::*;
    use crate::layout::tables::{MARKS, SEGMENTS};

    const ROW_BYTES: usize = 64 * 1024;
    const ROWS: u64 = 160;

    fn open(dir: &std::path::Path) -> (Database, Journals, Vec<Keyspace>) {
        let options = LsmOptions::new(dir);
        let database = Database::builder(dir).worker_threads(options.workers).open().unwrap();
        let keyspaces = [&SEGMENTS, &MARKS]
            .map(|table| database.keyspace(table.name, || keyspace_options(table, &options)).unwrap());
        let journals = Journals::open(dir.to_owned(), &database).unwrap();
        (database, journals, keyspaces.into())
    }

    fn assert_holds(keyspaces: &[Keyspace], round: u8) {
        let [segments, marks, ..] = keyspaces else { panic!() };
        for n in 0..ROWS {
            assert_eq!(segments.get(n.to_be_bytes()).unwrap().unwrap(), vec![round; ROW_BYTES]);
            assert_eq!(marks.get(n.to_be_bytes()).unwrap().unwrap(), [round]);
        }
    }

    #[test]
    fn the_journals_of_a_small_store_are_small_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..3_u8 {
            let (database, journals, mut keyspaces) = open(dir.path());
            let [segments, marks] = keyspaces.as_slice() else { panic!() };
            for n in 0..ROWS {
                segments.insert(n.to_be_bytes(), vec![round; ROW_BYTES]).unwrap();
                marks.insert(n.to_be_bytes(), [round]).unwrap();
            }
            // Made between two settlings, as windows of time are.
            let made = format!("made {round}");
            let made = database.keyspace(&made, KeyspaceCreateOptions::default).unwrap();
            made.insert([0], [round]).unwrap();
            keyspaces.push(made);
            assert!(journals.bytes().unwrap() > Large::IN_USE.bytes_min);
            journals.settle(Large::IN_USE, &database, &keyspaces).unwrap();
            let left = journals.bytes().unwrap();
            assert!(left < Large::AT_CLOSE.bytes_min, "{left}");
            keyspaces[0].insert("after", "all").unwrap();
            drop((database, journals, keyspaces));
            let (database, _journals, keyspaces) = open(dir.path());
            assert_holds(&keyspaces, round);
            assert_eq!(keyspaces[0].get("after").unwrap().unwrap(), b"all");
            for earlier in 0..=round {
                let made = database.keyspace(&format!("made {earlier}"), KeyspaceCreateOptions::default);
                assert_eq!(made.unwrap().get([0]).unwrap().unwrap(), [earlier]);
            }
        }
    }

    #[test]
    fn journals_that_are_small_already_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (database, journals, keyspaces) = open(dir.path());
        let settled = |large: Large| {
            journals.settle(large, &database, &keyspaces).unwrap();
            keyspaces[0].disk_space() > 0
        };
        keyspaces[0].insert("one", "row").unwrap();
        assert!(!settled(Large::AT_CLOSE));
        keyspaces[0].insert("two", vec![1; 4 << 20]).unwrap();
        assert!(!settled(Large::IN_USE));
        assert!(settled(Large::AT_CLOSE));
    }
}
