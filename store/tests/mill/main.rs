//! The mill over the in-memory store: what it writes, seals, deletes and leaves, and that answers never change.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected shall fail")]

mod bench;
mod steps;
