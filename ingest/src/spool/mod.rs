//! The spool: what the store does not take in time is made durable on a local disk, acknowledged, and forwarded later.
//!
//! [`Spool`] is the handle: [`Spool::append`] syncs records in groups (I1), [`Forwarder`] brings them to the store in
//! order, under the same keys (I5), at a bounded rate. Beneath it the pure parts: `record` (what a record says), `frame`
//! (how it stands in a file), `keys` (how it is encrypted), `log` (files and their limits, I6), `route` (when a shard
//! uses the spool) and [`Disk`], which tests replace. A record that cannot be read any more is set aside and counted, and
//! the rest is delivered (I7). A sync that fails is never repeated: what it covered is not acknowledged.

mod disk;
mod faulty;
mod forward;
mod frame;
mod handle;
mod keys;
mod log;
mod metrics;
mod record;
mod route;

#[cfg(test)]
mod tests;

pub use disk::{Directory, Disk, ERAS_FILE};
pub use faulty::FaultyDisk;
pub use forward::{ForwardFailure, Forwarder};
pub use handle::{Spool, SpoolOptions, Work};
pub use keys::{KeyId, Keys, KeysError};
pub use log::{AppendError, Depth, LogLimits, OpenError};
pub use metrics::SpoolMetrics;
pub use record::{Record, RecordError, Tally};
pub(crate) use route::Route;
