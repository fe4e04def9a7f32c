//! A store that counts what is done to it, by table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidemill_store::wide::{
    Exchange, Expected, Key, Layer, Memory, Row, Table, Wide as _, WriteError, WriteTime,
};

/// What was done to a table.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Partitions that were ever written to.
    pub(crate) partitions: BTreeSet<Key>,
    /// Rows that were put.
    pub(crate) rows: u64,
    /// Exchanges that were asked for, won or lost: each is a lightweight transaction.
    pub(crate) exchanges: u64,
}

/// The store in memory, counted.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    inner: Memory,
    counts: Mutex<BTreeMap<&'static str, Counts>>,
}

impl Counting {
    /// The counts so far.
    pub(crate) fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static str, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts again from nothing.
    pub(crate) fn forget(&self) {
        self.counts().clear();
    }
}

impl Layer for Counting {
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
        {
            let mut counts = self.counts();
            let counts = counts.entry(table.name).or_default();
            counts.partitions.insert(partition.clone());
            counts.rows += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        }
        self.inner.put(table, partition, rows, at).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        {
            let mut counts = self.counts();
            let counts = counts.entry(table.name).or_default();
            counts.partitions.insert(partition.clone());
            counts.exchanges += 1;
        }
        self.inner.compare_and_set(table, partition, expected, row).await
    }
}
