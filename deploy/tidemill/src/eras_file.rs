//! The eras as they were known last, in the directory of the spool: an ingester that starts while the store is down places
//! messages by them, as far ahead as they were known to be complete. What lies beyond waits until the store says more.
//!
//! Belongs to one store: a file of another one is passed over. Damage is noticed and costs what a missing file costs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill_ingest::spool::ERAS_FILE;
use tidemill_store::layout::{BucketWidth, Era, Eras, KnownEras, ShardCount};
use tidemill_store::model::Timestamp;

/// The eras of one store.
#[derive(Debug, Clone)]
pub(crate) struct ErasFile {
    path: PathBuf,
    /// The name of the store.
    store: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    store: String,
    complete_until_nanos: i64,
    eras: Vec<StoredEra>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredEra {
    starts_at_nanos: i64,
    shards: u64,
    bucket_seconds: u64,
}

impl ErasFile {
    /// The file in the spool's `directory` for the store of this name.
    pub(crate) fn new(directory: &Path, store: String) -> Self {
        Self { path: directory.join(ERAS_FILE), store }
    }

    /// What was known last; nothing where that is not to be had.
    pub(crate) fn read(&self) -> Option<KnownEras> {
        let text = fs::read_to_string(&self.path).ok()?;
        let read = serde_json::from_str::<Stored>(&text).ok().and_then(|stored| self.known(&stored));
        if read.is_none() {
            let file = self.path.display();
            tracing::warn!(%file, "the eras of an earlier start are damaged or of another store");
        }
        read
    }

    fn known(&self, stored: &Stored) -> Option<KnownEras> {
        let era = |era: &StoredEra| {
            Some(Era {
                starts_at: Timestamp::from_nanos(era.starts_at_nanos).ok()?,
                shards: ShardCount::new(era.shards).ok()?,
                bucket_width: BucketWidth::new(Duration::from_secs(era.bucket_seconds)).ok()?,
            })
        };
        let eras = stored.eras.iter().map(era).collect::<Option<Vec<_>>>()?;
        let complete_until = Timestamp::from_nanos(stored.complete_until_nanos).ok()?;
        let eras = Arc::new(Eras::new(eras).ok()?);
        (stored.store == self.store).then_some(KnownEras { eras, complete_until })
    }

    /// Remembers `known`: the file is whole at every moment.
    pub(crate) fn write(&self, known: &KnownEras) -> io::Result<()> {
        let era = |era: &Era| StoredEra {
            starts_at_nanos: era.starts_at.nanos(),
            shards: era.shards.get().into(),
            bucket_seconds: era.bucket_width.get().as_secs(),
        };
        let stored = Stored {
            store: self.store.clone(),
            complete_until_nanos: known.complete_until.nanos(),
            eras: known.eras.iter().map(era).collect(),
        };
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(serde_json::to_string(&stored)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownEras {
        let hour = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let first =
            Era { starts_at: Timestamp::MIN, shards: ShardCount::new(4).unwrap(), bucket_width: hour };
        let second = Era {
            starts_at: Timestamp::from_millis(7_200_000).unwrap(),
            shards: ShardCount::new(8).unwrap(),
            ..first
        };
        let eras = Arc::new(Eras::new(vec![first, second]).unwrap());
        KnownEras { eras, complete_until: Timestamp::from_millis(1_700_000_000_123).unwrap() }
    }

    #[test]
    fn what_was_known_comes_back_for_the_same_store_and_damage_counts_as_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = ErasFile::new(directory.path(), "a".to_owned());
        assert!(file.read().is_none());
        file.write(&known()).unwrap();
        file.write(&known()).unwrap();
        let read = file.read().unwrap();
        assert_eq!((read.eras, read.complete_until), (known().eras, known().complete_until));
        assert!(ErasFile::new(directory.path(), "b".to_owned()).read().is_none());
        let path = directory.path().join(ERAS_FILE);
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [text.replace("\"shards\":8", "\"shards\":0"), text[..text.len() / 2].to_owned()] {
            fs::write(&path, damaged).unwrap();
            assert!(file.read().is_none());
        }
    }
}
