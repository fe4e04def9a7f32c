//! [`Wide`] on Apache Cassandra, ScyllaDB, or a service that speaks their protocol.
//!
//! Keys and cells are typed columns that read well in `cqlsh`; only bodies are blobs. Every write carries its time
//! and may be repeated (I5); `Ok` means that as many replicas as configured have it (I1). A read asks as many
//! (I3), a read of one row in a table of exchanges asks serially, so that after an unknown exchange it tells how
//! that ended. An operation waits for its turn among a bounded number in flight (I6), sends, and ends within one
//! deadline. Requests stay in the local data centre. What is repeated inside is in `retry`, what an error means in
//! `error`, what a page costs in `read`, what pages of several partitions cost in `read_each`.

mod error;
mod lifetime;
mod options;
mod prepared;
mod read;
mod read_each;
mod retry;
pub mod schema;
mod session;
mod slice;
mod statement;
mod value;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{
    Deletion, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide, WriteError,
    WriteTime,
};
use crate::model::Clock;
use error::{Failure, Verdict};
use lifetime::Lifetimes;
use prepared::Prepared;
use schema::{SchemaError, SchemaState};
use session::Purpose;

pub use options::{Consistency, CqlOptions, Credentials, Keyspace, OptionsError, TlsOptions};
pub use session::{HostFailure, OpenError};

/// Why there is no backend. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The cluster is out of reach, or not the one that was meant.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The schema could not be read.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The tables are not there.
    #[error("keyspace {0} is missing or empty; run `tidemill schema apply`")]
    Absent(Keyspace),
    /// The tables are of an earlier version.
    #[error("the schema has version {found}, this program needs {needed}; run `tidemill schema apply`")]
    Older {
        /// The keyspace's version.
        found: i64,
        /// This program's.
        needed: i64,
    },
    /// A table is not as its version says.
    #[error("the schema differs from what this program expects: {}", .0.join("; "))]
    Drift(Vec<String>),
}

/// A CQL cluster as a wide-column store. Cheap to share behind an `Arc`; dropping it closes its connections.
#[derive(Debug)]
pub struct Cql {
    session: Session,
    prepared: Prepared,
    writes: Semaphore,
    reads: Semaphore,
    lifetimes: Lifetimes,
    request_timeout: Duration,
}

impl Cql {
    /// Connects, and makes sure that the schema is the one this program knows. `clock` tells how long rows that
    /// expire have still to live when they are written.
    pub async fn connect(options: &CqlOptions, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let report = schema::check(options).await?;
        match report.state {
            SchemaState::Current => {}
            SchemaState::Absent => return Err(ConnectError::Absent(options.keyspace.clone())),
            SchemaState::Older(found) => {
                return Err(ConnectError::Older { found, needed: schema::VERSION });
            }
            SchemaState::Newer(found) => {
                return Err(SchemaError::Newer { found, known: schema::VERSION }.into());
            }
        }
        let unusable: Vec<String> =
            report.drift.iter().filter(|drift| drift.breaks()).map(ToString::to_string).collect();
        if !unusable.is_empty() {
            return Err(ConnectError::Drift(unusable));
        }
        let session = session::open(options, Purpose::Data).await?;
        let turns = || Semaphore::new(options.in_flight_max.get().into());
        Ok(Self {
            session,
            prepared: Prepared::new(options),
            writes: turns(),
            reads: turns(),
            lifetimes: Lifetimes::new(options.expiry(), clock),
            request_timeout: options.request_timeout,
        })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout
    }
}

/// Does `work` when its turn among `turns` comes, all of it before `deadline`.
async fn in_turn<T, E: From<Failure>>(
    turns: &Semaphore,
    deadline: Instant,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Ok(Ok(_turn)) = timeout_at(deadline, turns.acquire()).await else {
        let reason = "too many requests are in flight; its turn did not come within the deadline";
        return Err(Failure::new(Verdict::NotApplied, reason).into());
    };
    let unanswered = |_| Failure::new(Verdict::Unknown, "no answer within the deadline");
    timeout_at(deadline, work).await.map_err(unanswered)?
}

impl Wide for Cql {
    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        table.assert_put_and_deleted();
        table.assert_partition(partition);
        for row in rows {
            table.assert_row(row);
        }
        Ok(self.put_rows(table, partition, rows, at).await?)
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        table.assert_partition(partition);
        table.assert_clustering(clustering);
        self.get_row(table, partition, clustering, self.deadline()).await
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        scan.assert_valid();
        self.scan_page(scan, from).await
    }

    async fn scan_each(&self, scan: &Scan, partitions: &[Key]) -> Result<Vec<Page>, ReadError> {
        scan.assert_valid();
        for partition in partitions {
            scan.table.assert_partition(partition);
        }
        self.scan_pages(scan, partitions).await
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        table.assert_put_and_deleted();
        table.assert_partition(partition);
        match deletion {
            Deletion::Row(key) => table.assert_clustering(key),
            Deletion::Range(bounds) => table.assert_bounds(bounds),
        }
        Ok(self.delete_rows(table, partition, deletion, at).await?)
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        table.assert_exchanged();
        table.assert_partition(partition);
        table.assert_row(row);
        self.exchange(table, partition, expected, row).await
    }
}
