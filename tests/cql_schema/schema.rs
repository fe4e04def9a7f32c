//! Versions of the schema, what tables are made with, and what is said where they are not as expected.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidemill_store::layout::Resolution;
use tidemill_store::layout::tables::{ALL, BLOCKS, CATALOG, ERAS, FRAMES, MARKS, REJECTS, SEGMENTS};
use tidemill_store::model::Clock as _;
use tidemill_store::wide::cql::schema::{self, Drift, SchemaError, SchemaState};
use tidemill_store::wide::cql::{ConnectError, CqlOptions, OpenError};
use tidemill_store::wide::{Datum, Key, Row, Wide as _};

use crate::fixture::{SystemClock, at, connect, failure, run, session};

pub(crate) async fn applying_twice(options: CqlOptions) -> Result<()> {
    let first = schema::apply(&options).await?;
    ensure!(first.before == SchemaState::Absent && first.drift.is_empty(), "{first:?}");
    let session = session(&options).await?;
    let tables = async || -> Result<Vec<(String, String)>> {
        let text = "SELECT table_name, CAST(id AS text) FROM system_schema.tables WHERE keyspace_name = ?";
        let rows = session.query_unpaged(text, (options.keyspace.as_str(),)).await?.into_rows_result()?;
        Ok(rows.rows::<(String, String)>()?.collect::<Result<_, _>>()?)
    };
    let before = tables().await?;
    let second = schema::apply(&options).await?;
    ensure!(second.before == SchemaState::Current, "{second:?}");
    ensure!(tables().await? == before && before.len() == ALL.len() + 1, "tables changed from {before:?}");
    let report = schema::check(&options).await?;
    ensure!(report.state == SchemaState::Current && report.drift.is_empty(), "{report:?}");
    Ok(())
}

pub(crate) async fn applying_at_once(options: CqlOptions) -> Result<()> {
    let appliers: Vec<_> = (0..4)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { schema::apply(&options).await })
        })
        .collect();
    for applier in appliers {
        applier.await?.context("one of several appliers")?;
    }
    let report = schema::check(&options).await?;
    ensure!(report.state == SchemaState::Current && report.drift.is_empty(), "{report:?}");
    let text = format!("SELECT applied_by FROM {}.schema_version", options.keyspace);
    let rows = session(&options).await?.query_unpaged(text, ()).await?.into_rows_result()?;
    ensure!(rows.rows_num() == usize::try_from(schema::VERSION)?, "{} records", rows.rows_num());
    connect(&options).await?;
    Ok(())
}

pub(crate) async fn completing(options: CqlOptions) -> Result<()> {
    schema::create(&options, &[&MARKS]).await?;
    let found = schema::check(&options).await?.state;
    ensure!(found == SchemaState::Absent, "{found:?}");
    schema::apply(&options).await?;
    connect(&options).await?;
    Ok(())
}

/// A keyspace as the first version left it, with a row in it.
pub(crate) async fn upgrading(options: CqlOptions) -> Result<()> {
    schema::create(&options, &[&ERAS, &CATALOG, &MARKS, &SEGMENTS, &REJECTS]).await?;
    run(
        &options,
        "CREATE TABLE KS.schema_version (component text, version bigint, applied_at timestamp, applied_by text, \
         PRIMARY KEY ((component), version))",
    )
    .await?;
    run(&options, "INSERT INTO KS.schema_version (component, version) VALUES ('tidemill', 1)").await?;
    run(&options, "ALTER TABLE KS.marks WITH gc_grace_seconds = 864000").await?;
    run(&options, "INSERT INTO KS.eras (fleet, starts_at, shards, bucket_millis) VALUES (0, 0, 4, 60000)")
        .await?;
    let refused = failure(connect(&options).await, "an older keyspace was used")?;
    ensure!(matches!(refused, ConnectError::Older { found: 1, needed: schema::VERSION }), "{refused}");
    let applied = schema::apply(&options).await?;
    ensure!(applied.before == SchemaState::Older(1) && applied.drift.is_empty(), "{applied:?}");
    let store = connect(&options).await?;
    let (partition, clustering) = (Key::from([Datum::Int(0)]), Key::from([Datum::Instant(0)]));
    let era = store.get(&ERAS, &partition, &clustering).await?.context("the era is gone")?;
    ensure!(era.cells == [Datum::Int(4), Datum::Int(60_000)], "{era:?}");
    let text =
        "SELECT gc_grace_seconds FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'marks'";
    let rows = session(&options).await?.query_unpaged(text, (options.keyspace.as_str(),)).await?;
    let (grace,): (i32,) = rows.into_rows_result()?.single_row()?;
    ensure!(grace == 14_400, "deleted marks are remembered for {grace} s");
    Ok(())
}

