//! Keeps repeating log lines rare: one in a while, with how many were left out.

use std::time::Duration;

use tokio::time::Instant;

/// At most one line in `every`.
#[derive(Debug)]
pub(super) struct LogLimiter {
    every: Duration,
    last: Option<Instant>,
    left_out: u64,
}

impl LogLimiter {
    pub(super) const EVERY_DEFAULT: Duration = Duration::from_secs(10);

    pub(super) fn new(every: Duration) -> Self {
        Self { every, last: None, left_out: 0 }
    }

    /// Whether to write a line now: if so, how many were left out since the last one.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_between_two_that_are_written_are_counted() {
        let mut limiter = LogLimiter::new(Duration::from_secs(10));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limiter.allow(start), Some(0));
        assert_eq!((limiter.allow(after(1)), limiter.allow(after(9))), (None, None));
        assert_eq!(limiter.allow(after(10)), Some(2));
        assert_eq!(limiter.allow(after(20)), Some(0));
    }
}
