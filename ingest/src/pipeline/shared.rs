//! What all connections share: the room, the queues of the shards, and the tasks behind them.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidemill_store::layout::{BirthState, EraWatch};
use tidemill_store::model::{Clock, Shard, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::PipelineFailure;
use super::birth_writer::{BirthEntry, LookUp};
use super::budget::Budget;
use super::era_keeper::EraKeeper;
use super::group::Group;
use super::intake::number;
use super::queue::ShardQueue;
use super::reject_writer::Entry;
use super::sorter::{Effects, Sorter};
use super::sorters::Sorters;
use super::waiting::Waiting;
use crate::config::{IngestConfig, RejectLimits};
use crate::ledger::Share;
use crate::metrics::{IngestMetrics, Rejected, SparkplugNoted};
use crate::reject_counts::RejectCounts;
use crate::reject_gate::{Claim, Keeping, KeptBefore, ROW_OVERHEAD, RejectGate};
use crate::rejects::{Reject, waits};
use crate::source::Command;
use crate::sparkplug::Sessions;
use crate::topic::TopicTemplates;

/// Starts the task of a shard and gives its queue.
pub(super) type StartShard = Box<dyn Fn(&Arc<Tasks>, Shard) -> Arc<ShardQueue> + Send + Sync>;

/// Shared by all connections.
pub(super) struct Shared {
    pub(super) budget: Budget,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: IngestMetrics,
    pub(super) tasks: Arc<Tasks>,
    pub(super) config: IngestConfig,
    pub(super) templates: Arc<TopicTemplates>,
    pub(super) eras: Arc<EraWatch>,
    pub(super) era_keeper: Arc<EraKeeper>,
    pub(super) sorters: Sorters,
    pub(super) shards: Vec<OnceLock<Arc<ShardQueue>>>,
    pub(super) start_shard: StartShard,
    pub(super) rejects: Keeper,
    pub(super) sessions: Arc<Sessions>,
    pub(super) births: mpsc::Sender<BirthEntry>,
    pub(super) look_up: LookUp,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) waiting: Arc<Waiting>,
}

/// The tasks of a pipeline, and how they end.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) running: Mutex<JoinSet<()>>,
    /// Tells the tasks that nothing more comes.
    pub(super) stop: watch::Sender<bool>,
    pub(super) failure: watch::Sender<Option<Arc<PipelineFailure>>>,
}

impl Shared {
    /// Lends a sorter to `work`.
    pub(super) fn with_sorter<T>(&self, work: impl FnOnce(&mut Sorter) -> T) -> T {
        self.sorters.with(|| self.sorter(), work)
    }

    /// A sorter that knows nothing yet.
    pub(super) fn sorter(&self) -> Sorter {
        let (templates, eras) = (Arc::clone(&self.templates), Arc::clone(&self.eras));
        let (names, sessions) = (Arc::clone(&self.sorters.names), Arc::clone(&self.sessions));
        Sorter::new(&self.config, templates, eras, (names, sessions, self.metrics.clone()))
    }

    /// Does what a message of a Sparkplug node asks for besides its samples.
    pub(super) fn follow(&self, effects: Effects, group: &Share<Group>) {
        let Effects { row, rebirth, noted, .. } = effects;
        let is_asked = rebirth.is_some_and(|command| self.commands.try_send(command).is_ok());
        self.metrics.sparkplug(&noted, is_asked);
        let Some(row) = row else { return };
        if row.state == BirthState::Born {
            self.waiting.born(&row.node);
        }
        if let Err(refused) = self.births.try_send(BirthEntry { row, share: group.another() }) {
            let is_closed = matches!(refused, mpsc::error::TrySendError::Closed(_));
            assert!(is_closed, "the queue of births is smaller than the budget");
            self.tasks.fail(PipelineFailure::Ended { task: "births" });
        }
    }

    /// Asks nodes for their births that were to be asked later.
    pub(super) fn ask_what_is_due(&self, now: Timestamp) {
        for command in self.sessions.due(now) {
            let is_asked = self.commands.try_send(command).is_ok();
            self.metrics.sparkplug(&SparkplugNoted::default(), is_asked);
        }
    }

    /// Keeps a reject, or counts it where too many are kept already. Where its writer has ended, the group is abandoned
    /// and the pipeline has failed.
    pub(super) fn keep(&self, reject: Reject, whose: Whose, group: &Share<Group>) {
        if self.rejects.keep(reject, whose, group).is_err() {
            self.tasks.fail(PipelineFailure::Ended { task: "rejects" });
        }
    }
}

