//! Errors: what a caller may conclude when the cluster refuses, is short of replicas, or is silent.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidemill_store::layout::tables::SEGMENTS;
use tidemill_store::wide::cql::schema::{self, SchemaError};
use tidemill_store::wide::cql::{Consistency, Cql, CqlOptions, Credentials, Keyspace, OpenError};
use tidemill_store::wide::{Effect, Scan, Wide, WriteError};
use tidemill_tests::cassandra::{Cluster, DATACENTER, Topology, fresh_keyspace};

use crate::fixture::{all_pages, at, failure, ints, run, runtime, segment, segments_of};

pub(crate) async fn too_few_replicas(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let cql = Cql::connect(&options).await?;
    let more = format!(
        "ALTER KEYSPACE KS WITH replication = {{'class': 'NetworkTopologyStrategy', '{}': 3}}",
        options.local_datacenter
    );
    run(&options, &more).await?;
    let error = failure(
        cql.put(&SEGMENTS, &segments_of(1), &[segment(1, 0, 10)], at(1)).await,
        "one replica is no quorum of three",
    )?;
    ensure!(error.is_transient() && error.effect() == Effect::NotApplied, "{error}");
    let mut bold = options.clone();
    bold.write_consistency = Consistency::LocalOne;
    bold.read_consistency = Consistency::LocalOne;
    let bold = failure(Cql::connect(&bold).await, "a record of the schema cannot be read")?;
    ensure!(bold.to_string().contains("Not enough nodes are alive"), "{bold}");
    let error = failure(cql.get(&SEGMENTS, &segments_of(1), &ints(&[1, 0])).await, "nor for a read")?;
    ensure!(error.is_transient(), "{error}");
    Ok(())
}

pub(crate) async fn missing_table(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let cql = Cql::connect(&options).await?;
    cql.put(&SEGMENTS, &segments_of(1), &[segment(1, 0, 10)], at(1)).await?;
    run(&options, "DROP TABLE KS.segments").await?;
    let error = failure(
        cql.put(&SEGMENTS, &segments_of(1), &[segment(1, 1, 10)], at(1)).await,
        "a dropped table took a write",
    )?;
    ensure!(matches!(error, WriteError::Refused { .. }), "{error}");
    Ok(())
}

pub(crate) fn unreachable_hosts() -> Result<()> {
    let hosts = vec!["127.0.0.1:1".to_owned(), "no-such-host.invalid:9042".to_owned()];
    let mut options = CqlOptions::new(hosts, Keyspace::new("nowhere")?, DATACENTER, 1);
    options.connect_timeout = Duration::from_secs(2);
    let error = failure(runtime()?.block_on(Cql::connect(&options)), "nothing listens there")?.to_string();
    ensure!(error.contains("127.0.0.1:1: ") && error.contains("refused"), "{error}");
    ensure!(error.contains("no-such-host.invalid:9042: "), "{error}");
    Ok(())
}

/// One cluster of its own for what nobody may do to the shared one.
pub(crate) fn faults() -> Result<()> {
    let cluster = Cluster::start(&Topology::single().with_password())?;
    let keyspace = Keyspace::new(&fresh_keyspace("cql_faults"))?;
    let mut options = CqlOptions::new(cluster.contact_points(), keyspace, DATACENTER, 1);
    runtime()?.block_on(async {
        let error = failure(schema::apply(&options).await, "nobody may come in without a login")?;
        ensure!(matches!(error, SchemaError::Open(OpenError::LoginNeeded)), "{error}");
        let login = |name: &str, word: &str| {
            Some(Credentials { username: name.to_owned(), password: word.to_owned() })
        };
        options.credentials = login("cassandra", "wrong");
        let error = failure(schema::apply(&options).await, "a wrong password")?;
        ensure!(matches!(error, SchemaError::Open(OpenError::Authentication(_))), "{error}");
        options.credentials = login("cassandra", "cassandra");
        schema::apply(&options).await?;
        reader_may_not_write(&options).await?;
        frozen_node(&options, &cluster).await
    })
}

pub(crate) async fn reader_may_not_write(options: &CqlOptions) -> Result<()> {
    run(options, "CREATE ROLE reader WITH PASSWORD = 'r' AND LOGIN = true").await?;
    run(options, "GRANT SELECT ON KEYSPACE KS TO reader").await?;
    let mut options = options.clone();
    options.credentials = Some(Credentials { username: "reader".to_owned(), password: "r".to_owned() });
    let cql = Cql::connect(&options).await?;
    let error =
        failure(cql.put(&SEGMENTS, &segments_of(1), &[segment(1, 0, 10)], at(1)).await, "a reader wrote")?;
    ensure!(matches!(error, WriteError::Refused { .. }), "{error}");
    ensure!(cql.get(&SEGMENTS, &segments_of(1), &ints(&[1, 0])).await?.is_none(), "a refused row is there");
    Ok(())
}

pub(crate) async fn frozen_node(options: &CqlOptions, cluster: &Cluster) -> Result<()> {
    let mut options = options.clone();
    options.request_timeout = Duration::from_secs(1);
    let cql = Cql::connect(&options).await?;
    let put = async |seq| cql.put(&SEGMENTS, &segments_of(1), &[segment(1, seq, 10)], at(1)).await;
    put(0).await?;
    cluster.node(0).pause()?;
    let error = failure(put(1).await, "a frozen node answered")?;
    ensure!(error.is_transient() && error.effect() == Effect::Unknown, "{error}");
    cluster.node(0).resume()?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while let Err(error) = put(1).await {
        ensure!(error.is_transient() && tokio::time::Instant::now() < deadline, "not back: {error}");
    }
    let rows = all_pages(&cql, &Scan::partition(&SEGMENTS, segments_of(1))).await?;
    ensure!(rows == [segment(1, 0, 10), segment(1, 1, 10)], "{} rows", rows.len());
    Ok(())
}
