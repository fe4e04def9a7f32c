//! Rows in which something stands between ingester and store, or in which several ingesters share one; one Cassandra for
//! all of them, which itself is well.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::api::Accounting;
use tidemill_tests::cassandra::{Keyspace, Node};
use tidemill_tests::environment;
use tidemill_tests::feed::Feed;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::overloaded::{Failure, Overloaded};
use tidemill_tests::relay::Relay;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::broker::wait_consumed;
use crate::judge::{readable, settle, settle_broker};
use crate::store::{Row, run_rows, spooling, start};
use crate::table::Findings;
use crate::{PLAN, SOON};

const ROWS: [Row; 6] = [
    ("store overloaded, no spool", |node, keyspace| {
        overloaded(node, Builder::new()?.with_cassandra(keyspace))
    }),
    ("store overloaded, spool takes over", |node, keyspace| overloaded(node, spooling(keyspace)?)),
    ("store far away, then cut off", far),
    ("connections to the store half open", half_open),
    ("one of two ingesters of a group killed", group),
    ("one of two ingesters leaves for good", scale_in),
];

/// Runs all rows, then says which failed.
pub(crate) fn rows() -> Result<()> {
    run_rows(&ROWS)
}

fn address(node: &Node) -> Result<SocketAddr> {
    Ok(node.contact_point().parse()?)
}

/// Much is refused, some is carried out and said to have timed out; for a while, everything.
fn overloaded(node: &Node, builder: Builder) -> Result<Findings> {
    let mut proxy = Overloaded::start(address(node)?)?;
    let builder = builder.set("store.cassandra.contact_points", vec![proxy.contact_point()]);
    let (tidemill, mut feed) = start(builder)?;
    let rounds = if environment::all_faults() { 4 } else { 1 };
    for _ in 0..rounds {
        for failure in [Failure::Overloaded, Failure::Unavailable, Failure::WriteTimeout] {
            let before = proxy.failed();
            proxy.fail(failure, 60);
            let got_through = feed.wait_more(50, SOON);
            proxy.fail(failure, 100);
            wait::pause(Duration::from_secs(2));
            proxy.pass();
            got_through.with_context(|| format!("{failure:?} of 60 % let nothing through"))?;
            feed.wait_more(100, SOON).with_context(|| format!("after {failure:?}"))?;
            ensure!(proxy.failed() > before, "nothing failed with {failure:?}");
        }
    }
    settle(&mut feed, &tidemill, &format!("{} requests failed, of 3 kinds", proxy.failed()))
}

/// Everything takes longer, and now and then all connections are gone at once.
fn far(node: &Node, keyspace: &Keyspace) -> Result<Findings> {
    let relay = Relay::start(address(node)?)?;
    let builder = spooling(keyspace)?;
    let contact_points = vec![relay.address().to_string()];
    let (tidemill, mut feed) = start(builder.set("store.cassandra.contact_points", contact_points))?;
    for delay in [50, 300] {
        relay.delay(Duration::from_millis(delay));
        feed.wait_more(100, SOON)?;
        relay.cut();
        feed.wait_more(200, SOON)
            .context("without a store acknowledgements stopped though there is a spool")?;
        relay.restore();
        feed.wait_more(100, SOON)?;
    }
    relay.delay(Duration::ZERO);
    settle(&mut feed, &tidemill, "50 ms, 300 ms, and a cut of each")
}

/// Packets are dropped with nothing that says so: requests end at their deadline, and acknowledgements wait.
fn half_open(node: &Node, keyspace: &Keyspace) -> Result<Findings> {
    let relay = Relay::start(address(node)?)?;
    let contact_points = vec![relay.address().to_string()];
    let builder = Builder::new()?.with_cassandra(keyspace);
    let (tidemill, mut feed) = start(builder.set("store.cassandra.contact_points", contact_points))?;
    relay.hold();
    // What was on its way may still arrive.
    wait::pause(Duration::from_millis(500));
    let before = feed.acknowledged_count();
    // Longer than a request may take.
    wait::pause(Duration::from_secs(8));
    let after = feed.acknowledged_count();
    relay.cut();
    relay.restore();
    ensure!(before == after, "{before} acknowledged, then {after}, with nowhere to write");
    settle(&mut feed, &tidemill, "for 8 s, then cut")
}

fn ingester(broker: &Mosquitto, keyspace: &Keyspace, name: &str) -> Result<Builder> {
    Ok(Builder::new()?.with_cassandra(keyspace).with_broker(broker.address(), name))
}

/// What a dead ingester had not acknowledged arrives.
fn group(_: &Node, keyspace: &Keyspace) -> Result<Findings> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let [first, second] = ["first", "second"].map(|name| ingester(&broker, keyspace, name)?.start());
    let (first, second) = (first?, second?);
    let mut feed = both_at_work(&broker, &first, &second)?;
    second.kill()?;
    // The other goes on alone; what the broker has for the dead one waits for its return.
    feed.wait_more(500, SOON)?;
    second.restart()?;
    settle_broker(&mut feed, (&broker, &first), || readable(&first), "the other went on")
}

/// It takes its subscriptions back, drains, and never comes again: all that it leaves goes to the other.
fn scale_in(_: &Node, keyspace: &Keyspace) -> Result<Findings> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let first = ingester(&broker, keyspace, "first")?.start()?;
    let second = ingester(&broker, keyspace, "second")?.set("ingest.mqtt.leave_on_stop", true).start()?;
    let mut feed = both_at_work(&broker, &first, &second)?;
    let code = second.stop(SOON)?;
    ensure!(code == Some(0), "exit code {code:?}: {}", second.log()?);
    feed.wait_more(500, SOON)?;
    settle_broker(&mut feed, (&broker, &first), || readable(&first), "with nobody left behind")
}

fn both_at_work(broker: &Mosquitto, first: &Tidemill, second: &Tidemill) -> Result<Feed> {
    wait_consumed(broker, first, "probe")?;
    let feed = Feed::start(PLAN, Settings::new(broker.address(), "feed", Protocol::V311))?;
    wait::until("both to take part", SOON, || {
        let stored = |tidemill: &Tidemill| Accounting::scrape(tidemill.http()).map(|all| all.stored);
        Ok((stored(first)?.min(stored(second)?) > 50.5).then_some(()))
    })?;
    Ok(feed)
}
