//! Tables of every shape that a backend must hold: each kind of rows, each type of column, no clustering key.

use std::time::Duration;

use tidemill_store::layout::{Resolution, RetentionTimes};
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
    name: "case_seals",
    partition: &[Column::new("shard", Int), Column::new("period", Instant)],
    clustering: &[Column::new("bucket", Instant)],
    cells: &[Column::new("version", Int), Column::new("covered", Text)],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// One row a partition, without a clustering key, like leases.
pub(crate) static LEASES: Table = Table {
    name: "case_leases",
    partition: &[Column::new("name", Text)],
    clustering: &[],
    cells: &[Column::new("holder", Text), Column::new("epoch", Int)],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// Rows that go away some time after they end, like blocks.
pub(crate) static EXPIRING: Table = Table {
    name: "expiring",
    partition: &[Column::new("shard", Int), Column::new("bucket", Instant)],
    clustering: &[Column::new("n", Int)],
    cells: &[Column::new("ends_at", Instant), Column::new("body", Blob)],
    rows: Rows::Immutable,
    workload: Workload::Archive,
    retention: Retention::Blocks,
};

/// Rows that go away as their resolution says, like frames.
pub(crate) static ROLLUPS: Table = Table {
    name: "rollups",
    partition: &[Column::new("resolution", Int), Column::new("shard", Int), Column::new("period", Instant)],
    clustering: &[Column::new("n", Int)],
    cells: &[Column::new("ends_at", Instant), Column::new("body", Blob)],
    rows: Rows::Immutable,
    workload: Workload::Archive,
    retention: Retention::Frames,
};

/// All of them.
pub(crate) static ALL: [&Table; 7] = [&BODIES, &NOTES, &KINDS, &SEALS, &LEASES, &EXPIRING, &ROLLUPS];

/// How long rows are kept in every store of the suite.
pub(crate) fn retention() -> RetentionTimes {
    let minute = Resolution::from_seconds(60).map(|minute| (minute, ROLLUPS_KEPT));
    RetentionTimes { raw: Some(EXPIRING_KEPT), frames: minute.into_iter().collect() }
}

/// How long `EXPIRING` is kept.
pub(crate) const EXPIRING_KEPT: Duration = Duration::from_hours(10 * 24);
/// How long `ROLLUPS` of a minute are kept; all others for ever.
pub(crate) const ROLLUPS_KEPT: Duration = Duration::from_hours(20 * 24);