pub(crate) async fn newer(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    run(&options, "INSERT INTO KS.schema_version (component, version) VALUES ('tidemill', 99)").await?;
    let refused = failure(schema::apply(&options).await, "a newer keyspace was changed")?;
    ensure!(matches!(refused, SchemaError::Newer { found: 99, known: schema::VERSION }), "{refused}");
    let refused = failure(connect(&options).await, "a newer keyspace was used")?;
    ensure!(refused.to_string().contains("use a newer program"), "{refused}");
    Ok(())
}

pub(crate) async fn table_options(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let session = session(&options).await?;
    let describe = async |table: &str| -> Result<(String, String, i32, i32)> {
        type Settings = HashMap<String, String>;
        let text = "SELECT compaction, compression, gc_grace_seconds, default_time_to_live \
                    FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
        let rows = session.query_unpaged(text, (options.keyspace.as_str(), table)).await?;
        let (compaction, compression, grace, live): (Settings, Settings, i32, i32) =
            rows.into_rows_result()?.single_row()?;
        let class = |settings: &Settings| settings.get("class").cloned().unwrap_or_default();
        let short = |name: String| name.rsplit('.').next().unwrap_or_default().to_owned();
        Ok((short(class(&compaction)), short(class(&compression)), grace, live))
    };
    let expect = |compaction: &str, compression: &str, grace, live| {
        (compaction.to_owned(), compression.to_owned(), grace, live)
    };
    let marks = describe("marks").await?;
    ensure!(marks == expect("UnifiedCompactionStrategy", "LZ4Compressor", 14_400, 0), "{marks:?}");
    let seals = describe("seals").await?;
    ensure!(seals == expect("UnifiedCompactionStrategy", "LZ4Compressor", 864_000, 0), "{seals:?}");
    let segments = describe("segments").await?;
    ensure!(segments == expect("UnifiedCompactionStrategy", "", 14_400, 0), "{segments:?}");
    for table in ["rejects", "reject_counts"] {
        let found = describe(table).await?;
        ensure!(found == expect("TimeWindowCompactionStrategy", "", 14_400, 2_592_000), "{table}: {found:?}");
    }
    Ok(())
}

pub(crate) async fn retention(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let mut options = options;
    options.rejects_retention = Duration::from_hours(48);
    let drift = schema::check(&options).await?.drift;
    let late = |table| {
        let (found, expected) = ("in windows of 1 DAYS".to_owned(), "in windows of 2 HOURS".to_owned());
        let retention = Drift::Retention { table, found: 2_592_000, expected: 172_800 };
        [retention, Drift::Window { table, found, expected }]
    };
    ensure!(drift == [late("rejects"), late("reject_counts")].concat(), "{drift:?}");
    connect(&options).await.context("another retention is no reason not to start")?;
    schema::apply(&options).await?;
    let drift = schema::check(&options).await?.drift;
    ensure!(drift.is_empty(), "{drift:?}");
    options.retention.raw = Some(Duration::from_hours(60 * 24));
    let hour = Resolution::from_seconds(3600).context("an hour")?;
    options.retention.frames = [(hour, Duration::from_hours(365 * 24))].into();
    let said: Vec<String> = schema::check(&options).await?.drift.iter().map(ToString::to_string).collect();
    ensure!(
        said == [
            "blocks is compacted without windows, not in windows of 2 DAYS; run `tidemill schema apply`",
            "frames is compacted without windows, not in windows of 13 DAYS; run `tidemill schema apply`",
        ],
        "{said:?}"
    );
    for raw in [options.retention.raw, Some(Duration::from_hours(48)), None] {
        options.retention.raw = raw;
        let applied = schema::apply(&options).await?;
        ensure!(applied.drift.is_empty(), "{applied:?}");
        let drift = schema::check(&options).await?.drift;
        ensure!(drift.is_empty(), "{drift:?}");
    }
    Ok(())
}

