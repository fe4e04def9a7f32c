//! One grind of one bucket: the steps of design §7 in their order, which is binding.
//!
//! 1. read marks, then the seal, then the segments that it does not cover and the blocks of its generation;
//! 2. write blocks and frames under a fresh generation;
//! 3. put the seal in force by compare-and-set on its version; who loses starts over, later;
//! 4. delete the marks that were read in step 1 and say nothing any more, at the write time that was read.
//!
//! Step 5 is `collect`. A future that is dropped anywhere leaves at most rows that no seal names (I4, I5).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::attempts::Attempts;
use super::compose::{Composer, Found, Made};
use super::coverage::{Coverage, Patience};
use super::frames::FrameSettings;
use super::merge::{Gather, SourceRange, Unsound};
use super::old_blocks::OldBlocks;
use super::output::{Output, Written};
use super::persistent::{Persistent, Swap};
use super::quarantine::{self, Cause};
use super::segments::{self, Start, Wanted};
use super::sources::Sources;
use super::worker::Worker;
use super::{MillFailure, MillMetrics, MillOptions, Site};
use crate::codec::segment::{Limits, Segment, SegmentError};
use crate::layout::tables::MARKS;
use crate::layout::{Announced, Covered, MarkRow, Resolution, SealRow, SealSummary, SegmentRow};
use crate::model::{Clock, Generation, SealVersion, SourceId, WriterId};
use crate::wide::{Deletion, Wide};

/// Bytes of segments that are decoded in one piece of work.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// Memory that the value of a sample or the time of a point takes while it is gathered, in vectors that grow by doubling.
const GATHERED_BYTES: u64 = 12;

/// What a grind takes as worth doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What no seal covers yet.
    New,
    /// That, and where there is nothing new, what is ground once more: rollups are made anew from blocks.
    Again,
}

/// How a grind ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrindOutcome {
    /// There was nothing to do.
    Nothing,
    /// Marks that said nothing any more were deleted.
    Unmarked,
    /// A new generation is in force.
    Ground,
    /// Segments of a bucket whose raw samples have expired were kept as rejects.
    Quarantined,
}

/// What a grind did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ground {
    /// How it ended.
    pub outcome: GrindOutcome,
    /// Segments that are covered now and were not before.
    pub segments: usize,
    /// Bytes of their bodies.
    pub segment_bytes: u64,
    /// Bytes of old blocks that were read.
    pub block_bytes_read: u64,
    /// Bytes of blocks and frames that were written.
    pub written_bytes: u64,
    /// Samples in the new blocks.
    pub samples: u64,
    /// Samples among the new ones that repeated another's time and value.
    pub duplicates: u64,
    /// Samples that were replaced by another value of the same time.
    pub corrections: u64,
    /// Segments that were set aside.
    pub set_aside: usize,
    /// Marks that were deleted.
    pub marks_deleted: usize,
}

/// What grinds.
pub(super) struct Grinder<W> {
    pub(super) store: Persistent<W>,
    pub(super) options: MillOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: MillMetrics,
    sources: Sources,
    announced: Mutex<Announced>,
    pub(super) worker: Worker,
}

/// Catalog rows of the writers whose segments are ground.
type Ids = BTreeMap<WriterId, Arc<Vec<SourceId>>>;

/// Segments that were set aside, by their keys.
type Aside = BTreeMap<(WriterId, u32), (SegmentRow, Cause)>;

/// What an attempt found and wrote.
#[derive(Debug, Default)]
struct Attempt {
    found: Found,
    written: Written,
    block_bytes_read: u64,
    aside: Aside,
}

impl<W: Wide> Grinder<W> {
    pub(super) fn new(
        store: Persistent<W>,
        options: MillOptions,
        clock: Arc<dyn Clock>,
        metrics: MillMetrics,
    ) -> Self {
        let (sources, worker) = (Sources::new(options.catalog_rows_max), Worker::new(options.cpu_share));
        Self { store, options, clock, metrics, sources, announced: Mutex::default(), worker }
    }

