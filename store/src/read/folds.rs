//! From a selector and cuts in time to folds: in each bucket from the coarsest frames whose windows lie between the
//! cuts, at the edges and where samples came late from the samples themselves, always exact (I4).

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;

use super::blocks::block_runs;
use super::bucket::{After, Asked};
use super::chosen::{Chosen, ShardSources};
use super::collect::Budget;
use super::composed::{Cells, Part, composed, extend};
use super::compute::{Work, compute};
use super::explain::Explain;
use super::frames::{Wanted, load_frames};
use super::laid::Laid;
use super::live::Overs;
use super::named::named;
use super::plan::{BucketPlan, CellCuts, Level, plan_closing, wanted};
use super::reader::Reader;
use super::rolled::{Listed, Needs, Question, Rolled, SeriesKey};
use super::snapshot::{BucketState, Snapshot};
use super::{Explained, ReadFailure, Selector, SeriesFolds};
use crate::catalog::{SourceIndex, SourceSet};
use crate::codec::frame::Frame;
use crate::layout::{FrameRow, Resolution, SealRow};
use crate::model::{SourceId, TimeRange, Timestamp};
use crate::rollup::Fields;
use crate::wide::Wide;

/// What is asked for in folds.
#[derive(Debug)]
pub(super) struct FoldsAsked {
    chosen: Arc<Chosen>,
    pub(super) cuts: Vec<Timestamp>,
    /// Where the last cell is nothing but the sample at its start: that start.
    closing: Option<Timestamp>,
    pub(super) fields: Fields,
    budget: Arc<Budget>,
}

/// A bucket, and what is asked of it.
#[derive(Debug, Clone)]
struct Task {
    bucket: BucketState,
    asked: Arc<FoldsAsked>,
    sources: Arc<ShardSources>,
    range: TimeRange,
}

/// Folds of one bucket.
type BucketFolds = Vec<(SeriesKey, Cells)>;

/// Frames of one level.
type LevelRows = (Level, Vec<FrameRow>);

impl<W: Wide> Reader<W> {
    /// The folds of each selected series over the cells between ascending `cuts`: cell `i` is `[cuts[i], cuts[i + 1])`,
    /// with the sample at its start apart. Series by tenant, device, tags and metric; of each the cells that hold
    /// samples, ascending. Folds know `fields` and what these need, maybe more.
    ///
    /// Panics where cuts do not ascend strictly.
    pub async fn folds(
        &self,
        selector: &Selector,
        cuts: &[Timestamp],
        fields: Fields,
    ) -> Result<Explained<Vec<SeriesFolds>>, ReadFailure> {
        assert!(cuts.is_sorted_by(|a, b| a < b), "cuts do not ascend");
        let cells = CellCuts { cuts: cuts.to_vec(), closing: None };
        let Some(range) = cells.range() else { return Ok(Explained::default()) };
        let snapshot = self.snapshot(selector, range).await?;
        let eras = snapshot.buckets.iter().map(|bucket| bucket.era);
        let chosen = Arc::new(Chosen::new(self.catalog(), Arc::clone(&snapshot.selection), eras));
        self.folds_by(snapshot, chosen, cells, fields).await
    }

