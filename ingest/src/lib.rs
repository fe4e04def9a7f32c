//! Tidemill's ingest pipeline: from a PUBLISH to a durable segment and its PUBACK.
//!
//! The path of a message, top to bottom: [`source`] (where it comes from and where its acknowledgement goes) →
//! [`pipeline`] (how it flows) → [`topic`] (whose it is) → [`decode`] (what it says; [`sparkplug`]: in which session) →
//! [`policy`] (whether its times are taken) → [`rejects`] (how it is kept if it cannot be taken, and [`reject_gate`]: how
//! many are) → [`ledger`] (when it is settled) → [`metrics`] (where everything is).

pub mod config;
pub mod decode;
pub mod fail;
pub mod ledger;
pub mod metrics;
pub mod pipeline;
pub mod policy;
mod reject_counts;
pub mod reject_gate;
pub mod rejects;
mod skews;
pub mod source;
pub mod sparkplug;
pub mod spool;
pub mod topic;