/// Hands rejects to their writer, as many as are kept.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    writer: mpsc::Sender<Entry>,
    gate: Arc<Mutex<RejectGate>>,
    counts: Arc<Mutex<RejectCounts>>,
    waiting: Arc<Waiting>,
    limits: RejectLimits,
}

/// Whose a reject is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose {
    pub(super) sender: u64,
    /// The position of its message in its group.
    pub(super) message: usize,
    /// Samples that are not stored because of it.
    pub(super) samples: u64,
    /// Where none of its message is stored: its position among the QoS 1 messages of its group.
    pub(super) ack: Option<usize>,
}

/// The writer of rejects has ended.
#[derive(Debug)]
pub(super) struct WriterEnded;

impl Keeper {
    pub(super) fn new(
        writer: mpsc::Sender<Entry>,
        counts: Arc<Mutex<RejectCounts>>,
        waiting: Arc<Waiting>,
        limits: &RejectLimits,
    ) -> Self {
        let gate = Arc::new(Mutex::new(RejectGate::new(limits.rates)));
        Self { writer, gate, counts, waiting, limits: *limits }
    }

    /// Counts what was kept before this process began.
    pub(super) fn kept_before(&self, kept: &KeptBefore, now: Timestamp) {
        lock(&self.gate).kept_before(kept, now);
    }

    /// Notes a reject with its group, and keeps it where there is room for it: its queue has room for everything that
    /// the budget lets in.
    pub(super) fn keep(&self, reject: Reject, whose: Whose, group: &Share<Group>) -> Result<(), WriterEnded> {
        let Reject { kind, reason, .. } = reject;
        let bytes =
            reject.topic.len() + reject.payload.len().min(self.limits.kept_bytes_max(reason)) + ROW_OVERHEAD;
        let claim = Claim { sender: whose.sender, reason, bytes: number(bytes) };
        let is_kept = self.admits(&claim, reject.received_at);
        let Whose { message, samples, ack, .. } = whose;
        if let Some(group) = group.owed() {
            group.note_samples(Rejected { message, kind, reason, samples, is_kept });
            ack.filter(|_| !is_kept).into_iter().for_each(|ack| group.over_quota(ack));
        }
        let is_first = !is_kept && lock(&self.counts).count(whose.sender, &reject);
        let entry = if is_kept {
            Entry::Keep(reject, group.another())
        } else if is_first {
            Entry::Count(group.another())
        } else {
            return Ok(());
        };
        self.writer.try_send(entry).map_err(|refused| {
            let is_closed = matches!(refused, mpsc::error::TrySendError::Closed(_));
            assert!(is_closed, "the queue of rejects is smaller than the budget");
            WriterEnded
        })
    }
}

impl Keeper {
    /// Whether there is room for the reject that `claim` describes. What waits has its own: it is good data whose time has
    /// not come, whatever else its sender sent.
    fn admits(&self, claim: &Claim, now: Timestamp) -> bool {
        let within_rates = || lock(&self.gate).judge(claim, now) == Keeping::Kept;
        if !waits(claim.reason) {
            return within_rates();
        }
        let is_kept = self.waiting.has_room(claim, self.limits.waiting_bytes_max) || within_rates();
        if is_kept {
            self.waiting.kept(claim);
        }
        is_kept
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.stop.send_replace(true);
    }
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            running: Mutex::new(JoinSet::new()),
            stop: watch::Sender::new(false),
            failure: watch::Sender::new(None),
        }
    }

    /// Runs `task`; its failure, or its end without a word, is the pipeline's.
    pub(super) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        task: impl Future<Output = Result<(), PipelineFailure>> + Send + 'static,
    ) {
        let tasks = Arc::clone(self);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.spawn(async move {
            let mut end = End { tasks, failure: Some(PipelineFailure::Ended { task: name }) };
            end.failure = task.await.err();
        });
    }

    /// Notes the first failure.
    pub(super) fn fail(&self, failure: PipelineFailure) {
        self.failure.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(Arc::new(failure));
            }
            is_first
        });
    }
}

/// Resolves when nothing more comes, or nobody is left to say so.
pub(super) async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// How a task ended: set before its end, or it panicked.
struct End {
    tasks: Arc<Tasks>,
    failure: Option<PipelineFailure>,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(failure) = self.failure.take() {
            self.tasks.fail(failure);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("budget", &self.budget).finish_non_exhaustive()
    }
}
