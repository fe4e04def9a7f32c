//! What a broker hands to a whole process, and what the process asks of a broker: retained messages, oversize packets,
//! the receive maximum.

use std::net::TcpListener;

use anyhow::{Context as _, Result, ensure};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use serde_json::{Value, json};
use tidemill_tests::api;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::raw::{Raw, packet};
use crate::{PLAN, SOON};

fn consuming(broker: &Mosquitto) -> Result<Builder> {
    let builder = Builder::new()?.with_broker(broker.address(), "brokered");
    Ok(builder.set("ingest.mqtt.group", "").set("ingest.mqtt.connections", 1))
}

fn wait_subscribed(tidemill: &Tidemill) -> Result<()> {
    wait::until("a subscription", SOON, || {
        let subscribed = tidemill.http().metrics()?.sum("tidemill_mqtt_subscribed_total", &[]);
        Ok((subscribed > 0.5).then_some(()))
    })
}

fn values(tidemill: &Tidemill, device: &str) -> Result<Vec<Value>> {
    let (start, end) = api::plan_range(&PLAN)?;
    let query = [("device", device), ("metric", "n"), ("start", start.as_str()), ("end", end.as_str())];
    Ok(api::samples(tidemill.http(), &query, "1000")?.into_iter().map(|sample| sample.value).collect())
}

fn message(number: u64) -> Result<String> {
    Ok(json!({"ts": PLAN.start_ms + i64::try_from(number)?, "n": number}).to_string())
}

/// They are counted, and taken or ignored as configured; what is published live is taken in any case.
pub(crate) fn retained() -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    keep(&broker, &[("devices/kept/telemetry", message(1)?)])?;
    for (mode, expected) in [("take", vec![json!(1), json!(2)]), ("ignore", vec![json!(2)])] {
        let tidemill = consuming(&broker)?
            .set("ingest.mqtt.retained", mode)
            .set("ingest.mqtt.client_id_prefix", mode)
            .start()?;
        wait_subscribed(&tidemill)?;
        wait::until("the retained message", SOON, || {
            let count = tidemill.http().metrics()?.sum("tidemill_mqtt_retained_messages_total", &[]);
            Ok((count > 0.5).then_some(()))
        })?;
        let device = Publisher::start(Settings::new(broker.address(), "live", Protocol::V5))?;
        device.publish(2, "devices/kept/telemetry", message(2)?.as_bytes(), SOON)?;
        device.wait_settled(SOON)?;
        let what = format!("what is there with retained = {mode}");
        wait::until(&what, SOON, || Ok((values(&tidemill, "kept")? == expected).then_some(())))?;
    }
    Ok(())
}

/// Publishes messages that the broker keeps.
fn keep(broker: &Mosquitto, messages: &[(&str, String)]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = MqttOptions::new("keeper", broker.address().ip().to_string(), broker.address().port());
        let (client, mut events) = AsyncClient::new(options, 10);
        for (topic, payload) in messages {
            client.try_publish(*topic, QoS::AtLeastOnce, true, payload.clone())?;
        }
        let mut acknowledged = 0;
        while acknowledged < messages.len() {
            let event = tokio::time::timeout(SOON, events.poll()).await??;
            let is_ack = |packet: &_| matches!(packet, rumqttc::v5::mqttbytes::v5::Packet::PubAck(_));
            acknowledged += usize::from(matches!(&event, rumqttc::v5::Event::Incoming(at) if is_ack(at)));
        }
        Ok(())
    })
}

/// A larger packet than asked for: an MQTT 5 broker keeps it, one of MQTT 3.1.1 does not and it becomes a reject; what
/// comes behind it is taken in both.
pub(crate) fn oversize() -> Result<()> {
    const BYTES_MAX: u64 = 20_000;
    for (version, rejects) in [("5", 0), ("3.1.1", 1)] {
        let broker = Mosquitto::start(&mosquitto::Settings::default())?;
        let tidemill = consuming(&broker)?
            .set("ingest.mqtt.version", version)
            .set("ingest.mqtt.packet_bytes_max", BYTES_MAX)
            .set("ingest.listener.packet_bytes_max", BYTES_MAX)
            .start()?;
        wait_subscribed(&tidemill)?;
        let device = Publisher::start(Settings::new(broker.address(), "device", Protocol::V5))?;
        let large = format!("{}{}", " ".repeat(30_000), message(1)?);
        device.publish(1, "devices/large/telemetry", large.as_bytes(), SOON)?;
        device.publish(2, "devices/large/telemetry", message(2)?.as_bytes(), SOON)?;
        device.wait_settled(SOON)?;
        wait::until("what is not too large", SOON, || {
            Ok((values(&tidemill, "large")? == [json!(2)]).then_some(()))
        })?;
        let kept = tidemill.http().json("/v1/rejects", &[("reason", "size"), ("device", "large")])?;
        ensure!(api::rows(&kept, "rejects")?.len() == rejects, "MQTT {version}: {kept}");
        let disconnects = tidemill.http().metrics()?.sum("tidemill_mqtt_disconnects_total", &[]);
        ensure!(disconnects < 0.5, "MQTT {version}: {disconnects} disconnects");
    }
    Ok(())
}

/// The consumer tells the broker how much it takes at once and how large a packet may be; with little of both at once
/// everything still comes.
pub(crate) fn asked() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let tidemill = Builder::new()?
        .with_broker(listener.local_addr()?, "asked")
        .set("ingest.mqtt.connections", 1)
        .set("ingest.mqtt.in_flight_max", 3)
        .set("ingest.mqtt.packet_bytes_max", 70_000)
        .set("ingest.mqtt.session_expiry", "1h")
        .start()?;
    let (stream, _) = listener.accept()?;
    let mut broker = Raw::of(stream)?;
    let (first, connect) = broker.packet()?.context("no CONNECT")?;
    let has = |property: &[u8]| connect.windows(property.len()).any(|part| part == property);
    ensure!(first == 0x10 && has(b"\x00\x04MQTT\x05") && has(b"asked-0"), "CONNECT {connect:?}");
    for (name, property) in [
        ("receive maximum", &[0x21, 0, 3][..]),
        ("maximum packet size", &[0x27, 0, 1, 0x11, 0x70]),
        ("session expiry", &[0x11, 0, 0, 0x0e, 0x10]),
    ] {
        ensure!(has(property), "{name}: {connect:?}");
    }
    broker.send(&packet(0x20, &[0, 0, 0]))?;
    let (first, subscribe) = broker.packet()?.context("no SUBSCRIBE")?;
    let filter = b"$share/tidemill/devices/+/telemetry";
    ensure!(first == 0x82 && subscribe.windows(filter.len()).any(|part| part == filter), "{subscribe:?}");
    drop((broker, tidemill));
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let tidemill = consuming(&broker)?.set("ingest.mqtt.in_flight_max", 3).start()?;
    wait_subscribed(&tidemill)?;
    let device = Publisher::start(Settings::new(broker.address(), "device", Protocol::V5))?;
    for number in 0..300 {
        device.publish(number, "devices/few/telemetry", message(number)?.as_bytes(), SOON)?;
    }
    device.wait_settled(SOON)?;
    let expected: Vec<Value> = (0..300).map(Value::from).collect();
    wait::until("all of them", SOON, || Ok((values(&tidemill, "few")? == expected).then_some(())))
}
