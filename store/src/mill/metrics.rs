//! The mill's metrics: every name in one place, so that dashboards can be tested against them. Labels are bounded.
//!
//! Write amplification over any time is `…written_bytes_total` over `…segment_bytes_total`; since the start it is a gauge.

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

use super::grind::{GrindOutcome, Ground};

/// Seconds since the oldest sample that is not ground of a bucket that is over was due.
pub const LAG_SECONDS: &str = "tidemill_mill_lag_seconds";
/// Seconds that a grind took, its writes included.
pub const GRIND_SECONDS: &str = "tidemill_mill_grind_seconds";
/// Bytes of segments that were ground.
pub const SEGMENT_BYTES_TOTAL: &str = "tidemill_mill_segment_bytes_total";
/// Bytes of blocks that were read to be ground again.
pub const BLOCK_BYTES_READ_TOTAL: &str = "tidemill_mill_block_read_bytes_total";
/// Bytes of blocks and frames that were written.
pub const WRITTEN_BYTES_TOTAL: &str = "tidemill_mill_written_bytes_total";
/// Bytes of blocks and frames that were written for each byte of segments that was ground, since the start.
pub const WRITE_AMPLIFICATION: &str = "tidemill_mill_write_amplification_ratio";
/// Samples that were written into blocks.
pub const SAMPLES_TOTAL: &str = "tidemill_mill_samples_total";
/// Samples that repeated another.
pub const DUPLICATES_TOTAL: &str = "tidemill_mill_duplicate_samples_total";
/// Samples that were replaced by another value.
pub const CORRECTIONS_TOTAL: &str = "tidemill_mill_corrected_samples_total";
/// Samples in segments that were set aside, by reason.
pub const SET_ASIDE_TOTAL: &str = "tidemill_mill_set_aside_samples_total";
/// Pieces of work, by kind and whether they succeeded.
pub const WORK_TOTAL: &str = "tidemill_mill_work_total";
/// Compare-and-sets of seals that another mill won.
pub const OVERTAKEN_TOTAL: &str = "tidemill_mill_overtaken_total";
/// Buckets of this mill's shards by state.
pub const BUCKETS: &str = "tidemill_mill_buckets";
/// Shards that this mill has.
pub const SHARDS: &str = "tidemill_mill_shards";
/// Mills that live, as far as this one knows.
pub const MILLS: &str = "tidemill_mill_live_mills";

/// Every name, to check dashboards and alert rules against.
pub const NAMES: [&str; 15] = [
    LAG_SECONDS,
    GRIND_SECONDS,
    SEGMENT_BYTES_TOTAL,
    BLOCK_BYTES_READ_TOTAL,
    WRITTEN_BYTES_TOTAL,
    WRITE_AMPLIFICATION,
    SAMPLES_TOTAL,
    DUPLICATES_TOTAL,
    CORRECTIONS_TOTAL,
    SET_ASIDE_TOTAL,
    WORK_TOTAL,
    OVERTAKEN_TOTAL,
    BUCKETS,
    SHARDS,
    MILLS,
];

/// A kind of work, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Survey,
    Grind,
    Collect,
    Lease,
}

impl Work {
    const ALL: [Self; 4] = [Self::Survey, Self::Grind, Self::Collect, Self::Lease];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Survey => "survey",
            Self::Grind => "grind",
            Self::Collect => "collect",
            Self::Lease => "lease",
        }
    }
}

/// Buckets by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BucketCounts {
    pub(super) open: i64,
    pub(super) closed: i64,
    pub(super) dirty: i64,
    pub(super) collectable: i64,
}

/// What a mill records. Clones share it.
#[derive(Debug, Clone)]
pub struct MillMetrics {
    lag: Gauge,
    grind_seconds: Histogram,
    segment_bytes: IntCounter,
    block_bytes_read: IntCounter,
    written_bytes: IntCounter,
    write_amplification: Gauge,
    samples: IntCounter,
    duplicates: IntCounter,
    corrections: IntCounter,
    set_aside: IntCounterVec,
    work: IntCounterVec,
    overtaken: IntCounter,
    buckets: IntGaugeVec,
    shards: IntGauge,
    mills: IntGauge,
}

/// Registers `metric` and gives it back.
fn registered<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<M, prometheus::Error>,
) -> Result<M, prometheus::Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

