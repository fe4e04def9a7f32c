//! How much waits for something that comes by itself: kept durably, acknowledged, and not in any answer yet (I2, I3).

use super::IngestMetrics;
use crate::decode::NO_BIRTH;
use crate::policy::ERAS_UNKNOWN;

/// Messages that wait for one thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitingCount {
    /// How many.
    pub messages: u64,
    /// Bytes that they take as rejects.
    pub bytes: u64,
}

/// Messages that wait, by what they wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitingCounts {
    no_birth: WaitingCount,
    eras_unknown: WaitingCount,
}

impl WaitingCounts {
    /// By the reason of their rejects.
    pub const fn by_reason(&self) -> [(&'static str, WaitingCount); 2] {
        [(NO_BIRTH, self.no_birth), (ERAS_UNKNOWN, self.eras_unknown)]
    }

    /// All of them.
    pub const fn all(&self) -> WaitingCount {
        WaitingCount {
            messages: self.no_birth.messages.saturating_add(self.eras_unknown.messages),
            bytes: self.no_birth.bytes.saturating_add(self.eras_unknown.bytes),
        }
    }

    /// These and `others`.
    #[must_use]
    pub const fn and(&self, others: &Self) -> Self {
        Self {
            no_birth: self.no_birth.and(others.no_birth),
            eras_unknown: self.eras_unknown.and(others.eras_unknown),
        }
    }

    /// Counts a message that waits; of another reason, none.
    pub fn add(&mut self, reason: &str, bytes: u64) {
        if let Some(count) = self.of(reason) {
            *count = count.and(WaitingCount { messages: 1, bytes });
        }
    }

    /// Counts a message no more.
    pub fn remove(&mut self, reason: &str, bytes: u64) {
        if let Some(count) = self.of(reason) {
            count.messages = count.messages.saturating_sub(1);
            count.bytes = count.bytes.saturating_sub(bytes);
        }
    }

    fn of(&mut self, reason: &str) -> Option<&mut WaitingCount> {
        match reason {
            NO_BIRTH => Some(&mut self.no_birth),
            ERAS_UNKNOWN => Some(&mut self.eras_unknown),
            _ => None,
        }
    }
}

impl WaitingCount {
    const fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl IngestMetrics {
    /// What waits, as far as this process knows.
    pub fn waiting(&self) -> WaitingCounts {
        *self.0.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Shows `counts` as what waits.
    pub fn show_waiting(&self, counts: WaitingCounts) {
        *self.0.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = counts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_what_they_wait_for_and_never_below_none() {
        let (mut own, mut others) = (WaitingCounts::default(), WaitingCounts::default());
        own.add(NO_BIRTH, 10);
        own.add("syntax", 99);
        others.add(NO_BIRTH, 5);
        others.add(ERAS_UNKNOWN, 7);
        assert_eq!(own.and(&others).all(), WaitingCount { messages: 3, bytes: 22 });
        own.remove(NO_BIRTH, 10);
        own.remove(NO_BIRTH, 10);
        let [(_, of_birth), (_, of_eras)] = own.and(&others).by_reason();
        assert_eq!((of_birth.messages, of_birth.bytes, of_eras.messages), (1, 5, 1));
    }
}
