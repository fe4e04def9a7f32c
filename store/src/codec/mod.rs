//! Bytes of bodies: columns, segments and blocks. Pure; knows nothing of stores, and trusts no length it reads (I6).
//!
//! [`segment`] is what ingest writes and reads merge, [`block`] what grinding makes of segments, source by source;
//! a [`Run`] is the samples of one series between them, a [`Piece`] the same borrowed; [`frame`] is what their windows
//! say. Below, reusable by other bodies: `column` (one column of values), `bits` (packing) and `bytes` (a bounded
//! reader, variable-length integers).

mod bits;
pub mod block;
mod bytes;
mod column;
pub(crate) mod convert;
pub mod frame;
mod piece;
mod run;
pub mod segment;

pub use bytes::Malformed;
pub use column::Values;
pub use piece::{Even, Piece, Times};
pub use run::Run;
