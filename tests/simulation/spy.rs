//! Watches what is written below the pipeline: a key that is written again must carry the same bytes (I5).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_store::wide::{Datum, Key, Layer, Row, Rows, Table, Wide, WriteError, WriteTime};

/// What was written under each key of tables whose rows never change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    rows: HashMap<(&'static str, Key, Key), Vec<Datum>>,
    rewritten: usize,
}

impl Written {
    /// Rows that were written again with other bytes.
    pub(crate) fn rewritten(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rewritten
    }

    /// Whether every row is new or the same as before; counts those that are not.
    fn admits(&self, table: &'static Table, partition: &Key, rows: &[Row]) -> bool {
        if table.rows != Rows::Immutable {
            return true;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.rewritten;
        for row in rows {
            let key = (table.name, partition.clone(), row.clustering.clone());
            let same = seen.rows.entry(key).or_insert_with(|| row.cells.clone()) == &row.cells;
            seen.rewritten += usize::from(!same);
        }
        seen.rewritten == before
    }
}

/// A store whose writes are judged before they are passed on; what would change a row is counted and goes no further.
#[derive(Debug)]
pub(crate) struct Spied<W> {
    inner: W,
    written: Written,
}

impl<W> Spied<W> {
    pub(crate) const fn new(inner: W, written: Written) -> Self {
        Self { inner, written }
    }
}

impl<W: Wide> Layer for Spied<W> {
    type Inner = W;

    fn inner(&self) -> &W {
        &self.inner
    }

    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        if !self.written.admits(table, partition, rows) {
            return Ok(());
        }
        self.inner().put(table, partition, rows, at).await
    }
}
