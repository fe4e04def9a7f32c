//! A wide-column store behind one small trait: tables of (partition key, clustering key) → cells.
//!
//! The same contract holds for every backend and is checked by one suite. It promises durability of what
//! returned `Ok` (I1), idempotence (I5) and an order of clustering keys; it does not promise any order between
//! writes of different rows that overlap in time. Only `cql` names the Cassandra driver, only `lsm` the LSM tree.

#[cfg(feature = "cql")]
pub mod cql;
mod datum;
mod error;
mod expiry;
mod faulty;
mod late;
mod layer;
#[cfg(feature = "lsm")]
pub mod lsm;
pub mod memory;
mod metered;
mod random;
mod retrying;
mod scan;
mod table;

use std::future::Future;

pub use datum::{Datum, Key, Row};
pub use error::{Effect, ReadError, WriteError};
pub use expiry::Expiry;
pub use faulty::{FaultCounts, FaultRates, Faults, Faulty, WriteFault};
pub use late::Late;
pub use layer::Layer;
pub use memory::Memory;
pub use metered::Metered;
pub use retrying::{RetryDecision, RetryPolicy, Retrying};
pub use scan::{Bounds, Order, Page, PageToken, Scan};
pub use table::{Column, ColumnType, Retention, Rows, Table, Workload};

/// The write time of a row, in microseconds: of two writes of one row the higher wins whole, and a delete
/// removes what was written at or below its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteTime(i64);

impl WriteTime {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }
}

/// What a delete removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// The row with this whole clustering key.
    Row(Key),
    /// Every row whose clustering key lies within these bounds.
    Range(Bounds),
}

/// What a compare-and-set expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// No row.
    Absent,
    /// A row whose cell of this name equals this value.
    Cell(&'static str, Datum),
}

impl Expected {
    /// Whether `current` is what is expected. Panics where the table has no such cell: a caller's bug.
    pub fn is_met_by(&self, table: &Table, current: Option<&Row>) -> bool {
        match self {
            Self::Absent => current.is_none(),
            Self::Cell(name, value) => {
                let index = table.cell_index(name);
                assert!(index.is_some(), "{} has no cell {name}", table.name);
                current.and_then(|row| row.cells.get(index?)) == Some(value)
            }
        }
    }
}

/// How a compare-and-set ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Exchange {
    /// The row is now the one given.
    Applied,
    /// The row was another, and still is; `None` where there is none.
    Refused(Option<Row>),
}

/// A wide-column store.
///
/// Every operation may be called from many tasks at once. A future that is dropped leaves its operation with
/// [`Effect::Unknown`]. Every operation ends: within the backend's configured deadline it gives a result or an error.
pub trait Wide: Send + Sync + 'static {
    /// Writes `rows` of one partition at `at`. `Ok`: all rows are durable as configured and every later read
    /// sees them. Rows of one call need not appear at one moment. May be repeated with the same arguments (I5).
    /// In a table of [`Rows::Immutable`] a key must always be written with the same cells and, where it is ever
    /// deleted, at the same time. In a table of [`Rows::Versioned`] two writes of a key at one time must carry the
    /// same cells: nobody may rely on which of them wins. Not for tables of [`Rows::Exchanged`].
    fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// The row with this whole clustering key.
    fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> impl Future<Output = Result<Option<Row>, ReadError>> + Send;

    /// One page of a partition's rows within bounds, in clustering order. Pages are not snapshots of each other:
    /// a row that exists during the whole of a scan appears once, one that comes or goes meanwhile may or may not.
    /// Go on with the token of the page before, and otherwise the same scan.
    fn scan(
        &self,
        scan: &Scan,
        from: Option<PageToken>,
    ) -> impl Future<Output = Result<Page, ReadError>> + Send;

    /// The first page of `scan` in each of these partitions instead of its own, in their order: what as many scans
    /// give that begin at one moment, where the store can in fewer requests. Partitions are few and small, and differ.
    fn scan_each(
        &self,
        scan: &Scan,
        partitions: &[Key],
    ) -> impl Future<Output = Result<Vec<Page>, ReadError>> + Send
    where
        Self: Sized,
    {
        scan::scan_one_by_one(self, scan, partitions)
    }

    /// Removes what was written at or below `at`; newer rows stay. Removing nothing is no error. A row that is
    /// written later with a time at or below `at` may or may not appear: nobody may rely on either.
    fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Replaces one row if it is as expected; linearizable per partition. Only for tables of [`Rows::Exchanged`]
    /// (leases, seals), which nothing puts or deletes. After [`Effect::Unknown`] the caller reads back to learn.
    fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> impl Future<Output = Result<Exchange, WriteError>> + Send;

    /// A number that stands for what is in a table, where this store knows of every change to it: as long as it is the
    /// same as before a read began, that read found every change that is acknowledged by now. `None` where others may
    /// change the table unseen.
    fn revision(&self, table: &'static Table) -> Option<u64> {
        let _ = table;
        None
    }
}
