//! What a consumer of a broker must do beyond consuming: keep what nobody can store, come back
//! after the broker has been away, and speak the older protocol.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tidemill_tests::api::{self, Accounting};
use tidemill_tests::cassandra::Keyspace;
use tidemill_tests::feed::Feed;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::{PLAN, SOON};

/// Waits for the subscription: from then on the broker keeps messages for the consumer.
pub(crate) fn wait_consumed(broker: &Mosquitto, tidemill: &Tidemill) -> Result<()> {
    wait_arrives(broker, tidemill, "probe")
}

/// Publishes as a device that nobody knows yet until a message arrives.
fn wait_arrives(broker: &Mosquitto, tidemill: &Tidemill, device: &str) -> Result<()> {
    let publisher = Publisher::start(Settings::new(broker.address(), device, Protocol::V5))?;
    let topic = format!("devices/{device}/telemetry");
    let mut number = 0;
    wait::until("a consumer of the broker", SOON, || {
        number += 1;
        publisher.publish(number, &topic, b"{\"probe\":1}", SOON)?;
        Ok((!api::latest(tidemill.http(), device)?.is_empty()).then_some(()))
    })
}

/// Waits until everything that the feed has issued is there, and nothing else.
pub(crate) fn wait_all(feed: &Feed, tidemill: &Tidemill) -> Result<()> {
    // The broker has acknowledged: what it has not delivered yet is not there yet.
    wait::until("every message of the feed", SOON, || {
        let read = api::plan_samples(tidemill.http(), &PLAN)?;
        Ok((read.len() >= usize::try_from(feed.issued())? * 4).then_some(()))
    })?;
    feed.verify(tidemill.http()).map(drop)
}

fn consumer(keyspace: &Keyspace, broker: &Mosquitto) -> Result<Builder> {
    let builder = Builder::new()?.with_cassandra(keyspace);
    Ok(builder.with_broker(broker.address(), "consumer"))
}

pub(crate) fn poison(keyspace: &Keyspace) -> Result<()> {
    const DEAD: [(&str, &str); 3] = [
        ("devices/d1/telemetry", "{\"a\":"),
        ("devices/d1/telemetry", "{\"a\":{\"b\":[1]}}"),
        ("devices/d1/telemetry", "{\"ts\":\"noon\",\"a\":1}"),
    ];
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let tidemill = consumer(keyspace, &broker)?.start()?;
    wait_consumed(&broker, &tidemill)?;
    let mut feed = Feed::start(PLAN, Settings::new(broker.address(), "good", Protocol::V5))?;
    let poisoner = Publisher::start(Settings::new(broker.address(), "poison", Protocol::V5))?;
    for (number, (topic, payload)) in (0..).zip(DEAD) {
        poisoner.publish(number, topic, payload.as_bytes(), SOON)?;
    }
    poisoner.wait_settled(SOON)?;
    feed.wait_more(100, SOON)?;
    feed.finish(SOON)?;
    wait_all(&feed, &tidemill)?;
    wait::until("all dead letters acknowledged", SOON, || {
        let accounting = Accounting::scrape(tidemill.http())?;
        Ok((accounting.dead_lettered > 2.5 && accounting.in_flight < 0.5).then_some(()))
    })?;
    let select = format!("SELECT topic, payload, kind, reason, detail FROM {}.rejects", keyspace.name());
    let mut kept = keyspace.query::<(String, Vec<u8>, String, String, String)>(&select)?;
    kept.sort();
    let mut expected = DEAD.map(|(topic, payload)| (topic.to_owned(), payload.as_bytes().to_vec()));
    expected.sort();
    ensure!(kept.iter().map(|row| (row.0.clone(), row.1.clone())).eq(expected), "{kept:?}");
    for (.., kind, reason, detail) in &kept {
        ensure!(kind == "dead_letter" && !reason.is_empty() && !detail.is_empty(), "{kept:?}");
    }
    Ok(())
}

/// A plain subscription is part of the session that the broker keeps over a restart: it loses
/// nothing for us meanwhile.
pub(crate) fn restart(keyspace: &Keyspace) -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let plain = consumer(keyspace, &broker)?.set("ingest.mqtt.group", "");
    let tidemill = plain.set("ingest.mqtt.connections", 1).start()?;
    wait_consumed(&broker, &tidemill)?;
    let mut feed = Feed::start(PLAN, Settings::new(broker.address(), "feed", Protocol::V311))?;
    for _ in 0..2 {
        feed.wait_more(300, SOON)?;
        stop_and_start(&broker)?;
    }
    feed.wait_more(300, SOON)?;
    feed.finish(SOON)?;
    wait_all(&feed, &tidemill)
}

/// Mosquitto forgets shared subscriptions over a restart: the consumer makes them again.
pub(crate) fn restart_of_group(keyspace: &Keyspace) -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let tidemill = consumer(keyspace, &broker)?.start()?;
    wait_consumed(&broker, &tidemill)?;
    for device in ["after-1", "after-2"] {
        stop_and_start(&broker)?;
        wait_arrives(&broker, &tidemill, device)?;
    }
    Ok(())
}

fn stop_and_start(broker: &Mosquitto) -> Result<()> {
    broker.stop()?;
    wait::pause(Duration::from_millis(500));
    broker.restart()
}

pub(crate) fn version_311(keyspace: &Keyspace) -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings {
        login: Some(("mill".to_owned(), "secret".to_owned())),
        ..Default::default()
    })?;
    let tidemill = consumer(keyspace, &broker)?
        .set("ingest.mqtt.version", "3.1.1")
        .set("ingest.mqtt.username", "mill")
        .environment("TIDEMILL__INGEST__MQTT__PASSWORD", "secret")
        .start()?;
    let login = Some(("mill".to_owned(), "secret".to_owned()));
    let settings = Settings { login, ..Settings::new(broker.address(), "device", Protocol::V311) };
    let publisher = Publisher::start(settings)?;
    let mut number = 0;
    wait::until_true("a consumer of the broker", SOON, || {
        number += 1;
        publisher.publish(number, "devices/d1/telemetry", b"{\"a\":[]}", SOON).is_ok()
            && publisher.publish(1_000 + number, "devices/d1/telemetry", b"{\"a\":7}", SOON).is_ok()
            && api::latest(tidemill.http(), "d1")
                .is_ok_and(|samples| samples.iter().any(|sample| sample.value == json!(7)))
    })
}
