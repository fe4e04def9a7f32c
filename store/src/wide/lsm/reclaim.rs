//! Giving deleted bytes back to the disk.
//!
//! The tree merges files when there are many of them, which says nothing of how much in them was deleted: after a
//! large delete and without further writes it would keep the bytes for ever. So the thread that commits counts what
//! it removes from each keyspace, and where that is a good part of what is there, a thread beside it writes what is
//! in memory to files, merges the files, and writes again those of bodies that are mostly deleted. What is deleted
//! and still on disk is therefore at most [`SHARE`] of a keyspace or the configured minimum.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use fjall::Keyspace;
use hashbrown::HashMap;

/// Deleted bytes are reclaimed when they are at least one part in so many of what is on disk.
const SHARE: u64 = 4;
/// Merging tells how much of a file of bodies is deleted, and the next merge writes it again; few of either.
const MERGES_MAX: u32 = 4;
/// A key that no row has: shorter than any, and not that of [`super::windows::ENDS_AT_KEY`].
const NO_ROWS_KEY: [u8; 1] = [1];
/// Keyspaces that may wait for their turn; others are asked for again with their next delete.
pub(super) const WAITING_MAX: usize = 64;

/// Counts what is deleted.
pub(super) struct Reclaimer {
    bytes_min: u64,
    freed: HashMap<String, (Keyspace, u64)>,
    turns: SyncSender<Keyspace>,
}

impl Reclaimer {
    /// Sends keyspaces that are worth it to `turns`; none with fewer than `bytes_min` deleted bytes.
    pub(super) fn new(bytes_min: u64, turns: SyncSender<Keyspace>) -> Self {
        Self { bytes_min, freed: HashMap::new(), turns }
    }

    /// Notes that rows of so many bytes were removed from a keyspace.
    pub(super) fn note(&mut self, keyspace: &Keyspace, bytes: u64) {
        let freed = self.freed.entry_ref(&**keyspace.name()).or_insert_with(|| (keyspace.clone(), 0));
        freed.1 = freed.1.saturating_add(bytes);
    }

    /// Has reclaimed what is worth it.
    pub(super) fn settle(&mut self) {
        self.freed.retain(|_, (keyspace, bytes)| {
            let worth = *bytes >= self.bytes_min && *bytes >= keyspace.disk_space() / SHARE;
            let sent = worth.then(|| self.turns.try_send(keyspace.clone()));
            // Without a thread beside there is nobody to ask, ever.
            !matches!(sent, Some(Ok(()) | Err(TrySendError::Disconnected(_))))
        });
    }

    /// Forgets keyspaces that were dropped: what is held here stays on disk.
    pub(super) fn forget(&mut self, names: &[String]) {
        self.freed.retain(|name, _| !names.contains(name));
    }
}

/// Reclaims one keyspace after another until nobody can ask any more.
pub(super) fn run(turns: &Receiver<Keyspace>) {
    while let Ok(keyspace) = turns.recv() {
        let before = keyspace.disk_space();
        match reclaim(&keyspace) {
            Ok(()) => {
                let after = keyspace.disk_space();
                tracing::debug!(keyspace = &**keyspace.name(), before, after, "reclaimed deleted bytes");
            }
            Err(error) => {
                tracing::warn!(keyspace = &**keyspace.name(), %error, "deleted bytes were not reclaimed");
            }
        }
    }
}

fn reclaim(keyspace: &Keyspace) -> fjall::Result<()> {
    keyspace.rotate_memtable_and_wait()?;
    for _ in 0..MERGES_MAX {
        keyspace.major_compact()?;
        if keyspace.fragmented_blob_bytes() < keyspace.disk_space() / SHARE {
            break;
        }
    }
    // The tree keeps files for readers of before until something is written and flushed after them.
    keyspace.remove(NO_ROWS_KEY)?;
    keyspace.rotate_memtable_and_wait()
}

#[cfg(test)]
mod tests {
    use fjall::Database;

    use super::super::LsmOptions;
    use super::super::spaces::keyspace_options;
    use super::*;
    use crate::layout::tables::SEGMENTS;

    const BODY_BYTES: usize = 64 * 1024;
    const ROWS: u64 = 256;

    fn files(dir: &std::path::Path) -> u64 {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).fold(0, |bytes, entry| {
            let about = entry.metadata().unwrap();
            bytes + if about.is_dir() { files(&entry.path()) } else { about.len() }
        })
    }

    #[test]
    fn most_of_what_was_deleted_is_gone_from_the_disk_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::builder(dir.path()).open().unwrap();
        let options = LsmOptions { write_buffer_bytes: 1024 * 1024, ..LsmOptions::new(dir.path()) };
        let keyspace = database.keyspace("segments", || keyspace_options(&SEGMENTS, &options)).unwrap();
        for n in 0..ROWS {
            keyspace.insert(n.to_be_bytes(), vec![7; BODY_BYTES]).unwrap();
        }
        keyspace.rotate_memtable_and_wait().unwrap();
        let full = files(keyspace.path());
        assert!(full > ROWS * 64 * 1024, "{full}");
        for n in (0..ROWS).filter(|n| n % 8 != 0) {
            keyspace.remove(n.to_be_bytes()).unwrap();
        }
        reclaim(&keyspace).unwrap();
        let left = files(keyspace.path());
        assert!(left < full / 4, "{left} of {full} bytes are left, {}", keyspace.fragmented_blob_bytes());
        assert_eq!(u64::try_from(keyspace.len().unwrap()).unwrap(), ROWS / 8);
    }
}