    /// Grinds what has settled of a bucket, whatever there is of it.
    pub(super) async fn grind(
        &self,
        site: Site,
        attempts: &Attempts,
        effort: Effort,
    ) -> Result<Ground, MillFailure> {
        let start = segments::start(&self.store, site, self.options.memory_bytes_max / 4).await?;
        let coverage = self.patience().coverage(start.seal.as_ref(), &start.writers);
        let mut ground = Ground::of(&coverage);
        let is_wanted = coverage.segments > 0 || self.is_to_be_renewed(site, effort, start.seal.as_ref());
        if coverage.segments > 0 && self.is_too_late(site, start.seal.as_ref()) {
            ground.outcome = GrindOutcome::Quarantined;
            ground.set_aside = self.quarantine(site, &start, &coverage).await?;
        } else if is_wanted {
            let attempt = attempts.take().ok_or(MillFailure::AttemptsSpent(site.place.shard))?;
            let version = next_version(start.seal.as_ref());
            let generation = Generation { version, attempt };
            let attempt = self.attempt(site, &start, &coverage, generation).await?;
            ground.outcome = GrindOutcome::Ground;
            ground.take(&attempt);
            self.seal(site, &start, &coverage, generation, &attempt).await?;
        } else if !coverage.spent_marks.is_empty() {
            ground.outcome = GrindOutcome::Unmarked;
        }
        self.delete_marks(site, &coverage.spent_marks).await?;
        self.metrics.ground(&ground);
        Ok(ground)
    }

    pub(super) fn patience(&self) -> Patience {
        let times = &self.options.times;
        Patience { now: self.clock.now(), settle: times.settle, mark_age_max: times.mark_age_max }
    }

    /// Whether what is ground is to be made anew although nothing came; it can be while its samples are there.
    fn is_to_be_renewed(&self, site: Site, effort: Effort, seal: Option<&SealRow>) -> bool {
        let has_ground = seal.is_some_and(|seal| seal.summary.samples > 0);
        effort == Effort::Again && has_ground && !self.raw_expired(site)
    }

    /// Whether new rollups can no longer be made from all samples: raw samples that were ground have expired. A
    /// bucket that was never ground has all its samples in segments, and is ground for what still has not expired.
    fn is_too_late(&self, site: Site, seal: Option<&SealRow>) -> bool {
        let (retention, now) = (&self.options.retention, self.clock.now());
        let has_ground = seal.is_some_and(|seal| seal.summary.samples > 0);
        let resolutions = self.options.resolutions_of(site.width);
        let all_expired = resolutions
            .iter()
            .all(|&resolution| retention.frames_expired(site.place.bucket, resolution, now));
        retention.raw_expired(site.place.bucket, now) && (has_ground || all_expired)
    }

    /// Step 2, with the reading of bodies that belongs to step 1.
    async fn attempt(
        &self,
        site: Site,
        start: &Start,
        coverage: &Coverage,
        generation: Generation,
    ) -> Result<Attempt, MillFailure> {
        let wanted = start.wanted(&coverage.covered);
        let ids = Arc::new(self.ids(site, &coverage.covered, &wanted).await?);
        let output = Output { site, generation, blocks: !self.raw_expired(site) };
        let in_force = start.seal.as_ref().map(|seal| seal.generation);
        let mut old = OldBlocks::new(site, in_force);
        let mut composer = Composer::new(self.options.packs, self.frame_settings(site));
        let mut attempt = Attempt::default();
        for range in SourceRange::split(self.passes(coverage)) {
            let gather = self.gather(site, start, &wanted, (&ids, range), &mut attempt.aside).await?;
            let gather = gather.ok_or(MillFailure::Overtaken(site.place))?;
            let packs = old.until(&self.store, range.end).await?;
            let bytes = usize::try_from(coverage.bytes).unwrap_or(usize::MAX)
                + packs.iter().map(|pack| pack.samples()).sum::<usize>();
            let work = move || {
                let made = composer.compose(gather.finish(), &packs, range);
                (composer, made)
            };
            let (back, made) = self.worker.run(bytes, work).await?;
            composer = back;
            let made = made.map_err(|source| MillFailure::Block { place: site.place, source })?;
            attempt.written.add(output.write(&self.store, &self.options, made).await?);
        }
        attempt.found = composer.found();
        let rest: Made = composer.finish();
        attempt.written.add(output.write(&self.store, &self.options, rest).await?);
        attempt.block_bytes_read = old.bytes;
        check_old(site, start.seal.as_ref(), attempt.found.old_samples)?;
        for (row, cause) in attempt.aside.values() {
            self.set_aside(site, row, cause).await?;
        }
        Ok(attempt)
    }

