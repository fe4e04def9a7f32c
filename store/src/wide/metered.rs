//! A [`Wide`] that measures another: how long operations take, how they fail, how many are under way.

use prometheus::{HistogramTimer, HistogramVec, IntGauge};

use super::{
    Deletion, Effect, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide,
    WriteError, WriteTime,
};
use crate::metrics::WideMetrics;

/// Measures the operations of `W`. One whose future is dropped is measured up to then and counts as no error.
#[derive(Debug)]
pub struct Metered<W> {
    inner: W,
    metrics: WideMetrics,
}

impl<W: Wide> Metered<W> {
    /// Over `inner`.
    pub const fn new(inner: W, metrics: WideMetrics) -> Self {
        Self { inner, metrics }
    }

    fn begin(&self, times: &HistogramVec, table: &Table, operation: &'static str) -> UnderWay {
        let in_flight = self.metrics.in_flight.with_label_values(&[operation]);
        in_flight.inc();
        UnderWay { _timer: times.with_label_values(&[table.name, operation]).start_timer(), in_flight }
    }

    fn write<T>(&self, table: &Table, operation: &'static str, result: &Result<T, WriteError>) {
        if let Err(error) = result {
            self.metrics.errors.with_label_values(&[table.name, operation, write_kind(error)]).inc();
        }
    }

    fn read<T>(&self, table: &Table, operation: &'static str, result: &Result<T, ReadError>) {
        if let Err(error) = result {
            self.metrics.errors.with_label_values(&[table.name, operation, read_kind(error)]).inc();
        }
    }
}

/// An operation under way; measured when it goes, finished or not.
struct UnderWay {
    _timer: HistogramTimer,
    in_flight: IntGauge,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

const fn write_kind(error: &WriteError) -> &'static str {
    match error {
        WriteError::Unavailable { effect: Effect::NotApplied, .. } => "not_applied",
        WriteError::Unavailable { effect: Effect::Unknown, .. } => "unknown",
        WriteError::Refused { .. } => "refused",
        WriteError::Broken { .. } => "broken",
    }
}

const fn read_kind(error: &ReadError) -> &'static str {
    match error {
        ReadError::Unavailable { .. } => "unavailable",
        ReadError::Refused { .. } => "refused",
        ReadError::Corrupt { .. } => "corrupt",
    }
}

impl<W: Wide> Wide for Metered<W> {
    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let _under_way = self.begin(&self.metrics.writes, table, "put");
        let result = self.inner.put(table, partition, rows, at).await;
        self.write(table, "put", &result);
        result
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        let _under_way = self.begin(&self.metrics.reads, table, "get");
        let result = self.inner.get(table, partition, clustering).await;
        self.read(table, "get", &result);
        result
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        let _under_way = self.begin(&self.metrics.reads, scan.table, "scan");
        let result = self.inner.scan(scan, from).await;
        self.read(scan.table, "scan", &result);
        result
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let _under_way = self.begin(&self.metrics.writes, table, "delete");
        let result = self.inner.delete(table, partition, deletion, at).await;
        self.write(table, "delete", &result);
        result
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        let _under_way = self.begin(&self.metrics.writes, table, "compare_and_set");
        let result = self.inner.compare_and_set(table, partition, expected, row).await;
        self.write(table, "compare_and_set", &result);
        result
    }
}
