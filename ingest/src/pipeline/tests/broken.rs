//! A store that ends: from one moment on it refuses writes for good, breaks, or takes its task down with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_store::wide::{
    Deletion, Exchange, Expected, Key, Memory, Page, PageToken, ReadError, Row, Scan, Table, Wide,
    WriteError, WriteTime,
};

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Refuse,
    Break,
    Panic,
}

/// A store in memory that ends when told.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) memory: Memory,
    pub(super) ending: Ending,
    pub(super) over: Arc<AtomicBool>,
}

impl Ended {
    fn check(&self) -> Result<(), WriteError> {
        let reason = "the test says so".to_owned();
        match (self.over.load(Ordering::Relaxed), self.ending) {
            (false, _) => Ok(()),
            (true, Ending::Refuse) => Err(WriteError::Refused { reason }),
            (true, Ending::Break) => Err(WriteError::Broken { reason }),
            (true, Ending::Panic) => panic!("the store found a broken invariant"),
        }
    }
}

impl Wide for Ended {
    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.check()?;
        self.memory.put(table, partition, rows, at).await
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        self.memory.get(table, partition, clustering).await
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        self.memory.scan(scan, from).await
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.check()?;
        self.memory.delete(table, partition, deletion, at).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        self.check()?;
        self.memory.compare_and_set(table, partition, expected, row).await
    }
}
