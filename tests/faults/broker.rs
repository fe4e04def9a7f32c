//! Rows in which the broker suffers, or the way to it. Its acknowledgement comes before ours, so what a broker loses by
//! itself, killed or without persistence, is not ours to lose: there what our consumer acknowledged must be there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tidemill_tests::api;
use tidemill_tests::feed::Feed;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::relay::Relay;
use tidemill_tests::tap::Tap;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::judge::{readable, settle_broker, settle_tapped};
use crate::table::Findings;
use crate::{PLAN, SOON};

/// The consumer's one connection, as the broker knows it.
const CLIENT: &str = "faults-0";

/// A consumer that subscribes plainly: Mosquitto keeps such a subscription over a restart.
fn consumer(broker: &Mosquitto) -> Result<Tidemill> {
    start(Builder::new()?.with_broker(broker.address(), "faults"), broker)
}

fn start(builder: Builder, broker: &Mosquitto) -> Result<Tidemill> {
    let tidemill = builder.set("ingest.mqtt.group", "").set("ingest.mqtt.connections", 1).start()?;
    wait_consumed(broker, &tidemill, "probe")?;
    Ok(tidemill)
}

/// Publishes as a device that nobody knows yet until a message arrives.
pub(crate) fn wait_consumed(broker: &Mosquitto, tidemill: &Tidemill, device: &str) -> Result<()> {
    let publisher = Publisher::start(Settings::new(broker.address(), device, Protocol::V5))?;
    let topic = format!("devices/{device}/telemetry");
    let mut number = 0;
    wait::until("a consumer of the broker", SOON, || {
        number += 1;
        publisher.publish(number, &topic, json!({"probe": 1}).to_string().as_bytes(), SOON)?;
        Ok((!api::latest(tidemill.http(), device)?.is_empty()).then_some(()))
    })
}

fn feed(broker: &Mosquitto) -> Result<Feed> {
    Feed::start(PLAN, Settings::new(broker.address(), "feed", Protocol::V311))
}

pub(crate) fn frozen() -> Result<Findings> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let tidemill = consumer(&broker)?;
    let mut feed = feed(&broker)?;
    for _ in 0..2 {
        feed.wait_more(200, SOON)?;
        broker.pause()?;
        wait::pause(Duration::from_secs(5));
        broker.resume()?;
    }
    settle_broker(&mut feed, (&broker, &tidemill), || readable(&tidemill), "twice for 5 s")
}

pub(crate) fn restarted() -> Result<Findings> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let tidemill = consumer(&broker)?;
    let mut feed = feed(&broker)?;
    for _ in 0..3 {
        feed.wait_more(200, SOON)?;
        broker.stop()?;
        wait::pause(Duration::from_millis(300));
        broker.restart()?;
    }
    settle_broker(&mut feed, (&broker, &tidemill), || readable(&tidemill), "3 restarts")
}

/// How a broker ends that forgets queues and subscriptions, or the latest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgetful {
    /// In order, and it keeps nothing.
    Restarted,
    /// At once, and it keeps nothing.
    Killed,
    /// At once, with what it wrote when it ended the last time.
    KilledWithPersistence,
}

/// The consumer subscribes again, and goes on by itself; what it acknowledged meanwhile is not lost.
pub(crate) fn forgets(how: Forgetful) -> Result<Findings> {
    let persistence = how == Forgetful::KilledWithPersistence;
    let settings = mosquitto::Settings { persistence, ..mosquitto::Settings::default() };
    let broker = Mosquitto::start(&settings)?;
    let (tap, _relay, tidemill) = tapped(&broker)?;
    let mut feed = feed(&broker)?;
    for round in 0..3 {
        feed.wait_more(200, SOON)?;
        if how == Forgetful::Restarted {
            broker.stop()?;
        } else {
            broker.kill()?;
        }
        wait::pause(Duration::from_millis(300));
        broker.restart()?;
        wait_consumed(&broker, &tidemill, &format!("after-{round}"))?;
    }
    settle_tapped(&mut feed, (&broker, &tidemill), &tap, "3 times")
}

/// A consumer, and what it acknowledges.
fn tapped(broker: &Mosquitto) -> Result<(Arc<Tap>, Relay, Tidemill)> {
    let tap = Arc::new(Tap::default());
    let relay = Relay::tapped(broker.address(), &tap)?;
    let tidemill = start(Builder::new()?.with_broker(relay.address(), "faults"), broker)?;
    Ok((tap, relay, tidemill))
}