    /// The folds of what a snapshot holds.
    pub(super) async fn folds_by(
        &self,
        snapshot: Snapshot,
        chosen: Arc<Chosen>,
        CellCuts { cuts, closing }: CellCuts,
        fields: Fields,
    ) -> Result<Explained<Vec<SeriesFolds>>, ReadFailure> {
        let budget = Arc::new(Budget::new(self.limits));
        let asked = Arc::new(FoldsAsked { chosen, cuts, closing, fields, budget });
        let tasks = snapshot.buckets.into_iter().filter_map(|bucket| {
            let range = wanted(bucket.place.bucket, &asked.cuts)?;
            let sources = asked.chosen.of(&bucket);
            Some(Task { bucket, asked: Arc::clone(&asked), sources, range })
        });
        let tasks: Vec<Task> = tasks.collect();
        let mut explain = Explain::default();
        // In the order of time, so that a cell grows at its end.
        let mut buckets =
            stream::iter(tasks).map(|task| self.folds_of(task)).buffered(self.limits.buckets_in_flight_max);
        let mut all: HashMap<SeriesKey, Cells> = HashMap::new();
        while let Some((folds, of_bucket)) = buckets.try_next().await? {
            explain.add(&of_bucket);
            for (series, cells) in folds {
                extend(all.entry(series).or_default(), cells);
            }
        }
        drop(buckets);
        let catalog = Arc::clone(self.catalog());
        let answer = compute(Work::Sort(all.len()), move || {
            let all = all.into_iter().map(|((source, metric), cells)| (source, metric, cells));
            let named = named(&catalog, all).into_iter();
            named.map(|(source, metric, cells)| SeriesFolds { source, metric, cells }).collect()
        });
        Ok(Explained { answer: answer.await?, explain })
    }

    async fn folds_of(&self, mut task: Task) -> Result<(BucketFolds, Explain), ReadFailure> {
        let mut retries = 0;
        loop {
            let mut explain = Explain { buckets: 1, retries, ..Explain::default() };
            let read = self.try_folds_of(&task, &mut explain).await;
            match self.after(&task.bucket, read, retries).await? {
                After::Done(folds) => return Ok((folds, explain)),
                After::Again(now) => task.bucket = now,
            }
            retries += 1;
        }
    }

    async fn try_folds_of(&self, task: &Task, explain: &mut Explain) -> Result<BucketFolds, ReadFailure> {
        let kept = self.options.shelf();
        let (bucket, width) = (task.bucket.place.bucket, task.bucket.era.bucket_width);
        let Some(seal) = task.bucket.seal.clone() else {
            let uncovered = self.uncovered_of(task, explain).await?;
            let plan = BucketPlan { raw: vec![task.range], ..BucketPlan::default() };
            return self.with_samples(task, Rolled::default(), &plan, uncovered, explain).await;
        };
        let is_raw_gone = kept.raw_expired(bucket);
        let uncovered = if is_raw_gone { Arc::default() } else { self.uncovered_of(task, explain).await? };
        let resolutions = kept.resolutions(bucket, width);
        let (plan, rows) = self.frames(task, &seal, resolutions.clone(), explain).await?;
        if is_raw_gone && !plan.raw.is_empty() {
            let before = kept.raw_from(width).unwrap_or(bucket.end());
            return Err(ReadFailure::Expired { before, resolution: resolutions.last().copied() });
        }
        let work = Work::Decode(rows.iter().flat_map(|(_, rows)| rows).map(|row| row.body.len()).sum());
        let (question, over) = (task.clone(), Arc::clone(&uncovered));
        let (mut rolled, listed) = compute(work, move || roll(&question, rows, &over)).await??;
        self.ask_for_unlisted(task, &seal, &listed, &mut rolled, explain).await?;
        if is_raw_gone {
            if !std::mem::take(&mut rolled.samples).is_empty() {
                explain.expired_before = Some(bucket.end());
            }
            return Ok(finished(rolled.parts, &task.asked));
        }
        self.with_samples(task, rolled, &plan, uncovered, explain).await
    }

    async fn uncovered_of(&self, task: &Task, explain: &mut Explain) -> Result<Arc<Overs>, ReadFailure> {
        Ok(Arc::new(self.overs(&task.bucket, &task.samples(), explain).await?))
    }

