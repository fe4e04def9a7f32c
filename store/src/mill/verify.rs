//! Recomputes the frames of buckets from their blocks and compares: every difference is reported, bucket by bucket, so
//! that a run that was cut short goes on where it stopped.
//!
//! Blocks are compared with their seal by the number of samples. Segments that no seal covers are in no frame yet.

mod compare;

#[cfg(test)]
pub(super) use compare::difference;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::frames::FrameSettings;
use super::miller::Mill;
use super::old_blocks::OldBlocks;
use super::output::frames_partition;
use super::persistent::Pages;
use super::survey::{all_seals, width_of};
use super::{MillFailure, Site};
use crate::codec::Run;
use crate::codec::block::{BlockError, Pack};
use crate::codec::frame::{Fields, Frame};
use crate::layout::tables::FRAMES;
use crate::layout::{FrameRow, Place, Resolution, SealRow};
use crate::model::{Metric, Shard, SourceId, TimeRange};
use crate::rollup::WindowState;
use crate::wide::{Scan, Wide};

/// Frames in a page; bodies are large.
const PAGE_ROWS: u32 = 64;

/// Something that is not as the blocks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The blocks do not hold as many samples as the seal counts.
    Samples {
        /// How many the seal counts.
        sealed: u64,
        /// How many there are.
        found: u64,
    },
    /// A frame is not what was written.
    Frame {
        /// Its resolution.
        resolution: Resolution,
        /// Its metric.
        metric: Metric,
        /// What is wrong with it.
        error: String,
    },
    /// A window says something else than its samples.
    Window {
        /// Whose.
        source: SourceId,
        /// Of what.
        metric: Metric,
        /// How wide.
        resolution: Resolution,
        /// Its number in the bucket.
        window: u32,
        /// What differs.
        what: &'static str,
    },
    /// Series that must be in the frames of a resolution are not.
    Missing {
        /// The resolution.
        resolution: Resolution,
        /// How many series are in the blocks.
        series: u64,
        /// How many are in the frames.
        framed: u64,
    },
}

/// A bucket that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Where. Given as the checkpoint, a later run goes on after it.
    pub place: Place,
    /// Samples in its blocks.
    pub samples: u64,
    /// Windows that were compared.
    pub windows: u64,
    /// What is not as it should be.
    pub differences: Vec<Difference>,
}

/// A run over the buckets of a range, in the order of shard and time.
pub struct Verification<'a, W> {
    mill: &'a Mill<W>,
    range: TimeRange,
    after: Option<Place>,
    shards: VecDeque<Shard>,
    seals: VecDeque<(Shard, SealRow)>,
}

impl<W: Wide> Mill<W> {
    /// Verifies the buckets that `range` touches, those after the checkpoint `after`. Buckets whose raw samples have
    /// expired are passed over: there is nothing to compare with.
    pub fn verify(&self, range: TimeRange, after: Option<Place>) -> Verification<'_, W> {
        let first = after.map_or(0, |place| place.shard.get());
        let shards = (first..self.eras().shards_max()).map(Shard::new).collect();
        Verification { mill: self, range, after, shards, seals: VecDeque::new() }
    }
}

