//! Proves the harness itself: each real component starts, answers, and fails the way tests need.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tidemill_tests::cassandra::{Cluster, DATACENTER, Topology, fresh_keyspace, shared};
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings, Subscriber};
use tidemill_tests::oracle::Plan;
use tidemill_tests::real::{
    self,
    Requirement::{Cassandra, Mosquitto as Broker, SharedCassandra},
    trial,
};
use tidemill_tests::relay::Relay;
use tidemill_tests::wait;

const SOON: Duration = Duration::from_secs(20);
const PLAN: Plan = Plan { devices: 4, start_ms: 1_700_000_000_000, step_ms: 1_000, seed: 1 };

fn main() -> ExitCode {
    real::run(vec![
        trial("mqtt_311_publishes_are_acknowledged_and_received", &[Broker], || publishes(Protocol::V311)),
        trial("mqtt_5_publishes_are_acknowledged_and_received", &[Broker], || publishes(Protocol::V5)),
        trial("mqtt_311_publisher_loses_nothing_over_cuts", &[Broker], || cuts(Protocol::V311)),
        trial("mqtt_5_publisher_loses_nothing_over_cuts", &[Broker], || cuts(Protocol::V5)),
        trial("a_broker_with_a_login_refuses_others", &[Broker], login),
        trial("a_stopped_broker_keeps_the_queue_of_a_session", &[Broker], broker_restart),
        trial("a_paused_broker_acknowledges_once_resumed", &[Broker], broker_pause),
        trial("the_shared_node_answers_in_a_fresh_keyspace", &[SharedCassandra], shared_node),
        trial("a_killed_node_keeps_acknowledged_rows", &[Cassandra], killed_node),
        trial("two_data_centres_form_one_cluster", &[Cassandra], two_datacenters),
    ])
}

fn publisher(address: std::net::SocketAddr, protocol: Protocol) -> Result<Publisher> {
    Publisher::start(Settings::new(address, "publisher", protocol))
}

fn subscriber(broker: &Mosquitto, protocol: Protocol) -> Result<Subscriber> {
    let settings = Settings::new(broker.address(), "subscriber", protocol);
    Subscriber::start(settings, "devices/+/telemetry", SOON)
}

fn publish(publisher: &Publisher, numbers: std::ops::Range<u64>) -> Result<()> {
    numbers
        .into_iter()
        .try_for_each(|number| publisher.publish(number, &PLAN.topic(number), &PLAN.payload(number), SOON))
}

fn publishes(protocol: Protocol) -> Result<()> {
    const COUNT: u64 = 1_000;
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let subscriber = subscriber(&broker, protocol)?;
    let publisher = publisher(broker.address(), protocol)?;
    publish(&publisher, 0..COUNT)?;
    publisher.wait_settled(SOON)?;
    ensure!(publisher.acknowledged() == (0..COUNT).collect(), "acknowledged");
    let received = subscriber.wait_received(usize::try_from(COUNT)?, SOON)?;
    for (number, message) in (0..).zip(&received) {
        ensure!(message.topic == PLAN.topic(number), "message {number}: {message:?}");
        ensure!(message.payload == PLAN.payload(number), "message {number}: {message:?}");
    }
    publisher.disconnect(SOON)
}

fn cuts(protocol: Protocol) -> Result<()> {
    const COUNT: u64 = 5_000;
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let subscriber = subscriber(&broker, protocol)?;
    let relay = Relay::start(broker.address())?;
    let publisher = publisher(relay.address(), protocol)?;
    for start in (0..COUNT).step_by(1_000) {
        publish(&publisher, start..start + 1_000)?;
        relay.cut();
        wait::pause(Duration::from_millis(20));
        relay.restore();
    }
    publisher.wait_settled(SOON)?;
    ensure!(publisher.connections() > 1, "the relay cut nothing");
    ensure!(publisher.acknowledged() == (0..COUNT).collect(), "acknowledged");
    wait::until_true("every message at the subscriber", SOON, || {
        let received = subscriber.wait_received(0, SOON).unwrap_or_default();
        let payloads: BTreeSet<_> = received.iter().map(|m| &m.payload).collect();
        (0..COUNT).all(|number| payloads.contains(&PLAN.payload(number)))
    })
}

