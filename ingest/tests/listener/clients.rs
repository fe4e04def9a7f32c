//! A real client library against the listener, in both versions of the protocol.

use std::time::Duration;

use rumqttc::v5::mqttbytes as v5;
use tokio::time::timeout;

use crate::server::{PATIENCE, Server};

const MESSAGES: usize = 2_000;

#[tokio::test]
async fn rumqttc_publishes_with_mqtt_3() {
    let mut server = Server::start().await;
    let mut options = rumqttc::MqttOptions::new("d1", "127.0.0.1", server.address.port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = rumqttc::AsyncClient::new(options, 64);
    let sending = tokio::spawn(async move {
        for n in 0..MESSAGES {
            client
                .publish("devices/d1/telemetry", rumqttc::QoS::AtLeastOnce, false, n.to_string())
                .await
                .unwrap();
        }
        client
    });
    let acknowledged = async {
        let mut acks = 0;
        while acks < MESSAGES {
            if let rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_)) = events.poll().await.unwrap() {
                acks += 1;
            }
        }
    };
    timeout(PATIENCE, async { tokio::join!(server.settle(MESSAGES), acknowledged) }).await.unwrap();
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn rumqttc_publishes_with_mqtt_5() {
    let mut server = Server::start().await;
    let mut options = rumqttc::v5::MqttOptions::new("d1", "127.0.0.1", server.address.port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 64);
    let sending = tokio::spawn(async move {
        for n in 0..MESSAGES {
            let sent = client.publish("devices/d1/telemetry", v5::QoS::AtLeastOnce, false, n.to_string());
            sent.await.unwrap();
        }
        client
    });
    let acknowledged = async {
        let mut acks = 0;
        while acks < MESSAGES {
            if let rumqttc::v5::Event::Incoming(v5::v5::Packet::PubAck(_)) = events.poll().await.unwrap() {
                acks += 1;
            }
        }
    };
    timeout(PATIENCE, async { tokio::join!(server.settle(MESSAGES), acknowledged) }).await.unwrap();
    drop(sending.await.unwrap());
}
