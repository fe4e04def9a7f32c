//! Natural batching of one shard: while a write is under way messages collect, and then go as one plan.
//!
//! One task for each (writer, shard), so segments of a shard are written one after another. A batch settles its
//! shares when everything in its plan is durable (I1). What a plan refuses is kept as a reject (I2, I7).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidemill_store::append::{AppendError, Executor, Refusal, RefusalReason, ShardAppender, WritePlan};
use tidemill_store::catalog::CatalogFull;
use tidemill_store::layout::{EraWatch, RejectKind};
use tidemill_store::model::{Clock, Shard};
use tidemill_store::wide::Wide;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::PipelineFailure;
use super::group::settle;
use super::intake::number;
use super::queue::{Batch, Origin, Taker};
use super::shared::{Keeper, Whose, stopped};
use super::sorter::sender_of_topic;
use crate::metrics::{IngestMetrics, Rejected};
use crate::rejects::Reject;

/// How often marks of idle buckets are looked for. Their limit is minutes, so this costs nothing and is exact enough.
const IDLE_TICK: Duration = Duration::from_secs(30);
/// A write that takes longer than this is worth a line in the log.
const STALL: Duration = Duration::from_secs(10);

/// The task of one shard.
pub(super) struct Batcher<W> {
    pub(super) shard: Shard,
    pub(super) appender: ShardAppender,
    pub(super) eras: Arc<EraWatch>,
    pub(super) executor: Executor<W>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: IngestMetrics,
    pub(super) rejects: Keeper,
    pub(super) queue: Taker,
    pub(super) stop: watch::Receiver<bool>,
}

impl<W: Wide> Batcher<W> {
    /// Runs until told to stop, then closes the marks; or until the store fails for good.
    pub(super) async fn run(mut self) -> Result<(), PipelineFailure> {
        let mut idle = interval(IDLE_TICK);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = pin!(stopped(self.stop.clone()));
        loop {
            tokio::select! {
                biased;
                batch = self.queue.next() => self.write(batch).await?,
                () = &mut stopped => break,
                _ = idle.tick() => {
                    let plan = self.appender.close_idle(self.clock.now(), Instant::now().into_std());
                    self.execute(plan).await?;
                }
            }
        }
        let plan = self.appender.close_all(self.clock.now(), Instant::now().into_std());
        self.execute(plan).await
    }

    async fn write(&mut self, mut batch: Batch) -> Result<(), PipelineFailure> {
        self.metrics.unqueued(batch.messages.len(), batch.bytes);
        self.metrics.planned(batch.messages.len(), batch.points.samples());
        // At least as new as those by which the batch was sorted.
        self.appender.set_eras(self.eras.current().eras);
        let plan = self.appender.plan([&batch.points], self.clock.now(), Instant::now().into_std());
        self.keep_refused(plan.refusals(), &batch)?;
        self.execute(plan).await?;
        batch.parts.drain(..).for_each(|part| settle(part.share));
        self.queue.give_back(batch);
        Ok(())
    }

    async fn execute(&self, mut plan: WritePlan) -> Result<(), PipelineFailure> {
        let started = Instant::now();
        let executed = {
            let execute = self.executor.execute(&mut plan);
            tokio::pin!(execute);
            loop {
                tokio::select! {
                    biased;
                    done = &mut execute => break done,
                    () = tokio::time::sleep(STALL) => {
                        let waited_seconds = started.elapsed().as_secs();
                        tracing::warn!(shard = %self.shard, waited_seconds, "a write waits for the store");
                    }
                }
            }
        };
        let failed = |source: AppendError| PipelineFailure::Append { shard: self.shard, source };
        executed.map(|_| ()).map_err(failed)
    }

    /// Hands the messages of refused points to the rejects. A message may be refused in part: what else it said
    /// is stored, and the whole of it is kept.
    fn keep_refused(&self, refusals: &[Refusal], batch: &Batch) -> Result<(), PipelineFailure> {
        let mut points = batch.points.iter().enumerate();
        let mut kept = None;
        // Refusals come in the order of points, so those of a message are neighbours.
        for Refusal { point, reason, .. } in refusals {
            let samples = points.find(|(index, _)| index == point).map_or(0, |(_, point)| point.values.len());
            let at = batch.messages.partition_point(|origin| origin.points_end <= *point);
            let Some(origin) = batch.messages.get(at) else { continue };
            let Some(part) = batch.parts.get(origin.part) else { continue };
            let (message, samples) = (origin.message, number(samples));
            if kept.replace((origin.part, message)) == Some((origin.part, message)) {
                if let Some(group) = part.share.owed() {
                    let (kind, reason) = (RejectKind::DeadLetter, label(*reason));
                    group.note_samples(Rejected { message, kind, reason, samples, is_kept: true });
                }
                continue;
            }
            let whose = Whose { sender: sender_of_topic(&origin.publish.topic), message, samples };
            if self.rejects.keep(refused(*reason, origin), whose, &part.share).is_err() {
                return Err(PipelineFailure::Ended { task: "rejects" });
            }
        }
        Ok(())
    }
}

fn refused(reason: RefusalReason, origin: &Origin) -> Reject {
    Reject {
        kind: RejectKind::DeadLetter,
        reason: label(reason),
        detail: reason.to_string(),
        received_at: origin.received_at,
        topic: origin.publish.topic.clone(),
        payload: origin.publish.payload.clone(),
        is_in_part: true,
    }
}

const fn label(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::Catalog(CatalogFull::Sources) => "sources_limit",
        RefusalReason::Catalog(CatalogFull::Metrics) => "metrics_limit",
        RefusalReason::Catalog(CatalogFull::SourceMetrics) => "source_metrics_limit",
        RefusalReason::Buckets => "buckets_limit",
    }
}
