//! How a query is evaluated: at which times, how far back a value counts, how much it may take, and when to stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::labels::{Labels, NAME};
use super::matcher::{Matcher, metric_of};
use super::value::Steps;

/// The step of subqueries that name none, as Prometheus' default evaluation interval.
pub(super) const SUBQUERY_STEP: i64 = 60_000_000_000;

/// One evaluation or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// At one moment; answers keep the order that sorting gave them.
    Instant,
    /// Over steps; answers are in the order of their labels.
    Range,
}

/// How old a value may be to count as current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookback {
    default: i64,
    by_metric: BTreeMap<String, i64>,
    longest: i64,
}

impl Lookback {
    /// `default`, and for metrics that come at longer intervals a little more than such an interval.
    pub fn new(default: Duration, intervals: &[(String, Duration)]) -> Self {
        let default = nanos(default);
        // A quarter more, so that a sample that comes a little late leaves no gap.
        let widened = |interval: Duration| nanos(interval.saturating_mul(5) / 4).max(default);
        let by_metric: BTreeMap<String, i64> =
            intervals.iter().map(|(metric, interval)| (metric.clone(), widened(*interval))).collect();
        let longest = by_metric.values().copied().max().unwrap_or(default).max(default);
        Self { default, by_metric, longest }
    }

    /// The lookback of a metric, in nanoseconds.
    pub fn of_metric(&self, metric: &str) -> i64 {
        self.by_metric.get(metric).copied().unwrap_or(self.default)
    }

    pub(super) fn of_series(&self, labels: &Labels) -> i64 {
        if self.by_metric.is_empty() { self.default } else { self.of_metric(labels.get(NAME)) }
    }

    /// The longest lookback of what the matchers may select.
    pub(super) fn of_selector(&self, matchers: &[Matcher]) -> i64 {
        metric_of(matchers).map_or(self.longest, |metric| self.of_metric(metric))
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// How a query is evaluated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// One moment or many.
    pub mode: Mode,
    /// The moments; one where the mode is [`Mode::Instant`].
    pub steps: Steps,
    /// The end that was asked for, which need not be a step.
    pub end: i64,
    /// How old a value may be.
    pub lookback: Lookback,
    /// Most values that the query may hold and make, samples included.
    pub samples_max: usize,
}

/// Tells an evaluation that nobody waits for it any more.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Ends the evaluation soon.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it shall end.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_with_a_long_interval_looks_back_further_and_no_metric_less_than_the_default() {
        let minute = Duration::from_mins(1);
        let slow = [("level".to_owned(), minute * 60), ("fast".to_owned(), minute)];
        let lookback = Lookback::new(minute * 5, &slow);
        let minutes = |metric: &str| lookback.of_metric(metric) / 60_000_000_000;
        assert_eq!((minutes("level"), minutes("fast"), minutes("other")), (75, 5, 5));
        assert_eq!(lookback.of_selector(&[]), lookback.of_metric("level"));
        assert_eq!(lookback.of_selector(&[Matcher::equal(NAME, "other")]), lookback.of_metric("other"));
    }
}