    /// The new samples of a range of sources; `None` where segments are gone: another mill ground and collected them.
    async fn gather(
        &self,
        site: Site,
        start: &Start,
        wanted: &Wanted,
        (ids, range): (&Arc<Ids>, SourceRange),
        aside: &mut Aside,
    ) -> Result<Option<Gather>, MillFailure> {
        let mut gather = Gather::new(range);
        let mut feed = start.feed(site, wanted);
        let mut missing = start.count(wanted);
        loop {
            let rows = feed.next(&self.store, CHUNK_BYTES).await?;
            if rows.is_empty() {
                return Ok((missing == 0).then_some(gather));
            }
            let Some(left) = missing.checked_sub(rows.len()) else { return Ok(None) };
            missing = left;
            let bytes = rows.iter().map(|row| row.body.len()).sum();
            let ids = Arc::clone(ids);
            let work = move || {
                let mut unsound = Vec::new();
                for row in rows {
                    if let Err(error) = add(&mut gather, &row, &ids) {
                        unsound.push((row, error));
                    }
                }
                (gather, unsound)
            };
            let (back, unsound) = self.worker.run(bytes, work).await?;
            gather = back;
            for (row, error) in unsound {
                if matches!(error, Unsound::Bytes(SegmentError::Version(_))) {
                    return Err(MillFailure::LaterVersion(site.place));
                }
                let cause = Cause::Corrupt(error.to_string());
                aside.insert((row.writer, row.seq.get()), (row, cause));
            }
        }
    }

    async fn ids(
        &self,
        site: Site,
        covered: &BTreeMap<WriterId, Covered>,
        wanted: &Wanted,
    ) -> Result<Ids, MillFailure> {
        let mut ids = Ids::new();
        for writer in wanted.keys() {
            let needed = covered.get(writer).copied().unwrap_or_default().catalog;
            ids.insert(*writer, self.sources.of(&self.store, (site.place.shard, *writer), needed).await?);
        }
        Ok(ids)
    }

    /// Step 3.
    async fn seal(
        &self,
        site: Site,
        start: &Start,
        coverage: &Coverage,
        generation: Generation,
        attempt: &Attempt,
    ) -> Result<(), MillFailure> {
        let before = start.seal.as_ref().map(|seal| seal.summary).unwrap_or_default();
        let (found, written) = (attempt.found, attempt.written);
        let summary = SealSummary {
            samples: found.samples,
            duplicates: before.duplicates + found.tally.duplicates,
            corrections: before.corrections + found.tally.corrections,
            sources: found.sources,
            block_bytes: written.blocks,
            frame_bytes: written.frames,
            segment_bytes: before.segment_bytes + coverage.bytes,
            written_bytes: before.written_bytes + written.all(),
            framed_seconds: found.framed_seconds,
            garbage_bytes: before.garbage_bytes + before.block_bytes + before.frame_bytes + coverage.bytes,
        };
        let seal = SealRow {
            bucket: site.place.bucket,
            version: generation.version,
            generation,
            sealed_at: self.clock.now(),
            covered: coverage.covered.clone(),
            summary,
        };
        self.put_in_force(site, start, &seal).await
    }

