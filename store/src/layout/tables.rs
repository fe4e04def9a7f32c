//! The tables of design §5, and nothing else about them.

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

/// Which grind of a bucket is in force and which segments it covers. `covered` and `summary` are JSON text;
/// `checksum` is over the other cells.
pub static SEALS: Table = Table {
    name: "seals",
    partition: &[Column::new("shard", Int), Column::new("period", Instant)],
    clustering: &[Column::new("bucket", Instant)],
    cells: &[
        Column::new("version", Int),
        Column::new("generation_version", Int),
        Column::new("generation_attempt", Int),
        Column::new("sealed_at", Int),
        Column::new("covered", Text),
        Column::new("summary", Text),
        Column::new("checksum", Int),
    ],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// Which periods have seals, so that reading a long range asks for those alone: a row is written before the first seal
/// of its period, and never goes away. Buckets of another width make another row.
pub static PERIODS: Table = Table {
    name: "periods",
    partition: &[Column::new("shard", Int)],
    clustering: &[Column::new("period", Instant), Column::new("bucket_millis", Int)],
    cells: &[Column::new("ends_at", Instant)],
    rows: Rows::Immutable,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// How many of a writer's catalog rows seals carry: who reads marks and then this knows every source there is. A row is
/// written before the first seal that carries so many; the write time is the count, so the greatest stays.
pub static WRITERS: Table = Table {
    name: "writers",
    partition: &[Column::new("shard", Int)],
    clustering: &[Column::new("writer", Int)],
    cells: &[Column::new("catalog_n", Int)],
    rows: Rows::Versioned,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// Ground samples: packs of consecutive sources, in the order of their ids. Times are nanoseconds, inclusive;
/// `ends_at` is the bucket's end, from which retention counts.
pub static BLOCKS: Table = Table {
    name: "blocks",
    partition: &[Column::new("shard", Int), Column::new("bucket", Instant)],
    clustering: &[
        Column::new("version", Int),
        Column::new("attempt", Int),
        Column::new("first_source", Blob),
        Column::new("part", Int),
    ],
    cells: &[
        Column::new("last_source", Blob),
        Column::new("min_time", Int),
        Column::new("max_time", Int),
        Column::new("samples", Int),
        Column::new("ends_at", Instant),
        Column::new("body", Blob),
    ],
    rows: Rows::Immutable,
    workload: Workload::Archive,
    retention: Retention::Blocks,
};

/// Rollups: the windows of one metric and one bucket, of consecutive sources in the order of their ids.
/// `resolution` is in seconds.
pub static FRAMES: Table = Table {
    name: "frames",
    partition: &[Column::new("resolution", Int), Column::new("shard", Int), Column::new("period", Instant)],
    clustering: &[
        Column::new("bucket", Instant),
        Column::new("version", Int),
        Column::new("attempt", Int),
        Column::new("metric", Text),
        Column::new("first_source", Blob),
    ],
    cells: &[
        Column::new("last_source", Blob),
        Column::new("windows", Int),
        Column::new("ends_at", Instant),
        Column::new("body", Blob),
    ],
    rows: Rows::Immutable,
    workload: Workload::Archive,
    retention: Retention::Frames,
};

/// Who works on what: `holder` has shard `shard` of the work `name`. `beat` grows while the holder lives; others go
/// by whether it grew, since clocks of machines are not compared.
pub static LEASES: Table = Table {
    name: "leases",
    partition: &[Column::new("name", Text)],
    clustering: &[Column::new("shard", Int)],
    cells: &[Column::new("holder", Text), Column::new("epoch", Int), Column::new("beat", Int)],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// What edge nodes and their devices said of themselves when they were born or died last. `received_at` repeats the
/// write time.
pub static BIRTHS: Table = Table {
    name: "births",
    partition: &[Column::new("node", Text)],
    clustering: &[Column::new("device", Text)],
    cells: &[Column::new("received_at", Instant), Column::new("state", Text), Column::new("payload", Blob)],
    rows: Rows::Versioned,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// How many rejects of a sender were not kept in an hour because there were too many, with the first as an example. Each
/// writer has its own rows, and writes them anew as they grow.
pub static REJECT_COUNTS: Table = Table {
    name: "reject_counts",
    partition: &[Column::new("day", Instant)],
    clustering: &[
        Column::new("hour", Instant),
        Column::new("writer", Int),
        Column::new("sender", Int),
        Column::new("reason", Text),
    ],
    cells: &[
        Column::new("kind", Text),
        Column::new("count", Int),
        Column::new("first", Instant),
        Column::new("last", Instant),
        Column::new("topic", Text),
        Column::new("detail", Text),
        Column::new("payload", Blob),
    ],
    rows: Rows::Versioned,
    workload: Workload::Archive,
    retention: Retention::Rejects,
};

/// Every table, in the order in which a schema creates them.
pub static ALL: [&Table; 13] = [
    &ERAS,
    &CATALOG,
    &MARKS,
    &SEGMENTS,
    &REJECTS,
    &SEALS,
    &PERIODS,
    &WRITERS,
    &BLOCKS,
    &FRAMES,
    &LEASES,
    &BIRTHS,
    &REJECT_COUNTS,
];
