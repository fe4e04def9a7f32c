//! MQTT clients for tests: a publisher that knows which of its publishes were acknowledged, and a
//! subscriber that keeps what it receives. Both speak 3.1.1 or 5, reconnect by themselves, and
//! block their caller, never for longer than a deadline.

mod client;
mod link;
mod publisher;
mod subscriber;

use std::net::SocketAddr;
use std::time::Duration;

pub use publisher::Publisher;
pub use subscriber::{Received, Subscriber};

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// How a client connects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The broker, or a relay before it.
    pub address: SocketAddr,
    /// Unique among the clients of a broker.
    pub client_id: String,
    /// The protocol version.
    pub protocol: Protocol,
    /// Name and password.
    pub login: Option<(String, String)>,
    /// QoS 1 publishes without their acknowledgement; further ones wait.
    pub inflight_max: u16,
    /// Whether the broker forgets the session with the connection.
    pub clean: bool,
    /// A connection that answers nothing for this long is given up. At least 5 s.
    pub keep_alive: Duration,
}

impl Settings {
    /// A client without a login, with 100 publishes in flight and a clean session.
    pub fn new(address: SocketAddr, client_id: &str, protocol: Protocol) -> Self {
        Self {
            address,
            client_id: client_id.to_owned(),
            protocol,
            login: None,
            inflight_max: 100,
            clean: true,
            keep_alive: Duration::from_secs(5),
        }
    }
}
