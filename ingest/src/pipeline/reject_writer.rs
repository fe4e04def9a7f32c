//! The task that keeps rejects: collects while a write is under way, then writes what came together (I7).
//!
//! Its queue holds at most as many rejects as there may be messages in flight (I6). A reject settles its share of
//! its group when it is durable, and not before (I1).

use std::pin::pin;

use tidemill_store::append::PlannedWrite;
use tidemill_store::layout::tables::REJECTS;
use tidemill_store::wide::{Wide, WriteTime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::PipelineFailure;
use super::group::{Group, settle};
use super::limiter::LogLimiter;
use super::outlet::SideOutlet;
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

/// Writes rejects.
pub(super) struct RejectWriter<W> {
    pub(super) log: RejectLog,
    pub(super) outlet: SideOutlet<W>,
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
            for RejectBatch { partition, rows, received_at } in
                self.log.batches(entries.iter().map(|entry| &entry.reject))
            {
                let at = WriteTime::from_micros(received_at.micros_floor());
                self.outlet.deliver(PlannedWrite { table: &REJECTS, partition, at, rows }).await?;
            }
            entries.drain(..).for_each(|entry| settle(entry.share));
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
