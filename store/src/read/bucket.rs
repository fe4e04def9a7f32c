//! Reading one bucket sample by sample: its blocks, and over them the segments that no seal covers (I4).
//!
//! A bucket may be ground anew while it is read, and what its old seal named is deleted some time later. So an answer
//! that took long, or that missed rows, counts only where the seal is still in force; else the bucket is read again.

use std::sync::Arc;

use super::ReadFailure;
use super::blocks::{Runs, Wants, block_runs, load_blocks};
use super::chosen::Chosen;
use super::collect::{Bucket, Budget, Wanted};
use super::compute::{Work, compute};
use super::explain::Explain;
use super::fetch::fetch;
use super::overlay::overlay;
use super::reader::Reader;
use super::snapshot::BucketState;
use crate::catalog::SourceIndex;
use crate::layout::BlockRow;
use crate::model::{Metric, SourceId, TimeRange};
use crate::wide::Wide;

/// How often a bucket is read again.
const RETRIES_MAX: usize = 5;

/// What comes after a bucket was read.
pub(super) enum After<T> {
    Done(T),
    /// It was ground anew: read it again, as it is now.
    Again(BucketState),
}

/// The samples of a bucket that are wanted: what is in `range` of the chosen series.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) chosen: Arc<Chosen>,
    pub(super) range: TimeRange,
    pub(super) budget: Arc<Budget>,
}

impl Wants for Asked {
    fn ranges(&self, _: SourceIndex, metric: &Metric) -> &[TimeRange] {
        let is_wanted = self.chosen.selection.wants(metric.as_str());
        if is_wanted { std::slice::from_ref(&self.range) } else { &[] }
    }
}

impl<W: Wide> Reader<W> {
    /// The wanted samples of a bucket, by series.
    pub(super) async fn runs_of(
        &self,
        mut bucket: BucketState,
        asked: Asked,
    ) -> Result<(Runs, Explain), ReadFailure> {
        let mut retries = 0;
        loop {
            let mut explain = Explain { buckets: 1, retries, raw: true, ..Explain::default() };
            let read = self.try_runs_of(&bucket, &asked, &mut explain).await;
            match self.after(&bucket, read, retries).await? {
                After::Done(runs) => return Ok((runs, explain)),
                After::Again(now) => bucket = now,
            }
            retries += 1;
        }
    }

    async fn try_runs_of(
        &self,
        bucket: &BucketState,
        asked: &Asked,
        explain: &mut Explain,
    ) -> Result<Runs, ReadFailure> {
        if bucket.seal.is_some() && self.options.shelf().raw_expired(bucket.place.bucket) {
            explain.expired_before = Some(bucket.place.bucket.end());
            return Ok(Runs::new());
        }
        let uncovered = self.uncovered(bucket, asked, explain).await?;
        let sources = asked.chosen.of(bucket);
        let rows = self.blocks(bucket, &sources.ids, explain).await?;
        if rows.is_empty() {
            return Ok(uncovered);
        }
        let (bucket, asked) = (bucket.clone(), asked.clone());
        let work = Work::Decode(rows.iter().map(|row| row.body.len()).sum());
        compute(work, move || {
            let mut runs = block_runs(&bucket, &rows, &sources.sources, &asked, &asked.budget)?;
            for (series, over) in uncovered {
                let base = runs.remove(&series).unwrap_or_default();
                runs.insert(series, overlay(base, &over));
            }
            Ok(runs)
        })
        .await?
    }

    /// The packs of a sealed bucket that may hold the ascending `sources`.
    pub(super) async fn blocks(
        &self,
        bucket: &BucketState,
        sources: &[SourceId],
        explain: &mut Explain,
    ) -> Result<Vec<BlockRow>, ReadFailure> {
        let Some(seal) = bucket.seal.as_ref().filter(|_| !sources.is_empty()) else { return Ok(Vec::new()) };
        let bytes_max = self.limits.bucket_bytes_max;
        let rows = load_blocks(&*self.wide, bucket.place, seal, sources, bytes_max).await?;
        explain.block_rows += rows.len();
        explain.bytes_read += rows.iter().map(|row| row.body.len()).sum::<usize>();
        Ok(rows)
    }

    /// The wanted samples of a bucket that no seal covers, by series.
    pub(super) async fn uncovered(
        &self,
        bucket: &BucketState,
        asked: &Asked,
        explain: &mut Explain,
    ) -> Result<Runs, ReadFailure> {
        let segments = fetch(&*self.wide, &self.head, bucket, self.limits.bucket_bytes_max).await?;
        if segments.bytes == 0 {
            return Ok(Runs::new());
        }
        let wanted = Wanted { selection: Arc::clone(&asked.chosen.selection), range: asked.range };
        let (catalog, place, budget) = (Arc::clone(self.catalog()), bucket.place, Arc::clone(&asked.budget));
        let work = Work::Decode(segments.bytes);
        let collected = compute(work, move || {
            let bucket = Bucket { place, catalog: &catalog, segments: &segments };
            let collected = bucket.collect(&wanted, &budget)?;
            let runs: Runs = collected.table.settle().collect();
            Ok::<_, ReadFailure>((runs, collected.segments, collected.bytes))
        });
        let (runs, segments, bytes) = collected.await??;
        explain.segments_merged += segments;
        explain.bytes_read += bytes;
        Ok(runs)
    }

    /// Whether what was read of a bucket counts.
    pub(super) async fn after<T>(
        &self,
        bucket: &BucketState,
        read: Result<T, ReadFailure>,
        retries: usize,
    ) -> Result<After<T>, ReadFailure> {
        let is_fresh = bucket.taken_at.elapsed() < self.limits.seals_trusted_for;
        match &read {
            Ok(_) if is_fresh => return read.map(After::Done),
            Ok(_) | Err(ReadFailure::Vanished) => {}
            Err(_) => return read.map(After::Done),
        }
        let (era, place) = (bucket.era, bucket.place);
        let in_force = self.snapshots.seal(era, place).await?.map(|seal| seal.generation);
        if in_force == bucket.generation() {
            return read.map(After::Done);
        }
        if retries >= RETRIES_MAX {
            return Err(ReadFailure::Vanished);
        }
        Ok(After::Again(self.snapshots.bucket(era, place).await?))
    }
}
