//! The MQTT consumer: takes messages from brokers that devices publish to.
//!
//! Each connection has a persistent session under a stable client id, subscribes with QoS 1 in a share group on
//! every CONNACK, and acknowledges a message after it is durable (I1). What a connection that breaks had not
//! acknowledged is sent again by the broker, to it or to another of the group, and stored once (I5). A normal stop
//! keeps the session, for which the broker keeps a share of the messages until they expire; one that is for good
//! ([`MqttConfig::leave_on_stop`]) takes the subscriptions back first.
//!
//! The only user of the client library `rumqttc`. A message's way: [`client`] (the library) → [`consumer`] (groups
//! to the pipeline, acknowledgements back) with [`super::window`] (what is in flight).

mod backoff;
mod client;
mod config;
mod consumer;
mod fault;
mod metrics;
mod source;
mod tls;

pub use config::{
    BACKOFF_MAX, BACKOFF_MIN, Broker, CONNECT_TIMEOUT, CONNECTIONS, DRAIN_TIMEOUT, IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_MESSAGES_MAX, Identity, KEEP_ALIVE, KEEP_ALIVE_MIN, Login, MqttConfig, MqttConfigError,
    PACKET_BYTES_MAX, Retained, SESSION_EXPIRY, Tls, Version,
};
pub use metrics::MqttMetrics;
pub use source::{MqttReport, MqttSource};
pub use tls::TlsError;
