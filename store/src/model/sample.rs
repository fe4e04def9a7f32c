//! A sample: one value of a series at one time.

use super::{Timestamp, Value};

/// One value of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When it was measured.
    pub time: Timestamp,
    /// What was measured.
    pub value: Value,
}
