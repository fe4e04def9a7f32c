//! Tidemill's bottom half: the data model, its codecs, and the wide-column store that holds it.
//!
//! Knows nothing of MQTT, HTTP or configuration. The path of a sample through this crate, top to bottom:
//! [`model`] (what a sample is) → [`append`] (its segment, in the order that I1 and I3 need) → [`codec`]
//! (the bytes) → [`layout`] (which shard, bucket and table) → [`wide`] (the store) → [`read`] (the answer).

pub mod append;
pub mod catalog;
pub mod codec;
pub mod layout;
pub mod metrics;
pub mod mill;
pub mod model;
pub mod read;
pub mod rejects;
pub mod rollup;
pub mod wide;
