//! Proves the harness itself: each real component starts, answers, and fails the way tests need.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tidemill_tests::cassandra::{Cluster, DATACENTER, Topology, fresh_keyspace};
use tidemill_tests::real::{self, Requirement, trial};

fn main() -> ExitCode {
    real::run(vec![trial(
        "cassandra_answers_and_keeps_acknowledged_rows_over_a_kill",
        &[Requirement::Cassandra],
        cassandra_answers_and_keeps_acknowledged_rows_over_a_kill,
    )])
}

fn cassandra_answers_and_keeps_acknowledged_rows_over_a_kill() -> Result<()> {
    let cluster = Cluster::start(&Topology::single())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let keyspace = fresh_keyspace("harness");
    runtime.block_on(async {
        let session = connect(&cluster).await?;
        let version: (String,) = session
            .query_unpaged("SELECT release_version FROM system.local", ())
            .await?
            .into_rows_result()?
            .single_row()?;
        anyhow::ensure!(version.0.starts_with("5.0."), "version {}", version.0);
        let create = format!(
            "CREATE KEYSPACE {keyspace} WITH replication =
             {{'class': 'NetworkTopologyStrategy', '{DATACENTER}': 1}} AND durable_writes = true"
        );
        session.query_unpaged(create, ()).await?;
        session.query_unpaged(format!("CREATE TABLE {keyspace}.t (k int PRIMARY KEY, v text)"), ()).await?;
        session.query_unpaged(format!("INSERT INTO {keyspace}.t (k, v) VALUES (1, 'kept')"), ()).await?;
        cluster.node(0).kill()?;
        anyhow::Ok(())
    })?;
    cluster.node(0).restart()?;
    runtime.block_on(async {
        let session = connect(&cluster).await?;
        let row: (String,) = session
            .query_unpaged(format!("SELECT v FROM {keyspace}.t WHERE k = 1"), ())
            .await?
            .into_rows_result()?
            .single_row()?;
        anyhow::ensure!(row.0 == "kept", "read {}", row.0);
        anyhow::Ok(())
    })?;
    let status = cluster.node(0).nodetool(&["status"])?;
    anyhow::ensure!(status.contains("UN  127.0.0.1"), "{status}");
    Ok(())
}

async fn connect(cluster: &Cluster) -> Result<Session> {
    SessionBuilder::new()
        .known_nodes(cluster.contact_points())
        .build()
        .await
        .context("connecting to cassandra")
}
