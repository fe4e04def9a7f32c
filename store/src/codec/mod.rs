//! Bytes of bodies: columns and segments. Pure; knows nothing of stores, and trusts no length it reads (I6).
//!
//! [`segment`] is what ingest writes and reads merge. Below it, reusable by other bodies: `column` (one column of
//! values), `bits` (packing) and `bytes` (a bounded reader, variable-length integers).

mod bits;
mod bytes;
mod column;
mod convert;
pub mod segment;

pub use bytes::Malformed;
pub use column::Values;
