//! A store that is opened later: until then every operation says that it is out of reach, as it would of a store that is
//! down. So a process may start while its store is down, and whoever repeats what fails needs to know nothing of it.

use std::sync::{Arc, OnceLock};

use super::{
    Deletion, Effect, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide,
    WriteError, WriteTime,
};

/// A store that may not be open yet. Clones are the same one.
#[derive(Debug)]
pub struct Late<W>(Arc<OnceLock<Arc<W>>>);

impl<W> Clone for Late<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W> Default for Late<W> {
    /// One that is not open yet.
    fn default() -> Self {
        Self(Arc::new(OnceLock::new()))
    }
}

impl<W> Late<W> {
    /// One that is open.
    pub fn open(store: Arc<W>) -> Self {
        Self(Arc::new(OnceLock::from(store)))
    }

    /// Opens it; the first store stays.
    pub fn set(&self, store: Arc<W>) {
        let _ = self.0.set(store);
    }

    fn store(&self) -> Result<&W, String> {
        let store = self.0.get().map(|store| &**store);
        store.ok_or_else(|| "no connection was made since the start of the process".to_owned())
    }

    fn to_read(&self) -> Result<&W, ReadError> {
        self.store().map_err(|reason| ReadError::Unavailable { reason })
    }

    fn to_write(&self) -> Result<&W, WriteError> {
        self.store().map_err(|reason| WriteError::Unavailable { effect: Effect::NotApplied, reason })
    }
}

impl<W: Wide> Wide for Late<W> {
    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.to_write()?.put(table, partition, rows, at).await
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        self.to_read()?.get(table, partition, clustering).await
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        self.to_read()?.scan(scan, from).await
    }

    async fn scan_each(&self, scan: &Scan, partitions: &[Key]) -> Result<Vec<Page>, ReadError> {
        self.to_read()?.scan_each(scan, partitions).await
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.to_write()?.delete(table, partition, deletion, at).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        self.to_write()?.compare_and_set(table, partition, expected, row).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tables::ERAS;
    use crate::layout::{BucketWidth, EraRow, ErasFailure, ShardCount, install_eras};
    use crate::wide::Memory;

    #[tokio::test]
    async fn a_store_that_is_not_open_is_out_of_reach_and_then_it_is_there() {
        let (late, memory) = (Late::default(), Memory::new());
        let install = async || {
            let width = BucketWidth::new(std::time::Duration::from_hours(1)).unwrap();
            install_eras(&late.clone(), ShardCount::new(4).unwrap(), width).await
        };
        let failure = install().await.unwrap_err();
        assert!(matches!(failure, ErasFailure::Read(_)) && failure.is_transient(), "{failure}");
        let partition = EraRow::partition();
        let refused = late.put(&ERAS, &partition, &[], WriteTime::from_micros(1)).await.unwrap_err();
        assert!(refused.is_transient() && refused.effect() == Effect::NotApplied);
        late.set(Arc::new(memory.clone()));
        let eras = install().await.unwrap();
        assert_eq!(crate::layout::load_eras(&memory).await.unwrap(), eras);
    }
}
