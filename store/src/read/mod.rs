//! From a selector and times to answers: marks first, then seals, then the catalog rows that both count, then of each
//! bucket the blocks or frames of its seal's generation and the segments that the seal does not cover (I3, I4).
//!
//! The path of a query, top to bottom: [`Reader`] → `scope` (which shards and buckets the selector can mean) →
//! `snapshot` (`survey` reads marks and seals, `learn` the catalog) → `bucket` (samples: `live` for what no seal covers,
//! by way of `fetch`, most of it from `head`, and `collect`; `blocks` for what is ground; `overlay`; `taken` hands them on as they come) or `folds` (`plan` cuts a bucket into
//! windows and edges, `windows` whether that pays, `frames` and `rolled` answer from rollups, `laid` lays what is
//! uncovered over samples, `composed` puts parts together) or `latest` (`base`,
//! `lasts`) → `named`. `listing` says what there is.

mod base;
mod blocks;
mod bucket;
mod chosen;
mod collect;
mod composed;
mod compute;
mod eras;
mod explain;
mod failure;
mod feed;
mod fetch;
mod folds;
mod frames;
mod head;
mod kept;
mod laid;
mod lasts;
mod latest;
mod learn;
mod limits;
mod listing;
mod live;
mod lru;
mod named;
mod options;
mod overlay;
mod packed;
mod plan;
mod presence;
mod reader;
mod rolled;
mod scope;
mod series;
mod snapshot;
mod survey;
mod taken;
mod unchanged;
mod windows;

use std::sync::Arc;

use crate::codec::Run;
use crate::model::{Device, Metric, Source, Tenant};
use crate::rollup::WindowState;

pub use explain::Explain;
pub use failure::{Excess, ReadFailure, what_is_left};
pub use feed::{Feed, Told};
pub use limits::ReadLimits;
pub use options::ReadOptions;
pub use reader::Reader;
pub use taken::{Taken, Taker, Takers};
pub use windows::{Fold, Windowed};

pub use crate::catalog::{Allowed, Condition, Kinds, Label, MetricEntry, MetricSet, SourceEntry, Test};
pub use crate::model::Sample;
pub use crate::wide::Order;

/// Which series are asked for. An empty list means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Only this tenant; `None` means all. With devices given, a tenant lets a query read their shards alone.
    pub tenant: Option<Tenant>,
    /// Only these devices.
    pub devices: Vec<Device>,
    /// Only these metrics.
    pub metrics: Vec<Metric>,
    /// Only what fulfils all of these.
    pub conditions: Vec<Condition>,
}

impl Selector {
    /// Whether a source is meant, as far as that does not depend on its metrics.
    pub fn means(&self, source: &Source) -> bool {
        let tag = |key: &str| source.tags().get(key).map_or("", |value| value.as_str());
        self.tenant.as_ref().is_none_or(|tenant| tenant == source.tenant())
            && (self.devices.is_empty() || self.devices.contains(source.device()))
            && self.conditions.iter().all(|condition| match condition {
                Condition::Tenant(allowed) => allowed.has(source.tenant().as_str()),
                Condition::Device(allowed) => allowed.has(source.device().as_str()),
                Condition::Tag(key, allowed) => allowed.has(tag(key)),
                Condition::Source(test) => test.passes(source),
                Condition::Metric(_) | Condition::Numeric => true,
            })
    }

    /// Whether metrics of this name are meant.
    pub fn means_metric(&self, metric: &str) -> bool {
        (self.metrics.is_empty() || self.metrics.iter().any(|wanted| wanted.as_str() == metric))
            && self.conditions.iter().all(|condition| match condition {
                Condition::Metric(allowed) => allowed.has(metric),
                Condition::Tenant(_)
                | Condition::Device(_)
                | Condition::Tag(..)
                | Condition::Source(_)
                | Condition::Numeric => true,
            })
    }
}

/// Samples of one series, ascending, each time once: corrections and duplicates are settled already (I4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Whose.
    pub source: Arc<Source>,
    /// Of what.
    pub metric: Metric,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// Samples of one series, columnar, ascending, each time once: corrections and duplicates are settled already (I4).
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRun {
    /// Whose.
    pub source: Arc<Source>,
    /// Of what.
    pub metric: Metric,
    /// The samples; never none.
    pub run: Run,
}

/// Folds of one series.
#[derive(Debug, Clone)]
pub struct SeriesFolds {
    /// Whose.
    pub source: Arc<Source>,
    /// Of what.
    pub metric: Metric,
    /// By the number of their cell, ascending; only cells that hold samples, never none.
    pub cells: Vec<(usize, WindowState)>,
}

/// An answer, and how it came about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explained<T> {
    /// The answer.
    pub answer: T,
    /// How it came about.
    pub explain: Explain,
}

impl From<SeriesRun> for Series {
    fn from(SeriesRun { source, metric, run }: SeriesRun) -> Self {
        let samples = run.iter().map(|(time, value)| Sample { time, value }).collect();
        Self { source, metric, samples }
    }
}

/// The latest sample of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Whose.
    pub source: Arc<Source>,
    /// Of what.
    pub metric: Metric,
    /// The sample.
    pub sample: Sample,
}

#[cfg(test)]
mod tests;
