//! Why a connection to a broker failed or ended: a bounded kind for metrics and decisions, and words for the log.

use rumqttc::v5::mqttbytes::Error as PacketErrorV5;
use rumqttc::{ConnectionError, StateError, mqttbytes::Error as PacketErrorV311, v5};

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The broker could not be reached, or the connection broke.
    Network,
    /// No answer in time.
    Timeout,
    /// The TLS handshake failed.
    Tls,
    /// CONNECT was refused.
    Refused,
    /// A subscription was refused.
    SubscriptionRefused,
    /// The broker said goodbye: it stops, or another client has our client id.
    Disconnected,
    /// A packet was larger than the limit.
    PacketTooLarge,
    /// The broker sent what it may not.
    Protocol,
    /// The pipeline abandoned a group: only a new connection makes the broker send its messages again.
    Abandoned,
}

impl FaultKind {
    /// The bounded word for it in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Refused => "refused",
            Self::SubscriptionRefused => "subscription_refused",
            Self::Disconnected => "disconnected",
            Self::PacketTooLarge => "packet_too_large",
            Self::Protocol => "protocol",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A failure; ends the connection it happened on.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    detail: String,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, detail: impl std::fmt::Display) -> Self {
        Self { kind, detail: detail.to_string() }
    }
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Self {
        let kind = match &error {
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => FaultKind::Timeout,
            ConnectionError::Tls(_) => FaultKind::Tls,
            ConnectionError::Io(_) => FaultKind::Network,
            ConnectionError::ConnectionRefused(_) => FaultKind::Refused,
            ConnectionError::NotConnAck(_) | ConnectionError::RequestsDone => FaultKind::Protocol,
            ConnectionError::MqttState(state) => match state {
                StateError::Io(_)
                | StateError::ConnectionAborted
                | StateError::Deserialization(PacketErrorV311::Io(_)) => FaultKind::Network,
                StateError::AwaitPingResp => FaultKind::Timeout,
                StateError::Deserialization(PacketErrorV311::PayloadSizeLimitExceeded(_)) => {
                    FaultKind::PacketTooLarge
                }
                StateError::InvalidState
                | StateError::Unsolicited(_)
                | StateError::WrongPacket
                | StateError::CollisionTimeout
                | StateError::EmptySubscription
                | StateError::Deserialization(_) => FaultKind::Protocol,
            },
        };
        Self::new(kind, error)
    }
}

impl From<v5::ConnectionError> for Fault {
    fn from(error: v5::ConnectionError) -> Self {
        let kind = match &error {
            v5::ConnectionError::Timeout(_) => FaultKind::Timeout,
            v5::ConnectionError::Tls(_) => FaultKind::Tls,
            v5::ConnectionError::Io(_) => FaultKind::Network,
            v5::ConnectionError::ConnectionRefused(_) => FaultKind::Refused,
            v5::ConnectionError::NotConnAck(_) | v5::ConnectionError::RequestsDone => FaultKind::Protocol,
            v5::ConnectionError::MqttState(state) => state_kind(state),
        };
        Self::new(kind, error)
    }
}

fn state_kind(state: &v5::StateError) -> FaultKind {
    use v5::StateError as State;
    match state {
        State::Io(_) | State::ConnectionAborted | State::Deserialization(PacketErrorV5::Io(_)) => {
            FaultKind::Network
        }
        State::AwaitPingResp => FaultKind::Timeout,
        State::ServerDisconnect { .. } => FaultKind::Disconnected,
        State::ConnFail { .. } => FaultKind::Refused,
        State::IncomingPacketTooLarge { .. }
        | State::Deserialization(PacketErrorV5::PayloadSizeLimitExceeded { .. }) => FaultKind::PacketTooLarge,
        State::Coversion(_)
        | State::InvalidState
        | State::Unsolicited(_)
        | State::WrongPacket
        | State::CollisionTimeout
        | State::EmptySubscription
        | State::InvalidAlias { .. }
        | State::OutgoingPacketTooLarge { .. }
        | State::Deserialization(_) => FaultKind::Protocol,
    }
}
