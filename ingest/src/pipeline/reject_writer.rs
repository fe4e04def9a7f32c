//! The task that keeps rejects: collects while a write is under way, then writes what came together (I7).
//!
//! Its queue holds at most as many rejects as there may be messages in flight (I6). A reject settles its share of
//! its group when it is durable, and not before (I1).

use std::pin::pin;
use std::sync::Arc;

use tidemill_store::append::RetryPolicy;
use tidemill_store::layout::tables::REJECTS;
use tidemill_store::wide::{Wide, WriteError, WriteTime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::PipelineFailure;
use super::group::{Group, settle};
use super::limiter::LogLimiter;
use super::shared::stopped;
use crate::ledger::Share;
use crate::rejects::{Reject, RejectBatch, RejectLog};

/// Most rejects of one write: with payloads at their limit a few megabytes, usually a few kilobytes.
const ROWS_MAX: usize = 64;

/// A reject with its share of the group it came in.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) reject: Reject,
    pub(super) share: Share<Group>,
}

/// Writes rejects to `wide`.
pub(super) struct RejectWriter<W> {
    pub(super) wide: Arc<W>,
    pub(super) retry: RetryPolicy,
    pub(super) log: RejectLog,
    pub(super) queue: mpsc::Receiver<Entry>,
    pub(super) stop: watch::Receiver<bool>,
}

impl<W: Wide> RejectWriter<W> {
    /// Runs until told to stop or the store fails for good.
    pub(super) async fn run(mut self) -> Result<(), PipelineFailure> {
        let mut entries = Vec::new();
        let mut limiter = LogLimiter::new(LogLimiter::EVERY_DEFAULT);
        let mut stopped = pin!(stopped(self.stop.clone()));
        loop {
            tokio::select! {
                biased;
                taken = self.queue.recv_many(&mut entries, ROWS_MAX) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = &mut stopped => return Ok(()),
            }
            for entry in &entries {
                note(&mut limiter, &entry.reject);
            }
            for batch in self.log.batches(entries.iter().map(|entry| &entry.reject)) {
                self.write(&batch).await.map_err(|source| PipelineFailure::Rejects { source })?;
            }
            entries.drain(..).for_each(|entry| settle(entry.share));
        }
    }

    /// Writes `batch`, again and again with the same keys, bytes and time, until the store takes it (I5).
    async fn write(&self, batch: &RejectBatch) -> Result<(), WriteError> {
        let at = WriteTime::from_micros(batch.received_at.micros_floor());
        let mut failures = 0_u32;
        loop {
            match self.wide.put(&REJECTS, &batch.partition, &batch.rows, at).await {
                Err(error) if error.is_transient() => {
                    failures = failures.saturating_add(1);
                    // Without random bits waits lose their spread, nothing else.
                    sleep(self.retry.wait(failures, getrandom::u64().unwrap_or(0))).await;
                }
                done => return done,
            }
        }
    }
}

fn note(limiter: &mut LogLimiter, reject: &Reject) {
    if let Some(left_out) = limiter.allow(Instant::now()) {
        tracing::warn!(
            kind = reject.kind.as_str(),
            reason = reject.reason,
            detail = reject.detail,
            topic = %String::from_utf8_lossy(&reject.topic),
            left_out,
            "a message was kept as a reject"
        );
    }
}
