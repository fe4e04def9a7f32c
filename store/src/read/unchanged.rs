//! What was read of tables of which the store knows every change, kept until one of them changes: then a query that
//! starts need not read again what nobody has written to since (I3).
//!
//! Where others may write to the tables unseen, nothing is kept. Memory is bounded (I6).

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use super::lru::Lru;
use crate::wide::{Table, Wide};

/// The revisions of tables, in the order in which they are read; `None` where they may change unseen.
pub(super) fn revisions<W: Wide>(wide: &W, tables: &[&'static Table]) -> Option<Vec<u64>> {
    tables.iter().map(|table| wide.revision(table)).collect()
}

/// What was read, by key.
#[derive(Debug)]
pub(super) struct Unchanged<K, V>(Mutex<Lru<Option<Read<V>>, K>>);

#[derive(Debug)]
struct Read<V> {
    /// Of the tables, before they were read.
    revisions: Vec<u64>,
    what: V,
}

impl<K: Clone + Eq + Hash, V: Clone> Unchanged<K, V> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Mutex::new(Lru::new(bytes_max)))
    }

    /// What was read, if the tables are now as they were before it was.
    pub(super) fn get(&self, key: &K, now: &[u64]) -> Option<V> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = kept.get(key)?.as_ref().filter(|read| read.revisions == now)?;
        Some(read.what.clone())
    }

    /// Keeps what was read and takes so many bytes; `revisions` were taken before it was read.
    pub(super) fn keep(&self, key: &K, revisions: Vec<u64>, what: V, bytes: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.update(key, |slot, _| {
            *slot = Some(Read { revisions, what });
            bytes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MarkRow;
    use crate::layout::tables::{MARKS, SEALS};
    use crate::model::Shard;
    use crate::wide::{Bounds, Datum, Deletion, Memory, WriteTime};

    #[tokio::test]
    async fn what_was_read_is_kept_until_its_table_changes() {
        let wide = Memory::new();
        let kept = Unchanged::new(1_000);
        let before = revisions(&wide, &[&MARKS, &SEALS]).unwrap();
        kept.keep(&7, before.clone(), "read", 10);
        assert_eq!(kept.get(&7, &revisions(&wide, &[&MARKS, &SEALS]).unwrap()), Some("read"));
        assert_eq!(kept.get(&8, &before), None, "another key");
        let all = Deletion::Range(Bounds::prefix([Datum::Instant(0)].into()));
        wide.delete(&MARKS, &MarkRow::partition(Shard::new(0)), &all, WriteTime::from_micros(1))
            .await
            .unwrap();
        assert_eq!(kept.get(&7, &revisions(&wide, &[&MARKS, &SEALS]).unwrap()), None, "marks were changed");
        assert_eq!(kept.get(&7, &before), Some("read"));
    }
}
