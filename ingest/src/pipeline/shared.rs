//! What all connections share: the room, the queues of the shards, and the tasks behind them.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tidemill_store::layout::EraWatch;
use tidemill_store::model::{Clock, Shard};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::PipelineFailure;
use super::budget::Budget;
use super::queue::ShardQueue;
use super::reject_writer::Entry;
use super::sorter::Sorter;
use crate::config::IngestConfig;
use crate::decode::NamePool;
use crate::metrics::IngestMetrics;
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
    pub(super) names: Arc<NamePool>,
    pub(super) shards: Vec<OnceLock<Arc<ShardQueue>>>,
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
        let (templates, eras) = (Arc::clone(&self.templates), Arc::clone(&self.eras));
        Sorter::new(&self.config, templates, eras, Arc::clone(&self.names))
    }

    /// Hands a reject to its writer. Where that has ended, the group is abandoned and the pipeline has failed. Its
    /// queue has room for everything that the budget lets in.
    pub(super) fn keep(&self, entry: Entry) {
        if let Err(refused) = self.rejects.try_send(entry) {
            let is_closed = matches!(refused, mpsc::error::TrySendError::Closed(_));
            assert!(is_closed, "the queue of rejects is smaller than the budget");
            self.tasks.fail(PipelineFailure::Ended { task: "rejects" });
        }
    }
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
