//! Samples of a series that lie over those that are ground: some as they are, of others the folds of windows. Pure.
//!
//! What a question cuts through a fold, or asks of a window that is not kept, is missing: it has to be read again.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::codec::Run;
use crate::model::{TimeRange, Timestamp, Value};
use crate::read::composed::{Part, cell_of, parts_of};
use crate::read::overlay::append;
use crate::read::plan::joined;
use crate::read::rolled::SeriesKey;
use crate::rollup::{Fields, Fold, WindowState};

/// What is over the ground, by series; of each series something.
pub(in crate::read) type Overs = HashMap<SeriesKey, Over>;

/// All samples of a window, folded, but for later ones.
#[derive(Debug, Clone)]
pub(in crate::read) struct Dense {
    pub(in crate::read) window: TimeRange,
    pub(in crate::read) state: WindowState,
}

impl Dense {
    /// The time of the first sample.
    pub(super) fn first(&self) -> Timestamp {
        let first = self.state.boundary.as_ref().or(self.state.interior.first());
        first.map_or(self.window.start(), |first| first.time)
    }

    /// The time and value of the last sample.
    pub(super) fn last(&self) -> Option<(Timestamp, &Value)> {
        let last = self.state.interior.last().or(self.state.boundary.as_ref());
        last.map(|last| (last.time, &last.value))
    }

    pub(super) fn last_time(&self) -> Timestamp {
        self.last().map_or(self.window.start(), |(time, _)| time)
    }

    fn overlaps(&self, range: TimeRange) -> bool {
        self.first() < range.end() && self.last_time() >= range.start()
    }

    /// What it says of `range`, where all of that lies in one cell; nothing where samples have to be looked at.
    fn part(&self, range: TimeRange, cuts: &[Timestamp], fields: Fields) -> Option<Part> {
        let (first, last) = (self.first(), self.last_time());
        let is_at_start = range.intersection(&self.window).is_some_and(|part| {
            part.start() == self.window.start() && part.end().nanos() == part.start().nanos() + 1
        });
        if let Some(boundary) = self.state.boundary.clone().filter(|_| is_at_start) {
            let (start, cell) = (boundary.time, cell_of(cuts, boundary.time));
            let state = WindowState { boundary: Some(boundary), interior: Fold::EMPTY };
            return Some(Part { start, cell, state });
        }
        let is_whole = range.start() <= first && last < range.end() && !fields.contains(Fields::SKETCH);
        let cell = cell_of(cuts, first);
        // The sample at the start of a cell has to stand apart.
        let is_apart = self.state.boundary.is_some() || cuts.get(cell) != Some(&first);
        (is_whole && is_apart && cell == cell_of(cuts, last)).then(|| Part {
            start: first,
            cell,
            state: self.state.clone(),
        })
    }
}

/// What is over the ground of one series.
#[derive(Debug, Clone, Default)]
pub(in crate::read) struct Over {
    /// Samples that are in no fold. Those in a dense window lie behind what is folded there; none lies in an odd one.
    pub(super) run: Run,
    /// By time.
    pub(super) dense: Vec<Arc<Dense>>,
    /// Windows with samples of which nothing is kept, by time.
    pub(super) odd: Vec<TimeRange>,
}

/// What is known of the samples in a range, and of which parts of it nothing is.
#[derive(Debug, Default)]
pub(in crate::read) struct Cover<T> {
    pub(in crate::read) known: T,
    /// Ascending; ranges that touch are one.
    pub(in crate::read) missing: Vec<TimeRange>,
}

impl From<Run> for Over {
    fn from(run: Run) -> Self {
        Self { run, ..Self::default() }
    }
}

impl Over {
    /// Whether there are no samples.
    pub(in crate::read) fn is_empty(&self) -> bool {
        self.run.is_empty() && self.dense.is_empty() && self.odd.is_empty()
    }

