//! What the frames of a bucket say of the wanted series, and where the samples themselves are needed after all: where
//! a series has no windows, and where samples that no seal covers change a window that is not its end. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::ReadFailure;
use super::blocks::Wants;
use super::chosen::{Chosen, ShardSources};
use super::collect::Budget;
use super::composed::{Part, cell_of, enough, extended};
use super::live::{Over, Overs};
use super::plan::{Level, joined, window_of, window_start};
use crate::catalog::{SourceIndex, SourceSet};
use crate::codec::frame::{Frame, FrameError};
use crate::layout::{Bucket, FrameRow, Place};
use crate::model::{Metric, TimeRange, Timestamp};
use crate::rollup::{Fields, Fold, WindowState};

/// A series in one index.
pub(super) type SeriesKey = (SourceIndex, Metric);

/// Which series frames list, with windows or without.
pub(super) type Listed = BTreeMap<Metric, SourceSet>;

/// What a query asks of a bucket.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) place: Place,
    pub(super) chosen: &'a Chosen,
    pub(super) sources: &'a ShardSources,
    pub(super) cuts: &'a [Timestamp],
    /// Of the window that begins here only the sample at its start is wanted.
    pub(super) closing: Option<Timestamp>,
    pub(super) fields: Fields,
    /// What of the bucket is asked for.
    pub(super) range: TimeRange,
    /// What no seal covers.
    pub(super) uncovered: &'a Overs,
}

/// What is known of a bucket from its frames.
#[derive(Debug, Default)]
pub(super) struct Rolled {
    pub(super) parts: HashMap<SeriesKey, Vec<Part>>,
    /// Where samples are needed of single series, ascending within one level.
    pub(super) samples: HashMap<SeriesKey, Vec<TimeRange>>,
}

impl Rolled {
    /// Takes in the frames of one level; says which series they list.
    pub(super) fn add(
        &mut self,
        question: &Question<'_>,
        level: &Level,
        rows: &[FrameRow],
        budget: &Budget,
    ) -> Result<Listed, ReadFailure> {
        let mut listed = Listed::new();
        for row in rows.iter().filter(|row| question.chosen.selection.wants(row.metric.as_str())) {
            let damaged = |source| ReadFailure::Frame { place: question.place, source };
            let frame = Frame::decode(row.body.clone()).map_err(damaged)?;
            let of_metric = listed.entry(row.metric.clone()).or_default();
            let windows = self.add_frame(question, level, &frame, of_metric).map_err(damaged)?;
            budget.spend_windows(windows)?;
        }
        let bucket = question.place.bucket;
        for ((source, metric), over) in question.uncovered {
            let is_listed = listed.get(metric).is_some_and(|sources| sources.contains(*source));
            if !is_listed && !touched(level, bucket, over).is_empty() {
                self.ask(*source, metric, level.ranges(bucket));
            }
        }
        Ok(listed)
    }

    /// Says that samples of a series are needed.
    pub(super) fn ask(
        &mut self,
        source: SourceIndex,
        metric: &Metric,
        ranges: impl Iterator<Item = TimeRange>,
    ) {
        self.samples.entry((source, metric.clone())).or_default().extend(ranges);
    }

    fn add_frame(
        &mut self,
        question: &Question<'_>,
        level: &Level,
        frame: &Frame,
        listed: &mut SourceSet,
    ) -> Result<usize, FrameError> {
        let metric = frame.metric();
        let wanted = wanted(question, frame);
        let asked: usize = level.windows.iter().map(Range::len).sum();
        let mut series: Vec<Option<OfSeries<'_>>> = Vec::new();
        series.resize_with(frame.sources().len(), || None);
        for &(position, source) in &wanted {
            listed.insert(source);
            if frame.is_without_windows(position) {
                self.ask(source, metric, level.ranges(question.place.bucket));
            } else if let Some(slot) = series.get_mut(position) {
                let uncovered = question.uncovered.get(&(source, metric.clone()));
                let parts = Vec::with_capacity(frame.windows_of(position).min(asked));
                *slot = Some(OfSeries { source, uncovered, parts, ..OfSeries::default() });
            }
        }
        let mut visit = |position: usize, window: u32, state: &WindowState| {
            if let Some(Some(of)) = series.get_mut(position) {
                of.take(question, level, window, state);
            }
        };
        let is_all = asked * 2 * frame.sources().len() > frame.len();
        if wanted.len() * 2 > frame.sources().len() && is_all {
            frame.fold_all(question.fields, |position, window, state| {
                if level.contains(window) {
                    visit(position, window, state);
                }
            })?;
        } else {
            for (position, _) in &wanted {
                for windows in &level.windows {
                    for (window, state) in frame.windows(*position, windows.clone(), question.fields)? {
                        visit(*position, window, &state);
                    }
                }
            }
        }
        let mut windows = 0;
        for mut of in series.into_iter().flatten() {
            of.take_new_windows(question, level);
            windows += of.parts.len();
            self.ask_unless_none(of.source, metric, of.samples);
            let parts = self.parts.entry((of.source, metric.clone())).or_default();
            if parts.is_empty() { *parts = of.parts } else { parts.extend(of.parts) }
        }
        Ok(windows)
    }

    fn ask_unless_none(&mut self, source: SourceIndex, metric: &Metric, ranges: Vec<TimeRange>) {
        if !ranges.is_empty() {
            self.ask(source, metric, ranges.into_iter());
        }
    }
}

