//! The store's metrics: every name in one place, so that dashboards can be tested against them.
//!
//! Labels are bounded: tables and operations are known when the program is built. Never a device, never a topic.

use prometheus::{
    Error, Histogram, HistogramOpts, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec,
    Opts, Registry, exponential_buckets,
};

/// Seconds that a write took, by table and operation, failed ones included.
pub const WRITE_SECONDS: &str = "tidemill_store_write_seconds";
/// Seconds that a read took, by table and operation, failed ones included.
pub const READ_SECONDS: &str = "tidemill_store_read_seconds";
/// Operations that failed, by table, operation and kind.
pub const ERRORS_TOTAL: &str = "tidemill_store_errors_total";
/// Operations under way, by operation.
pub const IN_FLIGHT: &str = "tidemill_store_in_flight_operations";
/// Operations that were repeated, by operation.
pub const RETRIES_TOTAL: &str = "tidemill_store_retries_total";
/// Seconds that a group commit of the embedded store took, its sync included.
pub const COMMIT_SECONDS: &str = "tidemill_store_commit_seconds";
/// Rows that a group commit of the embedded store wrote or removed.
pub const COMMIT_ROWS: &str = "tidemill_store_commit_rows";

/// Every name, to check dashboards and alert rules against.
pub const NAMES: [&str; 7] =
    [WRITE_SECONDS, READ_SECONDS, ERRORS_TOTAL, IN_FLIGHT, RETRIES_TOTAL, COMMIT_SECONDS, COMMIT_ROWS];

/// From a quarter of a millisecond, below any durable write, to over a minute, above any deadline.
fn second_buckets() -> Result<Vec<f64>, Error> {
    exponential_buckets(0.000_25, 2.0, 19)
}

/// What [`crate::wide::Metered`] records. Clones share it.
#[derive(Debug, Clone)]
pub struct WideMetrics {
    pub(crate) writes: HistogramVec,
    pub(crate) reads: HistogramVec,
    pub(crate) errors: IntCounterVec,
    pub(crate) in_flight: IntGaugeVec,
}

impl WideMetrics {
    /// Adds them to `registry`, which must not have them yet.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let seconds = |name, help| {
            let options = HistogramOpts::new(name, help).buckets(second_buckets()?);
            HistogramVec::new(options, &["table", "operation"])
        };
        let metrics = Self {
            writes: seconds(WRITE_SECONDS, "Seconds that a write to the store took")?,
            reads: seconds(READ_SECONDS, "Seconds that a read from the store took")?,
            errors: IntCounterVec::new(
                Opts::new(ERRORS_TOTAL, "Store operations that failed"),
                &["table", "operation", "kind"],
            )?,
            in_flight: IntGaugeVec::new(Opts::new(IN_FLIGHT, "Store operations under way"), &["operation"])?,
        };
        registry.register(Box::new(metrics.writes.clone()))?;
        registry.register(Box::new(metrics.reads.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        Ok(metrics)
    }
}

/// What [`crate::wide::Retrying`] records. Clones share it.
#[derive(Debug, Clone)]
pub struct RetryMetrics {
    pub(crate) retries: IntCounterVec,
}

impl RetryMetrics {
    /// Adds them to `registry`, which must not have them yet.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let options = Opts::new(RETRIES_TOTAL, "Store operations that were repeated");
        let retries = IntCounterVec::new(options, &["operation"])?;
        registry.register(Box::new(retries.clone()))?;
        Ok(Self { retries })
    }

    pub(crate) fn of(&self, operation: &str) -> IntCounter {
        self.retries.with_label_values(&[operation])
    }
}

/// What the group commit of the embedded store records. Clones share it.
#[derive(Debug, Clone)]
pub struct CommitMetrics {
    seconds: Histogram,
    rows: Histogram,
}

impl CommitMetrics {
    /// Adds them to `registry`, which must not have them yet.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let seconds =
            HistogramOpts::new(COMMIT_SECONDS, "Seconds that a group commit took").buckets(second_buckets()?);
        let rows = HistogramOpts::new(COMMIT_ROWS, "Rows of a group commit")
            .buckets(exponential_buckets(1.0, 2.0, 14)?);
        let metrics = Self { seconds: Histogram::with_opts(seconds)?, rows: Histogram::with_opts(rows)? };
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.rows.clone()))?;
        Ok(metrics)
    }

    #[cfg_attr(not(feature = "lsm"), expect(dead_code, reason = "only the embedded store commits"))]
    pub(crate) fn begin(&self, rows: usize) -> HistogramTimer {
        self.rows.observe(u32::try_from(rows).map_or(f64::INFINITY, f64::from));
        self.seconds.start_timer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_registered_once_and_well_formed() {
        let registry = Registry::new();
        let wide = WideMetrics::register(&registry).unwrap();
        let retries = RetryMetrics::register(&registry).unwrap();
        CommitMetrics::register(&registry).unwrap();
        wide.writes.with_label_values(&["t", "put"]).observe(0.1);
        wide.reads.with_label_values(&["t", "get"]).observe(0.1);
        wide.errors.with_label_values(&["t", "put", "unknown"]).inc();
        wide.in_flight.with_label_values(&["put"]).inc();
        retries.of("put").inc();
        let gathered = registry.gather();
        let names: BTreeSet<_> = gathered.iter().map(prometheus::proto::MetricFamily::name).collect();
        assert_eq!(names, NAMES.into_iter().collect());
        assert!(NAMES.iter().all(|name| name.starts_with("tidemill_store_")));
        assert!(WideMetrics::register(&registry).is_err());
    }
}
