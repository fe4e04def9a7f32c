//! Counters of what is appended. They say nothing of latency: the store behind them is metered by itself.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::{Appended, Stage};

/// What executors count; clones share their counters.
#[derive(Debug, Clone)]
pub struct AppendMetrics {
    repeats: IntCounterVec,
    catalog_rows: IntCounter,
    marks: IntCounter,
    segments: IntCounter,
    samples: IntCounter,
    bytes: IntCounter,
}

impl AppendMetrics {
    /// Counters, registered. Fails where a registry already has them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let repeats = IntCounterVec::new(
            Opts::new(
                "tidemill_append_write_repeats_total",
                "Writes that the store did not take in time and that were repeated, by stage.",
            ),
            &["stage"],
        )?;
        registry.register(Box::new(repeats.clone()))?;
        for stage in Stage::ALL {
            repeats.with_label_values(&[stage.as_str()]).reset();
        }
        Ok(Self {
            repeats,
            catalog_rows: counter("tidemill_append_catalog_rows_total", "Rows of the catalog written.")?,
            marks: counter("tidemill_append_marks_total", "Marks written.")?,
            segments: counter("tidemill_append_segments_total", "Segments written.")?,
            samples: counter("tidemill_append_samples_total", "Samples in the segments written.")?,
            bytes: counter(
                "tidemill_append_segment_bytes_total",
                "Bytes of the bodies of segments written.",
            )?,
        })
    }

    pub(super) fn repeated(&self, stage: Stage) {
        self.repeats.with_label_values(&[stage.as_str()]).inc();
    }

    pub(super) fn finished(&self, appended: Appended) {
        let add = |counter: &IntCounter, n: usize| counter.inc_by(u64::try_from(n).unwrap_or(u64::MAX));
        add(&self.catalog_rows, appended.catalog_rows);
        add(&self.marks, appended.marks);
        add(&self.segments, appended.segments);
        add(&self.samples, appended.samples);
        add(&self.bytes, appended.bytes);
    }
}
