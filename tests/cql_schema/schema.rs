//! Versions of the schema, what tables are made with, and what is said where they are not as expected.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidemill_store::layout::tables::{ALL, CATALOG, ERAS, MARKS, REJECTS, SEGMENTS};
use tidemill_store::wide::cql::schema::{self, Drift, SchemaError, SchemaState};
use tidemill_store::wide::cql::{ConnectError, Cql, CqlOptions, OpenError};
use tidemill_store::wide::{Datum, Key, Wide as _};

use crate::fixture::{failure, run, session};

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
    Cql::connect(&options).await?;
    Ok(())
}

pub(crate) async fn completing(options: CqlOptions) -> Result<()> {
    schema::create(&options, &[&MARKS]).await?;
    let found = schema::check(&options).await?.state;
    ensure!(found == SchemaState::Absent, "{found:?}");
    schema::apply(&options).await?;
    Cql::connect(&options).await?;
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
    run(&options, "INSERT INTO KS.eras (fleet, starts_at, shards, bucket_millis) VALUES (0, 0, 4, 60000)")
        .await?;
    let refused = failure(Cql::connect(&options).await, "an older keyspace was used")?;
    ensure!(matches!(refused, ConnectError::Older { found: 1, needed: schema::VERSION }), "{refused}");
    let applied = schema::apply(&options).await?;
    ensure!(applied.before == SchemaState::Older(1) && applied.drift.is_empty(), "{applied:?}");
    let store = Cql::connect(&options).await?;
    let (partition, clustering) = (Key::from([Datum::Int(0)]), Key::from([Datum::Instant(0)]));
    let era = store.get(&ERAS, &partition, &clustering).await?.context("the era is gone")?;
    ensure!(era.cells == [Datum::Int(4), Datum::Int(60_000)], "{era:?}");
    Ok(())
}

pub(crate) async fn newer(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    run(&options, "INSERT INTO KS.schema_version (component, version) VALUES ('tidemill', 99)").await?;
    let refused = failure(schema::apply(&options).await, "a newer keyspace was changed")?;
    ensure!(matches!(refused, SchemaError::Newer { found: 99, known: schema::VERSION }), "{refused}");
    let refused = failure(Cql::connect(&options).await, "a newer keyspace was used")?;
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
    ensure!(marks == expect("UnifiedCompactionStrategy", "LZ4Compressor", 864_000, 0), "{marks:?}");
    let segments = describe("segments").await?;
    ensure!(segments == expect("UnifiedCompactionStrategy", "", 14_400, 0), "{segments:?}");
    let rejects = describe("rejects").await?;
    ensure!(rejects == expect("TimeWindowCompactionStrategy", "", 864_000, 2_592_000), "{rejects:?}");
    Ok(())
}

pub(crate) async fn retention(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let mut options = options;
    options.rejects_retention = Duration::from_hours(48);
    let drift = schema::check(&options).await?.drift;
    let expected = Drift::Retention { table: "rejects", found: 2_592_000, expected: 172_800 };
    ensure!(drift == [expected], "{drift:?}");
    Cql::connect(&options).await.context("another retention is no reason not to start")?;
    schema::apply(&options).await?;
    let drift = schema::check(&options).await?.drift;
    ensure!(drift.is_empty(), "{drift:?}");
    Ok(())
}

pub(crate) async fn missing_column(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    run(&options, "ALTER TABLE KS.marks DROP catalog_n").await?;
    let refused = failure(Cql::connect(&options).await, "a table without a column was used")?;
    ensure!(matches!(refused, ConnectError::Drift(_)), "{refused}");
    ensure!(refused.to_string().contains("column catalog_n of marks is missing"), "{refused}");
    Ok(())
}

pub(crate) async fn missing_keyspace(options: CqlOptions) -> Result<()> {
    let refused = failure(Cql::connect(&options).await, "no keyspace was used")?;
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