    /// Covers what came too late as if it were ground, once it is durable as rejects.
    async fn quarantine(&self, site: Site, start: &Start, coverage: &Coverage) -> Result<usize, MillFailure> {
        let mut feed = start.feed(site, &start.wanted(&coverage.covered));
        let mut count = 0;
        loop {
            let rows = feed.next(&self.store, CHUNK_BYTES).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                self.set_aside(site, row, &Cause::Expired).await?;
            }
            count += rows.len();
        }
        if count != coverage.segments {
            return Err(MillFailure::Overtaken(site.place));
        }
        let version = next_version(start.seal.as_ref());
        let before = start.seal.clone().unwrap_or_else(|| SealRow {
            bucket: site.place.bucket,
            version,
            generation: Generation { version, attempt: 0 },
            sealed_at: self.clock.now(),
            covered: BTreeMap::new(),
            summary: SealSummary::default(),
        });
        let mut summary = before.summary;
        summary.garbage_bytes += coverage.bytes;
        let covered = coverage.covered.clone();
        let seal = SealRow { version, covered, summary, sealed_at: self.clock.now(), ..before };
        self.put_in_force(site, start, &seal).await?;
        Ok(count)
    }

    async fn put_in_force(&self, site: Site, start: &Start, seal: &SealRow) -> Result<(), MillFailure> {
        let wide = self.store.wide();
        self.announced.lock().await.announce(&**wide, site.place, site.width, &seal.covered).await?;
        let version = start.seal.as_ref().map(|seal| seal.version);
        match self.store.swap_seal((site.place, site.width), version, seal).await? {
            Swap::Won => Ok(()),
            Swap::Lost => {
                self.metrics.overtaken();
                Err(MillFailure::Overtaken(site.place))
            }
        }
    }

    async fn set_aside(&self, site: Site, row: &SegmentRow, cause: &Cause) -> Result<(), MillFailure> {
        quarantine::set_aside(&self.store, site, row, cause).await?;
        tracing::warn!(
            shard = %site.place.shard, bucket = ?site.place.bucket.start(), writer = %row.writer,
            seq = %row.seq, reason = cause.as_str(), "a segment was set aside as a reject"
        );
        self.metrics.set_aside(cause.as_str(), u64::from(row.samples));
        Ok(())
    }

    /// Step 4.
    pub(super) async fn delete_marks(&self, site: Site, spent: &[MarkRow]) -> Result<(), MillFailure> {
        let partition = MarkRow::partition(site.place.shard);
        for mark in spent {
            let deletion = Deletion::Row(mark.to_row().clustering);
            self.store.delete(&MARKS, &partition, &deletion, mark.written_at).await?;
        }
        Ok(())
    }

    fn raw_expired(&self, site: Site) -> bool {
        self.options.retention.raw_expired(site.place.bucket, self.clock.now())
    }

    /// Into how many ranges of sources a bucket is cut so that one fits in memory.
    fn passes(&self, coverage: &Coverage) -> u64 {
        let held = (coverage.samples + coverage.points)
            .saturating_mul(GATHERED_BYTES)
            .max(coverage.bytes.saturating_mul(4));
        held.div_ceil(u64::try_from(self.options.memory_bytes_max).unwrap_or(u64::MAX).max(1)).max(1)
    }

    pub(super) fn frame_settings(&self, site: Site) -> FrameSettings {
        let (retention, now) = (&self.options.retention, self.clock.now());
        let mut resolutions = self.options.resolutions_of(site.width);
        resolutions.retain(|&resolution| !retention.frames_expired(site.place.bucket, resolution, now));
        let outlives_raw = |resolution: &Resolution| {
            let frames = retention.frames.get(resolution);
            retention.raw.is_some_and(|raw| frames.is_none_or(|frames| *frames > raw))
        };
        let coarsest = resolutions.last().copied();
        let is_for_all =
            |resolution: &&Resolution| Some(**resolution) == coarsest || outlives_raw(resolution);
        FrameSettings {
            bucket: site.place.bucket,
            always: resolutions.iter().filter(is_for_all).copied().collect(),
            resolutions,
            samples_min: self.options.frame_samples_min,
            sketches_from: self.options.sketches_from,
        }
    }
}

fn next_version(seal: Option<&SealRow>) -> SealVersion {
    seal.map(|seal| seal.version).unwrap_or_default().next()
}

fn add(gather: &mut Gather, row: &SegmentRow, ids: &Ids) -> Result<(), Unsound> {
    let segment = Segment::decode(row.body.clone(), Limits::DEFAULT)?;
    gather.add(&segment, ids.get(&row.writer).map(|ids| ids.as_slice()).unwrap_or_default())
}

/// What is sealed must be there: a generation that was collected meanwhile, or of which rows are gone, is no ground to
/// build on.
fn check_old(site: Site, seal: Option<&SealRow>, found: u64) -> Result<(), MillFailure> {
    let sealed = seal.map_or(0, |seal| seal.summary.samples);
    if found == sealed {
        return Ok(());
    }
    Err(MillFailure::BlocksMissing { place: site.place, found, sealed })
}

impl Ground {
    fn of(coverage: &Coverage) -> Self {
        Self {
            outcome: GrindOutcome::Nothing,
            segments: coverage.segments,
            segment_bytes: coverage.bytes,
            block_bytes_read: 0,
            written_bytes: 0,
            samples: 0,
            duplicates: 0,
            corrections: 0,
            set_aside: 0,
            marks_deleted: coverage.spent_marks.len(),
        }
    }

    fn take(&mut self, attempt: &Attempt) {
        self.block_bytes_read = attempt.block_bytes_read;
        self.written_bytes = attempt.written.all();
        self.samples = attempt.found.samples;
        self.duplicates = attempt.found.tally.duplicates;
        self.corrections = attempt.found.tally.corrections;
        self.set_aside = attempt.aside.len();
    }
}