fn login() -> Result<()> {
    let login = Some(("device".to_owned(), "secret".to_owned()));
    let broker = Mosquitto::start(&mosquitto::Settings { login: login.clone(), ..Default::default() })?;
    let stranger = publisher(broker.address(), Protocol::V5)?;
    publish(&stranger, 0..1)?;
    let settings = Settings { login, ..Settings::new(broker.address(), "known", Protocol::V5) };
    let known = Publisher::start(settings)?;
    publish(&known, 0..1)?;
    known.wait_settled(SOON)?;
    ensure!(stranger.connections() == 0, "a stranger got in");
    Ok(())
}

fn broker_restart() -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let session = Settings { clean: false, ..Settings::new(broker.address(), "session", Protocol::V5) };
    drop(Subscriber::start(session.clone(), "devices/+/telemetry", SOON)?);
    let publisher = publisher(broker.address(), Protocol::V5)?;
    publish(&publisher, 0..2_000)?;
    publisher.wait_settled(SOON)?;
    broker.stop()?;
    broker.restart()?;
    let received = Subscriber::start(session, "devices/+/telemetry", SOON)?.wait_received(2_000, SOON)?;
    ensure!(received.len() == 2_000, "{}", received.len());
    Ok(())
}

fn broker_pause() -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let publisher = publisher(broker.address(), Protocol::V311)?;
    publish(&publisher, 0..1)?;
    publisher.wait_settled(SOON)?;
    broker.pause()?;
    publish(&publisher, 1..2)?;
    ensure!(publisher.wait_settled(Duration::from_millis(300)).is_err(), "a paused broker answered");
    broker.resume()?;
    publisher.wait_settled(SOON)
}

fn shared_node() -> Result<()> {
    let node = shared()?;
    let keyspace = fresh_keyspace("harness");
    block_on(async {
        let session = connect(vec![node.contact_point().to_owned()]).await?;
        let version: (String,) = one_row(&session, "SELECT release_version FROM system.local").await?;
        ensure!(version.0.starts_with("5.0."), "version {}", version.0);
        create_table(&session, &keyspace, node.datacenter()).await?;
        session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await?;
        Ok(())
    })
}

fn killed_node() -> Result<()> {
    let cluster = Cluster::start(&Topology::single())?;
    let node = cluster.node(0);
    let keyspace = fresh_keyspace("harness");
    let insert = format!("INSERT INTO {keyspace}.t (k, v) VALUES (1, 'kept')");
    block_on(async {
        let session = connect(cluster.contact_points()).await?;
        create_table(&session, &keyspace, DATACENTER).await?;
        session.query_unpaged(insert, ()).await?;
        node.kill()
    })?;
    node.restart()?;
    block_on(async {
        let session = connect(cluster.contact_points()).await?;
        let row: (String,) = one_row(&session, &format!("SELECT v FROM {keyspace}.t WHERE k = 1")).await?;
        ensure!(row.0 == "kept", "read {}", row.0);
        Ok(())
    })?;
    let status = node.nodetool(&["status"])?;
    ensure!(status.contains("UN  127.0.0.1"), "{status}");
    Ok(())
}

fn two_datacenters() -> Result<()> {
    let cluster = Cluster::start(&Topology::of(&["east", "west"]))?;
    let status = cluster.node(1).nodetool(&["status"])?;
    for expected in ["Datacenter: east", "Datacenter: west", "UN  127.0.0.1", "UN  127.0.0.2"] {
        ensure!(status.contains(expected), "{expected}: {status}");
    }
    block_on(async {
        let session = connect(vec![cluster.node(1).contact_point()]).await?;
        let state = session.get_cluster_state();
        let datacenters: BTreeSet<_> =
            state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
        ensure!(datacenters.into_iter().eq(["east", "west"]), "the driver's data centres");
        Ok(())
    })
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(work)
}

async fn connect(contact_points: Vec<String>) -> Result<Session> {
    let session = SessionBuilder::new().known_nodes(contact_points).build().await;
    session.context("connecting to cassandra")
}

async fn create_table(session: &Session, keyspace: &str, datacenter: &str) -> Result<()> {
    let replication = format!("{{'class': 'NetworkTopologyStrategy', '{datacenter}': 1}}");
    let create = format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}");
    session.query_unpaged(create, ()).await?;
    session.query_unpaged(format!("CREATE TABLE {keyspace}.t (k int PRIMARY KEY, v text)"), ()).await?;
    Ok(())
}

async fn one_row<R>(session: &Session, query: &str) -> Result<R>
where
    R: for<'r> scylla::deserialize::row::DeserializeRow<'r, 'r>,
{
    let rows = session.query_unpaged(query, ()).await?.into_rows_result()?;
    Ok(rows.single_row()?)
}