/// Everything takes its time between broker and consumer, and now and then the connection is cut in the middle: what was
/// delivered and not yet acknowledged is delivered again.
pub(crate) fn slow() -> Result<Findings> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let relay = Relay::start(broker.address())?;
    let tidemill = start(Builder::new()?.with_broker(relay.address(), "faults"), &broker)?;
    let mut feed = feed(&broker)?;
    relay.delay(Duration::from_millis(300));
    for _ in 0..4 {
        // More than the broker has on the way at a time: it always waits for acknowledgements when it is cut off.
        feed.wait_more(100, SOON)?;
        wait::pause(Duration::from_millis(500));
        relay.cut();
        relay.restore();
        wait_connected(&tidemill)?;
    }
    relay.delay(Duration::ZERO);
    let found = settle_broker(&mut feed, (&broker, &tidemill), || readable(&tidemill), "")?;
    let again = tidemill.http().metrics()?.sum("tidemill_mqtt_redelivered_messages_total", &[]);
    ensure!(again > 0.5, "nothing was delivered again, so nothing was cut off in the middle");
    Ok(Findings { note: format!("300 ms late, 4 cuts, {again:.0} messages delivered again"), ..found })
}

fn wait_connected(tidemill: &Tidemill) -> Result<()> {
    wait::until("a connection to the broker", SOON, || {
        Ok((tidemill.http().metrics()?.sum("tidemill_mqtt_connected", &[]) > 0.5).then_some(()))
    })
}

/// Packets are dropped between broker and consumer with nothing that says so: both find out by themselves.
pub(crate) fn half_open() -> Result<Findings> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let relay = Relay::start(broker.address())?;
    let builder = Builder::new()?.with_broker(relay.address(), "faults").set("ingest.mqtt.keep_alive", "5s");
    let tidemill = start(builder, &broker)?;
    let mut feed = feed(&broker)?;
    feed.wait_more(200, SOON)?;
    relay.hold();
    wait::until("the consumer to give the connection up", SOON, || {
        let given_up =
            tidemill.http().metrics()?.sum("tidemill_mqtt_disconnects_total", &[("reason", "timeout")]);
        Ok((given_up > 0.5).then_some(()))
    })?;
    // What was held is late now, and comes out of order with a new connection: it never arrives.
    relay.cut();
    relay.restore();
    settle_broker(&mut feed, (&broker, &tidemill), || readable(&tidemill), "until it is noticed")
}

/// Somebody else takes the consumer's name and throws its session away.
pub(crate) fn session_lost() -> Result<Findings> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let (tap, _relay, tidemill) = tapped(&broker)?;
    let mut feed = feed(&broker)?;
    for round in 0..3 {
        feed.wait_more(200, SOON)?;
        let connects = connects(&tidemill)?;
        let thief = Publisher::start(Settings::new(broker.address(), CLIENT, Protocol::V5))?;
        thief.publish(0, "elsewhere", b"", SOON)?;
        wait::until("the consumer to come back", SOON, || {
            Ok((connects_since(&tidemill, connects)? > 0.5).then_some(()))
        })?;
        drop(thief);
        wait_consumed(&broker, &tidemill, &format!("after-{round}"))?;
    }
    settle_tapped(&mut feed, (&broker, &tidemill), &tap, "3 times")
}

fn connects(tidemill: &Tidemill) -> Result<f64> {
    Ok(tidemill.http().metrics()?.sum("tidemill_mqtt_connects_total", &[]))
}

fn connects_since(tidemill: &Tidemill, before: f64) -> Result<f64> {
    Ok(connects(tidemill)? - before)
}

/// Many connections in a group, cut together again and again: they come back, each after a pause of its own.
pub(crate) fn storm() -> Result<Findings> {
    const CONNECTIONS: u32 = 16;
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let relay = Relay::start(broker.address())?;
    let builder = Builder::new()?.with_broker(relay.address(), "faults");
    let tidemill = builder.set("ingest.mqtt.connections", CONNECTIONS).start()?;
    wait_consumed(&broker, &tidemill, "probe")?;
    let all_up = || -> Result<()> {
        wait::until("all connections", SOON, || {
            let up = tidemill.http().metrics()?.sum("tidemill_mqtt_connected", &[]);
            Ok((up > f64::from(CONNECTIONS) - 0.5).then_some(()))
        })
    };
    all_up()?;
    let mut feed = feed(&broker)?;
    for _ in 0..5 {
        feed.wait_more(100, SOON)?;
        relay.cut();
        wait::pause(Duration::from_millis(200));
        relay.restore();
        all_up()?;
    }
    let (connected, expected) = (connects(&tidemill)?, f64::from(CONNECTIONS) * 6.0);
    // Each came back once for each cut, or a few times where it came while the relay was still closed.
    ensure!(connected < expected * 5.0, "{connected} connections where {expected} were enough");
    let note = format!("5 cuts of {CONNECTIONS} connections");
    settle_broker(&mut feed, (&broker, &tidemill), || readable(&tidemill), &note)
}
