//! Windows that end with a sample at their end, from folds where these are cheaper than the samples, else from samples.
//!
//! Both give the same (I4): which of them is only a matter of cost. One snapshot decides and is read.

use std::sync::Arc;

use super::chosen::Chosen;
use super::options::Shelf;
use super::plan::{CellCuts, Level, plan, wanted};
use super::reader::Reader;
use super::snapshot::{BucketState, Snapshot};
use super::taken::{Taken, Takers};
use super::{Explained, ReadFailure, Selector, SeriesFolds};
use crate::layout::Resolution;
use crate::model::{TimeRange, Timestamp};
use crate::rollup::Fields;
use crate::wide::Wide;

/// Windows with fewer samples on average are seldom stored, and reading the samples is as fast.
const SAMPLES_PER_WINDOW: u64 = 20;

/// When windows are made of folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// Where that is cheaper than samples, or samples have expired.
    WhereCheaper,
    /// In any case.
    Always,
}

/// What windows can be made of.
#[derive(Debug, Clone)]
pub enum Windowed<T> {
    /// Folds of the cells between the cuts, as [`Reader::folds`] gives them, and one more cell that holds the sample
    /// exactly at the last cut, where there is one: its boundary.
    Folds(Vec<SeriesFolds>),
    /// Series whose takers were handed all samples after the first cut, up to and with the last.
    Taken(Vec<Taken<T>>),
}

impl<W: Wide> Reader<W> {
    /// What is after the first of ascending `cuts`, up to and with the last: as folds by cell where most of it lies in
    /// rollups, or where its samples have expired; else the samples are handed to `takers`.
    ///
    /// Panics where cuts do not ascend strictly.
    pub async fn windows<S: Takers>(
        &self,
        selector: &Selector,
        cuts: &[Timestamp],
        (fields, fold): (Fields, Fold),
        takers: Arc<S>,
    ) -> Result<Explained<Windowed<S::Taker>>, ReadFailure> {
        assert!(cuts.is_sorted_by(|a, b| a < b), "cuts do not ascend");
        let nothing = Explained { answer: Windowed::Taken(Vec::new()), explain: super::Explain::default() };
        let Some(cells) = closed(cuts) else { return Ok(nothing) };
        let Some(range) = cells.range() else { return Ok(nothing) };
        let snapshot = self.snapshot(selector, range).await?;
        let eras = snapshot.buckets.iter().map(|bucket| bucket.era);
        let chosen = Arc::new(Chosen::new(self.catalog(), Arc::clone(&snapshot.selection), eras));
        if fold == Fold::Always || self.folds_pay(&snapshot, &chosen, cuts) {
            let Explained { answer, explain } = self.folds_by(snapshot, chosen, cells, fields).await?;
            return Ok(Explained { answer: Windowed::Folds(answer), explain });
        }
        let after_first = Timestamp::from_nanos(range.start().nanos().saturating_add(1));
        let range = after_first.and_then(|start| TimeRange::new(start, range.end()));
        let Ok(range) = range else { return Ok(nothing) };
        let Explained { answer, explain } = self.taken_by(snapshot, chosen, (range, takers)).await?;
        Ok(Explained { answer: Windowed::Taken(answer), explain })
    }

    /// Whether rollups answer at least half of what is asked for, or samples cannot.
    fn folds_pay(&self, snapshot: &Snapshot, chosen: &Chosen, cuts: &[Timestamp]) -> bool {
        let kept = self.options.shelf();
        let (mut all, mut rolled) = (0_u128, 0_u128);
        for bucket in &snapshot.buckets {
            let Some(range) = wanted(bucket.place.bucket, cuts) else { continue };
            if bucket.seal.is_some() && kept.raw_expired(bucket.place.bucket) {
                return true;
            }
            all += range.end().saturating_since(range.start()).as_nanos();
            let resolutions = self.likely(&kept, bucket, chosen);
            let plan = plan(bucket.place.bucket, range, cuts, &resolutions);
            rolled += plan.levels.iter().map(Level::nanos).sum::<u128>();
        }
        all > 0 && rolled * 2 >= all
    }

    /// The resolutions of which there are frames, probably.
    fn likely(&self, kept: &Shelf<'_>, bucket: &BucketState, chosen: &Chosen) -> Vec<Resolution> {
        let Some(seal) = &bucket.seal else { return Vec::new() };
        // Any source will do: those that are asked for together are mostly alike.
        let any = chosen.selection.sources.iter().next().and_then(|source| self.catalog().entry(source));
        let metrics = any.map_or(1, |entry| entry.metrics.len());
        let series = seal.summary.sources.saturating_mul(u64::try_from(metrics).unwrap_or(u64::MAX)).max(1);
        let width = bucket.era.bucket_width;
        let mut resolutions = kept.resolutions(bucket.place.bucket, width);
        let seconds = width.get().as_secs();
        resolutions.retain(|resolution| {
            let windows = (seconds / u64::from(resolution.seconds())).max(1);
            seal.summary.framed_seconds == u64::from(resolution.seconds())
                || seal.summary.samples / series / windows >= SAMPLES_PER_WINDOW
        });
        resolutions
    }
}

/// The cells between cuts and one of the last cut alone.
fn closed(cuts: &[Timestamp]) -> Option<CellCuts> {
    let last = *cuts.last()?;
    let end = Timestamp::from_nanos(last.nanos().checked_add(1)?).ok()?;
    let cuts = cuts.iter().copied().chain([end]).collect();
    Some(CellCuts { cuts, closing: Some(last) })
}
