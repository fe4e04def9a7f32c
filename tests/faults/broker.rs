//! Rows in which the broker suffers. Its acknowledgement comes before ours, so what a broker loses by itself, killed
//! without persistence, is not ours to lose: there only what it still had must arrive.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tidemill_tests::api;
use tidemill_tests::feed::Feed;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::judge::{readable, settle_broker};
use crate::table::Findings;
use crate::{PLAN, SOON};

/// A consumer that subscribes plainly: Mosquitto keeps such a subscription over a restart.
fn consumer(broker: &Mosquitto) -> Result<Tidemill> {
    let builder = Builder::new()?.with_broker(broker.address(), "faults");
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
    settle_broker(&mut feed, &tidemill, || readable(&tidemill), "twice for 5 s")
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
    settle_broker(&mut feed, &tidemill, || readable(&tidemill), "3 restarts")
}

/// Its queue and its subscriptions are gone: the consumer makes them again, and goes on by itself.
pub(crate) fn killed() -> Result<Findings> {
    let settings = mosquitto::Settings { persistence: false, ..mosquitto::Settings::default() };
    let broker = Mosquitto::start(&settings)?;
    let tidemill = consumer(&broker)?;
    for round in 0..3 {
        broker.kill()?;
        wait::pause(Duration::from_millis(300));
        broker.restart()?;
        wait_consumed(&broker, &tidemill, &format!("after-{round}"))?;
    }
    let mut feed = feed(&broker)?;
    settle_broker(&mut feed, &tidemill, || readable(&tidemill), "3 kills, judged after them")
}