    /// What is read in which resolution, and the frames. A resolution of which there is nothing is not planned with.
    async fn frames(
        &self,
        task: &Task,
        seal: &SealRow,
        mut resolutions: Vec<Resolution>,
        explain: &mut Explain,
    ) -> Result<(BucketPlan, Vec<LevelRows>), ReadFailure> {
        loop {
            let plan = plan_closing(task.bucket.place.bucket, task.range, &task.asked.plan(), &resolutions);
            let mut levels = Vec::with_capacity(plan.levels.len());
            for level in &plan.levels {
                levels.push((level.clone(), self.frames_of(task, seal, level.resolution, explain).await?));
            }
            let is_missing =
                |(level, rows): &&LevelRows| rows.is_empty() && Some(level.resolution) != framed(seal);
            match levels.iter().find(is_missing).map(|(level, _)| level.resolution) {
                Some(missing) => resolutions.retain(|&resolution| resolution != missing),
                None => return Ok((plan, levels)),
            }
        }
    }

    async fn frames_of(
        &self,
        task: &Task,
        seal: &SealRow,
        resolution: Resolution,
        explain: &mut Explain,
    ) -> Result<Vec<FrameRow>, ReadFailure> {
        let BucketState { era, place, .. } = task.bucket;
        let chosen = &task.asked.chosen;
        let wanted =
            Wanted { selection: &chosen.selection, metrics: &chosen.metrics, sources: &task.sources.ids };
        let bytes_max = self.limits.bucket_bytes_max;
        let rows =
            load_frames(self.frame_stock(&task.bucket), (era, place), (seal, resolution), wanted, bytes_max)
                .await?;
        explain.frame_rows += rows.len();
        explain.bytes_read += rows.iter().map(|row| row.body.len()).sum::<usize>();
        if !rows.is_empty() {
            explain.resolutions.insert(resolution);
        }
        Ok(rows)
    }

    /// Asks for the samples of the series that are in the bucket, but not in the frames of a level. Where every
    /// series of the bucket is in some frames, these say which there are.
    async fn ask_for_unlisted(
        &self,
        task: &Task,
        seal: &SealRow,
        levels: &[(Level, Listed)],
        rolled: &mut Rolled,
        explain: &mut Explain,
    ) -> Result<(), ReadFailure> {
        let mut there: Option<Listed> = None;
        for (level, listed) in levels.iter().filter(|(level, _)| Some(level.resolution) != framed(seal)) {
            let unlisted = unlisted(task, listed);
            if unlisted.is_empty() {
                continue;
            }
            if let (None, Some(framed)) = (&there, framed(seal)) {
                let rows = self.frames_of(task, seal, framed, explain).await?;
                there = Some(list(task, &rows)?);
            }
            for (source, metric) in unlisted {
                let is_there = |there: &Listed| there.get(&metric).is_some_and(|of| of.contains(source));
                if there.as_ref().is_none_or(is_there) {
                    rolled.ask(source, &metric, level.ranges(task.bucket.place.bucket));
                }
            }
        }
        Ok(())
    }

    /// Reads the samples that are needed, lays what is uncovered over them, and puts everything together.
    async fn with_samples(
        &self,
        task: &Task,
        rolled: Rolled,
        plan: &BucketPlan,
        uncovered: Arc<Overs>,
        explain: &mut Explain,
    ) -> Result<BucketFolds, ReadFailure> {
        let asked = Arc::clone(&task.asked);
        let needs = Needs::new(Arc::clone(&asked.chosen), &plan.raw, clipped(rolled.samples, task.range));
        explain.raw |= !needs.is_nothing() || !uncovered.is_empty();
        let wanted = task.sources.sources.iter().filter(|(_, source)| needs.wants(*source)).copied();
        let wanted: Vec<(SourceId, SourceIndex)> = wanted.collect();
        let ids: Vec<SourceId> = wanted.iter().map(|(id, _)| *id).collect();
        let rows = self.blocks(&task.bucket, &ids, explain).await?;
        let bucket = task.bucket.clone();
        let parts = rolled.parts;
        let bytes = rows.iter().map(|row| row.body.len()).sum::<usize>();
        let work = Work::Decode(bytes + (parts.len() + uncovered.len()) * 64);
        let laid = compute(work, move || {
            let runs = block_runs(&bucket, &rows, &wanted, &needs, &asked.budget)?;
            Ok::<_, ReadFailure>(Laid::new(parts).over(runs, &uncovered, &needs, &asked))
        });
        let mut laid = laid.await??;
        let again = self.reread(&task.bucket, &task.samples(), &laid.missing(), explain).await?;
        let asked = Arc::clone(&task.asked);
        compute(Work::Decode((laid.parts.len() + again.len()) * 64), move || {
            laid.take_again(&again, &asked);
            finished(laid.parts, &asked)
        })
        .await
    }
}

