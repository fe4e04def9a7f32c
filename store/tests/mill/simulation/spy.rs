//! A store that remembers, as one number, everything that was done to it and in which order.

use std::sync::{Arc, Mutex};

use tidemill_store::layout::tables::SEALS;
use tidemill_store::wide::{
    Deletion, Exchange, Expected, Key, Layer, Memory, Row, Table, Wide as _, WriteError, WriteTime,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Remembers what was done to a [`Memory`]. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spy {
    inner: Memory,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    digest: u64,
    seals: u64,
}

impl Spy {
    pub(crate) fn digest(&self) -> u64 {
        self.seen.lock().unwrap().digest
    }

    /// How many seals came into force.
    pub(crate) fn seals(&self) -> u64 {
        self.seen.lock().unwrap().seals
    }

    fn note(&self, what: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.digest = xxh3_64_with_seed(what.as_bytes(), seen.digest);
    }
}

impl Layer for Spy {
    type Inner = Memory;

    fn inner(&self) -> &Memory {
        &self.inner
    }

    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.note(&format!("{} {partition:?} {rows:?} {at:?}", table.name));
        self.inner().put(table, partition, rows, at).await
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.note(&format!("delete {} {partition:?} {deletion:?} {at:?}", table.name));
        self.inner().delete(table, partition, deletion, at).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        let exchange = self.inner().compare_and_set(table, partition, expected, row).await?;
        self.note(&format!("{} {partition:?} {expected:?} {row:?} {exchange:?}", table.name));
        if table == &SEALS && exchange == Exchange::Applied {
            self.seen.lock().unwrap().seals += 1;
        }
        Ok(exchange)
    }
}
