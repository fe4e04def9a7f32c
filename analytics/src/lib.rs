//! Tidemill's queries over HTTP.
//!
//! [`window`] computes aggregates over windows of time, [`moment`] reads and prints times. Nothing here knows where
//! the store keeps its data, reads configuration, or learns the time other than as an argument.

pub mod moment;
pub mod window;