impl Task {
    /// The samples in its range.
    fn samples(&self) -> Asked {
        let FoldsAsked { chosen, budget, .. } = &*self.asked;
        Asked { chosen: Arc::clone(chosen), range: self.range, budget: Arc::clone(budget) }
    }
}

impl FoldsAsked {
    fn plan(&self) -> CellCuts {
        CellCuts { cuts: self.cuts.clone(), closing: self.closing }
    }
}

/// What of single series' ranges lies in `range`: the window that holds the last cut goes on behind it.
fn clipped(
    mut samples: HashMap<SeriesKey, Vec<TimeRange>>,
    range: TimeRange,
) -> HashMap<SeriesKey, Vec<TimeRange>> {
    for ranges in samples.values_mut() {
        *ranges = ranges.iter().filter_map(|one| one.intersection(&range)).collect();
    }
    samples
}

/// The resolution whose frames list every series of the bucket.
pub(super) fn framed(seal: &SealRow) -> Option<Resolution> {
    Resolution::from_seconds(u32::try_from(seal.summary.framed_seconds).ok()?)
}

fn roll(
    task: &Task,
    levels: Vec<LevelRows>,
    uncovered: &Overs,
) -> Result<(Rolled, Vec<(Level, Listed)>), ReadFailure> {
    let FoldsAsked { chosen, cuts, closing, fields, budget } = &*task.asked;
    // Whether later samples may extend a window is seen from its last one.
    let fields = if uncovered.is_empty() { *fields } else { *fields | Fields::FIRST_LAST };
    let question = Question {
        place: task.bucket.place,
        chosen,
        sources: &task.sources,
        cuts,
        closing: *closing,
        fields,
        range: task.range,
        uncovered,
    };
    let mut rolled = Rolled::default();
    let mut listed = Vec::with_capacity(levels.len());
    for (level, rows) in levels {
        let of_level = rolled.add(&question, &level, &rows, budget)?;
        listed.push((level, of_level));
    }
    Ok((rolled, listed))
}

/// The wanted series that lie in the bucket's shard and that frames do not list.
fn unlisted(task: &Task, listed: &Listed) -> Vec<SeriesKey> {
    let chosen = &task.asked.chosen;
    let mut unlisted = Vec::new();
    for (metric, sources) in &chosen.series {
        let of_metric = listed.get(metric);
        let is_unlisted = |source: &SourceIndex| {
            sources.contains(*source) && !of_metric.is_some_and(|listed| listed.contains(*source))
        };
        let of_shard = task.sources.sources.iter().map(|(_, source)| *source);
        unlisted.extend(of_shard.filter(is_unlisted).map(|source| (source, metric.clone())));
    }
    unlisted
}

/// The wanted series that frames list.
fn list(task: &Task, rows: &[FrameRow]) -> Result<Listed, ReadFailure> {
    let mut listed = Listed::new();
    for row in rows {
        let place = task.bucket.place;
        let frame = Frame::decode(row.body.clone()).map_err(|source| ReadFailure::Frame { place, source })?;
        let of_metric: &mut SourceSet = listed.entry(row.metric.clone()).or_default();
        for (id, source) in &task.sources.sources {
            if frame.position(*id).is_some() {
                of_metric.insert(*source);
            }
        }
    }
    Ok(listed)
}

fn finished(parts: HashMap<SeriesKey, Vec<Part>>, asked: &FoldsAsked) -> BucketFolds {
    parts.into_iter().map(|(series, parts)| (series, composed(parts, &asked.cuts, asked.fields))).collect()
}
