//! Tidemill's ingest pipeline: from a PUBLISH to a durable segment and its PUBACK.
//!
//! The path of a message, top to bottom: [`source`] (where it comes from and where its acknowledgement goes) →
//! [`topic`] (whose it is) → [`decode`] (what it says) → [`policy`] (whether its times are taken) →
//! [`ledger`] (when it is settled).

pub mod decode;
pub mod ledger;
pub mod policy;
pub mod source;
pub mod topic;
