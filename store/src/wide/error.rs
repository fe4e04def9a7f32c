//! What can go wrong in a store, and what a caller may conclude from it.

/// Whether a failed write may have taken place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It did not and will not.
    NotApplied,
    /// It may have, or may yet: repeat it with the same key and bytes, or read back.
    Unknown,
}

/// Why a write gave no `Ok`.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store is out of reach, overloaded or too slow. Worth repeating.
    #[error("the store did not take the write in time or is out of reach: {reason}")]
    Unavailable {
        /// Whether it may have taken place.
        effect: Effect,
        /// What the store said.
        reason: String,
    },
    /// The store refuses this write and will refuse it again (schema, permissions, size).
    #[error("the store refuses the write: {reason}")]
    Refused {
        /// What the store said.
        reason: String,
    },
    /// The store can no longer keep its promises in this process; the process must end (failed fsync).
    #[error("the store is broken until restart: {reason}")]
    Broken {
        /// What the store said.
        reason: String,
    },
}

impl WriteError {
    /// Whether the write may have taken place.
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Unavailable { effect, .. } => *effect,
            Self::Refused { .. } => Effect::NotApplied,
            Self::Broken { .. } => Effect::Unknown,
        }
    }

    /// Whether the same write may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Why a read gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store is out of reach, overloaded or too slow. Worth repeating.
    #[error("the store did not answer in time or is out of reach: {reason}")]
    Unavailable {
        /// What the store said.
        reason: String,
    },
    /// The store refuses this read and will refuse it again (schema, permissions).
    #[error("the store refuses the read: {reason}")]
    Refused {
        /// What the store said.
        reason: String,
    },
    /// What was read is not what this version wrote.
    #[error("a stored row of {table} cannot be understood: {reason}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl ReadError {
    /// Whether the same read may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
