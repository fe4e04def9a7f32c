//! What MQTT 5 lets a publisher do, short names for its topics and properties of its own: to the listener, and over a
//! broker.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::json;
use tidemill_tests::api;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::{PLAN, SOON};

const COUNT: u64 = 50;

/// The second message and all that follow name their topic by its alias alone.
pub(crate) fn aliases_and_properties() -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let builder = Builder::new()?.with_broker(broker.address(), "protocol");
    let tidemill = builder.set("ingest.mqtt.group", "").set("ingest.mqtt.connections", 1).start()?;
    publish_by_alias(tidemill.mqtt_address(), "direct")?;
    ensure_all(&tidemill, "direct")?;
    // A subscription may come after the first messages: then they are gone.
    wait::until("a subscription", SOON, || {
        let subscribed = tidemill.http().metrics()?.sum("tidemill_mqtt_subscribed_total", &[]);
        Ok((subscribed > 0.5).then_some(()))
    })?;
    publish_by_alias(broker.address(), "brokered")?;
    wait::until_true("what went over the broker", SOON, || ensure_all(&tidemill, "brokered").is_ok())
}

fn publish_by_alias(address: SocketAddr, device: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, mut events) = open(address, device)?;
        let topic = format!("devices/{device}/telemetry");
        for number in 0..COUNT {
            let properties = PublishProperties {
                topic_alias: Some(7),
                user_properties: vec![("site".to_owned(), "north".to_owned()); 3],
                content_type: Some("application/json".to_owned()),
                ..PublishProperties::default()
            };
            let topic = if number == 0 { topic.as_str() } else { "" };
            let payload = json!({"ts": PLAN.start_ms + i64::try_from(number)?, "n": number}).to_string();
            client.try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)?;
        }
        let mut acknowledged = 0;
        while acknowledged < COUNT {
            let event = tokio::time::timeout(SOON, events.poll()).await??;
            acknowledged += u64::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
        }
        Ok(())
    })
}

fn open(address: SocketAddr, id: &str) -> Result<(AsyncClient, EventLoop)> {
    let options = MqttOptions::new(id, address.ip().to_string(), address.port());
    Ok(AsyncClient::new(options, usize::try_from(COUNT)? * 2))
}

fn ensure_all(tidemill: &Tidemill, device: &str) -> Result<()> {
    let (start, end) = api::plan_range(&PLAN)?;
    let query = [("device", device), ("start", start.as_str()), ("end", end.as_str())];
    let read = api::samples(tidemill.http(), &query, "1000")?;
    let values: Vec<_> = read.into_iter().map(|sample| sample.value).collect();
    ensure!(values == (0..COUNT).map(|number| json!(number)).collect::<Vec<_>>(), "{device}: {values:?}");
    Ok(())
}