impl MillMetrics {
    /// Adds them to `registry`, which must not have them yet.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| registered(registry, IntCounter::new(name, help));
        let gauge = |name, help| registered(registry, IntGauge::new(name, help));
        let labelled = |name, help, labels: &[&str]| {
            registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        // From a small bucket to the largest with rests between.
        let seconds = HistogramOpts::new(GRIND_SECONDS, "Seconds that a grind took")
            .buckets(exponential_buckets(0.01, 2.5, 12)?);
        let metrics = Self {
            lag: registered(
                registry,
                Gauge::new(LAG_SECONDS, "Age of the oldest sample of a closed bucket that is not ground"),
            )?,
            grind_seconds: registered(registry, Histogram::with_opts(seconds))?,
            segment_bytes: counter(SEGMENT_BYTES_TOTAL, "Bytes of segments that were ground")?,
            block_bytes_read: counter(BLOCK_BYTES_READ_TOTAL, "Bytes of blocks read to be ground again")?,
            written_bytes: counter(WRITTEN_BYTES_TOTAL, "Bytes of blocks and frames written")?,
            write_amplification: registered(
                registry,
                Gauge::new(
                    WRITE_AMPLIFICATION,
                    "Bytes written for each byte of segments ground, since the start",
                ),
            )?,
            samples: counter(SAMPLES_TOTAL, "Samples written into blocks")?,
            duplicates: counter(DUPLICATES_TOTAL, "Samples that repeated another")?,
            corrections: counter(CORRECTIONS_TOTAL, "Samples replaced by another value")?,
            set_aside: labelled(SET_ASIDE_TOTAL, "Samples in segments that were set aside", &["reason"])?,
            work: labelled(WORK_TOTAL, "Pieces of work of the mill", &["kind", "result"])?,
            overtaken: counter(OVERTAKEN_TOTAL, "Seals that another mill put in force first")?,
            buckets: registered(
                registry,
                IntGaugeVec::new(Opts::new(BUCKETS, "Buckets of this mill's shards"), &["state"]),
            )?,
            shards: gauge(SHARDS, "Shards that this mill has")?,
            mills: gauge(MILLS, "Mills that live")?,
        };
        for kind in Work::ALL {
            for result in ["ok", "failed"] {
                metrics.work.with_label_values(&[kind.as_str(), result]).reset();
            }
        }
        metrics.show_buckets(BucketCounts::default());
        for reason in super::quarantine::REASONS {
            metrics.set_aside.with_label_values(&[reason]).reset();
        }
        Ok(metrics)
    }

    pub(super) fn ground(&self, ground: &Ground) {
        self.duplicates.inc_by(ground.duplicates);
        self.corrections.inc_by(ground.corrections);
        self.block_bytes_read.inc_by(ground.block_bytes_read);
        self.written_bytes.inc_by(ground.written_bytes);
        if ground.outcome == GrindOutcome::Ground {
            self.segment_bytes.inc_by(ground.segment_bytes);
            self.samples.inc_by(ground.samples);
        }
        self.show_write_amplification();
    }

    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "a ratio: the last digits mean nothing"
    )]
    fn show_write_amplification(&self) {
        let ground = self.segment_bytes.get();
        if ground > 0 {
            self.write_amplification.set(self.written_bytes.get() as f64 / ground as f64);
        }
    }

    pub(super) fn took(&self, seconds: f64) {
        self.grind_seconds.observe(seconds);
    }

    pub(super) fn set_aside(&self, reason: &str, samples: u64) {
        self.set_aside.with_label_values(&[reason]).inc_by(samples);
    }

    pub(super) fn overtaken(&self) {
        self.overtaken.inc();
    }

    pub(super) fn worked<T, E>(&self, kind: Work, result: &Result<T, E>) {
        let result = if result.is_ok() { "ok" } else { "failed" };
        self.work.with_label_values(&[kind.as_str(), result]).inc();
    }

    pub(super) fn show_lag(&self, seconds: f64) {
        self.lag.set(seconds);
    }

    pub(super) fn show_buckets(&self, counts: BucketCounts) {
        let states = [
            ("open", counts.open),
            ("closed", counts.closed),
            ("dirty", counts.dirty),
            ("collectable", counts.collectable),
        ];
        for (state, count) in states {
            self.buckets.with_label_values(&[state]).set(count);
        }
    }

    pub(super) fn show_leases(&self, shards: usize, mills: usize) {
        self.shards.set(i64::try_from(shards).unwrap_or(i64::MAX));
        self.mills.set(i64::try_from(mills).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_registered_once_and_shown_from_the_start() {
        let registry = Registry::new();
        MillMetrics::register(&registry).unwrap();
        let gathered = registry.gather();
        let names: BTreeSet<_> = gathered.iter().map(prometheus::proto::MetricFamily::name).collect();
        assert_eq!(names, NAMES.into_iter().collect());
        assert!(MillMetrics::register(&registry).is_err());
    }
}
