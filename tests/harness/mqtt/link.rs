//! One connection's worth of an MQTT client, the same for both protocol versions.
//!
//! A link is thrown away when its connection ends and a new one is opened: what was in flight is
//! the caller's to send again, so nothing depends on what the client library keeps over a
//! reconnect.

use anyhow::{Context as _, Result};
use rumqttc::{self as v3, v5};

use super::{Protocol, Received, Settings};

/// No test sends a larger packet.
const PACKET_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Requests beyond the publishes in flight: subscriptions, a disconnect.
const REQUESTS_SPARE: usize = 16;

/// What happened on the connection.
#[derive(Debug)]
pub(super) enum Step {
    /// The broker accepted the connection.
    Connected,
    /// The oldest publish not yet sent went out with this packet id.
    Sent(u16),
    /// The broker acknowledged a publish.
    Acknowledged(u16),
    /// The broker refused a publish for good (MQTT 5).
    Refused(u16, String),
    /// The broker answered a subscription, granted or not.
    Subscribed(bool),
    /// A message came in; it is acknowledged by the next turn of the loop.
    Received(Received),
    /// Nothing that a test looks at.
    Other,
}

/// The sending side: requests are sent in the order in which they were made.
#[derive(Debug)]
pub(super) enum Requests {
    V311(v3::AsyncClient),
    V5(v5::AsyncClient),
}

/// The side that is polled; nothing is sent or received unless it is.
pub(super) enum Events {
    V311(Box<v3::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// A link that connects when its events are first polled.
pub(super) fn open(settings: &Settings) -> (Requests, Events) {
    match settings.protocol {
        Protocol::V311 => open_v3(settings),
        Protocol::V5 => open_v5(settings),
    }
}

fn open_v3(settings: &Settings) -> (Requests, Events) {
    let (host, port) = (settings.address.ip().to_string(), settings.address.port());
    let mut options = v3::MqttOptions::new(&settings.client_id, host, port);
    let bytes_max = usize::try_from(PACKET_BYTES_MAX).unwrap_or(usize::MAX);
    options
        .set_keep_alive(settings.keep_alive)
        .set_clean_session(settings.clean)
        .set_inflight(settings.inflight_max)
        .set_max_packet_size(bytes_max, bytes_max);
    if let Some((name, password)) = &settings.login {
        options.set_credentials(name, password);
    }
    let (client, mut events) = v3::AsyncClient::new(options, capacity(settings));
    let mut network = events.network_options();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (Requests::V311(client), Events::V311(Box::new(events)))
}

fn open_v5(settings: &Settings) -> (Requests, Events) {
    let (host, port) = (settings.address.ip().to_string(), settings.address.port());
    let mut options = v5::MqttOptions::new(&settings.client_id, host, port);
    let expiry = if settings.clean { None } else { Some(u32::MAX) };
    options
        .set_keep_alive(settings.keep_alive)
        .set_clean_start(settings.clean)
        .set_session_expiry_interval(expiry)
        .set_outgoing_inflight_upper_limit(settings.inflight_max)
        .set_max_packet_size(Some(PACKET_BYTES_MAX));
    let mut network = v3::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some((name, password)) = &settings.login {
        options.set_credentials(name, password);
    }
    let (client, events) = v5::AsyncClient::new(options, capacity(settings));
    (Requests::V5(client), Events::V5(Box::new(events)))
}

/// Room for every publish in flight, so that making a request never fails for want of it.
fn capacity(settings: &Settings) -> usize {
    usize::from(settings.inflight_max) + REQUESTS_SPARE
}

impl Requests {
    /// Asks for a QoS 1 publish.
    pub(super) fn publish(&self, topic: &str, payload: &[u8]) -> Result<()> {
        match self {
            Self::V311(client) => client
                .try_publish(topic, v3::QoS::AtLeastOnce, false, payload)
                .with_context(|| format!("publishing to {topic}")),
            Self::V5(client) => client
                .try_publish(topic.to_owned(), v5::mqttbytes::QoS::AtLeastOnce, false, payload.to_vec())
                .with_context(|| format!("publishing to {topic}")),
        }
    }

    /// Asks for a QoS 1 subscription.
    pub(super) fn subscribe(&self, filter: &str) -> Result<()> {
        match self {
            Self::V311(client) => client.try_subscribe(filter, v3::QoS::AtLeastOnce)?,
            Self::V5(client) => client.try_subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce)?,
        }
        Ok(())
    }

    /// Asks for a DISCONNECT, after everything asked for before.
    pub(super) fn disconnect(&self) -> Result<()> {
        match self {
            Self::V311(client) => client.try_disconnect()?,
            Self::V5(client) => client.try_disconnect()?,
        }
        Ok(())
    }
}

impl Events {
    /// The next thing that happens. An error is the end of the link.
    pub(super) async fn next(&mut self) -> Result<Step> {
        match self {
            Self::V311(events) => Ok(step_v3(events.poll().await?)),
            Self::V5(events) => Ok(step_v5(events.poll().await?)),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's packets that no test looks at")]
fn step_v3(event: v3::Event) -> Step {
    match event {
        v3::Event::Outgoing(v3::Outgoing::Publish(id)) => Step::Sent(id),
        v3::Event::Incoming(v3::Packet::ConnAck(_)) => Step::Connected,
        v3::Event::Incoming(v3::Packet::PubAck(ack)) => Step::Acknowledged(ack.pkid),
        v3::Event::Incoming(v3::Packet::SubAck(ack)) => Step::Subscribed(
            ack.return_codes.iter().all(|code| matches!(code, v3::SubscribeReasonCode::Success(_))),
        ),
        v3::Event::Incoming(v3::Packet::Publish(publish)) => {
            Step::Received(Received { topic: publish.topic, payload: publish.payload.to_vec() })
        }
        _ => Step::Other,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's packets that no test looks at")]
fn step_v5(event: v5::Event) -> Step {
    use v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
    match event {
        v5::Event::Outgoing(v3::Outgoing::Publish(id)) => Step::Sent(id),
        v5::Event::Incoming(Packet::ConnAck(_)) => Step::Connected,
        v5::Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Step::Acknowledged(ack.pkid),
            reason => Step::Refused(ack.pkid, format!("{reason:?}")),
        },
        v5::Event::Incoming(Packet::SubAck(ack)) => Step::Subscribed(
            ack.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))),
        ),
        v5::Event::Incoming(Packet::Publish(publish)) => Step::Received(Received {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
        }),
        _ => Step::Other,
    }
}
