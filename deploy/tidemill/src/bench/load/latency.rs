//! Latencies of what was due while it was measured, as a histogram of three digits.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency told apart from longer ones, in microseconds: ten minutes.
const LONGEST_MICROS: u64 = 600_000_000;
/// Digits that are exact.
const DIGITS: u8 = 3;

/// The time that is measured: nanoseconds since the load began.
#[derive(Debug)]
pub(in crate::bench) struct Measured {
    from: AtomicU64,
    until: AtomicU64,
}

impl Measured {
    /// Nothing is measured yet.
    pub(super) fn new() -> Self {
        Self { from: AtomicU64::new(u64::MAX), until: AtomicU64::new(u64::MAX) }
    }

    pub(super) fn begin(&self, now: u64) {
        self.from.store(now, Ordering::Relaxed);
    }

    pub(super) fn end(&self, now: u64) {
        self.until.store(now, Ordering::Relaxed);
    }

    /// Whether what was due at `due` is measured, however late it came.
    pub(super) fn holds(&self, due: u64) -> bool {
        (self.from.load(Ordering::Relaxed)..self.until.load(Ordering::Relaxed)).contains(&due)
    }
}

/// Latencies.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Latencies(Histogram<u64>);

/// What is reported of latencies, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::bench) struct LatencySummary {
    /// How many were measured.
    pub(in crate::bench) count: u64,
    /// The mean.
    pub(in crate::bench) mean_ms: f64,
    /// Half were at most this.
    pub(in crate::bench) p50_ms: f64,
    /// 90 of 100 were at most this.
    pub(in crate::bench) p90_ms: f64,
    /// 99 of 100 were at most this.
    pub(in crate::bench) p99_ms: f64,
    /// 999 of 1,000 were at most this.
    pub(in crate::bench) p999_ms: f64,
    /// The longest.
    pub(in crate::bench) max_ms: f64,
}

impl Latencies {
    pub(in crate::bench) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)?))
    }

    /// Counts `count` equal latencies.
    pub(in crate::bench) fn record(&mut self, nanos: u64, count: u64) {
        self.0.saturating_record_n((nanos / 1_000).max(1), count);
    }

    pub(in crate::bench) fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(in crate::bench) fn summary(&self) -> LatencySummary {
        let millis = |micros: u64| std::time::Duration::from_micros(micros).as_secs_f64() * 1e3;
        let at = |quantile| millis(self.0.value_at_quantile(quantile));
        LatencySummary {
            count: self.0.len(),
            mean_ms: self.0.mean() / 1e3,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: millis(self.0.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut latencies = Latencies::new().unwrap();
        (1..=1_000).for_each(|millis| latencies.record(millis * 1_000_000, 2));
        let summary = latencies.summary();
        assert_eq!(summary.count, 2_000);
        for (found, expected) in [
            (summary.p50_ms, 500.0),
            (summary.p99_ms, 990.0),
            (summary.max_ms, 1_000.0),
            (summary.mean_ms, 500.5),
        ] {
            assert!((found / expected - 1.0).abs() < 2e-3, "{found} for {expected}");
        }
    }

    #[test]
    fn what_was_due_in_time_counts_however_late_it_came() {
        let measured = Measured::new();
        assert!(!measured.holds(5));
        measured.begin(5);
        measured.end(9);
        assert_eq!([4, 5, 8, 9].map(|due| measured.holds(due)), [false, true, true, false]);
    }
}
