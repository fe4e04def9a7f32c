//! Reading one bucket sample by sample: its blocks, and over them the segments that no seal covers (I4).
//!
//! A bucket may be ground anew while it is read, and what its old seal named is deleted some time later. So an answer
//! that took long, or that missed rows, counts only where the seal is still in force; else the bucket is read again.

use std::sync::Arc;

use super::ReadFailure;
use super::blocks::{Runs, Wants, block_runs, load_blocks};
use super::chosen::{Chosen, ShardSources};
use super::collect::Budget;
use super::compute::{Work, compute};
use super::explain::Explain;
use super::live::{Missing, Overs};
use super::overlay::overlay;
use super::reader::Reader;
use super::snapshot::BucketState;
use crate::catalog::SourceIndex;
use crate::layout::BlockRow;
use crate::model::{Metric, SourceId, TimeRange};
use crate::wide::Wide;

/// How often a bucket is read again.
const RETRIES_MAX: usize = 5;

/// About what a source takes of a pack that its bucket's day is in.
const SOURCE_BYTES: usize = 16 * 1024;

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

/// All that is to be known of a bucket, read and not yet decoded.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) bucket: BucketState,
    /// The wanted samples that no seal covers.
    pub(super) uncovered: Runs,
    /// Packs, in order.
    pub(super) rows: Vec<BlockRow>,
    pub(super) sources: Arc<ShardSources>,
}

impl Loaded {
    /// What decoding it takes: of a pack only the pages of wanted sources are decoded.
    pub(super) fn work(&self) -> Work {
        let bytes: usize = self.rows.iter().map(|row| row.body.len()).sum();
        Work::Decode(bytes.min(bytes / 16 + self.sources.ids.len() * SOURCE_BYTES))
    }

    fn runs(self, asked: &Asked) -> Result<Runs, ReadFailure> {
        let Self { bucket, uncovered, rows, sources } = self;
        let mut runs = block_runs(&bucket, &rows, &sources.sources, asked, &asked.budget)?;
        for (series, over) in uncovered {
            let base = runs.remove(&series).unwrap_or_default();
            runs.insert(series, overlay(base, &over));
        }
        Ok(runs)
    }
}

/// The samples in `range` that are kept, and where they are not.
fn sampled(overs: Overs, range: TimeRange) -> (Runs, Missing) {
    let (mut runs, mut missing) = (Runs::new(), Missing::new());
    for (series, over) in overs {
        let cover = over.samples(range);
        if !cover.missing.is_empty() {
            missing.insert(series.clone(), cover.missing);
        }
        if !cover.known.is_empty() {
            runs.insert(series, cover.known);
        }
    }
    (runs, missing)
}

impl<W: Wide> Reader<W> {
    /// The wanted samples of a bucket, by series.
    pub(super) async fn runs_of(
        &self,
        bucket: BucketState,
        asked: Asked,
    ) -> Result<(Runs, Explain), ReadFailure> {
        let (loaded, explain) = self.load(bucket, &asked).await?;
        let runs = compute(loaded.work(), move || loaded.runs(&asked)).await??;
        Ok((runs, explain))
    }

    /// Reads what holds the wanted samples of a bucket.
    pub(super) async fn load(
        &self,
        mut bucket: BucketState,
        asked: &Asked,
    ) -> Result<(Loaded, Explain), ReadFailure> {
        let mut retries = 0;
        loop {
            let mut explain = Explain { buckets: 1, retries, raw: true, ..Explain::default() };
            let read = self.try_load(&bucket, asked, &mut explain).await;
            match self.after(&bucket, read, retries).await? {
                After::Done(loaded) => return Ok((loaded, explain)),
                After::Again(now) => bucket = now,
            }
            retries += 1;
        }
    }

    async fn try_load(
        &self,
        bucket: &BucketState,
        asked: &Asked,
        explain: &mut Explain,
    ) -> Result<Loaded, ReadFailure> {
        let sources = asked.chosen.of(bucket);
        let (bucket, uncovered, rows) = (bucket.clone(), Runs::new(), Vec::new());
        let mut loaded = Loaded { bucket, uncovered, rows, sources };
        let bucket = &loaded.bucket;
        if bucket.seal.is_some() && self.options.shelf().raw_expired(bucket.place.bucket) {
            explain.expired_before = Some(bucket.place.bucket.end());
            return Ok(loaded);
        }
        loaded.uncovered = self.uncovered(bucket, asked, explain).await?;
        loaded.rows = self.blocks(bucket, &loaded.sources.ids, explain).await?;
        Ok(loaded)
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
        let rows = load_blocks(self.block_stock(bucket), bucket.place, seal, sources, bytes_max).await?;
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
        let overs = self.overs(bucket, asked, explain).await?;
        if overs.is_empty() {
            return Ok(Runs::new());
        }
        let range = asked.range;
        let work = Work::Sort(overs.len());
        let (mut runs, missing) = compute(work, move || sampled(overs, range)).await?;
        runs.values().try_for_each(|run| asked.budget.spend_run(run))?;
        for (series, more) in self.reread(bucket, asked, &missing, explain).await? {
            let base = runs.remove(&series).unwrap_or_default();
            runs.insert(series, overlay(base, &more));
        }
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
