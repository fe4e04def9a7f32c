//! From a selector and a range of time to samples: marks first, then catalog rows, then segments (I3, I4).

use std::sync::Arc;

use crate::model::{Device, Metric, Source, Tenant, Timestamp, Value};

/// Which series are asked for. An empty list means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Only this tenant; `None` means all.
    pub tenant: Option<Tenant>,
    /// Only these devices.
    pub devices: Vec<Device>,
    /// Only these metrics.
    pub metrics: Vec<Metric>,
}

/// One value of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When it was measured.
    pub time: Timestamp,
    /// What was measured.
    pub value: Value,
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
