//! Rows in which something stands between ingester and store, or in which several ingesters share one; one Cassandra for
//! all of them, which itself is well.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
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
use crate::store::{Judged, Row, one, run_rows, spooling, start};
use crate::table::Findings;
use crate::{PLAN, SOON, later};

const ROWS: [Row; 6] = [
    |node, keyspace| {
        overloaded(node, Builder::new().map(|builder| builder.with_cassandra(keyspace)), &NO_SPOOL)
    },
    |node, keyspace| overloaded(node, spooling(keyspace), &SPOOL),
    |node, keyspace| one("store slow and far away, then cut off", far(node, keyspace)),
    |node, keyspace| one("connections to the store half open", half_open(node, keyspace)),
    |_, keyspace| one("one of two ingesters of a group killed", group(keyspace)),
    |_, keyspace| one("one of two ingesters leaves for good", scale_in(keyspace)),
];

/// What a store that has too much to do answers, with the names of rows.
type Refusals = [(Failure, &'static str); 3];

const NO_SPOOL: Refusals = [
    (Failure::Overloaded, "store answers Overloaded, no spool"),
    (Failure::Unavailable, "store answers Unavailable, no spool"),
    (Failure::WriteTimeout, "store answers WriteTimeout, no spool"),
];
const SPOOL: Refusals = [
    (Failure::Overloaded, "store answers Overloaded, spool takes over"),
    (Failure::Unavailable, "store answers Unavailable, spool takes over"),
    (Failure::WriteTimeout, "store answers WriteTimeout, spool takes over"),
];

/// Runs all rows, then says which failed.
pub(crate) fn rows() -> Result<()> {
    run_rows(&ROWS)
}

fn address(node: &Node) -> Result<SocketAddr> {
    Ok(node.contact_point().parse()?)
}

/// Much is refused, some is carried out and said to have timed out; for a while, everything. One ingester for all kinds,
/// with devices of their own time for each.
fn overloaded(node: &Node, builder: Result<Builder>, refusals: &Refusals) -> Judged {
    let started = builder.and_then(|builder| {
        let proxy = Overloaded::start(address(node)?)?;
        let tidemill = builder.set("store.cassandra.contact_points", vec![proxy.contact_point()]).start()?;
        Ok((proxy, tidemill))
    });
    match started {
        Ok((mut proxy, tidemill)) => {
            let rows = refusals.iter().zip(0..);
            rows.map(|(&(failure, name), nth)| (name, refused(&mut proxy, &tidemill, (failure, nth))))
                .collect()
        }
        Err(error) => refusals.iter().map(|(_, name)| (*name, Err(anyhow!("{error:?}")))).collect(),
    }
}

fn refused(proxy: &mut Overloaded, tidemill: &Tidemill, (failure, nth): (Failure, i64)) -> Result<Findings> {
    let settings = Settings::new(tidemill.mqtt_address(), &format!("feed-{nth}"), Protocol::V5);
    let mut feed = Feed::start(later(nth), settings)?;
    feed.wait_more(200, SOON)?;
    let before = proxy.failed();
    let rounds = if environment::all_faults() { 4 } else { 1 };
    for _ in 0..rounds {
        proxy.fail(failure, 60);
        let got_through = feed.wait_more(50, SOON);
        proxy.fail(failure, 100);
        wait::pause(Duration::from_secs(2));
        proxy.pass();
        got_through.with_context(|| format!("{failure:?} of 60 % let nothing through"))?;
        feed.wait_more(100, SOON).with_context(|| format!("after {failure:?}"))?;
    }
    let failed = proxy.failed() - before;
    ensure!(failed > 0, "nothing failed with {failure:?}");
    settle(&mut feed, tidemill, &format!("{failed} requests failed"))
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
fn group(keyspace: &Keyspace) -> Result<Findings> {
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
fn scale_in(keyspace: &Keyspace) -> Result<Findings> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let first = ingester(&broker, keyspace, "first")?.start()?;
    let second = ingester(&broker, keyspace, "second")?.set("ingest.mqtt.leave_on_stop", true).start()?;
    let mut feed = both_at_work(&broker, &first, &second)?;
    second.stop_well(SOON)?;
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
