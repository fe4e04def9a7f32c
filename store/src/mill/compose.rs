//! From the old blocks and the new samples of a range of sources to new blocks and frames. Pure: a source at a time,
//! in the order of ids, so that little more than one source is decoded at once.

use std::sync::Arc;

use crate::codec::block::{BlockError, Pack, PackBody, PackBuilder, PackLimits};
use crate::model::{SourceId, TimeRange};

use super::frames::{FrameSettings, Frames, FramesOfMetric};
use super::merge::{NewSources, SourceRange, SourceRuns, Tally, overlay_source};

/// What was made of a range of sources.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) packs: Vec<PackBody>,
    pub(super) frames: Vec<FramesOfMetric>,
}

/// What was found and made over all ranges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Samples in the new blocks.
    pub(super) samples: u64,
    /// Samples in the old blocks.
    pub(super) old_samples: u64,
    /// Sources with samples.
    pub(super) sources: u64,
    pub(super) tally: Tally,
    /// The coarsest resolution, in seconds, in whose frames every series is; 0 if there is none.
    pub(super) framed_seconds: u64,
}

/// Makes blocks and frames of one bucket, range after range of ascending sources.
#[derive(Debug)]
pub(super) struct Composer {
    packs: PackBuilder,
    frames: Frames,
    found: Found,
}

impl Composer {
    pub(super) fn new(packs: PackLimits, frames: FrameSettings) -> Self {
        Self { packs: PackBuilder::new(packs), frames: Frames::new(frames), found: Found::default() }
    }

    pub(super) fn found(&self) -> Found {
        let framed = self.frames.framed().map_or(0, |resolution| u64::from(resolution.seconds()));
        Found { framed_seconds: framed, ..self.found }
    }

    /// Takes in the new samples of the sources in `range`, over what `packs` hold of them.
    pub(super) fn compose(
        &mut self,
        mut new: NewSources,
        packs: &[Arc<Pack>],
        range: SourceRange,
    ) -> Result<Made, BlockError> {
        let mut made = Made::default();
        let mut old = OldSources::new(packs, range);
        while let Some(source) = old.peek().into_iter().chain(new.peek()).min() {
            let before = old.take(source)?;
            self.found.old_samples += samples(&before);
            let tally = &mut self.found.tally;
            let runs = overlay_source(before, new.take(source, tally), tally);
            self.found.samples += samples(&runs);
            self.found.sources += 1;
            made.packs.extend(self.packs.push(source, &runs));
            made.frames.extend(self.frames.push(source, &runs));
        }
        Ok(made)
    }

    /// What was not full yet.
    pub(super) fn finish(self) -> Made {
        Made { packs: self.packs.finish(), frames: self.frames.finish() }
    }
}

fn samples(runs: &SourceRuns) -> u64 {
    runs.iter().map(|(_, run)| u64::try_from(run.len()).unwrap_or(u64::MAX)).sum()
}

/// The sources of consecutive packs, within a range.
#[derive(Debug)]
struct OldSources<'a> {
    packs: &'a [Arc<Pack>],
    position: usize,
    range: SourceRange,
}

impl<'a> OldSources<'a> {
    fn new(packs: &'a [Arc<Pack>], range: SourceRange) -> Self {
        let mut sources = Self { packs, position: 0, range };
        while sources.at().is_some_and(|source| source < range.start) {
            sources.advance();
        }
        sources
    }

    /// The next source.
    fn peek(&self) -> Option<SourceId> {
        self.at().filter(|source| self.range.contains(*source))
    }

    /// The series of `source`, where it is next, of all its parts.
    fn take(&mut self, source: SourceId) -> Result<SourceRuns, BlockError> {
        let mut runs = SourceRuns::new();
        while let Some(pack) = self.packs.first().filter(|_| self.peek() == Some(source)) {
            for metric in pack.metrics(self.position) {
                let Some(part) = pack.run(self.position, metric, TimeRange::ALL)? else { continue };
                match runs.iter_mut().find(|(of, _)| of == metric) {
                    Some((_, run)) => part.iter().for_each(|(time, value)| run.push(time, value)),
                    None => runs.push((metric.clone(), part)),
                }
            }
            self.advance();
        }
        runs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(runs)
    }

    fn at(&self) -> Option<SourceId> {
        self.packs.first()?.sources().get(self.position).copied()
    }

    fn advance(&mut self) {
        let Some((pack, rest)) = self.packs.split_first() else { return };
        self.position += 1;
        if self.position >= pack.sources().len() {
            (self.packs, self.position) = (rest, 0);
        }
    }
}
