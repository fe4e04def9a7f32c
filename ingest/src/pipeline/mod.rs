//! The pipeline: from groups of messages to durable segments, and back to whoever waits.
//!
//! [`PipelineIntake`] makes room (budget), sorts the messages of a group (sorter: routes, decoder, policy) and lays
//! them into the open batches of their shards (queue); a task for each shard writes what has collected there as one
//! plan (batcher), another keeps the rejects (reject writer), one the births of Sparkplug nodes (birth writer); the
//! [ledger](crate::ledger) settles the group when the last of it is durable (I1).
//!
//! Everything between socket and store is bounded by one budget in bytes (I6): a message holds its share from the
//! moment it is taken until it is settled, so a store that is slow or down slows sources and nothing else.

mod batcher;
mod birth_writer;
mod budget;
mod group;
mod intake;
mod limiter;
mod queue;
mod reject_writer;
mod routes;
mod shards;
mod shared;
mod sorter;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tidemill_store::append::{AppendError, AppendMetrics, Executor, ShardAppender};
use tidemill_store::layout::{EraWatch, Eras, ShardCount};
use tidemill_store::model::{Clock, Shard, WriterId};
use tidemill_store::wide::{Wide, WriteError};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use batcher::Batcher;
use birth_writer::{BirthWriter, look_up_in};
use budget::Budget;
pub use intake::{PipelineIntake, Replayed, StillRefused};
use queue::ShardQueue;
use reject_writer::RejectWriter;
use shared::{Keeper, Shared, StartShard, Tasks, stopped};

use crate::config::{IngestConfig, IngestConfigError};
use crate::decode::NamePool;
use crate::metrics::IngestMetrics;
use crate::rejects::RejectLog;
use crate::source::Command;

/// How often a draining pipeline looks whether it is empty.
const DRAIN_TICK: Duration = Duration::from_millis(2);

/// Requests to devices that wait to be published.
const COMMANDS_MAX: usize = 256;

/// Why a pipeline can go on no more. Nothing was acknowledged that is not durable; the process must end, and what
/// is left comes again from its senders.
#[derive(Debug, thiserror::Error)]
pub enum PipelineFailure {
    /// A shard could not be written.
    #[error("{shard:?} could not be written")]
    Append {
        /// The shard.
        shard: Shard,
        /// Why.
        source: AppendError,
    },
    /// Rejects could not be written.
    #[error("rejects could not be written")]
    Rejects {
        /// Why.
        source: WriteError,
    },
    /// Births of Sparkplug nodes could not be written.
    #[error("births could not be written")]
    Births {
        /// Why.
        source: WriteError,
    },
    /// A task ended that should not.
    #[error("the task of the {task} ended unexpectedly")]
    Ended {
        /// Which.
        task: &'static str,
    },
}

/// What a pipeline writes to and by.
pub struct PipelineParts<W> {
    /// The store.
    pub wide: Arc<W>,
    /// How it is cut into shards and buckets, as read just now. They are read again for as long as the pipeline runs.
    pub eras: Arc<Eras>,
    /// This process's identity: fresh for every start.
    pub writer: WriterId,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Counts messages.
    pub metrics: IngestMetrics,
    /// Counts what is written.
    pub append_metrics: AppendMetrics,
}

/// A running pipeline. Dropped, its tasks end when they are next idle and nothing more is settled.
#[derive(Debug)]
pub struct Pipeline {
    shared: Arc<Shared>,
    to_publish: Mutex<Option<mpsc::Receiver<Command>>>,
}

/// Reads the eras again for as long as the pipeline runs.
fn keep_eras<W: Wide>(tasks: &Arc<Tasks>, (eras, clock, wide): (Arc<EraWatch>, Arc<dyn Clock>, Arc<W>)) {
    let stop = tasks.stop.subscribe();
    tasks.spawn("eras", async move {
        tokio::select! {
            biased;
            () = stopped(stop) => Ok(()),
            () = eras.keep(&*wide, &*clock) => Ok(()),
        }
    });
}

/// What a pipeline left when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Messages that were taken and not settled; their senders know nothing of them and will repeat QoS 1.
    pub left: u64,
    /// Whether all marks were closed. Where not, readers look into a few buckets in vain, nothing else.
    pub marks_closed: bool,
}

