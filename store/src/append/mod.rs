//! From points to durable segments, in the order that design §6 fixes: catalog rows, marks, segments.
//!
//! One [`ShardAppender`] per (writer, shard), owned by one task, turns points into a [`WritePlan`]: pure, no clock,
//! no I/O. An [`Executor`] carries a plan out, each stage durable before the next, and repeats what the store did
//! not take, same key, same bytes (I5). A plan that was carried out is durable as a whole: its messages may be
//! acknowledged (I1), and any reader that starts afterwards finds them (I3).

mod appender;
mod backoff;
mod buckets;
mod drafts;
mod execute;
mod metrics;
mod names;
mod plan;

pub use appender::{AppendLimits, ShardAppender};
pub use backoff::RetryPolicy;
pub use execute::{AppendError, Executor};
pub use metrics::AppendMetrics;
pub use plan::{Appended, PlannedWrite, Refusal, RefusalReason, Stage, WritePlan};

#[cfg(test)]
mod tests;
