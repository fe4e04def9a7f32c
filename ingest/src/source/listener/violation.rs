//! What a client can get wrong once connected, with the MQTT 5 reason code (MQTT 5, 2.4) that tells it so.
//! MQTT 3.1.1 has no such packet: the connection is closed.

/// A packet that ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// The bytes are no packet.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// A packet, but not allowed here.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The fixed header announces more than the limit.
    #[error("packet of {bytes} bytes is over the limit of {limit}")]
    PacketTooLarge {
        /// Size of the packet with its fixed header.
        bytes: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The topic of a PUBLISH is empty, holds a wildcard or NUL, or is not UTF-8.
    #[error("invalid topic name")]
    TopicName,
    /// Topic alias 0, or above the announced maximum.
    #[error("topic alias {0} is outside the announced range")]
    TopicAlias(u16),
    /// QoS 2.
    #[error("QoS 2 is not supported")]
    QosNotSupported,
    /// More unacknowledged QoS 1 messages than announced.
    #[error("more messages in flight than the announced receive maximum")]
    ReceiveMaximum,
}

impl Violation {
    /// The reason code of the DISCONNECT that answers it.
    pub(super) const fn reason_code(self) -> u8 {
        match self {
            Self::Malformed(_) => 0x81,
            Self::Protocol(_) => 0x82,
            Self::TopicName => 0x90,
            Self::ReceiveMaximum => 0x93,
            Self::TopicAlias(_) => 0x94,
            Self::PacketTooLarge { .. } => 0x95,
            Self::QosNotSupported => 0x9B,
        }
    }

    /// The bounded word for it in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Protocol(_) => "protocol_error",
            Self::TopicName => "topic_name",
            Self::ReceiveMaximum => "receive_maximum",
            Self::TopicAlias(_) => "topic_alias",
            Self::PacketTooLarge { .. } => "packet_too_large",
            Self::QosNotSupported => "qos_not_supported",
        }
    }
}
