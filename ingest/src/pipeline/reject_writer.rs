//! The task that keeps rejects: collects while a write is under way, then writes what came together (I7).
//!
//! Its queue holds at most as many rejects as there may be messages in flight (I6). A reject settles its share of
//! its group when it is durable, and not before (I1).

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_store::append::PlannedWrite;
use tidemill_store::layout::RejectCountRow;
use tidemill_store::layout::tables::{REJECT_COUNTS, REJECTS};
use tidemill_store::model::Clock;
use tidemill_store::wide::{Wide, WriteTime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::PipelineFailure;
use super::group::{Group, settle};
use super::limiter::LogLimiter;
use super::outlet::SideOutlet;
use super::shared::stopped;
use crate::ledger::Share;
use crate::reject_counts::RejectCounts;
use crate::rejects::{Reject, RejectBatch, RejectLog};

/// Most rejects of one write: with payloads at their limit a few megabytes, usually a few kilobytes.
const ROWS_MAX: usize = 64;

/// How often counts of what is not kept are written where they grow.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

/// What is to be durable before a share of a group is settled.
#[derive(Debug)]
pub(super) enum Entry {
    /// This reject.
    Keep(Reject, Share<Group>),
    /// The counts of what is not kept: one of them has begun.
    Count(Share<Group>),
}

impl Entry {
    const fn reject(&self) -> Option<&Reject> {
        match self {
            Self::Keep(reject, _) => Some(reject),
            Self::Count(_) => None,
        }
    }
}

/// Writes rejects.
pub(super) struct RejectWriter<W> {
    pub(super) log: RejectLog,
    pub(super) counts: Arc<Mutex<RejectCounts>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) outlet: SideOutlet<W>,
    pub(super) queue: mpsc::Receiver<Entry>,
    pub(super) stop: watch::Receiver<bool>,
    /// The write time of the counts that were written last, in microseconds.
    pub(super) counted_at: i64,
}

impl<W: Wide> RejectWriter<W> {
    /// Runs until told to stop or the store fails for good.
    pub(super) async fn run(mut self) -> Result<(), PipelineFailure> {
        let mut entries = Vec::new();
        let mut limiter = LogLimiter::new(LogLimiter::EVERY_DEFAULT);
        let mut stopped = pin!(stopped(self.stop.clone()));
        let mut counting = interval(COUNTS_EVERY);
        counting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                taken = self.queue.recv_many(&mut entries, ROWS_MAX) => {
                    if taken == 0 {
                        return self.write_counts().await;
                    }
                }
                () = &mut stopped => return self.write_counts().await,
                _ = counting.tick() => self.write_counts().await?,
            }
            let rejects = || entries.iter().filter_map(Entry::reject);
            rejects().for_each(|reject| note(&mut limiter, reject));
            for RejectBatch { partition, rows, received_at } in self.log.batches(rejects()) {
                let at = WriteTime::from_micros(received_at.micros_floor());
                self.outlet.deliver(PlannedWrite { table: &REJECTS, partition, at, rows }).await?;
            }
            if entries.iter().any(|entry| entry.reject().is_none()) {
                self.write_counts().await?;
            }
            for entry in entries.drain(..) {
                let (Entry::Keep(_, share) | Entry::Count(share)) = entry;
                settle(share);
            }
        }
    }

    /// Writes the counts that have changed.
    async fn write_counts(&mut self) -> Result<(), PipelineFailure> {
        let now = self.clock.now();
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).take_changed(now);
        // A later count must win, whatever the clock does.
        let micros = now.micros_floor().max(self.counted_at.saturating_add(1));
        for row in counts {
            self.counted_at = micros;
            let at = WriteTime::from_micros(micros);
            let (partition, rows) = (RejectCountRow::partition(row.first), vec![row.to_row()]);
            self.outlet.deliver(PlannedWrite { table: &REJECT_COUNTS, partition, at, rows }).await?;
        }
        Ok(())
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
