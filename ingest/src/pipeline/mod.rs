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
mod counts;
mod era_keeper;
mod group;
mod intake;
mod kept_before;
mod limiter;
mod outlet;
mod pace;
mod placed;
mod queue;
mod reject_writer;
mod routes;
mod shards;
mod shared;
mod sorter;
mod sorters;
mod waiting;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tidemill_store::append::{AppendError, AppendMetrics, Executor, RetryPolicy, ShardAppender};
use tidemill_store::layout::{EraWatch, KnownEras, ShardCount};
use tidemill_store::model::{Clock, Shard, WriterId};
use tidemill_store::wide::{Wide, WriteError};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use batcher::Batcher;
use birth_writer::{BirthWriter, look_up_in};
use budget::Budget;
use era_keeper::EraKeeper;
pub use intake::{PipelineIntake, Replayed, StillRefused};
use outlet::{Outlet, SideOutlet};
use pace::Pace;
use queue::ShardQueue;
use reject_writer::RejectWriter;
use shared::{Keeper, Shared, StartShard, Tasks, stopped};
use sorters::Sorters;
use waiting::Waiting;

use crate::config::{IngestConfig, IngestConfigError, RejectLimits};
use crate::decode::NamePool;
use crate::fail;
use crate::metrics::IngestMetrics;
use crate::reject_counts::RejectCounts;
use crate::rejects::RejectLog;
use crate::source::Command;
use crate::spool::{self, Forwarder, Spool};

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
    /// What was written to the spool could not be made durable.
    #[error("the spool is broken until restart")]
    Spool {
        /// Why.
        source: spool::AppendError,
    },
    /// What is in the spool could not be forwarded.
    #[error("the spool could not be forwarded")]
    Forward {
        /// Why.
        source: spool::ForwardFailure,
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
    /// How it is cut into shards and buckets. They are read again for as long as the pipeline runs.
    pub eras: KnownEras,
    /// This process's identity: fresh for every start.
    pub writer: WriterId,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Counts messages.
    pub metrics: IngestMetrics,
    /// Counts what is written.
    pub append_metrics: AppendMetrics,
    /// Takes what the store does not; without it messages wait for the store.
    pub spool: Option<Spool>,
}

/// A running pipeline. Dropped, its tasks end when they are next idle and nothing more is settled.
#[derive(Debug)]
pub struct Pipeline {
    shared: Arc<Shared>,
    to_publish: Mutex<Option<mpsc::Receiver<Command>>>,
}

/// Reads the eras again for as long as the pipeline runs.
fn keep_eras<W: Wide>(tasks: &Arc<Tasks>, (eras, clock, wide): (Arc<EraKeeper>, Arc<dyn Clock>, Arc<W>)) {
    let stop = tasks.stop.subscribe();
    tasks.spawn("eras", async move {
        tokio::select! {
            biased;
            () = stopped(stop) => Ok(()),
            () = eras.keep(&*wide, &*clock) => Ok(()),
        }
    });
}

/// Forwards what is in the spool for as long as the pipeline runs.
fn keep_forwarding<W: Wide>(
    tasks: &Arc<Tasks>,
    spool: Option<Spool>,
    wide: &Arc<W>,
    (retry, clock): (RetryPolicy, &Arc<dyn Clock>),
) {
    let Some(spool) = spool else { return };
    let forwarder = Forwarder::new(spool, Arc::clone(wide), retry, Arc::clone(clock));
    tasks.spawn("forwarder", outlet::forward(forwarder, stopped(tasks.stop.subscribe())));
}

/// Keeps rejects for as long as the pipeline runs; gives the end they are handed to.
fn keep_rejects<W: Wide>(
    tasks: &Arc<Tasks>,
    (writer, limits, clock): (WriterId, &RejectLimits, &Arc<dyn Clock>),
    outlet: SideOutlet<W>,
    (waiting, queue_max): (Arc<Waiting>, usize),
) -> Keeper {
    let (rejects, queue) = mpsc::channel(queue_max);
    let counts = Arc::new(Mutex::new(RejectCounts::new(writer)));
    let reject_writer = RejectWriter {
        log: RejectLog::new(writer, *limits),
        counts: Arc::clone(&counts),
        clock: Arc::clone(clock),
        outlet,
        queue,
        stop: tasks.stop.subscribe(),
        counted_at: i64::MIN,
    };
    tasks.spawn("rejects", reject_writer.run());
    Keeper::new(rejects, counts, waiting, limits)
}

