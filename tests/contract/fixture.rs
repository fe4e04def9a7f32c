//! What a case is given: a store, partitions of its own, and short ways to read whole scans.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tidemill_store::wide::{Bounds, Datum, Key, Order, Row, Scan, Table, Wide, WriteTime};

use crate::backend::Opened;

/// More pages than any case needs: a scan that does not end is a failure, not a hang.
const PAGES_MAX: usize = 20_000;

static CASES: AtomicI64 = AtomicI64::new(0);

/// A store as a case sees it.
pub(crate) struct Fixture<W> {
    opened: Opened<W>,
    case: i64,
}

impl<W: Wide> Fixture<W> {
    pub(crate) fn new(opened: Opened<W>) -> Self {
        Self { opened, case: CASES.fetch_add(1, Ordering::Relaxed) }
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<W> {
        &self.opened.store
    }

    /// Another way to the same rows.
    pub(crate) fn other(&self) -> &Arc<W> {
        &self.opened.other
    }

    /// A number that stands for this case and `n` (below 1000) in partition keys.
    pub(crate) fn place(&self, n: i64) -> i64 {
        self.case * 1000 + n
    }

    /// A partition of `BODIES`.
    pub(crate) fn bodies(&self, n: i64) -> Key {
        [Datum::Int(self.place(n)), Datum::Instant(0)].into()
    }

    /// A partition of `NOTES`.
    pub(crate) fn notes(&self, n: i64) -> Key {
        [Datum::Int(self.place(n))].into()
    }

    /// A partition of `SEALS`.
    pub(crate) fn seals(&self, n: i64) -> Key {
        [Datum::Int(self.place(n)), Datum::Instant(-1)].into()
    }

    /// Every row of a partition, ascending.
    pub(crate) async fn all(&self, table: &'static Table, partition: &Key) -> Result<Vec<Row>> {
        pages(&**self.store(), &Scan::partition(table, partition.clone())).await
    }

    /// The rows within bounds, in an order.
    pub(crate) async fn within(
        &self,
        table: &'static Table,
        partition: &Key,
        bounds: Bounds,
        order: Order,
    ) -> Result<Vec<Row>> {
        let scan = Scan::partition(table, partition.clone()).within(bounds).in_order(order);
        pages(&**self.store(), &scan).await
    }
}

/// Every row of a scan, page after page.
pub(crate) async fn pages<W: Wide>(store: &W, scan: &Scan) -> Result<Vec<Row>> {
    let (mut rows, mut from) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = store.scan(scan, from).await?;
        let count = page.rows.len();
        ensure!(u32::try_from(count)? <= scan.page_rows_max, "a page of {count} rows");
        rows.extend(page.rows);
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(rows),
        }
    }
    anyhow::bail!("the scan did not end within {PAGES_MAX} pages")
}

/// A write time.
pub(crate) const fn at(micros: i64) -> WriteTime {
    WriteTime::from_micros(1_700_000_000_000_000 + micros)
}

/// A row of `BODIES`.
pub(crate) fn body(writer: i64, seq: i64, body: impl Into<Bytes>) -> Row {
    Row {
        clustering: [Datum::Int(writer), Datum::Int(seq)].into(),
        cells: vec![Datum::Int(seq), Datum::Blob(body.into())],
    }
}

/// A row of `NOTES`.
pub(crate) fn note(bucket: i64, writer: i64, state: &str, n: i64) -> Row {
    Row {
        clustering: [Datum::Instant(bucket), Datum::Int(writer)].into(),
        cells: vec![Datum::Text(state.to_owned()), Datum::Int(n)],
    }
}

/// A row of `SEALS`.
pub(crate) fn seal(bucket: i64, version: i64, covered: &str) -> Row {
    Row {
        clustering: [Datum::Instant(bucket)].into(),
        cells: vec![Datum::Int(version), Datum::Text(covered.to_owned())],
    }
}

/// A key of integers.
pub(crate) fn ints(parts: &[i64]) -> Key {
    Key::new(parts.iter().map(|&part| Datum::Int(part)).collect::<Vec<_>>())
}
