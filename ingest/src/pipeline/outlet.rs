//! Where the plans of one shard go: to the store, or, where that is down or past its deadline, to the spool.
//!
//! A writer that has handed a plan to the spool writes to the store no more: only the forwarder does, in order, so
//! segments stay dense (I4). When the store is back, its shard goes on under a fresh writer, and does not wait for the
//! spool to be empty. What returns `Ok` is durable (I1); while neither store nor spool takes a plan, it waits.

use std::sync::Arc;
use std::time::Duration;

use tidemill_store::append::{AppendError, Executor, PlannedWrite, RetryPolicy, WritePlan};
use tidemill_store::model::{Shard, WriterId};
use tidemill_store::wide::{Wide, WriteError};
use tokio::time::{Instant, sleep, timeout};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::PipelineFailure;
use crate::spool::{self, Record, Route, Spool, Tally};

/// A write that takes longer than this is worth a line in the log.
const STALL: Duration = Duration::from_secs(10);
/// How often a spool that is full, or a store that is down, is tried by whoever waits for either.
const RETRY: Duration = Duration::from_millis(200);

/// Where a plan became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landed {
    /// In the store.
    Store,
    /// In the spool.
    Spool,
}

/// The way out of one shard.
#[derive(Debug)]
pub(super) struct Outlet<W> {
    shard: Shard,
    executor: Executor<W>,
    spool: Option<Spool>,
    route: Route,
    /// Whether the writer in force has handed a plan to the spool.
    handed_over: bool,
    /// Writers that came before the one in force.
    writers: u64,
}

impl<W: Wide> Outlet<W> {
    /// For one shard.
    pub(super) const fn new(shard: Shard, executor: Executor<W>, spool: Option<Spool>) -> Self {
        Self { shard, executor, spool, route: Route::new(), handed_over: false, writers: 0 }
    }

    /// Whether the store may be written to again, for which the shard needs a fresh writer.
    pub(super) fn may_return(&self) -> bool {
        let Some(spool) = &self.spool else { return false };
        !spool.options().always && self.route.may_return(Instant::now(), spool.answered_at())
    }

    /// The writer that follows when `first` began, after a return to the store. What the writer before it leaves open
    /// must be closed through the outlet first.
    pub(super) fn come_back(&mut self, first: WriterId) -> WriterId {
        self.route.come_back(Instant::now());
        self.handed_over = false;
        self.writers += 1;
        let seed = first.get().cast_unsigned();
        let told = [u64::from(self.shard.get()).to_be_bytes(), self.writers.to_be_bytes()].concat();
        WriterId::from_random(xxh3_64_with_seed(&told, seed))
    }

    /// Makes `plan` durable, which brings so much of what was received.
    pub(super) async fn deliver(
        &mut self,
        plan: &mut WritePlan,
        tally: Tally,
    ) -> Result<Landed, PipelineFailure> {
        if plan.is_finished() {
            // Released by carrying it out.
            return self.execute(plan).await.map(|()| Landed::Store);
        }
        let Some(spool) = self.spool.clone() else {
            return self.execute(plan).await.map(|()| Landed::Store);
        };
        let always = spool.options().always;
        if !always && !self.route.is_spooling() {
            if let Ok(done) = timeout(spool.options().store_deadline, self.execute(plan)).await {
                return done.map(|()| Landed::Store);
            }
            self.route.leave(Instant::now());
            tracing::warn!(shard = %self.shard, "the store does not answer in time: messages go to the spool");
        }
        let record = Record { writes: plan.writes(), tally };
        loop {
            match spool.append(&record).await {
                Ok(()) => {
                    self.handed_over = true;
                    plan.hand_over();
                    return Ok(Landed::Spool);
                }
                Err(source @ spool::AppendError::Broken(_)) => {
                    return Err(PipelineFailure::Spool { source });
                }
                Err(spool::AppendError::Full | spool::AppendError::Unwritable(_)) => {}
            }
            // What is in the spool comes first; where nothing of this writer is, the store may be back before there
            // is room.
            if self.handed_over || always {
                sleep(RETRY).await;
            } else if let Ok(done) = timeout(RETRY, self.execute(plan)).await {
                self.route.come_back(Instant::now());
                return done.map(|()| Landed::Store);
            }
        }
    }

    async fn execute(&self, plan: &mut WritePlan) -> Result<(), PipelineFailure> {
        let started = Instant::now();
        let execute = self.executor.execute(plan);
        tokio::pin!(execute);
        let executed = loop {
            tokio::select! {
                biased;
                done = &mut execute => break done,
                () = sleep(STALL) => {
                    let waited_seconds = started.elapsed().as_secs();
                    tracing::warn!(shard = %self.shard, waited_seconds, "a write waits for the store");
                }
            }
        };
        let failed = |source: AppendError| PipelineFailure::Append { shard: self.shard, source };
        executed.map(|_| ()).map_err(failed)
    }
}

/// Single writes that depend on no other, such as rejects: the store first, the spool where that takes too long.
#[derive(Debug)]
pub(super) struct SideOutlet<W> {
    wide: Arc<W>,
    retry: RetryPolicy,
    spool: Option<Spool>,
    route: Route,
    /// What it means that the store refuses a write.
    failed: fn(WriteError) -> PipelineFailure,
}

impl<W: Wide> SideOutlet<W> {
    /// An outlet to `wide`; `failed` says what it means that the store refuses a write.
    pub(super) const fn new(
        wide: Arc<W>,
        retry: RetryPolicy,
        spool: Option<Spool>,
        failed: fn(WriteError) -> PipelineFailure,
    ) -> Self {
        Self { wide, retry, spool, route: Route::new(), failed }
    }

    /// Makes `write` durable.
    pub(super) async fn deliver(&mut self, write: PlannedWrite) -> Result<(), PipelineFailure> {
        let Some(spool) = self.spool.clone() else { return self.put(&write).await };
        if self.route.may_return(Instant::now(), spool.answered_at()) {
            self.route.come_back(Instant::now());
        }
        if !spool.options().always && !self.route.is_spooling() {
            if let Ok(done) = timeout(spool.options().store_deadline, self.put(&write)).await {
                return done;
            }
            self.route.leave(Instant::now());
        }
        let record = Record { writes: vec![write.clone()], tally: Tally::default() };
        loop {
            match spool.append(&record).await {
                Ok(()) => return Ok(()),
                Err(source @ spool::AppendError::Broken(_)) => return Err(PipelineFailure::Spool { source }),
                Err(spool::AppendError::Full | spool::AppendError::Unwritable(_)) => {}
            }
            if let Ok(done) = timeout(RETRY, self.put(&write)).await {
                return done;
            }
        }
    }

    /// Writes again and again with the same keys, bytes and time, until the store takes it (I5).
    async fn put(&self, write: &PlannedWrite) -> Result<(), PipelineFailure> {
        let mut failures = 0_u32;
        loop {
            match self.wide.put(write.table, &write.partition, &write.rows, write.at).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() => {
                    failures = failures.saturating_add(1);
                    // Without random bits waits lose their spread, nothing else.
                    sleep(self.retry.wait(failures, getrandom::u64().unwrap_or(0))).await;
                }
                Err(source) => return Err((self.failed)(source)),
            }
        }
    }
}

/// The forwarder as a task of the pipeline.
pub(super) async fn forward<W: Wide>(
    forwarder: spool::Forwarder<W>,
    stopped: impl Future<Output = ()>,
) -> Result<(), PipelineFailure> {
    tokio::select! {
        biased;
        () = stopped => Ok(()),
        failed = forwarder.run() => failed.map_err(|source| PipelineFailure::Forward { source }),
    }
}
