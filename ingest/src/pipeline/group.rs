//! A group in flight: what it owes its sender, and what became of its messages.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::intake::number;
use crate::ledger::Share;
use crate::metrics::{IngestMetrics, Rejected, Settled, Written};
use crate::source::{Outcome, Publish, Settlement};

/// What comes out of the ledger when a group is settled. Dropped instead, its sender learns that the group was
/// abandoned, and its messages stay counted as in flight.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) settlement: Settlement,
    /// Its messages, kept whole until it is settled: each may yet become a reject.
    pub(super) messages: Vec<Publish>,
    /// Its room among the messages in flight.
    pub(super) _room: OwnedSemaphorePermit,
    pub(super) metrics: IngestMetrics,
    pub(super) arrived: Instant,
    pub(super) tally: Mutex<Tally>,
}

/// How much a group brought, and which of its messages are kept apart.
#[derive(Debug)]
pub(super) struct Tally {
    messages: u64,
    bytes: u64,
    samples: u64,
    rejected: Vec<Rejected>,
    written: Written,
    /// Messages with points in several shards: those who write them do not count them.
    spread: Vec<usize>,
    /// QoS 1 messages that are only counted, by their position among these.
    over_quota: Vec<usize>,
}

impl Tally {
    /// Of a group of so many messages and bytes, before any was looked at.
    pub(super) fn new(messages: u64, bytes: u64) -> Self {
        Self {
            messages,
            bytes,
            samples: 0,
            rejected: Vec::new(),
            written: Written::default(),
            spread: Vec::new(),
            over_quota: Vec::new(),
        }
    }
}

impl Tally {
    /// Whether those who wrote and those who keep rejects have seen every message of the group, each once: the
    /// ledger knows only that they are done (I2).
    fn check(&self, metrics: &IngestMetrics) {
        let is_counted = |rejected: &&Rejected| !self.spread.contains(&rejected.message);
        let kept = self.rejected.iter().filter(is_counted).count() + self.spread.len();
        let counted = self.written.messages + number(kept);
        if counted != self.messages {
            metrics.violated("messages of a settled group", counted, self.messages);
        }
    }
}

/// Settles `share`; with the last one of its group, counts its messages and then tells its sender.
pub(super) fn settle(share: Share<Group>) {
    if let Some(group) = share.settle() {
        group.finish();
    }
}

impl Group {
    /// Notes how many samples its messages have.
    pub(super) fn understood(&self, samples: u64) {
        self.tally().samples = samples;
    }

    /// Notes that some samples of a message are kept apart, and it with them: the first reason counts, and samples
    /// add up.
    pub(super) fn note_samples(&self, of: Rejected) {
        let mut tally = self.tally();
        match tally.rejected.iter_mut().find(|rejected| rejected.message == of.message) {
            Some(rejected) => rejected.samples += of.samples,
            None => tally.rejected.push(of),
        }
    }

    /// Notes that the QoS 1 message at `position` among these is counted and not kept.
    pub(super) fn over_quota(&self, position: usize) {
        self.tally().over_quota.push(position);
    }

    /// Notes that a message went to several shards.
    pub(super) fn spread(&self, message: usize) {
        self.tally().spread.push(message);
    }

    /// Notes what the task of a shard made durable of it, kept apart or spread not counted.
    pub(super) fn wrote(&self, written: Written) {
        let mut tally = self.tally();
        tally.written.messages += written.messages;
        tally.written.spooled_messages += written.spooled_messages;
        tally.written.spooled_samples += written.spooled_samples;
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(self) {
        let latency = self.arrived.elapsed();
        let tally = self.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.check(&self.metrics);
        // Counted before it is told: whoever sees an acknowledgement finds it in the numbers.
        self.metrics.settled(Settled {
            messages: tally.messages,
            samples: tally.samples,
            bytes: tally.bytes,
            rejected: &tally.rejected,
            written: tally.written,
            latency,
        });
        self.settlement.settle_with(Outcome::over_quota(tally.over_quota));
    }
}
