//! What no seal covers laid over the samples of blocks: parts of cells where all of it is later, as it mostly is, else
//! samples over samples, of which some have to be read again (I4). Pure.

use hashbrown::HashMap;

use super::blocks::{Runs, Wants};
use super::composed::{Part, parts_of, parts_within};
use super::folds::FoldsAsked;
use super::live::{Missing, Over, Overs};
use super::overlay::overlay;
use super::rolled::{Needs, SeriesKey};
use crate::codec::Run;
use crate::model::TimeRange;

/// Parts of cells by series, and what is still to be read for some.
#[derive(Debug, Default)]
pub(super) struct Laid {
    pub(super) parts: HashMap<SeriesKey, Vec<Part>>,
    /// What is ground in ranges whose uncovered samples have to be read again.
    again: HashMap<SeriesKey, Vec<(TimeRange, Run)>>,
}

impl Laid {
    /// With parts of rollups.
    pub(super) fn new(parts: HashMap<SeriesKey, Vec<Part>>) -> Self {
        Self { parts, again: HashMap::new() }
    }

    /// With the ground samples that are needed and what lies over them.
    pub(super) fn over(mut self, runs: Runs, overs: &Overs, needs: &Needs, asked: &FoldsAsked) -> Self {
        for (series, over) in overs {
            let ranges = needs.ranges(series.0, &series.1);
            if ranges.is_empty() {
                continue;
            }
            let ground = runs.get(series);
            for range in ranges {
                let base = ground.map(|run| run.slice(*range)).unwrap_or_default();
                self.lay(series, over, (*range, base), asked);
            }
        }
        for (series, run) in runs {
            if !overs.contains_key(&series) {
                let ranges = needs.ranges(series.0, &series.1);
                let parts = parts_within(&run, ranges, &asked.cuts, asked.fields);
                self.parts.entry(series).or_default().extend(parts);
            }
        }
        self
    }

    fn lay(&mut self, series: &SeriesKey, over: &Over, (range, base): (TimeRange, Run), asked: &FoldsAsked) {
        let cover = over.parts(range, &asked.cuts, asked.fields);
        let first = cover.known.iter().map(|part| part.start).min();
        let is_later = base.last_time().is_none_or(|last| first.is_none_or(|first| last < first));
        if base.is_empty() || (is_later && cover.missing.is_empty()) {
            let missing = cover.missing.into_iter().map(|range| (range, Run::default()));
            self.ask_again(series, missing.collect());
            let ground = parts_of(&base, &asked.cuts, asked.fields);
            self.take(series, ground.into_iter().chain(cover.known));
            return;
        }
        let samples = over.samples(range);
        if samples.missing.is_empty() {
            let run = overlay(base, &samples.known);
            self.take(series, parts_of(&run, &asked.cuts, asked.fields).into_iter());
        } else {
            self.ask_again(series, vec![(range, base)]);
        }
    }

    fn take(&mut self, series: &SeriesKey, parts: impl Iterator<Item = Part>) {
        let mut parts = parts.peekable();
        if parts.peek().is_some() {
            self.parts.entry(series.clone()).or_default().extend(parts);
        }
    }

    fn ask_again(&mut self, series: &SeriesKey, ranges: Vec<(TimeRange, Run)>) {
        if !ranges.is_empty() {
            self.again.entry(series.clone()).or_default().extend(ranges);
        }
    }

    /// What has to be read again.
    pub(super) fn missing(&self) -> Missing {
        let ranges = |ranges: &Vec<(TimeRange, Run)>| ranges.iter().map(|(range, _)| *range).collect();
        self.again.iter().map(|(series, of_series)| (series.clone(), ranges(of_series))).collect()
    }

    /// Takes what was read again.
    pub(super) fn take_again(&mut self, read: &Runs, asked: &FoldsAsked) {
        for (series, ranges) in std::mem::take(&mut self.again) {
            for (range, base) in ranges {
                let over = read.get(&series).map(|run| run.slice(range)).unwrap_or_default();
                let run = overlay(base, &over);
                self.take(&series, parts_of(&run, &asked.cuts, asked.fields).into_iter());
            }
        }
    }
}
