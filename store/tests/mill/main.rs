//! The mill over the in-memory store: what it writes, seals, deletes and leaves, and that answers never change.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected shall fail"
)]

mod bench;
mod exact;
#[path = "../append_and_read/random.rs"]
mod random;
mod simulation;
mod steps;
mod verifying;
