//! Why a connection ended: the word for metrics, and the reason an MQTT 5 client is told.

use super::control::Goodbye;
use super::violation::Violation;

/// Why a connection that had been accepted ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client sent DISCONNECT.
    Goodbye(Goodbye),
    /// The client closed without a word.
    Closed,
    /// Reading or writing failed.
    Broken,
    /// The client did what it may not.
    Violation(Violation),
    /// Silent for longer than its keep-alive allows.
    Silent,
    /// A packet did not arrive whole in time.
    SlowPacket,
    /// The client did not read what was sent.
    NotReading,
    /// Another connection came with the same client id.
    TakenOver,
    /// The process is stopping.
    ShuttingDown,
    /// A group was abandoned: later acknowledgements may not overtake it, and only a new connection makes the
    /// client repeat it.
    Abandoned,
}

impl Ending {
    /// The reason code of the DISCONNECT, where the client can and should be told.
    pub(super) const fn reason_code(self) -> Option<u8> {
        match self {
            Self::Goodbye(_) | Self::Closed | Self::Broken | Self::NotReading => None,
            Self::Violation(violation) => Some(violation.reason_code()),
            Self::Silent | Self::SlowPacket => Some(0x8D),
            Self::TakenOver => Some(0x8E),
            Self::ShuttingDown => Some(0x8B),
            Self::Abandoned => Some(0x83),
        }
    }

    /// Whether anybody may still be reading.
    pub(super) const fn is_reachable(self) -> bool {
        !matches!(self, Self::Closed | Self::Broken | Self::NotReading)
    }

    /// Whether a will would be published now.
    pub(super) const fn calls_for_will(self) -> bool {
        !matches!(self, Self::Goodbye(Goodbye::Normal))
    }

    /// The bounded word for it in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Goodbye(_) => "goodbye",
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Violation(violation) => violation.label(),
            Self::Silent => "keep_alive",
            Self::SlowPacket => "slow_packet",
            Self::NotReading => "not_reading",
            Self::TakenOver => "taken_over",
            Self::ShuttingDown => "shutting_down",
            Self::Abandoned => "abandoned",
        }
    }
}
