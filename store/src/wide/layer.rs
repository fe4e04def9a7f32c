//! Stores over stores: a layer says only what it does in another way than the store beneath it.
//!
//! Knows no table and no layer. What a layer changes, it answers for: the contract of [`Wide`] holds for the whole.

use std::future::Future;
use std::sync::Arc;

use super::scan::scan_one_by_one;
use super::{
    Deletion, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide, WriteError,
    WriteTime,
};

/// A store over another one. Every operation is the inner store's unless it is written anew. Layers are [`Wide`].
pub trait Layer: Send + Sync + 'static {
    /// The store beneath.
    type Inner: Wide;

    /// The store beneath.
    fn inner(&self) -> &Self::Inner;

    /// As [`Wide::put`].
    fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> impl Future<Output = Result<(), WriteError>> + Send {
        self.inner().put(table, partition, rows, at)
    }

    /// As [`Wide::get`].
    fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> impl Future<Output = Result<Option<Row>, ReadError>> + Send {
        self.inner().get(table, partition, clustering)
    }

    /// As [`Wide::scan`].
    fn scan(
        &self,
        scan: &Scan,
        from: Option<PageToken>,
    ) -> impl Future<Output = Result<Page, ReadError>> + Send {
        self.inner().scan(scan, from)
    }

    /// As [`Wide::scan_each`]; by scans of this layer, so that none goes past it unseen.
    fn scan_each(
        &self,
        scan: &Scan,
        partitions: &[Key],
    ) -> impl Future<Output = Result<Vec<Page>, ReadError>> + Send
    where
        Self: Sized,
    {
        scan_one_by_one(self, scan, partitions)
    }

    /// As [`Wide::delete`].
    fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> impl Future<Output = Result<(), WriteError>> + Send {
        self.inner().delete(table, partition, deletion, at)
    }

    /// As [`Wide::compare_and_set`].
    fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> impl Future<Output = Result<Exchange, WriteError>> + Send {
        self.inner().compare_and_set(table, partition, expected, row)
    }

    /// As [`Wide::revision`].
    fn revision(&self, table: &'static Table) -> Option<u64> {
        self.inner().revision(table)
    }
}

impl<W: Wide> Layer for Arc<W> {
    type Inner = W;

    fn inner(&self) -> &W {
        self
    }

    fn scan_each(
        &self,
        scan: &Scan,
        partitions: &[Key],
    ) -> impl Future<Output = Result<Vec<Page>, ReadError>> + Send {
        (**self).scan_each(scan, partitions)
    }
}

impl<L: Layer> Wide for L {
    fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> impl Future<Output = Result<(), WriteError>> + Send {
        Layer::put(self, table, partition, rows, at)
    }

    fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> impl Future<Output = Result<Option<Row>, ReadError>> + Send {
        Layer::get(self, table, partition, clustering)
    }

    fn scan(
        &self,
        scan: &Scan,
        from: Option<PageToken>,
    ) -> impl Future<Output = Result<Page, ReadError>> + Send {
        Layer::scan(self, scan, from)
    }

    fn scan_each(
        &self,
        scan: &Scan,
        partitions: &[Key],
    ) -> impl Future<Output = Result<Vec<Page>, ReadError>> + Send {
        Layer::scan_each(self, scan, partitions)
    }

    fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> impl Future<Output = Result<(), WriteError>> + Send {
        Layer::delete(self, table, partition, deletion, at)
    }

    fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> impl Future<Output = Result<Exchange, WriteError>> + Send {
        Layer::compare_and_set(self, table, partition, expected, row)
    }

    fn revision(&self, table: &'static Table) -> Option<u64> {
        Layer::revision(self, table)
    }
}