/// What is left of each row's life, in seconds, as the server tells it.
pub(crate) async fn lifetimes(options: CqlOptions) -> Result<()> {
    let day = Duration::from_hours(24);
    let mut options = options;
    options.retention.raw = Some(day * 30);
    schema::apply(&options).await?;
    let store = connect(&options).await?;
    let now = SystemClock.now().millis_floor();
    let partition = Key::from([Datum::Int(1), Datum::Instant(0)]);
    let ends = [now, now - 10 * 86_400_000, now - 31 * 86_400_000];
    let rows: Vec<Row> = (0..).zip(ends).map(|(n, ends_at)| block(n, ends_at)).collect();
    store.put(&BLOCKS, &partition, &rows, at(1)).await?;
    let frames = Key::from([Datum::Int(3600), Datum::Int(1), Datum::Instant(0)]);
    store.put(&FRAMES, &frames, &[frame(now)], at(1)).await?;
    let session = session(&options).await?;
    let left = async |table: &str| -> Result<Vec<Option<i32>>> {
        let text = format!("SELECT TTL(body) FROM {}.{table}", options.keyspace);
        let rows = session.query_unpaged(text, ()).await?.into_rows_result()?;
        rows.rows::<(Option<i32>,)>()?.map(|row| Ok(row?.0)).collect::<Result<_>>()
    };
    let blocks = left("blocks").await?;
    let days = |seconds: Option<i32>| f64::from(seconds.unwrap_or_default()) / 86_400.0;
    ensure!(blocks.len() == 2, "a row that has expired is there: {blocks:?}");
    for (found, expected) in blocks.into_iter().zip([30.0, 20.0]) {
        ensure!((days(found) - expected).abs() < 0.01, "{found:?} s and not {expected} days");
    }
    ensure!(left("frames").await? == [None], "what is kept for ever has a time to live");
    Ok(())
}

/// A row of `BLOCKS`.
fn block(n: i64, ends_at: i64) -> Row {
    let clustering = [Datum::Int(1), Datum::Int(n), Datum::Blob("s".into()), Datum::Int(0)];
    let cells = [Datum::Blob("s".into()), Datum::Int(0), Datum::Int(0), Datum::Int(1)];
    let rest = [Datum::Instant(ends_at), Datum::Blob("body".into())];
    Row { clustering: clustering.into(), cells: cells.into_iter().chain(rest).collect() }
}

/// A row of `FRAMES`.
fn frame(ends_at: i64) -> Row {
    let clustering =
        [Datum::Instant(0), Datum::Int(1), Datum::Int(1), Datum::Text("m".into()), Datum::Blob("s".into())];
    let cells =
        vec![Datum::Blob("s".into()), Datum::Int(1), Datum::Instant(ends_at), Datum::Blob("body".into())];
    Row { clustering: clustering.into(), cells }
}

pub(crate) async fn missing_column(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    run(&options, "ALTER TABLE KS.marks DROP catalog_n").await?;
    let refused = failure(connect(&options).await, "a table without a column was used")?;
    ensure!(matches!(refused, ConnectError::Drift(_)), "{refused}");
    ensure!(refused.to_string().contains("column catalog_n of marks is missing"), "{refused}");
    Ok(())
}

pub(crate) async fn missing_keyspace(options: CqlOptions) -> Result<()> {
    let refused = failure(connect(&options).await, "no keyspace was used")?;
    ensure!(refused.to_string().contains("run `tidemill schema apply`"), "{refused}");
    Ok(())
}

pub(crate) async fn wrong_datacenter(options: CqlOptions) -> Result<()> {
    let here = options.local_datacenter.clone();
    let mut elsewhere = options.clone();
    "atlantis".clone_into(&mut elsewhere.local_datacenter);
    elsewhere.replication = [("atlantis".to_owned(), 1)].into();
    let refused = failure(schema::apply(&elsewhere).await, "a data centre was made up")?;
    let SchemaError::Open(OpenError::UnknownDatacenter { given, found }) = &refused else {
        anyhow::bail!("{refused}");
    };
    ensure!(given == "atlantis" && *found == [here], "{refused}");
    let mut wider = options;
    wider.replication.insert("atlantis".to_owned(), 1);
    let refused = failure(schema::apply(&wider).await, "replicas were put nowhere")?;
    ensure!(matches!(refused, SchemaError::UnknownDatacenters { .. }), "{refused}");
    Ok(())
}
