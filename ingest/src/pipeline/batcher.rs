//! Natural batching of one shard: while a write is under way parts collect, and then go as one plan.
//!
//! One task for each (writer, shard), so segments of a shard are written one after another. A part settles its
//! share when everything in its plan is durable (I1). What a plan refuses is kept as a reject (I2, I7).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidemill_store::append::{AppendError, Executor, Refusal, RefusalReason, ShardAppender, WritePlan};
use tidemill_store::catalog::CatalogFull;
use tidemill_store::layout::RejectKind;
use tidemill_store::model::{Clock, Points, Shard, Timestamp};
use tidemill_store::wide::Wide;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::PipelineFailure;
use super::group::{Group, settle};
use super::intake::number;
use super::reject_writer::Entry;
use super::shared::stopped;
use crate::config::BatchLimits;
use crate::ledger::Share;
use crate::metrics::IngestMetrics;
use crate::rejects::Reject;
use crate::source::Publish;

/// How often marks of idle buckets are looked for. Their limit is minutes, so this costs nothing and is exact enough.
const IDLE_TICK: Duration = Duration::from_secs(30);
/// A write that takes longer than this is worth a line in the log.
const STALL: Duration = Duration::from_secs(10);

/// What one group brings to one shard.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) points: Points,
    /// The messages that the points came in, in order; kept until they are durable, for the case of a refusal.
    pub(super) origins: Vec<Origin>,
    /// Bytes of the messages as counted against the limit.
    pub(super) bytes: usize,
    pub(super) received_at: Timestamp,
    pub(super) share: Share<Group>,
}

/// A message and where its points end among those of its part.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) points_end: usize,
    /// Its position in its group.
    pub(super) message: usize,
    pub(super) publish: Publish,
}

/// The task of one shard.
pub(super) struct Batcher<W> {
    pub(super) shard: Shard,
    pub(super) appender: ShardAppender,
    pub(super) executor: Executor<W>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: BatchLimits,
    pub(super) metrics: IngestMetrics,
    pub(super) rejects: mpsc::Sender<Entry>,
    pub(super) queue: mpsc::Receiver<Part>,
    pub(super) stop: watch::Receiver<bool>,
}

impl<W: Wide> Batcher<W> {
    /// Runs until told to stop, then closes the marks; or until the store fails for good.
    pub(super) async fn run(mut self) -> Result<(), PipelineFailure> {
        let mut idle = interval(IDLE_TICK);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut parts = Vec::new();
        let mut stopped = pin!(stopped(self.stop.clone()));
        loop {
            tokio::select! {
                biased;
                part = self.queue.recv() => match part {
                    Some(part) => {
                        self.collect(part, &mut parts);
                        self.write(&mut parts).await?;
                    }
                    None => break,
                },
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

    /// Takes what has collected behind `first`, up to the limits of a plan.
    fn collect(&mut self, first: Part, parts: &mut Vec<Part>) {
        let (mut messages, mut samples, mut bytes) = (0, 0, 0);
        let mut next = Ok(first);
        while let Ok(part) = next {
            messages += part.origins.len();
            samples += part.points.samples();
            bytes += part.bytes;
            parts.push(part);
            let is_full = messages >= self.limits.messages_max
                || samples >= self.limits.samples_max
                || bytes >= self.limits.bytes_max;
            next = if is_full { Err(TryRecvError::Empty) } else { self.queue.try_recv() };
        }
        self.metrics.unqueued(messages, bytes);
        self.metrics.planned(messages, samples);
    }

    async fn write(&mut self, parts: &mut Vec<Part>) -> Result<(), PipelineFailure> {
        let batches = parts.iter().map(|part| &part.points);
        let plan = self.appender.plan(batches, self.clock.now(), Instant::now().into_std());
        self.keep_refused(plan.refusals(), parts)?;
        self.execute(plan).await?;
        parts.drain(..).for_each(|part| settle(part.share));
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
    fn keep_refused(&self, refusals: &[Refusal], parts: &[Part]) -> Result<(), PipelineFailure> {
        for of_part in refusals.chunk_by(|a, b| a.batch == b.batch) {
            if let Some(part) = of_part.first().and_then(|first| parts.get(first.batch)) {
                self.keep_refused_of(of_part, part)?;
            }
        }
        Ok(())
    }

    /// The same for one part. Refusals come in the order of points, so those of a message are neighbours.
    fn keep_refused_of(&self, refusals: &[Refusal], part: &Part) -> Result<(), PipelineFailure> {
        let mut points = part.points.iter().enumerate();
        let mut kept = None;
        for refusal in refusals {
            let point = points.find(|(index, _)| *index == refusal.point);
            let samples = point.map_or(0, |(_, point)| number(point.values.len()));
            let at = part.origins.partition_point(|origin| origin.points_end <= refusal.point);
            let Some((origin, group)) = part.origins.get(at).zip(part.share.owed()) else { continue };
            group.reject(origin.message, RejectKind::DeadLetter, label(refusal.reason), samples);
            if kept.replace(at) == Some(at) {
                continue;
            }
            let entry = Entry { reject: refused(refusal.reason, part, origin), share: part.share.another() };
            if self.rejects.try_send(entry).is_err() {
                return Err(PipelineFailure::Ended { task: "rejects" });
            }
        }
        Ok(())
    }
}

fn refused(reason: RefusalReason, part: &Part, origin: &Origin) -> Reject {
    Reject {
        kind: RejectKind::DeadLetter,
        reason: label(reason),
        detail: reason.to_string(),
        received_at: part.received_at,
        topic: origin.publish.topic.clone(),
        payload: origin.publish.payload.clone(),
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
