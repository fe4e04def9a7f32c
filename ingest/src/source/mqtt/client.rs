//! The client library behind one face: its APIs for MQTT 3.1.1 and 5 differ, what is heard from them does not.
//!
//! Two habits of the library are dealt with here. It keeps what it has read of a connection that breaks, and would
//! hand it out on the next one, where packet identifiers mean something else: [`Client::reset`] drops it. And its
//! queue of requests must take every acknowledgement at once, because nobody may wait for it: it has room for more
//! than there are packet identifiers.

use std::sync::Arc;

use bytes::Bytes;
use rumqttc::{AsyncClient, EventLoop, NetworkOptions, Transport, v5};
use rustls::ClientConfig;

use super::config::{Broker, MqttConfig, Version};
use super::fault::{Fault, FaultKind};
use crate::source::{Publish, Qos};

/// Acknowledgements that may wait to be written, besides SUBSCRIBE and DISCONNECT: the library reads ten packets for each
/// that it writes while there are any to read. There are 65,535 packet identifiers, but a broker may use them again too
/// early: Mosquitto 2.0.11 sends far more at once than it was asked to where it has messages queued. To leave it for that
/// would only make it send all of them once more.
const REQUESTS_MAX: usize = 1 << 18;
/// Nothing is published here; the library reserves memory for this many messages.
const OUTGOING_MAX: u16 = 16;

/// What a connection brings.
#[derive(Debug)]
pub(super) enum Heard {
    /// The broker accepted; whether it kept our session.
    Connected { session_present: bool },
    /// A message, with its packet identifier where it is to be acknowledged; `again` where the broker says that it has
    /// sent it before.
    Message { publish: Publish, packet_id: Option<u16>, again: bool },
    /// The answer to our subscriptions: all granted.
    Subscribed,
    /// The answer to taking back a subscription.
    Unsubscribed,
    /// Our DISCONNECT, and with it every acknowledgement before, has been written.
    GoodbyeSent,
    /// Nothing that matters here.
    Nothing,
}

/// Receives; owns the connection. Reconnects when polled after a failure.
pub(super) enum Client {
    /// MQTT 3.1.1.
    V311(Box<EventLoop>),
    /// MQTT 5.
    V5(Box<v5::EventLoop>),
}

/// Sends, through the connection's [`Client`].
#[derive(Clone)]
pub(super) enum Requests {
    /// MQTT 3.1.1.
    V311(AsyncClient),
    /// MQTT 5.
    V5(v5::AsyncClient),
}

/// One connection's two ends.
pub(super) fn open(
    config: &MqttConfig,
    broker: &Broker,
    client_id: &str,
    tls: Option<&Arc<ClientConfig>>,
) -> (Requests, Client) {
    match config.version {
        Version::V311 => open_v311(config, broker, client_id, tls),
        Version::V5 => open_v5(config, broker, client_id, tls),
    }
}

/// The largest packet there is. Any bound below would end the connection, each time that the broker sends what is larger.
const PACKET_BYTES_V311: usize = 268_435_455 + 5;

fn open_v311(
    config: &MqttConfig,
    broker: &Broker,
    client_id: &str,
    tls: Option<&Arc<ClientConfig>>,
) -> (Requests, Client) {
    let mut options = rumqttc::MqttOptions::new(client_id, &broker.host, broker.port);
    let outgoing_bytes_max = usize::try_from(config.packet_bytes_max).unwrap_or(usize::MAX);
    options
        .set_clean_session(false)
        .set_keep_alive(config.keep_alive)
        .set_max_packet_size(PACKET_BYTES_V311, outgoing_bytes_max)
        .set_inflight(OUTGOING_MAX)
        .set_manual_acks(true);
    if let Some(login) = &config.login {
        options.set_credentials(&login.user_name, &login.password);
    }
    if let Some(tls) = tls {
        options.set_transport(transport(tls));
    }
    let (requests, mut events) = AsyncClient::new(options, REQUESTS_MAX);
    events.set_network_options(network(config));
    (Requests::V311(requests), Client::V311(Box::new(events)))
}

