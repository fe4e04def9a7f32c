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

    async fn scan_each(&self, scan: &Scan, partitions: &[Key]) -> Result<Vec<Page>, ReadError> {
        let _under_way = self.begin(&self.metrics.reads, scan.table, "scan_each");
        let result = self.inner.scan_each(scan, partitions).await;
        self.read(scan.table, "scan_each", &result);
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

    fn revision(&self, table: &'static Table) -> Option<u64> {
        self.inner.revision(table)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Datum, Faults, Faulty, Memory, WriteFault};
    use super::*;
    use crate::layout::tables::MARKS;
    use prometheus::Registry;

    const AT: WriteTime = WriteTime::from_micros(1);

    fn partition() -> Key {
        [Datum::Int(0)].into()
    }

    fn store() -> (Metered<Faulty<Memory>>, Faults) {
        let faults = Faults::new(1);
        let metrics = WideMetrics::register(&Registry::new()).unwrap();
        (Metered::new(Faulty::new(Memory::new(), faults.clone()), metrics), faults)
    }

    #[tokio::test]
    async fn operations_and_their_errors_are_counted_by_table_and_kind() {
        let (store, faults) = store();
        let kinds = [
            (WriteFault::NotApplied, "not_applied"),
            (WriteFault::UnknownLost, "unknown"),
            (WriteFault::Refused, "refused"),
            (WriteFault::Broken, "broken"),
        ];
        for (fault, kind) in kinds {
            faults.fail_next_write(fault);
            assert!(store.put(&MARKS, &partition(), &[], AT).await.is_err());
            assert_eq!(store.metrics.errors.with_label_values(&["marks", "put", kind]).get(), 1);
        }
        store.put(&MARKS, &partition(), &[], AT).await.unwrap();
        let times = store.metrics.writes.with_label_values(&["marks", "put"]);
        assert_eq!(times.get_sample_count(), 5);
        faults.fail_next_reads(1);
        assert!(store.scan(&Scan::partition(&MARKS, partition()), None).await.is_err());
        assert_eq!(store.metrics.errors.with_label_values(&["marks", "scan", "unavailable"]).get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_counts_as_under_way_until_it_ends_or_is_dropped() {
        let (store, faults) = store();
        let in_flight = store.metrics.in_flight.with_label_values(&["put"]);
        faults.pause();
        let (partition, rows) = (partition(), []);
        let mut write = Box::pin(store.put(&MARKS, &partition, &rows, AT));
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(1), &mut write).await;
        assert!(waiting.is_err());
        assert_eq!(in_flight.get(), 1);
        drop(write);
        assert_eq!(in_flight.get(), 0);
    }
}