impl Pipeline {
    /// Starts a pipeline. Needs a tokio runtime.
    pub fn start<W: Wide>(parts: PipelineParts<W>, config: IngestConfig) -> Result<Self, IngestConfigError> {
        config.check()?;
        let PipelineParts { wide, eras, writer, clock, metrics, append_metrics } = parts;
        let budget = Budget::new(config.memory.in_flight_bytes_max);
        let (tasks, queue_max) = (Arc::new(Tasks::new()), budget.messages_max());
        let (rejects, queue) = mpsc::channel(queue_max);
        let rejects = Keeper::new(rejects, &config.rejects);
        tasks.spawn(
            "rejects",
            RejectWriter {
                wide: Arc::clone(&wide),
                retry: config.retry,
                log: RejectLog::new(writer, config.rejects),
                queue,
                stop: tasks.stop.subscribe(),
            }
            .run(),
        );
        let eras = Arc::new(EraWatch::new(eras, clock.now()));
        keep_eras(&tasks, (Arc::clone(&eras), Arc::clone(&clock), Arc::clone(&wide)));
        let (births, queue) = mpsc::channel(queue_max);
        let birth_writer =
            BirthWriter { wide: Arc::clone(&wide), retry: config.retry, queue, stop: tasks.stop.subscribe() };
        tasks.spawn("births", birth_writer.run());
        let (commands, to_publish) = mpsc::channel(COMMANDS_MAX);
        let look_up = look_up_in(Arc::clone(&wide));
        let executor = Executor::new(wide, config.retry, append_metrics);
        let start_shard: StartShard = {
            let (clock, metrics, rejects) = (Arc::clone(&clock), metrics.clone(), rejects.clone());
            let (eras, batch, append) = (Arc::clone(&eras), config.batch, config.append);
            Box::new(move |tasks: &Arc<Tasks>, shard: Shard| {
                let (queue, taker) = ShardQueue::new(batch);
                let batcher = Batcher {
                    shard,
                    appender: ShardAppender::new(shard, writer, eras.current().eras, append),
                    eras: Arc::clone(&eras),
                    executor: executor.clone(),
                    clock: Arc::clone(&clock),
                    metrics: metrics.clone(),
                    rejects: rejects.clone(),
                    queue: taker,
                    stop: tasks.stop.subscribe(),
                };
                metrics.shard_started();
                tasks.spawn("shard", batcher.run());
                queue
            })
        };
        // Later eras may have more shards than these.
        let shards = (0..ShardCount::MAX).map(|_| OnceLock::new()).collect();
        let templates = Arc::new(config.templates.clone());
        let names = Arc::new(NamePool::new(config.memory.metrics_max));
        let shared = Shared {
            budget,
            clock,
            metrics,
            tasks,
            config,
            templates,
            eras,
            names,
            shards,
            start_shard,
            rejects,
            sessions: Arc::default(),
            births,
            look_up,
            commands,
        };
        Ok(Self { shared: Arc::new(shared), to_publish: Mutex::new(Some(to_publish)) })
    }

    /// An end for one connection; clone it for more.
    pub fn intake(&self) -> PipelineIntake {
        PipelineIntake::new(Arc::clone(&self.shared))
    }

    /// What is to be published to devices, for a source that can: given once. Where nobody takes it, or the queue is
    /// full, requests are dropped; they are made again as long as there is reason to.
    pub fn commands(&self) -> Option<mpsc::Receiver<Command>> {
        self.to_publish.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Resolves when the pipeline can go on no more; pending as long as it can. It takes no more messages then.
    pub async fn failed(&self) -> Arc<PipelineFailure> {
        let mut failure = self.shared.tasks.failure.subscribe();
        // The sender lives in `self`, so waiting cannot end without a failure.
        let failure = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        self.close();
        match failure {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Takes no more messages: those who wait for room and those who come later get
    /// [`Closed`](crate::source::Closed).
    pub fn close(&self) {
        self.shared.budget.close();
    }

    /// Closes, then waits until everything taken is settled and marks are closed, until `deadline` at most; then
    /// ends all tasks.
    pub async fn drain(&self, deadline: Instant) -> Drained {
        self.close();
        let shared = &self.shared;
        let settled = async {
            while !shared.budget.is_idle() && shared.tasks.failure.borrow().is_none() {
                tokio::time::sleep(DRAIN_TICK).await;
            }
        };
        let _ = timeout_at(deadline, settled).await;
        shared.tasks.stop.send_replace(true);
        let mut running =
            std::mem::take(&mut *shared.tasks.running.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while running.join_next().await.is_some() {} };
        let marks_closed =
            timeout_at(deadline, ended).await.is_ok() && shared.tasks.failure.borrow().is_none();
        running.shutdown().await;
        Drained { left: shared.metrics.messages().in_flight, marks_closed }
    }
}
