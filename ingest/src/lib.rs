//! Tidemill's ingest pipeline: from a PUBLISH to a durable segment and its PUBACK.
//!
//! The path of a message, top to bottom: [`source`] (where it comes from and where its acknowledgement goes).

pub mod source;
