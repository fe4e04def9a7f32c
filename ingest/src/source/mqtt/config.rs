//! What the consumer connects to and how much it takes. Values and the rules between them; reading files and the
//! environment is the composition root's part.

use std::num::NonZeroU16;
use std::time::Duration;

/// Connections to each broker: one event loop is one task, so two use two cores.
pub const CONNECTIONS: u16 = 2;
/// Unacknowledged QoS 1 messages of one connection; some brokers send fewer at once whatever is asked for.
pub const IN_FLIGHT_MESSAGES_MAX: NonZeroU16 = NonZeroU16::new(1_000).unwrap();
/// Bytes of one connection that are taken and not yet settled: 1,000 messages of 16 KiB.
pub const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one packet. Larger than the listener's: what a broker took from its devices should be taken from it.
pub const PACKET_BYTES_MAX: u32 = 1024 * 1024;
/// How often the broker hears from us at least, and within which time a dead one is noticed.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The shortest keep-alive: the client library takes none below.
pub const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// How long a broker keeps our messages while we are away (MQTT 5): a long weekend.
pub const SESSION_EXPIRY: Duration = Duration::from_hours(4 * 24);
/// From connecting to CONNACK.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause before connecting again, and the longest.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// See [`BACKOFF_MIN`]; also how long a connection must last for the pauses to start over.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long a stop waits for messages that were taken to become durable.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Which protocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1, for brokers that know no other.
    V311,
    /// MQTT 5.
    V5,
}

/// What becomes of messages that a broker kept and sends because of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// They are taken like any other: said again what was said before, they are duplicates.
    Take,
    /// They are acknowledged and dropped; for devices whose messages carry no time, which would be stored anew.
    Ignore,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address; with TLS also the name its certificate must have.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// User name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub user_name: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Login").field("user_name", &self.user_name).finish_non_exhaustive()
    }
}

/// Certificates, as PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that the broker's certificate is checked against. There is no other source of trust.
    pub authorities: Vec<u8>,
    /// Our own certificate chain and its key, where the broker asks for one.
    pub identity: Option<Identity>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").field("identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

/// A client certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate chain, ours first.
    pub certificates: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// What to consume, from where, and how much at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttConfig {
    /// The brokers. Every one is consumed: this is for several brokers with messages of their own, not for the
    /// nodes of one cluster, which belong behind one name.
    pub brokers: Vec<Broker>,
    /// The protocol.
    pub version: Version,
    /// Connections to each broker. More than one needs a `share_group`.
    pub connections: u16,
    /// Connection `i`, counted over all brokers, has the client id `<prefix>-<i>`. It must be another one for each
    /// ingester and the same after its restart: the broker keeps the session by it.
    pub client_id_prefix: String,
    /// Topic filters to subscribe to, without `$share`.
    pub filters: Vec<String>,
    /// The group whose members, in this and other ingesters, share the messages between them. Without it, each
    /// connection gets all messages. Mosquitto 2.0 forgets share groups when it restarts, until we subscribe
    /// again: where devices must not lose what they publish in between, use one connection and no group.
    pub share_group: Option<String>,
    /// How long the broker keeps messages for us while we are away; MQTT 3.1.1 leaves that to the broker.
    pub session_expiry: Duration,
    /// At least [`KEEP_ALIVE_MIN`].
    pub keep_alive: Duration,
    /// User name and password.
    pub login: Option<Login>,
    /// TLS; plain TCP without.
    pub tls: Option<Tls>,
    /// What becomes of retained messages; they are counted in any case.
    pub retained: Retained,
    /// Whether a stop is for good: the subscriptions are taken back, so that a group's messages go to its other
    /// members, and what the broker has already given to this session is taken before the end.
    pub leave_on_stop: bool,
    /// Bytes of one packet. An MQTT 5 broker is told, and drops larger messages itself. An MQTT 3.1.1 broker cannot be
    /// told, and would send the same message after every reconnection: larger ones are taken, and refused behind.
    pub packet_bytes_max: u32,
    /// Unacknowledged QoS 1 messages of one connection. An MQTT 5 broker is told; where a broker sends more, reading
    /// pauses.
    pub in_flight_messages_max: NonZeroU16,
    /// Bytes in flight of one connection: reading pauses there. QoS 0 messages are shed from half of it.
    pub in_flight_bytes_max: usize,
    /// From connecting to CONNACK.
    pub connect_timeout: Duration,
    /// The first pause before connecting again.
    pub backoff_min: Duration,
    /// The longest pause before connecting again.
    pub backoff_max: Duration,
    /// How long a stop waits for messages in flight.
    pub drain_timeout: Duration,
}

