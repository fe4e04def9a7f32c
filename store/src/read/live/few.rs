//! A few sources of a bucket, which a query follows by itself: it takes what came since from segments that hold some
//! of them, and waits for nobody who follows all. Pure.

use crate::catalog::SourceIndex;
use crate::model::Metric;

/// So many are a few: of more, most segments hold some.
const FEW_MAX: usize = 64;

/// A few sources with the metrics that are wanted of them.
#[derive(Debug)]
pub(in crate::read) struct Few {
    /// Ascending.
    sources: Vec<SourceIndex>,
    /// None means all.
    metrics: Vec<Metric>,
}

impl Few {
    /// `sources`, if they are few.
    pub(in crate::read) fn of(
        sources: impl Iterator<Item = SourceIndex>,
        metrics: &[Metric],
    ) -> Option<Self> {
        let mut sources: Vec<SourceIndex> = sources.take(FEW_MAX + 1).collect();
        sources.sort_unstable();
        (sources.len() <= FEW_MAX).then(|| Self { sources, metrics: metrics.to_vec() })
    }

    /// The sources.
    pub(super) fn sources(&self) -> impl Iterator<Item = SourceIndex> {
        self.sources.iter().copied()
    }

    pub(super) fn contains(&self, source: SourceIndex) -> bool {
        self.sources.binary_search(&source).is_ok()
    }

    pub(super) fn wants(&self, metric: &Metric) -> bool {
        self.metrics.is_empty() || self.metrics.contains(metric)
    }
}
