//! Natural batching of one shard: while a write is under way messages collect, and then go as one plan.
//!
//! One task for each (writer, shard), so segments of a shard are written one after another. A batch settles its
//! shares when everything in its plan is durable (I1). What a plan refuses is kept as a reject (I2, I7).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidemill_store::append::{AppendLimits, Refusal, RefusalReason, ShardAppender};
use tidemill_store::catalog::CatalogFull;
use tidemill_store::layout::{EraWatch, RejectKind};
use tidemill_store::model::{Clock, Shard, Timestamp, WriterId};
use tidemill_store::wide::Wide;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::PipelineFailure;
use super::counts::RefusedOf;
use super::group::settle;
use super::intake::number;
use super::outlet::Outlet;
use super::pace::Pace;
use super::queue::{Batch, Taker};
use super::shared::{Keeper, Whose, stopped};
use super::sorter::sender_of_topic;
use crate::metrics::{IngestMetrics, Rejected};
use crate::rejects::Reject;
use crate::source::Publish;
use crate::spool::Tally;

/// How often marks of idle buckets are looked for. Their limit is minutes, so this costs nothing and is exact enough.
const IDLE_TICK: Duration = Duration::from_secs(30);

/// The task of one shard.
pub(super) struct Batcher<W> {
    /// The writer of the start; others follow it where the spool was used.
    pub(super) writer: WriterId,
    pub(super) limits: AppendLimits,
    pub(super) shard: Shard,
    pub(super) appender: ShardAppender,
    pub(super) eras: Arc<EraWatch>,
    pub(super) outlet: Outlet<W>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: IngestMetrics,
    pub(super) rejects: Keeper,
    pub(super) queue: Taker,
    pub(super) pace: Pace,
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
                batch = self.queue.next() => {
                    let written = batch.messages.len();
                    self.write(batch).await?;
                    self.keep_pace(written).await;
                }
                () = &mut stopped => break,
                _ = idle.tick() => {
                    let mut plan = self.appender.close_idle(self.clock.now(), Instant::now().into_std());
                    self.outlet.deliver(&mut plan, Tally::default()).await?;
                }
            }
        }
        self.close().await
    }

    /// Where a batch of `written` messages shows that much comes: lets it collect until the beat.
    async fn keep_pace(&mut self, written: usize) {
        if let Some(next) = self.pace.next(written, Instant::now()) {
            sleep_until(next).await;
            self.pace.waited(Instant::now(), self.queue.arrived_at());
        }
    }

    /// Closes all marks.
    async fn close(&mut self) -> Result<(), PipelineFailure> {
        let mut plan = self.appender.close_all(self.clock.now(), Instant::now().into_std());
        self.outlet.deliver(&mut plan, Tally::default()).await.map(|_| ())
    }

    /// Goes on under a fresh writer: the one before is the spool's.
    async fn renew(&mut self) -> Result<(), PipelineFailure> {
        self.close().await?;
        let writer = self.outlet.come_back(self.writer);
        self.appender = ShardAppender::new(self.shard, writer, self.eras.current().eras, self.limits);
        tracing::info!(shard = %self.shard, "the store answers again: messages go to it");
        Ok(())
    }

    async fn write(&mut self, mut batch: Batch) -> Result<(), PipelineFailure> {
        self.metrics.unqueued(batch.messages.len(), batch.bytes);
        self.metrics.planned(batch.messages.len(), batch.points.samples());
        if self.outlet.may_return() {
            self.renew().await?;
        }
        // At least as new as those by which the batch was sorted.
        self.appender.set_eras(self.eras.current().eras);
        let mut plan = self.appender.plan([&batch.points], self.clock.now(), Instant::now().into_std());
        let refused = self.keep_refused(plan.refusals(), &batch)?;
        let (counts, tally) = refused.count(&batch);
        let (planned, expected) = (plan.appended().samples, u64::from(tally.samples));
        if number(planned) != expected {
            self.metrics.violated("samples of a plan", number(planned), expected);
        }
        let landed = self.outlet.deliver(&mut plan, tally).await?;
        for (part, count) in batch.parts.drain(..).zip(counts) {
            if let Some(group) = part.share.owed() {
                group.wrote(count.as_written(landed));
            }
            settle(part.share);
        }
        self.queue.give_back(batch);
        Ok(())
    }

    /// Hands the messages of refused points to the rejects. A message may be refused in part: what else it said
    /// is stored, and the whole of it is kept.
    fn keep_refused(&self, refusals: &[Refusal], batch: &Batch) -> Result<RefusedOf, PipelineFailure> {
        let mut all = RefusedOf::default();
        let mut points = batch.points.iter().enumerate();
        let mut kept = None;
        // Refusals come in the order of points, so those of a message are neighbours.
        for Refusal { point, reason, .. } in refusals {
            let samples = points.find(|(index, _)| index == point).map_or(0, |(_, point)| point.values.len());
            let at = batch.messages.partition_point(|origin| origin.points_end <= *point);
            let Some(origin) = batch.messages.get(at) else { continue };
            all.add(at, samples);
            let Some(part) = batch.parts.get(origin.part) else { continue };
            let (message, samples) = (origin.message, number(samples));
            if kept.replace((origin.part, message)) == Some((origin.part, message)) {
                if let Some(group) = part.share.owed() {
                    let (kind, reason) = (RejectKind::DeadLetter, label(*reason));
                    group.note_samples(Rejected { message, kind, reason, samples, is_kept: true });
                }
                continue;
            }
            let Some(publish) = part.share.owed().and_then(|group| group.messages.get(message)) else {
                continue;
            };
            let whose = Whose { sender: sender_of_topic(&publish.topic), message, samples, ack: None };
            let reject = refused(*reason, publish, origin.received_at);
            if self.rejects.keep(reject, whose, &part.share).is_err() {
                return Err(PipelineFailure::Ended { task: "rejects" });
            }
        }
        Ok(all)
    }
}

fn refused(reason: RefusalReason, publish: &Publish, received_at: Timestamp) -> Reject {
    Reject {
        kind: RejectKind::DeadLetter,
        reason: label(reason),
        detail: reason.to_string(),
        received_at,
        topic: publish.topic.clone(),
        payload: publish.payload.clone(),
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
