//! What all connections share: the room, the queues of the shards, and the tasks behind them.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tidemill_store::layout::Eras;
use tidemill_store::model::{Clock, Shard};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::PipelineFailure;
use super::batcher::Part;
use super::budget::Budget;
use super::reject_writer::Entry;
use super::sorter::Sorter;
use crate::config::IngestConfig;
use crate::metrics::IngestMetrics;
use crate::topic::TopicTemplates;

/// Starts the task of a shard and gives its queue.
pub(super) type StartShard = Box<dyn Fn(&Arc<Tasks>, Shard) -> mpsc::Sender<Part> + Send + Sync>;

/// Shared by all connections.
pub(super) struct Shared {
    pub(super) budget: Budget,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: IngestMetrics,
    pub(super) tasks: Arc<Tasks>,
    pub(super) config: IngestConfig,
    pub(super) templates: Arc<TopicTemplates>,
    pub(super) eras: Arc<Eras>,
    pub(super) shards: Vec<OnceLock<mpsc::Sender<Part>>>,
    pub(super) start_shard: StartShard,
    pub(super) rejects: mpsc::Sender<Entry>,
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
    pub(super) fn sorter(&self) -> Sorter {
        Sorter::new(&self.config, Arc::clone(&self.templates), Arc::clone(&self.eras))
    }

    /// Hands `part` to its shard. Where the shard's task has ended, the part is dropped and its group abandoned.
    pub(super) fn send(&self, shard: Shard, part: Part) {
        let Some(slot) = self.shards.get(usize::from(shard.get())) else {
            assert!(self.shards.is_empty(), "{shard:?} is beyond the shards of every era");
            return;
        };
        let queue = slot.get_or_init(|| (self.start_shard)(&self.tasks, shard));
        let (messages, bytes) = (part.origins.len(), part.bytes);
        self.metrics.queued(messages, bytes);
        if let Err(refused) = queue.try_send(part) {
            self.metrics.unqueued(messages, bytes);
            self.refused("shard", &refused);
        }
    }

    /// Hands a reject to its writer.
    pub(super) fn keep(&self, entry: Entry) {
        if let Err(refused) = self.rejects.try_send(entry) {
            self.refused("rejects", &refused);
        }
    }

    /// Queues have room for everything that the budget lets in, so one that refuses has no task any more.
    fn refused<T>(&self, task: &'static str, refused: &mpsc::error::TrySendError<T>) {
        let is_closed = matches!(refused, mpsc::error::TrySendError::Closed(_));
        assert!(is_closed, "a queue is smaller than the budget");
        self.tasks.fail(PipelineFailure::Ended { task });
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
