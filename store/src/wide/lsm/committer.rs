//! Group commit: one thread takes what waits, commits it with one sync, and answers every caller.
//!
//! While a commit is on its way to the disk the next group collects, so groups grow with load and no timer is
//! needed. It is the only writer of the tree, which is what makes its reads before writes and its compare-and-set
//! free of races. Keeps I1 (an answer follows the sync) and I6 (bounded queue; long deletes go in small steps
//! between the commits of others). After a failed commit nothing is written any more and everything is answered
//! [`WriteError::Broken`]: what a failed sync left on disk is unknown.

use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::super::{Effect, Exchange, Rows, WriteError, WriteTime};
use super::pending::{Disk, DiskError, Encoded, Pending, Swap, SwapError, Sweep, TableId};
use crate::metrics::CommitMetrics;

/// What a caller wants done to one table.
#[derive(Debug)]
pub(super) enum Change {
    /// Write rows.
    Put { kind: Rows, rows: Vec<Encoded>, at: WriteTime },
    /// Remove a row.
    Delete { key: bytes::Bytes, at: WriteTime },
    /// Remove a range of rows.
    Sweep(Sweep),
    /// Compare and set.
    Exchange(Box<Swap>),
}

/// What a caller is told.
#[derive(Debug)]
pub(super) enum Done {
    /// The rows are written or removed, durably.
    Written,
    /// How the compare-and-set ended.
    Exchanged(Exchange),
}

/// The way back to a caller. Dropped without an answer only when the committer panics.
pub(super) type Answer = oneshot::Sender<Result<Done, WriteError>>;

/// A change under way.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) table: TableId,
    pub(super) change: Change,
    pub(super) answer: Answer,
    /// Its share of the bytes that may wait, given back when it is answered.
    pub(super) share: OwnedSemaphorePermit,
}

/// What reaches the committer.
#[derive(Debug)]
pub(super) enum Message {
    /// A change.
    Change(Command),
    /// Finish what waits, take no more, and say when done.
    Close(oneshot::Sender<()>),
}

/// A caller with what it will be told once the commit is durable.
struct Due {
    answer: Answer,
    result: Result<Done, WriteError>,
    share: OwnedSemaphorePermit,
}

struct RunningSweep {
    sweep: Sweep,
    answer: Answer,
    share: OwnedSemaphorePermit,
}

/// The only writer.
pub(super) struct Committer<D> {
    disk: D,
    inbox: mpsc::Receiver<Message>,
    group_max: usize,
    sweeps: Vec<RunningSweep>,
    closing: Vec<oneshot::Sender<()>>,
    broken: Arc<OnceLock<String>>,
    metrics: CommitMetrics,
}

impl<D: Disk> Committer<D> {
    /// A committer over `disk` that takes at most `group_max` messages into a commit. It sets `broken` when a
    /// commit fails.
    pub(super) fn new(
        disk: D,
        inbox: mpsc::Receiver<Message>,
        group_max: usize,
        broken: Arc<OnceLock<String>>,
        metrics: CommitMetrics,
    ) -> Self {
        Self { disk, inbox, group_max, sweeps: Vec::new(), closing: Vec::new(), broken, metrics }
    }

    /// Commits until every sender is gone or a close was asked for, and nothing waits any more.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        while self.take(&mut group) {
            self.commit(&mut group);
        }
        for closed in self.closing {
            let _ = closed.send(());
        }
    }

    /// Takes what waits into `group`; waits only where there is nothing else to do.
    fn take(&mut self, group: &mut Vec<Message>) -> bool {
        if self.sweeps.is_empty() {
            return self.inbox.blocking_recv_many(group, self.group_max) > 0;
        }
        while group.len() < self.group_max {
            match self.inbox.try_recv() {
                Ok(message) => group.push(message),
                Err(_) => break,
            }
        }
        true
    }

    fn commit(&mut self, group: &mut Vec<Message>) {
        let mut pending = Pending::default();
        let mut due = Vec::with_capacity(group.len());
        self.step_sweeps(&mut pending, &mut due);
        for message in group.drain(..) {
            match message {
                Message::Change(command) => self.apply(command, &mut pending, &mut due),
                Message::Close(closed) => {
                    self.inbox.close();
                    self.closing.push(closed);
                }
            }
        }
        self.write(pending);
        for Due { answer, result, share } in due {
            let _ = answer.send(self.unless_broken(result));
            drop(share);
        }
    }

    /// Nothing that was decided counts where the commit failed.
    fn unless_broken(&self, result: Result<Done, WriteError>) -> Result<Done, WriteError> {
        match self.broken.get() {
            Some(reason) => Err(WriteError::Broken { reason: reason.clone() }),
            None => result,
        }
    }

    fn step_sweeps(&mut self, pending: &mut Pending, due: &mut Vec<Due>) {
        for RunningSweep { sweep, answer, share } in std::mem::take(&mut self.sweeps) {
            match pending.sweep(&self.disk, &sweep) {
                Ok(Some(sweep)) => self.sweeps.push(RunningSweep { sweep, answer, share }),
                Ok(None) => due.push(Due { answer, result: Ok(Done::Written), share }),
                Err(error) => due.push(Due { answer, result: Err(unread(&error)), share }),
            }
        }
    }

    fn apply(&mut self, command: Command, pending: &mut Pending, due: &mut Vec<Due>) {
        let Command { table, change, answer, share } = command;
        if answer.is_closed() {
            return;
        }
        let result = match change {
            Change::Put { kind, rows, at } => written(pending.put(&self.disk, table, kind, rows, at)),
            Change::Delete { key, at } => written(pending.delete(&self.disk, table, key, at)),
            Change::Exchange(swap) => exchange(pending, &self.disk, table, *swap),
            Change::Sweep(sweep) => return self.sweeps.push(RunningSweep { sweep, answer, share }),
        };
        due.push(Due { answer, result, share });
    }

    fn write(&self, pending: Pending) {
        let items = pending.into_items();
        if items.is_empty() || self.broken.get().is_some() {
            return;
        }
        let timer = self.metrics.begin(items.len());
        if let Err(error) = self.disk.commit(items) {
            tracing::error!(%error, "a commit failed; nothing more is written until restart");
            let _ = self.broken.set(error.to_string());
        }
        timer.observe_duration();
    }
}

fn written(result: Result<(), DiskError>) -> Result<Done, WriteError> {
    result.map(|()| Done::Written).map_err(|error| unread(&error))
}

fn exchange(pending: &mut Pending, disk: &impl Disk, table: TableId, swap: Swap) -> Result<Done, WriteError> {
    match pending.exchange(disk, table, swap) {
        Ok(exchange) => Ok(Done::Exchanged(exchange)),
        Err(SwapError::Disk(error)) => Err(unread(&error)),
        Err(error @ SwapError::Damaged(_)) => Err(WriteError::Refused { reason: error.to_string() }),
    }
}

/// What was to be read before the write could not be.
fn unread(error: &DiskError) -> WriteError {
    WriteError::Unavailable { effect: Effect::Unknown, reason: error.to_string() }
}