/// The wanted sources of a frame, with their positions in it.
fn wanted(question: &Question<'_>, frame: &Frame) -> Vec<(usize, SourceIndex)> {
    let mut sources = question.sources.sources.iter().peekable();
    let mut wanted = Vec::new();
    for (position, id) in frame.sources().iter().enumerate() {
        while sources.next_if(|(source, _)| source < id).is_some() {}
        if let Some((_, source)) = sources.next_if(|(source, _)| source == id) {
            wanted.push((position, *source));
        }
    }
    wanted
}

/// One series of a frame.
#[derive(Debug, Default)]
struct OfSeries<'a> {
    source: SourceIndex,
    uncovered: Option<&'a Over>,
    parts: Vec<Part>,
    samples: Vec<TimeRange>,
    seen: HashSet<u32>,
}

impl OfSeries<'_> {
    fn take(&mut self, question: &Question<'_>, level: &Level, window: u32, state: &WindowState) {
        let bucket = question.place.bucket;
        let start = window_start(bucket, level.resolution, window);
        let mut state = if question.closing == Some(start) {
            Some(WindowState { boundary: state.boundary.clone(), interior: Fold::EMPTY })
        } else {
            enough(state, question.fields)
        };
        if let Some(over) = self.uncovered {
            self.seen.insert(window);
            state = state.and_then(|state| with_later(state, over, question, (level, window)));
        }
        match state {
            Some(state) if state.is_empty() => {}
            Some(state) => self.parts.push(Part { start, cell: cell_of(question.cuts, start), state }),
            None => self.samples.push(window_range(bucket, level, window)),
        }
    }

    /// Windows in which all samples are uncovered.
    fn take_new_windows(&mut self, question: &Question<'_>, level: &Level) {
        let Some(over) = self.uncovered else { return };
        let bucket = question.place.bucket;
        for window in touched(level, bucket, over) {
            let asked = window_range(bucket, level, window).intersection(&question.range);
            if let Some(asked) = asked.filter(|_| !self.seen.contains(&window)) {
                let new = over.parts(asked, question.cuts, question.fields);
                self.parts.extend(new.known);
                self.samples.extend(new.missing);
            }
        }
    }
}

/// The state with what is over it; `None` where that is not all later, or not kept.
fn with_later(
    state: WindowState,
    over: &Over,
    question: &Question<'_>,
    (level, window): (&Level, u32),
) -> Option<WindowState> {
    let range = window_range(question.place.bucket, level, window);
    let Some(asked) = range.intersection(&question.range) else { return Some(state) };
    let later = over.parts(asked, &[range.start(), range.end()], question.fields);
    if !later.missing.is_empty() {
        return None;
    }
    if later.known.is_empty() { Some(state) } else { extended(&state, later.known, question.fields) }
}

/// The windows of a level that may hold samples of `over`, ascending.
fn touched(level: &Level, bucket: Bucket, over: &Over) -> Vec<u32> {
    let mut windows: Vec<u32> = Vec::new();
    for (first, last) in over.stretches() {
        let [first, last] = [first, last].map(|time| window_of(bucket, level.resolution, time));
        if windows.last() != Some(&first) || first != last {
            windows.extend(first..=last);
        }
    }
    windows.sort_unstable();
    windows.dedup();
    windows.retain(|&window| level.contains(window));
    windows
}

fn window_range(bucket: Bucket, level: &Level, window: u32) -> TimeRange {
    let bounds = [window, window.saturating_add(1)].map(|n| window_start(bucket, level.resolution, n));
    TimeRange::new(bounds[0], bounds[1]).unwrap_or(TimeRange::ALL)
}

/// The samples that are needed: some of all series, some more of single ones.
#[derive(Debug)]
pub(super) struct Needs {
    chosen: Arc<Chosen>,
    all: Vec<TimeRange>,
    single: HashMap<SeriesKey, Vec<TimeRange>>,
    /// Sources that have series in `single`.
    sources: SourceSet,
}

impl Needs {
    pub(super) fn new(
        chosen: Arc<Chosen>,
        all: &[TimeRange],
        single: HashMap<SeriesKey, Vec<TimeRange>>,
    ) -> Self {
        let mut sources = SourceSet::default();
        let with_all = |(key, mut ranges): (SeriesKey, Vec<TimeRange>)| {
            sources.insert(key.0);
            ranges.extend(all);
            ranges.sort_unstable_by_key(TimeRange::start);
            (key, joined(ranges))
        };
        let single = single.into_iter().map(with_all).collect();
        Self { chosen, all: all.to_vec(), single, sources }
    }

    /// Whether no samples are needed.
    pub(super) fn is_nothing(&self) -> bool {
        self.all.is_empty() && self.single.is_empty()
    }

    /// Whether samples of `source` may be needed.
    pub(super) fn wants(&self, source: SourceIndex) -> bool {
        !self.all.is_empty() || self.sources.contains(source)
    }
}

impl Wants for Needs {
    fn ranges(&self, source: SourceIndex, metric: &Metric) -> &[TimeRange] {
        if !self.chosen.selection.wants(metric.as_str()) {
            return &[];
        }
        if self.single.is_empty() {
            return &self.all;
        }
        self.single.get(&(source, metric.clone())).unwrap_or(&self.all)
    }
}