/// Reads what was kept of rejects before, and takes what waits for births and eras, for as long as the pipeline runs.
fn keep_taking<W: Wide>(shared: &Arc<Shared>, (wide, spool): (Arc<W>, Option<Spool>), writer: WriterId) {
    if !shared.config.rejects.takes_waiting {
        return;
    }
    let stop = shared.tasks.stop.subscribe();
    let recall = kept_before::Recall {
        wide: Arc::clone(&wide),
        shared: Arc::downgrade(shared),
        writer,
        stop: stop.clone(),
    };
    shared.tasks.spawn("limits of rejects", recall.run());
    let taker = waiting::Taker { wide, shared: Arc::downgrade(shared), spool, writer, stop };
    shared.tasks.spawn("waiting messages", taker.run());
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
        let PipelineParts { wide, eras, writer, clock, metrics, append_metrics, spool } = parts;
        let wide = fail::store(wide);
        let budget = Budget::new(config.memory.in_flight_bytes_max);
        let (tasks, queue_max) = (Arc::new(Tasks::new()), budget.messages_max());
        let side = |failed| SideOutlet::new(Arc::clone(&wide), config.retry, spool.clone(), failed);
        let outlet = side(|source| PipelineFailure::Rejects { source });
        let waiting = Arc::new(Waiting::new(metrics.clone()));
        let room = (Arc::clone(&waiting), queue_max);
        let rejects = keep_rejects(&tasks, (writer, &config.rejects, &clock), outlet, room);
        let eras = Arc::new(EraWatch::new(eras));
        let era_keeper = Arc::new(EraKeeper::new(Arc::clone(&eras)));
        keep_eras(&tasks, (Arc::clone(&era_keeper), Arc::clone(&clock), Arc::clone(&wide)));
        let (births, queue) = mpsc::channel(queue_max);
        let outlet = side(|source| PipelineFailure::Births { source });
        let birth_writer = BirthWriter { outlet, queue, stop: tasks.stop.subscribe() };
        tasks.spawn("births", birth_writer.run());
        let (commands, to_publish) = mpsc::channel(COMMANDS_MAX);
        let look_up = look_up_in(Arc::clone(&wide));
        keep_forwarding(&tasks, spool.clone(), &wide, (config.retry, &clock));
        let executor = Executor::new(Arc::clone(&wide), config.retry, append_metrics);
        let (waiters, pace) = ((wide, spool.clone()), Pace::new(Instant::now(), config.pace));
        let start_shard: StartShard = {
            let (clock, metrics, rejects) = (Arc::clone(&clock), metrics.clone(), rejects.clone());
            let (eras, batch, append) = (Arc::clone(&eras), config.batch, config.append);
            Box::new(move |tasks: &Arc<Tasks>, shard: Shard| {
                let (queue, taker) = ShardQueue::new(batch);
                let batcher = Batcher {
                    writer,
                    limits: append,
                    shard,
                    appender: ShardAppender::new(shard, writer, eras.current().eras, append),
                    eras: Arc::clone(&eras),
                    outlet: Outlet::new(shard, executor.clone(), spool.clone()),
                    clock: Arc::clone(&clock),
                    metrics: metrics.clone(),
                    rejects: rejects.clone(),
                    queue: taker,
                    pace,
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
        let sorters = Sorters::new(NamePool::new(config.memory.metrics_max));
        let shared = Arc::new(Shared {
            budget,
            clock,
            metrics,
            tasks,
            config,
            templates,
            eras,
            era_keeper,
            sorters,
            shards,
            start_shard,
            rejects,
            sessions: Arc::default(),
            births,
            look_up,
            commands,
            waiting,
        });
        keep_taking(&shared, waiters, writer);
        Ok(Self { shared, to_publish: Mutex::new(Some(to_publish)) })
    }

    /// The eras as far as they are known now.
    pub fn eras(&self) -> KnownEras {
        self.shared.eras.current()
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
