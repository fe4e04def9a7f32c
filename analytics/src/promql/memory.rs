//! Series in memory: the reference source, for conformance and for tests.

use std::collections::BTreeMap;

use super::labels::Labels;
use super::matcher::fit_all;
use super::source::{Demand, PromSeries, Selected, SeriesSource, SourceError};

/// Series in memory.
#[derive(Debug, Clone, Default)]
pub struct MemorySource(BTreeMap<Labels, BTreeMap<i64, f64>>);

impl MemorySource {
    /// Enters a sample; a time that is there already gets the new value.
    pub fn add(&mut self, labels: &Labels, time: i64, value: f64) {
        self.0.entry(labels.clone()).or_default().insert(time, value);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The samples of a demand.
    pub fn find(&self, demand: &Demand) -> Vec<PromSeries> {
        let wanted = self.0.iter().filter(|(labels, _)| fit_all(&demand.matchers, labels));
        let bounds = (demand.after.saturating_add(1))..=(demand.through.max(demand.after.saturating_add(1)));
        let series = wanted.map(|(labels, samples)| {
            let within = samples.range(bounds.clone()).map(|(time, value)| (*time, *value));
            let (times, values) = within.unzip();
            PromSeries { labels: labels.clone(), times, values }
        });
        series.filter(|series| !series.times.is_empty()).collect()
    }
}

impl SeriesSource for MemorySource {
    async fn select(&self, demand: &Demand) -> Result<Selected, SourceError> {
        Ok(Selected::Samples(self.find(demand)))
    }
}
