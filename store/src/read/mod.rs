//! From a selector and a range of time to samples: marks first, then catalog rows, then segments (I3, I4).
//!
//! The path of a query, top to bottom: [`Reader`] → `scope` (which shards and buckets the selector can mean) →
//! `snapshot` (marks, then the catalog rows that they count) → `fetch` (segments, most of them from `head`) →
//! `collect` (decode, select, put in correction order). What grinding adds comes between marks and segments:
//! what a seal covers is read from its blocks instead.

pub(crate) mod collect;
mod compute;
mod eras;
mod failure;
pub(crate) mod fetch;
pub(crate) mod head;
mod latest;
mod learn;
mod limits;
mod lru;
mod presence;
mod reader;
pub(crate) mod scope;
pub(crate) mod series;
pub(crate) mod snapshot;
mod survey;

use std::sync::Arc;

use crate::model::{Device, Metric, Source, Tenant};

pub use failure::{Excess, ReadFailure};
pub use limits::ReadLimits;
pub use reader::Reader;

pub use crate::catalog::{Kinds, MetricEntry, MetricSet, SourceEntry};
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
