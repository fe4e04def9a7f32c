//! The spool's numbers. All names and help texts stand here.

use prometheus::{Gauge, IntCounter, IntGauge, Registry};

/// What a spool counts.
#[derive(Debug, Clone)]
pub struct SpoolMetrics {
    pub(super) records: IntGauge,
    pub(super) messages: IntGauge,
    pub(super) bytes: IntGauge,
    pub(super) oldest_age: Gauge,
    pub(super) appended: IntCounter,
    pub(super) forwarded: IntCounter,
    pub(super) set_aside: IntCounter,
    pub(super) refused: IntCounter,
}

impl SpoolMetrics {
    /// Shows them in `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn shown<M: prometheus::core::Collector + Clone + 'static>(
            registry: &Registry,
            metric: Result<M, prometheus::Error>,
        ) -> Result<M, prometheus::Error> {
            let metric = metric?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let gauge = |name, help| shown(registry, IntGauge::new(name, help));
        let counter = |name, help| shown(registry, IntCounter::new(name, help));
        Ok(Self {
            records: gauge(
                "tidemill_spool_records",
                "Records in the spool that the store does not have yet.",
            )?,
            messages: gauge("tidemill_spool_messages", "Messages in these records.")?,
            bytes: gauge("tidemill_spool_bytes", "Bytes of all files of the spool.")?,
            oldest_age: shown(
                registry,
                Gauge::new(
                    "tidemill_spool_oldest_age_seconds",
                    "How long the oldest file with a waiting record is there.",
                ),
            )?,
            appended: counter("tidemill_spool_appended_total", "Records made durable in the spool.")?,
            forwarded: counter(
                "tidemill_spool_forwarded_total",
                "Records that the store has taken from the spool.",
            )?,
            set_aside: counter(
                "tidemill_spool_set_aside_total",
                "Pieces of the spool that could not be read any more and were set aside.",
            )?,
            refused: counter(
                "tidemill_spool_refused_total",
                "Records that the spool had no room for or could not write; they wait unacknowledged.",
            )?,
        })
    }
}
