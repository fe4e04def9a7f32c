//! The shell around plans: carries one out against a store, stage after stage, and repeats what did not succeed.
//!
//! Keeps I1 (what returns is durable as a whole) and I5 (a repeated write has the same key, bytes and time). Logs
//! nothing: repeats are counted here and logged by whoever decides that they are too many.

use std::sync::Arc;

use futures_util::stream::{self, TryStreamExt};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::plan::{BucketSegments, WritePlan};
use super::{AppendMetrics, Appended, RetryPolicy, Stage};
use crate::layout::tables::{CATALOG, MARKS, SEGMENTS};
use crate::layout::{CatalogRow, MarkRow, SegmentRow};
use crate::wide::{Key, Row, Table, Wide, WriteError, WriteTime};

/// Writes of one stage that are in flight at once: buckets in the stage of segments. One bucket is the rule, two
/// around its end; more come from history that is sent late.
const IN_FLIGHT_MAX: usize = 8;

/// Why a plan was not carried out. It is kept as it is and may be carried on.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The store refuses a write and will refuse it again.
    #[error("a write of the stage {} is refused", stage.as_str())]
    Refused {
        /// Where the plan stopped.
        stage: Stage,
        /// What the store said.
        source: WriteError,
    },
    /// The store keeps no more promises in this process, which must end.
    #[error("the store broke in the stage {}", stage.as_str())]
    Broken {
        /// Where the plan stopped.
        stage: Stage,
        /// What the store said.
        source: WriteError,
    },
}

/// What is the same for all writes of a stage.
#[derive(Debug, Clone, Copy)]
struct Target {
    stage: Stage,
    table: &'static Table,
    at: WriteTime,
    jitter: u64,
}

/// Carries out plans; shared by all shards.
#[derive(Debug)]
pub struct Executor<W> {
    wide: Arc<W>,
    retry: RetryPolicy,
    metrics: AppendMetrics,
}

/// Cloned by hand: the store behind it need not be.
impl<W> Clone for Executor<W> {
    fn clone(&self) -> Self {
        Self { wide: Arc::clone(&self.wide), retry: self.retry, metrics: self.metrics.clone() }
    }
}

impl<W: Wide> Executor<W> {
    /// An executor against `wide`.
    pub fn new(wide: Arc<W>, retry: RetryPolicy, metrics: AppendMetrics) -> Self {
        Self { wide, retry, metrics }
    }

    /// Carries `plan` out, or on. `Ok`: everything in it is durable. Repeats what the store did not take for as long
    /// as it takes: the caller drops the future to give up waiting, and may call again with the same plan.
    pub async fn execute(&self, plan: &mut WritePlan) -> Result<Appended, AppendError> {
        let (at, jitter) = (plan.at, plan.jitter);
        let catalog = Target { stage: Stage::Catalog, table: &CATALOG, at, jitter };
        self.write_all(catalog, &CatalogRow::partition(plan.shard), &mut plan.catalog).await?;
        let marks = Target { stage: Stage::Marks, table: &MARKS, at: plan.marks_at, jitter };
        self.write_all(marks, &MarkRow::partition(plan.shard), &mut plan.marks).await?;
        let segments = Target { stage: Stage::Segments, table: &SEGMENTS, at, jitter };
        stream::iter(plan.segments.iter_mut().map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX, |bucket| self.write_in_order(segments, bucket))
            .await?;
        plan.segments.clear();
        plan.release();
        self.metrics.finished(plan.appended);
        Ok(plan.appended)
    }

    /// Writes groups of rows in any order; all or, after an error, those that are left.
    async fn write_all(
        &self,
        target: Target,
        partition: &Key,
        groups: &mut Vec<Vec<Row>>,
    ) -> Result<(), AppendError> {
        stream::iter(groups.iter().map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX, |rows| self.write(target, partition, rows))
            .await?;
        groups.clear();
        Ok(())
    }

    /// Segments of one bucket one after another, so that seq n + 1 is never durable while n is not.
    async fn write_in_order(&self, target: Target, bucket: &mut BucketSegments) -> Result<(), AppendError> {
        let partition = SegmentRow::partition(bucket.place);
        while let Some(row) = bucket.rows.front() {
            self.write(target, &partition, std::slice::from_ref(row)).await?;
            bucket.rows.pop_front();
        }
        Ok(())
    }

    async fn write(&self, target: Target, partition: &Key, rows: &[Row]) -> Result<(), AppendError> {
        let Target { stage, table, at, jitter } = target;
        let mut failures = 0_u32;
        loop {
            match self.wide.put(table, partition, rows, at).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Unavailable { .. }) => {
                    failures = failures.saturating_add(1);
                    self.metrics.repeated(stage);
                    let random = xxh3_64_with_seed(&failures.to_le_bytes(), jitter);
                    tokio::time::sleep(self.retry.wait(failures, random)).await;
                }
                Err(source @ WriteError::Refused { .. }) => {
                    return Err(AppendError::Refused { stage, source });
                }
                Err(source @ WriteError::Broken { .. }) => return Err(AppendError::Broken { stage, source }),
            }
        }
    }
}
