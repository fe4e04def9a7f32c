//! The accounts of messages and of samples: everything that was taken is somewhere (I2). Pure.

/// Where messages are, or ended: a snapshot in which everything adds up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Taken from a source.
    pub received: u64,
    /// Found in the spool at the start, acknowledged by an earlier process.
    pub recovered: u64,
    /// Durable in the store.
    pub stored: u64,
    /// Came again over a new connection because the one before ended without their acknowledgement, and were known. Samples
    /// are not looked at: where one says again what is stored, the store drops it when it merges.
    pub duplicate: u64,
    /// Kept apart because policy does not take them.
    pub quarantined: u64,
    /// Kept apart because they could not be understood or taken.
    pub dead_lettered: u64,
    /// Dropped for want of room; QoS 0 alone.
    pub shed: u64,
    /// Durable in the spool, and not in the store yet.
    pub spooled: u64,
    /// Were in the spool, in records that cannot be read any more and were set aside.
    pub set_aside: u64,
    /// Taken, and not yet any of the above.
    pub in_flight: u64,
}

impl Accounting {
    /// Whether nothing vanished (I2).
    pub const fn balanced(&self) -> bool {
        let kept = self.stored + self.duplicate + self.quarantined + self.dead_lettered + self.spooled;
        self.received + self.recovered == (kept + self.shed + self.set_aside).wrapping_add(self.in_flight)
    }

    /// As it is shown. A task may have spooled messages of a group that is still being taken and not counted yet: until it
    /// is, `in_flight` lies below zero, and they count as not there yet at all.
    pub(super) fn shown(mut self) -> Self {
        if self.in_flight.cast_signed() < 0 {
            let early = self.in_flight.wrapping_neg();
            let spooled = early.min(self.spooled);
            self.in_flight = 0;
            self.spooled -= spooled;
            self.stored -= early - spooled;
        }
        self
    }
}
