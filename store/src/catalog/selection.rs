//! What a query wants of the catalog.

use super::SourceSet;
use crate::model::Metric;

/// What a query wants of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The sources, each of which has at least one of the metrics.
    pub sources: SourceSet,
    /// The metrics; empty means all.
    pub metrics: Vec<Metric>,
}

impl Selection {
    /// Whether `metric` is wanted.
    pub fn wants(&self, metric: &str) -> bool {
        self.metrics.is_empty() || self.metrics.iter().any(|wanted| wanted.as_str() == metric)
    }
}
