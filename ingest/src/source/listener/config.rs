//! What the listener is allowed to spend on a connection (I6). Values only: reading them from a file or the
//! environment is the composition root's part.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

/// Connections at once: a fleet of this size costs well under 200 MiB while idle, and the file descriptors fit
/// the limit that service managers commonly give.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Bytes of one packet, fixed header included: a telemetry message is 0.1 to 10 KiB, and what is larger than
/// this could not be kept as a reject in one row either.
pub const PACKET_BYTES_MAX: usize = 256 * 1024;
/// QoS 1 messages of one connection that wait for their acknowledgement: enough to keep a writer busy for
/// several store round trips, small enough that one connection cannot fill the pipeline.
pub const IN_FLIGHT_MESSAGES_MAX: NonZeroU16 = NonZeroU16::new(1_000).unwrap();
/// Bytes of one connection that are taken and not yet settled: 1,000 messages of 4 KiB.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Topic aliases of one connection: a device has few topics, and each alias costs memory while connected.
pub const TOPIC_ALIASES_MAX: u16 = 16;
/// From accept to a complete CONNECT and its authentication: a slow mobile link needs two or three seconds.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first to the last byte of one packet: [`PACKET_BYTES_MAX`] over a link of 9 KiB/s.
pub const PACKET_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may leave acknowledgements unread.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence allowed where the client asked for no keep-alive: address translation forgets a flow earlier.
pub const IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// How long a stop waits for messages that were taken to become durable.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Where to listen, and the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// The address to bind; port 0 takes any free one. Whether a non-loopback address is allowed is decided
    /// before, with [`super::bind_is_allowed`].
    pub address: SocketAddr,
    /// What each connection may cost.
    pub limits: Limits,
}

/// Bounds of one listener. Passing one is counted with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more are closed as soon as they are accepted.
    pub connections_max: usize,
    /// Bytes of one packet, fixed header included; checked before anything is reserved for it.
    pub packet_bytes_max: usize,
    /// QoS 1 messages in flight per connection: announced to MQTT 5 clients as receive maximum and enforced;
    /// with 3.1.1, reading pauses there.
    pub in_flight_messages_max: NonZeroU16,
    /// Bytes in flight per connection, counted with a fixed cost for each message; reading pauses there.
    pub in_flight_bytes_max: usize,
    /// Topic aliases an MQTT 5 client may set; 0 turns them off.
    pub topic_aliases_max: u16,
    /// From accept to CONNECT and its authentication.
    pub connect_timeout: Duration,
    /// From the first to the last byte of one packet.
    pub packet_timeout: Duration,
    /// Longest time without progress while there are bytes to write.
    pub write_timeout: Duration,
    /// Longest silence of a client that asked for no keep-alive; an MQTT 5 client is told.
    pub idle_timeout: Duration,
    /// How long [`super::Listener::run`] waits on shutdown for messages in flight.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            packet_bytes_max: PACKET_BYTES_MAX,
            in_flight_messages_max: IN_FLIGHT_MESSAGES_MAX,
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            topic_aliases_max: TOPIC_ALIASES_MAX,
            connect_timeout: CONNECT_TIMEOUT,
            packet_timeout: PACKET_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}
