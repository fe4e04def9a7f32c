//! The direct MQTT listener: devices connect and publish here, so that one process needs no broker.
//!
//! MQTT 3.1.1 and 5; QoS 0 and 1, PUBACK after the message is durable (I1), in receive order per connection.
//! Nothing is ever delivered from here: SUBSCRIBE is answered with a refusal, retained messages and wills have
//! nobody to go to. No session outlives its connection, but for the messages that were not acknowledged: sent again by
//! the same client id, they are known and not stored again ([`super::earlier`]). A second connection with the same client
//! id closes the first. Everything a client can make it hold is bounded (I6) by [`Limits`].
//!
//! A packet's way: [`transport`] (bytes) → [`frame`] (packets) → [`session`] (messages) → [`connection`] (groups to
//! the pipeline, acknowledgements back) with [`super::window`] (what is in flight). [`handshake`] comes before,
//! [`authenticate`] is the place for credentials; any byte stream is served, so TLS has its place in [`Listener`].
//!
//! Packets are parsed by hand: PUBLISH for speed, and the few others because the reason code of each refusal
//! matters. `rmqtt-codec` is the oracle of the tests.

mod authenticate;
mod bind;
mod config;
mod connect;
mod connection;
mod control;
#[cfg(test)]
mod deadlines;
mod ending;
mod frame;
mod handshake;
mod metrics;
#[cfg(test)]
mod oracle;
mod properties;
mod publish;
mod registry;
mod reply;
mod serve;
mod session;
mod timer;
mod transport;
mod violation;
mod wire;

pub use authenticate::{AllowAll, Authenticate, Credentials, Verdict};
pub use bind::bind_is_allowed;
pub use config::{
    CONNECT_TIMEOUT, CONNECTIONS_MAX, DRAIN_TIMEOUT, IDLE_TIMEOUT, IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_MESSAGES_MAX, Limits, ListenerConfig, PACKET_BYTES_MAX, PACKET_TIMEOUT, TOPIC_ALIASES_MAX,
    WRITE_TIMEOUT,
};
pub use metrics::ListenerMetrics;
pub use serve::{BindError, Listener, ListenerReport};
