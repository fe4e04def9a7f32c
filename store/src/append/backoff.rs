//! How long to wait before a write is repeated: longer each time, and never in step with other writers.

use std::time::Duration;

/// Waits between attempts: each is random between half of a span and the whole, and the span doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first span.
    pub first: Duration,
    /// The longest span.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    /// From well below what a person notices, to short enough that a store that is back is used at once.
    fn default() -> Self {
        Self { first: Duration::from_millis(20), longest: Duration::from_secs(2) }
    }
}

impl RetryPolicy {
    /// The wait after `failures` attempts in a row, at least one, with 64 random bits.
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let doubled =
            self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let half = doubled.min(self.longest) / 2;
        let share = u32::try_from(random & 0xffff).unwrap_or(0);
        half + half.saturating_mul(share) / 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_over_half_of_the_span() {
        let policy = RetryPolicy { first: Duration::from_millis(10), longest: Duration::from_millis(50) };
        let waits = |random| [1, 2, 3, 4, 40, u32::MAX].map(|n| policy.wait(n, random).as_millis());
        assert_eq!(waits(0), [5, 10, 20, 25, 25, 25]);
        assert_eq!(waits(u64::MAX), [10, 20, 40, 50, 50, 50]);
    }
}
