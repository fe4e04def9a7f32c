//! Errors: what a caller may conclude when the cluster refuses, is short of replicas, or is silent.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidemill_store::layout::tables::SEGMENTS;
use tidemill_store::wide::cql::schema::{self, SchemaError, SchemaState};
use tidemill_store::wide::cql::{Consistency, Cql, CqlOptions, Credentials, Keyspace, OpenError};
use tidemill_store::wide::{Effect, ReadError, Row, Scan, Wide, WriteError};
use tidemill_tests::cassandra::{Cluster, DATACENTER, Topology, fresh_keyspace};
use tokio::time::Instant;

use crate::fixture::{all_pages, at, connect, failure, ints, run, runtime, segment, segments_of};

pub(crate) async fn too_few_replicas(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let cql = connect(&options).await?;
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
    let bold = connect(&bold).await?;
    bold.put(&SEGMENTS, &segments_of(1), &[segment(1, 0, 10)], at(1)).await?;
    ensure!(bold.get(&SEGMENTS, &segments_of(1), &ints(&[1, 0])).await?.is_some(), "one was asked for");
    let error = failure(cql.get(&SEGMENTS, &segments_of(1), &ints(&[1, 0])).await, "nor for a read")?;
    ensure!(error.is_transient(), "{error}");
    Ok(())
}

pub(crate) async fn missing_table(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let cql = connect(&options).await?;
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
    let error = failure(runtime()?.block_on(connect(&options)), "nothing listens there")?.to_string();
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
        apply_as_first_user(&options).await?;
        reader_may_not_write(&options).await?;
        frozen_node(&options, &cluster).await
    })
}

/// A node makes its first user some time after it begins to listen.
async fn apply_as_first_user(options: &CqlOptions) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        match schema::apply(options).await {
            Err(SchemaError::Open(OpenError::Authentication(_))) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            applied => return Ok(applied.map(drop)?),
        }
    }
}

pub(crate) async fn reader_may_not_write(options: &CqlOptions) -> Result<()> {
    run(options, "CREATE ROLE reader WITH PASSWORD = 'r' AND LOGIN = true").await?;
    run(options, "GRANT SELECT ON KEYSPACE KS TO reader").await?;
    let mut options = options.clone();
    options.credentials = Some(Credentials { username: "reader".to_owned(), password: "r".to_owned() });
    let cql = connect(&options).await?;
    let error =
        failure(cql.put(&SEGMENTS, &segments_of(1), &[segment(1, 0, 10)], at(1)).await, "a reader wrote")?;
    ensure!(matches!(error, WriteError::Refused { .. }), "{error}");
    ensure!(cql.get(&SEGMENTS, &segments_of(1), &ints(&[1, 0])).await?.is_none(), "a refused row is there");
    Ok(())
}

pub(crate) async fn frozen_node(options: &CqlOptions, cluster: &Cluster) -> Result<()> {
    let mut options = options.clone();
    options.request_timeout = Duration::from_secs(1);
    let cql = connect(&options).await?;
    let put = async |seq| cql.put(&SEGMENTS, &segments_of(1), &[segment(1, seq, 10)], at(1)).await;
    put(0).await?;
    cluster.node(0).pause()?;
    let error = failure(put(1).await, "a frozen node answered")?;
    ensure!(error.is_transient() && error.effect() == Effect::Unknown, "{error}");
    cluster.node(0).resume()?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = put(1).await {
        ensure!(error.is_transient() && Instant::now() < deadline, "not back: {error}");
    }
    let rows = all_pages(&cql, &Scan::partition(&SEGMENTS, segments_of(1))).await?;
    ensure!(rows == [segment(1, 0, 10), segment(1, 1, 10)], "{} rows", rows.len());
    Ok(())
}

/// Three nodes here, one elsewhere, which is the one that the options name.
pub(crate) fn data_centres() -> Result<()> {
    let cluster = Cluster::start(&Topology::of(&["north", "north", "north", "south"]))?;
    let keyspace = Keyspace::new(&fresh_keyspace("cql_centres"))?;
    let mut options = CqlOptions::new(vec![cluster.node(3).contact_point()], keyspace, "north", 3);
    options.replication.insert("south".to_owned(), 1);
    options.request_timeout = Duration::from_secs(3);
    runtime()?.block_on(async {
        apply_through_every_node(&options, &cluster).await?;
        let cql = connect(&options).await?;
        put_until_taken(&cql, 0..50).await?;
        cluster.node(1).kill()?;
        put_until_taken(&cql, 50..150).await?;
        cluster.node(3).kill()?;
        put_until_taken(&cql, 150..200).await?;
        let rows = read_until_answered(&cql).await?;
        ensure!(rows == segments(0..200), "{} of 200 acknowledged rows", rows.len());
        cluster.node(2).kill()?;
        no_quorum_is_not_applied(&cql).await
    })
}

async fn apply_through_every_node(options: &CqlOptions, cluster: &Cluster) -> Result<()> {
    let appliers: Vec<_> = cluster
        .contact_points()
        .into_iter()
        .map(|node| {
            let options = CqlOptions { contact_points: vec![node], ..options.clone() };
            tokio::spawn(async move { apply_once_gossiped(&options).await })
        })
        .collect();
    for applier in appliers {
        applier.await??;
    }
    let report = schema::check(options).await?;
    ensure!(report.state == SchemaState::Current && report.drift.is_empty(), "{report:?}");
    Ok(())
}

/// Nodes that have just started may not know of each other yet, nor all of them of a table that another applier has
/// just made: who applies at once with others may have to try again.
async fn apply_once_gossiped(options: &CqlOptions) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        match schema::apply(options).await {
            Err(SchemaError::UnknownDatacenters { .. } | SchemaError::Statement { .. })
                if Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            applied => return Ok(applied.map(drop)?),
        }
    }
}

fn segments(seqs: Range<i64>) -> Vec<Row> {
    seqs.map(|seq| segment(1, seq, 10)).collect()
}

/// Each row is repeated, the same key and bytes, until it is acknowledged.
async fn put_until_taken(cql: &Cql, seqs: Range<i64>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(2);
    for row in segments(seqs) {
        while let Err(error) = cql.put(&SEGMENTS, &segments_of(1), std::slice::from_ref(&row), at(1)).await {
            ensure!(error.is_transient() && Instant::now() < deadline, "not taken: {error}");
        }
    }
    Ok(())
}

/// Nodes that were just killed are asked, too, until they are known to be gone.
async fn read_until_answered(cql: &Cql) -> Result<Vec<Row>> {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        match all_pages(cql, &Scan::partition(&SEGMENTS, segments_of(1))).await {
            Err(error) if error.downcast_ref::<ReadError>().is_some_and(ReadError::is_transient) => {
                ensure!(Instant::now() < deadline, "not answered: {error}");
            }
            answer => return answer,
        }
    }
}

/// With one node of three nothing is acknowledged, and once the loss is known, nothing is even begun.
async fn no_quorum_is_not_applied(cql: &Cql) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let outcome = cql.put(&SEGMENTS, &segments_of(1), &segments(200..201), at(1)).await;
        let error = failure(outcome, "one replica of three took a write, or another data centre did")?;
        ensure!(error.is_transient() && Instant::now() < deadline, "the loss stays unknown: {error}");
        // The driver says last what the last node said: that too few are alive, or that it refuses connections.
        if error.effect() == Effect::NotApplied {
            return Ok(());
        }
    }
}