impl<W: Wide> Verification<'_, W> {
    /// The next bucket; `None` at the end. After an error it may be called again, for the same bucket.
    pub async fn next(&mut self) -> Result<Option<Checked>, MillFailure> {
        loop {
            let Some((shard, seal)) = self.seals.front().cloned() else {
                if !self.next_shard().await? {
                    return Ok(None);
                }
                continue;
            };
            let eras = self.mill.eras();
            let place = Place { shard, bucket: seal.bucket };
            let checked = self.check(Site { place, width: width_of(&eras, place.bucket) }, &seal).await?;
            self.seals.pop_front();
            if let Some(checked) = checked {
                return Ok(Some(checked));
            }
        }
    }

    async fn next_shard(&mut self) -> Result<bool, MillFailure> {
        let Some(&shard) = self.shards.front() else { return Ok(false) };
        let (grinder, eras) = (&self.mill.grinder, self.mill.eras());
        let within = Some((self.range.start(), self.range.end()));
        let mut seals = all_seals(&grinder.store, &eras, shard, within).await?;
        seals.sort_by_key(|seal| seal.bucket);
        let is_due = |seal: &SealRow| {
            let place = Place { shard, bucket: seal.bucket };
            self.after.is_none_or(|after| place > after)
        };
        self.seals.extend(seals.into_iter().filter(is_due).map(|seal| (shard, seal)));
        self.shards.pop_front();
        Ok(true)
    }

    /// `None` where another seal came into force meanwhile, or raw samples have expired.
    async fn check(&self, site: Site, seal: &SealRow) -> Result<Option<Checked>, MillFailure> {
        let grinder = &self.mill.grinder;
        if grinder.options.retention.raw_expired(site.place.bucket, grinder.clock.now()) {
            return Ok(None);
        }
        let packs = OldBlocks::new(site, Some(seal.generation)).until(&grinder.store, None).await?;
        let blocks = Arc::new(Blocks::new(packs));
        let mut checked = Checked { place: site.place, samples: 0, windows: 0, differences: Vec::new() };
        let counted = Arc::clone(&blocks);
        let counting = move || counted.samples();
        let samples = grinder.worker.run(blocks.bytes, counting).await?;
        checked.samples = samples.map_err(|source| MillFailure::Block { place: site.place, source })?;
        if checked.samples != seal.summary.samples {
            let now = grinder.store.seal(site.place, site.width).await?;
            if now.is_none_or(|now| now.generation != seal.generation) {
                return Ok(None);
            }
            let (sealed, found) = (seal.summary.samples, checked.samples);
            checked.differences.push(Difference::Samples { sealed, found });
        }
        let settings = grinder.frame_settings(site);
        for &resolution in &settings.resolutions {
            self.check_frames((site, seal), resolution, (&settings, &blocks), &mut checked).await?;
        }
        Ok(Some(checked))
    }

    async fn check_frames(
        &self,
        (site, seal): (Site, &SealRow),
        resolution: Resolution,
        (settings, blocks): (&FrameSettings, &Arc<Blocks>),
        checked: &mut Checked,
    ) -> Result<(), MillFailure> {
        let grinder = &self.mill.grinder;
        let scan = Scan::partition(&FRAMES, frames_partition(site, resolution))
            .within(FrameRow::of(site.place.bucket, seal.generation))
            .in_pages_of(PAGE_ROWS);
        let (mut pages, mut framed) = (Pages::of(scan), 0);
        while let Some(rows) = pages.next(&grinder.store).await? {
            for row in &rows {
                let row = FrameRow::from_row(row, site.width)?;
                let (settings, blocks, bytes) = (settings.clone(), Arc::clone(blocks), row.body.len());
                let work = move || Comparison::of(&row, resolution, &settings, &blocks);
                let comparison = grinder.worker.run(bytes, work).await?;
                framed += comparison.series;
                checked.windows += comparison.windows;
                checked.differences.extend(comparison.differences);
            }
        }
        let must_be_complete = seal.summary.framed_seconds == u64::from(resolution.seconds());
        if must_be_complete && framed != blocks.series() {
            let series = blocks.series();
            checked.differences.push(Difference::Missing { resolution, series, framed });
        }
        Ok(())
    }
}

/// What comparing one frame gave.
#[derive(Debug, Default)]
struct Comparison {
    series: u64,
    windows: u64,
    differences: Vec<Difference>,
}

impl Comparison {
    fn of(row: &FrameRow, resolution: Resolution, settings: &FrameSettings, blocks: &Blocks) -> Self {
        let mut comparison = Self::default();
        if let Err(error) = comparison.compare(row, resolution, settings, blocks) {
            comparison.differences.push(Difference::Frame { resolution, metric: row.metric.clone(), error });
        }
        comparison
    }

