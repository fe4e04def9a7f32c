//! Tables of every shape that a backend must hold: each kind of rows, each type of column, no clustering key.

use tidemill_store::wide::ColumnType::{Blob, Instant, Int, Text, Uuid};
use tidemill_store::wide::{Column, Retention, Rows, Table, Workload};

/// Immutable rows with bodies, like segments.
pub(crate) static BODIES: Table = Table {
    name: "bodies",
    partition: &[Column::new("shard", Int), Column::new("bucket", Instant)],
    clustering: &[Column::new("writer", Int), Column::new("seq", Int)],
    cells: &[Column::new("samples", Int), Column::new("body", Blob)],
    rows: Rows::Immutable,
    workload: Workload::Log,
    retention: Retention::Forever,
};

/// Small rows of which the newest wins, like marks.
pub(crate) static NOTES: Table = Table {
    name: "notes",
    partition: &[Column::new("shard", Int)],
    clustering: &[Column::new("bucket", Instant), Column::new("writer", Int)],
    cells: &[Column::new("state", Text), Column::new("n", Int)],
    rows: Rows::Versioned,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// Every type of column, in keys and in cells.
pub(crate) static KINDS: Table = Table {
    name: "kinds",
    partition: &[Column::new("place", Int), Column::new("name", Text), Column::new("id", Uuid)],
    clustering: &[
        Column::new("label", Text),
        Column::new("number", Int),
        Column::new("at", Instant),
        Column::new("source", Uuid),
    ],
    cells: &[
        Column::new("c_int", Int),
        Column::new("c_instant", Instant),
        Column::new("c_uuid", Uuid),
        Column::new("c_text", Text),
        Column::new("c_blob", Blob),
    ],
    rows: Rows::Versioned,
    workload: Workload::Archive,
    retention: Retention::Forever,
};

/// Rows that change by compare-and-set, like seals.
pub(crate) static SEALS: Table = Table {
    name: "seals",
    partition: &[Column::new("shard", Int), Column::new("period", Instant)],
    clustering: &[Column::new("bucket", Instant)],
    cells: &[Column::new("version", Int), Column::new("covered", Text)],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// One row a partition, without a clustering key, like leases.
pub(crate) static LEASES: Table = Table {
    name: "leases",
    partition: &[Column::new("name", Text)],
    clustering: &[],
    cells: &[Column::new("holder", Text), Column::new("epoch", Int)],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// All of them.
pub(crate) static ALL: [&Table; 5] = [&BODIES, &NOTES, &KINDS, &SEALS, &LEASES];