fn open_v5(
    config: &MqttConfig,
    broker: &Broker,
    client_id: &str,
    tls: Option<&Arc<ClientConfig>>,
) -> (Requests, Client) {
    let mut options = v5::MqttOptions::new(client_id, &broker.host, broker.port);
    // No topic aliases: the library hands messages out with the topic left empty.
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX)))
        .set_keep_alive(config.keep_alive)
        .set_max_packet_size(Some(config.packet_bytes_max))
        .set_receive_maximum(Some(config.in_flight_messages_max.get()))
        .set_outgoing_inflight_upper_limit(OUTGOING_MAX)
        .set_connection_timeout(config.connect_timeout.as_secs().max(1))
        .set_network_options(network(config))
        .set_manual_acks(true);
    if let Some(login) = &config.login {
        options.set_credentials(&login.user_name, &login.password);
    }
    if let Some(tls) = tls {
        options.set_transport(transport(tls));
    }
    let (requests, events) = v5::AsyncClient::new(options, REQUESTS_MAX);
    (Requests::V5(requests), Client::V5(Box::new(events)))
}

fn transport(tls: &Arc<ClientConfig>) -> Transport {
    Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(Arc::clone(tls)))
}

fn network(config: &MqttConfig) -> NetworkOptions {
    let mut options = NetworkOptions::new();
    // The library flushes after each acknowledgement. Left to Nagle's algorithm, those of a group come to one packet and
    // wake the broker once; its next message, which they make room for, lets the next ones go.
    options.set_tcp_nodelay(false);
    options.set_connection_timeout(config.connect_timeout.as_secs().max(1));
    options
}

impl Client {
    /// The next thing heard; connects first where there is no connection. Not cancel safe: after dropping the
    /// future, [`Self::reset`].
    pub(super) async fn poll(&mut self) -> Result<Heard, Fault> {
        match self {
            Self::V311(events) => heard_v311(events.poll().await?),
            Self::V5(events) => heard_v5(events.poll().await?),
        }
    }

    /// Ends the connection, and forgets everything that was read from it and not handed out.
    pub(super) fn reset(&mut self) {
        match self {
            Self::V311(events) => {
                events.clean();
                events.state.events.clear();
                events.pending.clear();
            }
            Self::V5(events) => {
                events.clean();
                events.state.events.clear();
                events.pending.clear();
            }
        }
    }
}

impl Requests {
    /// Acknowledges a message.
    pub(super) fn acknowledge(&self, packet_id: u16) -> Result<(), Fault> {
        match self {
            Self::V311(requests) => {
                let mut publish = rumqttc::Publish::new("", rumqttc::QoS::AtLeastOnce, Vec::new());
                publish.pkid = packet_id;
                requests.try_ack(&publish).map_err(overflow)
            }
            Self::V5(requests) => {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                let mut publish = v5::mqttbytes::v5::Publish::new("", qos, Bytes::new(), None);
                publish.pkid = packet_id;
                requests.try_ack(&publish).map_err(overflow)
            }
        }
    }

    /// Subscribes with QoS 1.
    pub(super) fn subscribe(&self, filters: &[String]) -> Result<(), Fault> {
        match self {
            Self::V311(requests) => {
                let filter =
                    |path: &String| rumqttc::SubscribeFilter::new(path.clone(), rumqttc::QoS::AtLeastOnce);
                requests.try_subscribe_many(filters.iter().map(filter)).map_err(overflow)
            }
            Self::V5(requests) => {
                use v5::mqttbytes::v5::{Filter, RetainForwardRule};
                let filter = |path: &String| Filter {
                    // Not again after each reconnection.
                    retain_forward_rule: RetainForwardRule::OnNewSubscribe,
                    ..Filter::new(path.clone(), v5::mqttbytes::QoS::AtLeastOnce)
                };
                requests.try_subscribe_many(filters.iter().map(filter)).map_err(overflow)
            }
        }
    }

