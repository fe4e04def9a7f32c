//! The tables of design §5 that ingest and reads use, and nothing else about them.

use crate::wide::ColumnType::{Blob, Instant, Int, Text, Uuid};
use crate::wide::{Column, Retention, Rows, Table, Workload};

/// Eras, all in partition 0. Written by compare-and-set: were two installers with different settings both to
/// believe that theirs is the first era, each would store where the other does not look.
pub static ERAS: Table = Table {
    name: "eras",
    partition: &[Column::new("fleet", Int)],
    clustering: &[Column::new("starts_at", Instant)],
    cells: &[Column::new("shards", Int), Column::new("bucket_millis", Int)],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// What each writer found out about sources: row `n` describes one source and the metrics it is known to have.
pub static CATALOG: Table = Table {
    name: "catalog",
    partition: &[Column::new("shard", Int)],
    clustering: &[Column::new("writer", Int), Column::new("n", Int)],
    cells: &[
        Column::new("source", Uuid),
        Column::new("tenant", Text),
        Column::new("device", Text),
        Column::new("tags", Text),
        Column::new("metrics", Text),
    ],
    rows: Rows::Immutable,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// Which writer touches which bucket. `through_seq` is -1 while nothing is known to be complete; `catalog_n`
/// counts the writer's catalog rows that a reader of the bucket needs; `written_at` repeats the write time.
pub static MARKS: Table = Table {
    name: "marks",
    partition: &[Column::new("shard", Int)],
    clustering: &[Column::new("bucket", Instant), Column::new("writer", Int)],
    cells: &[
        Column::new("state", Text),
        Column::new("through_seq", Int),
        Column::new("catalog_n", Int),
        Column::new("written_at", Int),
    ],
    rows: Rows::Versioned,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// Columnar batches as ingested. Times are nanoseconds, inclusive.
pub static SEGMENTS: Table = Table {
    name: "segments",
    partition: &[Column::new("shard", Int), Column::new("bucket", Instant)],
    clustering: &[Column::new("writer", Int), Column::new("seq", Int)],
    cells: &[
        Column::new("received_at", Instant),
        Column::new("catalog_n", Int),
        Column::new("samples", Int),
        Column::new("min_time", Int),
        Column::new("max_time", Int),
        Column::new("body", Blob),
    ],
    rows: Rows::Immutable,
    workload: Workload::Log,
    retention: Retention::Forever,
};

/// Messages that could not be taken, with their reason (I7). A day is cut into slots to spread it.
pub static REJECTS: Table = Table {
    name: "rejects",
    partition: &[Column::new("day", Instant), Column::new("slot", Int)],
    clustering: &[Column::new("received_at", Instant), Column::new("writer", Int), Column::new("n", Int)],
    cells: &[
        Column::new("kind", Text),
        Column::new("reason", Text),
        Column::new("detail", Text),
        Column::new("topic", Text),
        Column::new("payload", Blob),
    ],
    rows: Rows::Immutable,
    workload: Workload::Archive,
    retention: Retention::Rejects,
};

/// Every table, in the order in which a schema creates them.
pub static ALL: [&Table; 5] = [&ERAS, &CATALOG, &MARKS, &SEGMENTS, &REJECTS];
