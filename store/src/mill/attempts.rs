//! Numbers of attempts at grinding: never the same twice, whoever grinds. Pure.
//!
//! ```text
//! attempt = by hand: 1 bit | epoch of the lease: 32 bits | counter: 20 bits
//! ```
//!
//! An epoch is taken by compare-and-set and belongs to one process; work by hand takes its epochs from leases of its
//! own, hence the bit.

use std::sync::atomic::{AtomicU32, Ordering};

const COUNTER_BITS: u32 = 20;
const BY_HAND: i64 = 1 << (32 + COUNTER_BITS);

/// Who grinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    /// A mill, under the lease of a shard.
    Mill,
    /// An operator.
    Operator,
}

/// The numbers of one epoch.
#[derive(Debug)]
pub(super) struct Attempts {
    base: i64,
    next: AtomicU32,
}

impl Attempts {
    pub(super) fn new(hand: Hand, epoch: u32) -> Self {
        let by = match hand {
            Hand::Mill => 0,
            Hand::Operator => BY_HAND,
        };
        Self { base: by | i64::from(epoch) << COUNTER_BITS, next: AtomicU32::new(0) }
    }

    /// The next number; `None` where the epoch has none left.
    pub(super) fn take(&self) -> Option<i64> {
        let count = |next: u32| (next < 1 << COUNTER_BITS).then_some(next + 1);
        let counter = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).ok()?;
        Some(self.base | i64::from(counter))
    }

    /// Whether the epoch has none left.
    pub(super) fn are_spent(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= 1 << COUNTER_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_epochs_and_hands_share_a_number() {
        let all = [(Hand::Mill, 1), (Hand::Mill, 2), (Hand::Operator, 1), (Hand::Mill, u32::MAX)];
        let mut numbers: Vec<i64> = all
            .into_iter()
            .flat_map(|(hand, epoch)| {
                let attempts = Attempts::new(hand, epoch);
                [attempts.take().unwrap(), attempts.take().unwrap()]
            })
            .collect();
        assert!(numbers.iter().all(|&number| number >= 0));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 8);
    }

    #[test]
    fn an_epoch_ends_before_it_runs_into_the_next() {
        let attempts = Attempts::new(Hand::Mill, 7);
        let last = (0..1 << COUNTER_BITS).map(|_| attempts.take()).last().flatten();
        assert!(last.unwrap() < Attempts::new(Hand::Mill, 8).take().unwrap());
        assert!(attempts.are_spent());
        assert_eq!(attempts.take(), None);
    }
}