impl MqttConfig {
    /// The defaults for one broker.
    pub fn new(broker: Broker, client_id_prefix: &str, filters: Vec<String>) -> Self {
        Self {
            brokers: vec![broker],
            version: Version::V5,
            connections: CONNECTIONS,
            client_id_prefix: client_id_prefix.to_owned(),
            filters,
            share_group: Some("tidemill".to_owned()),
            session_expiry: SESSION_EXPIRY,
            keep_alive: KEEP_ALIVE,
            login: None,
            tls: None,
            retained: Retained::Take,
            leave_on_stop: false,
            packet_bytes_max: PACKET_BYTES_MAX,
            in_flight_messages_max: IN_FLIGHT_MESSAGES_MAX,
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            connect_timeout: CONNECT_TIMEOUT,
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }

    /// The filters as they are subscribed to.
    pub(super) fn subscriptions(&self) -> Vec<String> {
        let share = |filter: &String| match &self.share_group {
            Some(group) => format!("$share/{group}/{filter}"),
            None => filter.clone(),
        };
        self.filters.iter().map(share).collect()
    }

    /// Checks what can be checked without a broker.
    pub fn check(&self) -> Result<(), MqttConfigError> {
        let group_is_name = |group: &String| !group.is_empty() && !group.contains(['/', '+', '#']);
        if self.brokers.is_empty() {
            return Err(MqttConfigError::NoBroker);
        }
        if self.connections == 0 {
            return Err(MqttConfigError::NoConnection);
        }
        if self.client_id_prefix.is_empty() {
            return Err(MqttConfigError::NoClientId);
        }
        if let Some(group) = self.share_group.as_ref().filter(|group| !group_is_name(group)) {
            return Err(MqttConfigError::ShareGroup(group.clone()));
        }
        if self.connections > 1 && self.share_group.is_none() {
            return Err(MqttConfigError::Unshared { connections: self.connections });
        }
        if self.filters.is_empty() {
            return Err(MqttConfigError::NoFilter);
        }
        if let Some(filter) = self.filters.iter().find(|filter| !rumqttc::valid_filter(filter)) {
            return Err(MqttConfigError::Filter(filter.clone()));
        }
        if self.keep_alive < KEEP_ALIVE_MIN || self.keep_alive.as_secs() > u64::from(u16::MAX) {
            return Err(MqttConfigError::KeepAlive(self.keep_alive));
        }
        Ok(())
    }
}

/// The configuration cannot work.
#[derive(Debug, thiserror::Error)]
pub enum MqttConfigError {
    /// The list of brokers is empty.
    #[error("no broker is named")]
    NoBroker,
    /// No connections are asked for.
    #[error("the number of connections is 0; set at least 1")]
    NoConnection,
    /// Sessions cannot be found again without client ids.
    #[error("the client id prefix is empty")]
    NoClientId,
    /// Not the name of a share group.
    #[error("the share group {0:?} is empty or holds one of / + #")]
    ShareGroup(String),
    /// Every connection would get all messages.
    #[error(
        "{connections} connections without a share group would each get all messages; set a share group or 1"
    )]
    Unshared {
        /// How many.
        connections: u16,
    },
    /// Nothing to subscribe to.
    #[error("no topic filter is named")]
    NoFilter,
    /// Not a topic filter.
    #[error("{0:?} is not a topic filter: + and # stand for whole levels, # only at the end")]
    Filter(String),
    /// Outside of what protocol and library allow.
    #[error("a keep-alive of {0:?} is outside 5 s to 65,535 s")]
    KeepAlive(Duration),
    /// The certificates or the key cannot be used.
    #[error("certificates cannot be used: {0}")]
    Tls(#[from] super::tls::TlsError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MqttConfig {
        let broker = Broker { host: "localhost".to_owned(), port: 1883 };
        MqttConfig::new(broker, "ingest-a", vec!["devices/+/telemetry".to_owned()])
    }

    #[test]
    fn defaults_are_valid_and_shared() {
        assert!(config().check().is_ok());
        assert_eq!(config().subscriptions(), ["$share/tidemill/devices/+/telemetry"]);
    }

    #[test]
    fn several_connections_need_a_share_group() {
        let unshared = MqttConfig { share_group: None, ..config() };
        assert!(matches!(unshared.check(), Err(MqttConfigError::Unshared { connections: CONNECTIONS })));
        let single = MqttConfig { connections: 1, ..unshared };
        assert!(single.check().is_ok());
        assert_eq!(single.subscriptions(), ["devices/+/telemetry"]);
    }

    #[test]
    fn what_the_client_library_would_panic_at_is_refused_before() {
        let short = MqttConfig { keep_alive: Duration::from_secs(4), ..config() };
        assert!(matches!(short.check(), Err(MqttConfigError::KeepAlive(_))));
        let filter = MqttConfig { filters: vec!["devices/#/telemetry".to_owned()], ..config() };
        assert!(matches!(filter.check(), Err(MqttConfigError::Filter(_))));
        let nameless = MqttConfig { client_id_prefix: String::new(), ..config() };
        assert!(matches!(nameless.check(), Err(MqttConfigError::NoClientId)));
    }

    #[test]
    fn secrets_are_not_shown() {
        let login = Login { user_name: "u".to_owned(), password: "secret".to_owned() };
        assert!(!format!("{:?}", MqttConfig { login: Some(login), ..config() }).contains("secret"));
    }
}
