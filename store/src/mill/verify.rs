//! Recomputes the frames of buckets from their blocks and compares: every difference is reported, bucket by bucket, so
//! that a run that was cut short goes on where it stopped.
//!
//! Blocks are compared with their seal by the number of samples; one that cannot be read is reported, and the rest goes
//! on without it. Segments that no seal covers are in no frame yet.

mod blocks;
mod compare;

#[cfg(test)]
pub(super) use compare::difference;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use blocks::Blocks;

use super::frames::FrameSettings;
use super::miller::Mill;
use super::output::frames_partition;
use super::persistent::Pages;
use super::survey::{all_seals, width_of};
use super::{MillFailure, Site};
use crate::codec::frame::{Fields, Frame};
use crate::layout::tables::{CATALOG, FRAMES};
use crate::layout::{CatalogRow, FrameRow, Place, Resolution, SealRow};
use crate::model::{Metric, Shard, Source, SourceId, TimeRange};
use crate::rollup::WindowState;
use crate::wide::{Scan, Wide};

/// Frames in a page; bodies are large.
const PAGE_ROWS: u32 = 64;
/// Rows of the catalog in a page; they are small.
const CATALOG_PAGE_ROWS: u32 = 1_000;

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
    /// A row of blocks cannot be read.
    Block {
        /// The first source in it.
        first_source: SourceId,
        /// What is wrong with it.
        error: String,
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

impl Difference {
    /// The source that it is about, where it is about one.
    pub fn source(&self) -> Option<SourceId> {
        match self {
            Self::Block { first_source: source, .. } | Self::Window { source, .. } => Some(*source),
            Self::Samples { .. } | Self::Frame { .. } | Self::Missing { .. } => None,
        }
    }
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
    expired: u64,
}

impl<W: Wide> Mill<W> {
    /// Verifies the buckets that `range` touches, those after the checkpoint `after`. Buckets whose raw samples have
    /// expired are passed over: there is nothing to compare with.
    pub fn verify(&self, range: TimeRange, after: Option<Place>) -> Verification<'_, W> {
        let first = after.map_or(0, |place| place.shard.get());
        let shards = (first..self.eras().shards_max()).map(Shard::new).collect();
        Verification { mill: self, range, after, shards, seals: VecDeque::new(), expired: 0 }
    }
}

impl<W: Wide> Mill<W> {
    /// The names of sources of a shard, so far as its catalog has them.
    pub async fn names(
        &self,
        shard: Shard,
        wanted: &BTreeSet<SourceId>,
    ) -> Result<BTreeMap<SourceId, Arc<Source>>, MillFailure> {
        let mut names = BTreeMap::new();
        let scan = Scan::partition(&CATALOG, CatalogRow::partition(shard)).in_pages_of(CATALOG_PAGE_ROWS);
        let mut pages = Pages::of(scan);
        while names.len() < wanted.len() {
            let Some(rows) = pages.next(&self.grinder.store).await? else { break };
            for row in &rows {
                let source = CatalogRow::from_row(row)?.source;
                if wanted.contains(&source.id()) {
                    names.entry(source.id()).or_insert(source);
                }
            }
        }
        Ok(names)
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
            let checked = self.check(Site { place, width: width_of(&eras, place.bucket) }, seal).await?;
            self.seals.pop_front();
            match checked {
                Some(checked) => return Ok(Some(checked)),
                None => self.expired += 1,
            }
        }
    }

    /// Buckets that were passed over so far: their raw samples have expired.
    pub fn expired(&self) -> u64 {
        self.expired
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

    /// `None` where raw samples have expired. What differs is only said of a seal that is still in force: one that
    /// was replaced meanwhile says nothing about what its successor has collected.
    async fn check(&self, site: Site, mut seal: SealRow) -> Result<Option<Checked>, MillFailure> {
        let grinder = &self.mill.grinder;
        loop {
            if grinder.options.retention.raw_expired(site.place.bucket, grinder.clock.now()) {
                return Ok(None);
            }
            let checked = self.check_sealed(site, &seal).await?;
            if checked.differences.is_empty() {
                return Ok(Some(checked));
            }
            match grinder.store.seal(site.place, site.width).await? {
                Some(now) if now.generation != seal.generation => seal = now,
                Some(_) | None => return Ok(Some(checked)),
            }
        }
    }

    async fn check_sealed(&self, site: Site, seal: &SealRow) -> Result<Checked, MillFailure> {
        let grinder = &self.mill.grinder;
        let blocks = Blocks::read(&grinder.store, site, seal.generation).await?;
        let bytes = blocks.bytes;
        let (blocks, differences) = grinder.worker.run(bytes, move || blocks.sound()).await?;
        let blocks = Arc::new(blocks);
        let mut checked = Checked { place: site.place, samples: blocks.samples, windows: 0, differences };
        let found = blocks.samples + blocks.unreadable_samples();
        if found != seal.summary.samples {
            checked.differences.push(Difference::Samples { sealed: seal.summary.samples, found });
        }
        let settings = grinder.frame_settings(site);
        for &resolution in &settings.resolutions {
            self.check_frames((site, seal), resolution, (&settings, &blocks), &mut checked).await?;
        }
        Ok(checked)
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
        if must_be_complete && blocks.unreadable.is_empty() && framed != blocks.series() {
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
            if frame.is_without_windows(position) || blocks.is_unreadable(source) {
                continue;
            }
            let stored =
                frame.windows(position, 0..u32::MAX, Fields::ALL).map_err(|error| error.to_string())?;
            let run = blocks.run(source, &row.metric)?;
            let has_sketch = stored.iter().any(|(_, state)| state.interior.sketch().is_some());
            let computed = settings.windows_of(&run, resolution, has_sketch);
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
            None => differing.push((*at, "having no samples")),
        }
    }
    differing.extend(computed.into_keys().map(|at| (at, "being missing")));
    differing
}
