//! A group in flight: what it owes its sender, and what became of its messages.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidemill_store::layout::RejectKind;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::ledger::Share;
use crate::metrics::{IngestMetrics, Rejected, Settled};
use crate::source::Settlement;

/// What comes out of the ledger when a group is settled. Dropped instead, its sender learns that the group was
/// abandoned, and its messages stay counted as in flight.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) settlement: Settlement,
    /// Its room among the messages in flight.
    pub(super) _room: OwnedSemaphorePermit,
    pub(super) metrics: IngestMetrics,
    pub(super) arrived: Instant,
    pub(super) messages: u64,
    pub(super) samples: u64,
    pub(super) bytes: u64,
    pub(super) rejected: Mutex<Vec<Rejected>>,
}

/// Settles `share`; with the last one of its group, counts its messages and then tells its sender.
pub(super) fn settle(share: Share<Group>) {
    if let Some(group) = share.settle() {
        group.finish();
    }
}

impl Group {
    /// Notes that a message of this group is kept apart: the first reason counts. Its samples that are not stored
    /// add up.
    pub(super) fn reject(&self, message: usize, kind: RejectKind, reason: &'static str, samples: u64) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        match rejected.iter_mut().find(|reject| reject.message == message) {
            Some(reject) => reject.samples += samples,
            None => rejected.push(Rejected { message, kind, reason, samples }),
        }
    }

    fn finish(self) {
        let latency: Duration = self.arrived.elapsed();
        let rejected = self.rejected.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Counted before it is told: whoever sees an acknowledgement finds it in the numbers.
        self.metrics.settled(Settled {
            messages: self.messages,
            samples: self.samples,
            bytes: self.bytes,
            rejected: &rejected,
            latency,
        });
        self.settlement.settle();
    }
}
