//! How long to wait before connecting again: doubling pauses with jitter, so that many clients of a broker that
//! restarts do not return in step. Pure: randomness is an argument.

use std::time::Duration;

/// The pauses of one connection.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// The pause after another failure: between half and all of `min · 2ⁿ`, at most `max`.
    pub(super) fn next(&mut self, random: u32) -> Duration {
        let doubled = self.min.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.min(self.max);
        pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Starts over, after a connection that lasted.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_double_up_to_the_longest_and_stay_there() {
        let mut backoff = Backoff::new(MIN, MAX);
        let pauses: Vec<_> = (0..100).map(|_| backoff.next(u32::MAX)).collect();
        assert_eq!(pauses[0], MIN);
        assert_eq!(pauses[1], MIN * 2);
        assert!(pauses[20..].iter().all(|pause| *pause == MAX));
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), MIN);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let mut backoff = Backoff::new(MIN, MAX);
        assert_eq!(backoff.next(0), MIN / 2);
        assert_eq!(backoff.failures(), 1);
    }
}