    fn compare(
        &mut self,
        row: &FrameRow,
        resolution: Resolution,
        settings: &FrameSettings,
        blocks: &Blocks,
    ) -> Result<(), String> {
        let frame = Frame::decode(row.body.clone()).map_err(|error| error.to_string())?;
        for (position, &source) in frame.sources().iter().enumerate() {
            self.series += 1;
            if frame.is_without_windows(position) {
                continue;
            }
            let stored =
                frame.windows(position, 0..u32::MAX, Fields::ALL).map_err(|error| error.to_string())?;
            let run = blocks.run(source, &row.metric)?;
            let computed = settings.windows_of(&run, resolution);
            self.windows += u64::try_from(stored.len()).unwrap_or(0);
            let differing = differing(&stored, &computed).into_iter();
            self.differences.extend(differing.map(|(window, what)| Difference::Window {
                source,
                metric: row.metric.clone(),
                resolution,
                window,
                what,
            }));
        }
        Ok(())
    }
}

/// The windows that are not the same in both.
fn differing(stored: &[(u32, WindowState)], computed: &[(u32, WindowState)]) -> Vec<(u32, &'static str)> {
    let mut computed: BTreeMap<u32, &WindowState> = computed.iter().map(|(at, state)| (*at, state)).collect();
    let mut differing = Vec::new();
    for (at, state) in stored {
        match computed.remove(at) {
            Some(other) => differing.extend(compare::difference(state, other).map(|what| (*at, what))),
            None => differing.push((*at, "has no samples")),
        }
    }
    differing.extend(computed.into_keys().map(|at| (at, "is missing")));
    differing
}

/// The blocks of a bucket, by source.
#[derive(Debug)]
struct Blocks {
    packs: Vec<Arc<Pack>>,
    places: BTreeMap<SourceId, Vec<(usize, usize)>>,
    bytes: usize,
}

impl Blocks {
    fn new(packs: Vec<Arc<Pack>>) -> Self {
        let mut places: BTreeMap<SourceId, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, pack) in packs.iter().enumerate() {
            for (position, &source) in pack.sources().iter().enumerate() {
                places.entry(source).or_default().push((at, position));
            }
        }
        let bytes = packs.iter().map(|pack| pack.samples()).sum();
        Self { packs, places, bytes }
    }

    /// The series of all sources.
    fn series(&self) -> u64 {
        let of_source = |places: &Vec<(usize, usize)>| {
            let mut metrics: Vec<&Metric> = places
                .iter()
                .filter_map(|(pack, position)| Some(self.packs.get(*pack)?.metrics(*position)))
                .flatten()
                .collect();
            metrics.sort_unstable();
            metrics.dedup();
            u64::try_from(metrics.len()).unwrap_or(u64::MAX)
        };
        self.places.values().map(of_source).sum()
    }

    /// How many samples there are, all decoded.
    fn samples(&self) -> Result<u64, BlockError> {
        let mut samples = 0;
        for pack in &self.packs {
            for position in 0..pack.sources().len() {
                for metric in pack.metrics(position) {
                    let run = pack.run(position, metric, TimeRange::ALL)?;
                    samples += u64::try_from(run.map_or(0, |run| run.len())).unwrap_or(u64::MAX);
                }
            }
        }
        Ok(samples)
    }

    /// A series; blocks that two attempts have written over each other are an error, too.
    fn run(&self, source: SourceId, metric: &Metric) -> Result<Run, String> {
        let mut run = Run::default();
        for (pack, position) in self.places.get(&source).map(Vec::as_slice).unwrap_or_default() {
            let Some(pack) = self.packs.get(*pack) else { continue };
            let part = pack.run(*position, metric, TimeRange::ALL).map_err(|error| error.to_string())?;
            let part = part.unwrap_or_default();
            if run.last_time().is_some_and(|last| part.first_time().is_some_and(|first| first <= last)) {
                return Err(format!("the blocks of {source:?} overlap in time"));
            }
            part.iter().for_each(|(time, value)| run.push(time, value));
        }
        Ok(run)
    }
}