    /// Publishes at QoS 0. Waits while no connection takes it.
    pub(super) async fn publish(&self, topic: String, payload: Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::V311(requests) => {
                requests.publish(topic, rumqttc::QoS::AtMostOnce, false, payload).await.map_err(overflow)
            }
            Self::V5(requests) => {
                let qos = v5::mqttbytes::QoS::AtMostOnce;
                requests.publish(topic, qos, false, payload).await.map_err(overflow)
            }
        }
    }

    /// Takes subscriptions back.
    pub(super) fn unsubscribe(&self, filters: &[String]) -> Result<(), Fault> {
        filters.iter().try_for_each(|filter| match self {
            Self::V311(requests) => requests.try_unsubscribe(filter.clone()).map_err(overflow),
            Self::V5(requests) => requests.try_unsubscribe(filter.clone()).map_err(overflow),
        })
    }

    /// Says goodbye, after everything before it.
    pub(super) fn disconnect(&self) -> Result<(), Fault> {
        match self {
            Self::V311(requests) => requests.try_disconnect().map_err(overflow),
            Self::V5(requests) => requests.try_disconnect().map_err(overflow),
        }
    }
}

fn overflow(error: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Protocol, error)
}

fn heard_v311(event: rumqttc::Event) -> Result<Heard, Fault> {
    use rumqttc::{Event, Outgoing, Packet, QoS, SubscribeReasonCode};
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            Ok(Heard::Connected { session_present: ack.session_present })
        }
        Event::Incoming(Packet::Publish(publish)) => {
            let (qos, packet_id) = match publish.qos {
                QoS::AtMostOnce => (Qos::AtMostOnce, None),
                QoS::AtLeastOnce => (Qos::AtLeastOnce, Some(publish.pkid)),
                QoS::ExactlyOnce => return Err(exactly_once()),
            };
            let again = publish.dup;
            let topic = Bytes::from(publish.topic);
            let publish = Publish { topic, payload: publish.payload, qos, retained: publish.retain };
            Ok(Heard::Message { publish, packet_id, again })
        }
        Event::Incoming(Packet::SubAck(ack)) => {
            let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
            subscribed(ack.return_codes.iter().find(|code| **code != granted))
        }
        Event::Incoming(Packet::UnsubAck(_)) => Ok(Heard::Unsubscribed),
        Event::Outgoing(Outgoing::Disconnect) => Ok(Heard::GoodbyeSent),
        Event::Incoming(_) | Event::Outgoing(_) => Ok(Heard::Nothing),
    }
}

fn heard_v5(event: v5::Event) -> Result<Heard, Fault> {
    use rumqttc::Outgoing;
    use v5::Event;
    use v5::mqttbytes::QoS;
    use v5::mqttbytes::v5::{Packet, SubscribeReasonCode};
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            Ok(Heard::Connected { session_present: ack.session_present })
        }
        Event::Incoming(Packet::Publish(publish)) => {
            let (qos, packet_id) = match publish.qos {
                QoS::AtMostOnce => (Qos::AtMostOnce, None),
                QoS::AtLeastOnce => (Qos::AtLeastOnce, Some(publish.pkid)),
                QoS::ExactlyOnce => return Err(exactly_once()),
            };
            let again = publish.dup;
            let (topic, payload) = (publish.topic, publish.payload);
            let publish = Publish { topic, payload, qos, retained: publish.retain };
            Ok(Heard::Message { publish, packet_id, again })
        }
        Event::Incoming(Packet::SubAck(ack)) => {
            let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
            subscribed(ack.return_codes.iter().find(|code| **code != granted))
        }
        Event::Incoming(Packet::UnsubAck(_)) => Ok(Heard::Unsubscribed),
        Event::Outgoing(Outgoing::Disconnect) => Ok(Heard::GoodbyeSent),
        Event::Incoming(_) | Event::Outgoing(_) => Ok(Heard::Nothing),
    }
}

/// QoS 0 where 1 was asked for counts as refused: nothing could be acknowledged after it is durable.
fn subscribed(refused: Option<impl std::fmt::Debug>) -> Result<Heard, Fault> {
    match refused {
        None => Ok(Heard::Subscribed),
        Some(code) => {
            let detail = format!("the broker answers a subscription with {code:?}");
            Err(Fault::new(FaultKind::SubscriptionRefused, detail))
        }
    }
}

fn exactly_once() -> Fault {
    Fault::new(FaultKind::Protocol, "the broker sends QoS 2 on a subscription of QoS 1")
}