    /// What is over the ground in `range`, at least.
    pub(in crate::read) fn within(&self, range: TimeRange) -> Self {
        let first = self.dense.partition_point(|dense| dense.last_time() < range.start());
        let end = self.dense.partition_point(|dense| dense.first() < range.end());
        let odd = self.odd.iter().filter(|odd| is_there(odd.intersection(&range)));
        Self {
            run: self.run.slice(range),
            dense: self.dense.get(first..end).unwrap_or_default().to_vec(),
            odd: odd.copied().collect(),
        }
    }

    /// The samples in `range`.
    pub(in crate::read) fn samples(&self, range: TimeRange) -> Cover<Run> {
        let dense = self.dense.iter().filter(|dense| dense.overlaps(range)).map(|dense| dense.window);
        let missing = self.missing(range, dense);
        let mut known = Run::default();
        for gap in gaps(range, &missing) {
            append(&mut known, &self.run.slice(gap));
        }
        Cover { known, missing }
    }

    /// What the samples in `range` say of cells, in parts by time that follow each other.
    pub(in crate::read) fn parts(
        &self,
        range: TimeRange,
        cuts: &[Timestamp],
        fields: Fields,
    ) -> Cover<Vec<Part>> {
        let (mut folded, mut unfit) = (Vec::new(), Vec::new());
        for dense in self.dense.iter().filter(|dense| dense.overlaps(range)) {
            match dense.part(range, cuts, fields) {
                Some(part) => folded.push(part),
                None => unfit.push(dense.window),
            }
        }
        let missing = self.missing(range, unfit.into_iter());
        let mut known = Vec::new();
        let mut folded = folded.into_iter().peekable();
        for gap in gaps(range, &missing) {
            // Samples between two folds are parts of their own, so that parts follow each other.
            let mut from = gap.start();
            while let Some(part) = folded.next_if(|part| part.start < gap.end()) {
                known.extend(self.parts_between((from, part.start), cuts, fields));
                from = part.start;
                known.push(part);
            }
            known.extend(self.parts_between((from, gap.end()), cuts, fields));
        }
        Cover { known, missing }
    }

    /// The parts of the samples that are kept one by one; none of them has the time of a fold's first one.
    fn parts_between(
        &self,
        (start, end): (Timestamp, Timestamp),
        cuts: &[Timestamp],
        fields: Fields,
    ) -> Vec<Part> {
        let range = TimeRange::new(start, end).ok();
        range.map(|range| parts_of(&self.run.slice(range), cuts, fields)).unwrap_or_default()
    }

    /// The stretches of time in which there may be samples.
    pub(in crate::read) fn stretches(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let single = self.run.times.iter().map(|time| (*time, *time));
        let dense = self.dense.iter().map(|dense| (dense.first(), dense.last_time()));
        let just_before = |end: Timestamp| Timestamp::from_nanos(end.nanos() - 1).unwrap_or(end);
        let odd = self.odd.iter().map(move |odd| (odd.start(), just_before(odd.end())));
        single.chain(dense).chain(odd)
    }

    /// `unfit` windows and odd ones, as far as they lie in `range`.
    fn missing(&self, range: TimeRange, unfit: impl Iterator<Item = TimeRange>) -> Vec<TimeRange> {
        let mut missing: Vec<TimeRange> =
            unfit.chain(self.odd.iter().copied()).filter_map(|window| window.intersection(&range)).collect();
        missing.retain(|range| !range.is_empty());
        missing.sort_unstable_by_key(TimeRange::start);
        joined(missing)
    }
}

fn is_there(range: Option<TimeRange>) -> bool {
    range.is_some_and(|range| !range.is_empty())
}

/// What is left of `range` without ascending parts of it.
fn gaps(range: TimeRange, without: &[TimeRange]) -> Vec<TimeRange> {
    let mut from = range.start();
    let mut gaps = Vec::with_capacity(without.len() + 1);
    for part in without {
        gaps.extend(TimeRange::new(from, part.start()));
        from = part.end();
    }
    gaps.extend(TimeRange::new(from, range.end()));
    gaps.retain(|gap| !gap.is_empty());
    gaps
}
