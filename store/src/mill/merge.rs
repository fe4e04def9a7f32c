//! From segments to runs: the samples of some sources, gathered in correction order, each time once (I4). Pure, and
//! where grinding spends much of its processor time.
//!
//! Segments are added in the order (`received_at`, writer, seq); of two samples of one series and time the later in
//! this order wins, and a segment wins over a block. What loses is counted: as a duplicate where the values are the
//! same, as a correction where they are not.

use std::ops::Range;

use hashbrown::HashMap;

use crate::codec::segment::{Column, Segment, SegmentError};
use crate::codec::{Run, Values};
use crate::model::{CatalogN, Metric, SourceId, Timestamp};

/// Why a segment is set aside.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsound {
    /// Its bytes are not what was written.
    #[error("it cannot be decoded")]
    Bytes(#[from] SegmentError),
    /// It names a source by a row of the catalog that it does not count.
    #[error("it names row {0} of the catalog, which its row does not count")]
    Source(CatalogN),
}

/// Samples that lost to another of the same series and time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) duplicates: u64,
    pub(super) corrections: u64,
}

/// A range of sources: those that are in memory at once. The end is excluded; `None` reaches to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceRange {
    pub(super) start: SourceId,
    pub(super) end: Option<SourceId>,
}

/// The series of one source, by metric.
pub(super) type SourceRuns = Vec<(Metric, Run)>;

/// Samples in the order in which they were added.
#[derive(Debug, Default)]
struct Gathered {
    times: Vec<Timestamp>,
    values: Option<Values>,
    is_unsorted: bool,
}

/// The samples of a range of sources.
#[derive(Debug)]
pub(super) struct Gather {
    range: SourceRange,
    metrics: Vec<Metric>,
    metric_positions: HashMap<Metric, usize>,
    /// Where the series of a source are.
    source_positions: HashMap<SourceId, usize>,
    sources: Vec<(SourceId, Vec<(usize, Gathered)>)>,
}

impl SourceRange {
    /// Cuts all sources into `parts` ranges; ids are hashes, so that each holds about as many.
    pub(super) fn split(parts: u64) -> Vec<Self> {
        let parts = u128::from(parts.max(1));
        let step = u128::MAX / parts;
        let start = |part: u128| SourceId::new(step * part);
        let end = |part: u128| (part + 1 < parts).then(|| start(part + 1));
        (0..parts).map(|part| Self { start: start(part), end: end(part) }).collect()
    }

    pub(super) fn contains(&self, source: SourceId) -> bool {
        self.start <= source && self.end.is_none_or(|end| source < end)
    }
}

impl Gather {
    pub(super) fn new(range: SourceRange) -> Self {
        Self {
            range,
            metrics: Vec::new(),
            metric_positions: HashMap::new(),
            source_positions: HashMap::new(),
            sources: Vec::new(),
        }
    }

    /// Adds the samples of a segment whose catalog rows are about `ids`: all or, where it is not sound, none.
    pub(super) fn add(&mut self, segment: &Segment, ids: &[SourceId]) -> Result<(), Unsound> {
        let mut of_range = Vec::with_capacity(segment.sources().len());
        for (n, points) in segment.sources() {
            let id = usize::try_from(n.get()).ok().and_then(|n| ids.get(n)).ok_or(Unsound::Source(n))?;
            if self.range.contains(*id) {
                of_range.push((*id, points));
            }
        }
        let mut columns = Vec::with_capacity(segment.metrics().len());
        for (position, metric) in segment.metric_positions() {
            columns.push((metric, segment.column(position, segment.all())?));
        }
        let runs: Vec<(usize, Range<usize>)> =
            of_range.into_iter().map(|(source, points)| (self.source(source), points)).collect();
        for (metric, column) in columns {
            let metric = self.metric(metric);
            let is_whole = column.points().eq(segment.all());
            if is_whole {
                self.add_whole(segment.times(), &column, metric, &runs);
            } else {
                self.add_sparse(segment.times(), &column, metric, &runs);
            }
        }
        Ok(())
    }

    /// Adds a column in which every point has one value.
    fn add_whole(
        &mut self,
        times: &[Timestamp],
        column: &Column,
        metric: usize,
        runs: &[(usize, Range<usize>)],
    ) {
        for (source, points) in runs {
            let Some((_, of_source)) = self.sources.get_mut(*source) else { continue };
            let gathered = series(of_source, metric);
            gathered.times(times.get(points.clone()).unwrap_or_default());
            gathered.values(column.values(), points.clone());
        }
    }

    fn add_sparse(
        &mut self,
        times: &[Timestamp],
        column: &Column,
        metric: usize,
        runs: &[(usize, Range<usize>)],
    ) {
        let mut points = column.points().enumerate().peekable();
        for (source, of_run) in runs {
            while points.next_if(|(_, point)| *point < of_run.start).is_some() {}
            let Some(&(start, _)) = points.peek().filter(|(_, point)| *point < of_run.end) else { continue };
            let Some((_, of_source)) = self.sources.get_mut(*source) else { continue };
            let gathered = series(of_source, metric);
            let mut end = start;
            while let Some((at, point)) = points.next_if(|(_, point)| *point < of_run.end) {
                end = at + 1;
                gathered.times(times.get(point..=point).unwrap_or_default());
            }
            gathered.values(column.values(), start..end);
        }
    }

    fn source(&mut self, source: SourceId) -> usize {
        let next = self.sources.len();
        let at = *self.source_positions.entry(source).or_insert(next);
        if at == next {
            self.sources.push((source, Vec::new()));
        }
        at
    }

    fn metric(&mut self, metric: &Metric) -> usize {
        if let Some(&at) = self.metric_positions.get(metric) {
            return at;
        }
        self.metrics.push(metric.clone());
        self.metric_positions.insert(metric.clone(), self.metrics.len() - 1);
        self.metrics.len() - 1
    }

    /// The sources in order, with their runs by metric, and what lost.
    pub(super) fn finish(self) -> (Vec<(SourceId, SourceRuns)>, Tally) {
        let Self { metrics, sources, .. } = self;
        let mut tally = Tally::default();
        let mut gathered = sources;
        gathered.sort_unstable_by_key(|(source, _)| *source);
        let mut sources = Vec::with_capacity(gathered.len());
        for (source, series) in gathered {
            let mut runs = SourceRuns::with_capacity(series.len());
            for (metric, gathered) in series {
                runs.extend(metrics.get(metric).map(|metric| (metric.clone(), gathered.finish(&mut tally))));
            }
            runs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            sources.push((source, runs));
        }
        (sources, tally)
    }
}

/// The series of `metric`; a source has few.
fn series(of_source: &mut Vec<(usize, Gathered)>, metric: usize) -> &mut Gathered {
    let at = of_source.iter().position(|(of, _)| *of == metric).unwrap_or_else(|| {
        of_source.push((metric, Gathered::default()));
        of_source.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "found or pushed just now")]
    &mut of_source[at].1
}

impl Gathered {
    fn times(&mut self, times: &[Timestamp]) {
        let Some(first) = times.first() else { return };
        self.is_unsorted |=
            self.times.last().is_some_and(|last| first <= last) || !times.is_sorted_by(|a, b| a < b);
        self.times.extend_from_slice(times);
    }

    fn values(&mut self, values: &Values, range: Range<usize>) {
        match &mut self.values {
            Some(gathered) => append(gathered, values, range),
            None => self.values = Some(values.slice(range)),
        }
    }

    fn finish(self, tally: &mut Tally) -> Run {
        let values = self.values.unwrap_or(Values::EMPTY);
        if !self.is_unsorted {
            return Run::from_checked(self.times, values);
        }
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        order.sort_by_key(|&at| self.times.get(at));
        let mut run = Run::default();
        for (at, next) in order.iter().zip(order.iter().skip(1).map(Some).chain([None])) {
            let (Some(&time), Some(value)) = (self.times.get(*at), values.get(*at)) else { continue };
            let Some(&next) = next.filter(|&&next| self.times.get(next) == Some(&time)) else {
                run.push(time, value);
                continue;
            };
            let is_same = values.get(next).as_ref() == Some(&value);
            tally.duplicates += u64::from(is_same);
            tally.corrections += u64::from(!is_same);
        }
        run
    }
}

/// Appends the values at `range`.
fn append(to: &mut Values, from: &Values, range: Range<usize>) {
    let at = range.clone();
    match (&mut *to, from) {
        (Values::F64(to), Values::F64(from)) => to.extend_from_slice(from.get(at).unwrap_or_default()),
        (Values::I64(to), Values::I64(from)) => to.extend_from_slice(from.get(at).unwrap_or_default()),
        (Values::Bool(to), Values::Bool(from)) => to.extend_from_slice(from.get(at).unwrap_or_default()),
        (Values::Text(to), Values::Text(from)) => to.extend_from_slice(from.get(at).unwrap_or_default()),
        (to, from) => range.filter_map(|at| from.get(at)).for_each(|value| to.push(value)),
    }
}

/// The samples of both; where both have a time, the new one wins.
pub(super) fn overlay(old: Run, new: Run, tally: &mut Tally) -> Run {
    let (mut old, mut new) = (old, new);
    if old.is_empty() || new.is_empty() {
        return if old.is_empty() { new } else { old };
    }
    if new.first_time() > old.last_time() {
        old.times.append(&mut new.times);
        append(&mut old.values, &new.values, 0..new.values.len());
        return old;
    }
    let mut merged = Run::default();
    let mut replaced = old.iter().peekable();
    for (time, value) in new.iter() {
        while let Some((time, value)) = replaced.next_if(|(old, _)| *old < time) {
            merged.push(time, value);
        }
        if let Some((_, before)) = replaced.next_if(|(old, _)| *old == time) {
            let is_same = before == value;
            tally.duplicates += u64::from(is_same);
            tally.corrections += u64::from(!is_same);
        }
        merged.push(time, value);
    }
    replaced.for_each(|(time, value)| merged.push(time, value));
    merged
}

/// The series of both; metrics ascend in either and in the result.
pub(super) fn overlay_source(old: SourceRuns, new: SourceRuns, tally: &mut Tally) -> SourceRuns {
    let mut merged = SourceRuns::with_capacity(old.len().max(new.len()));
    let mut old = old.into_iter().peekable();
    for (metric, run) in new {
        while let Some(before) = old.next_if(|(of, _)| *of < metric) {
            merged.push(before);
        }
        let run = match old.next_if(|(of, _)| *of == metric) {
            Some((_, before)) => overlay(before, run, tally),
            None => run,
        };
        merged.push((metric, run));
    }
    merged.extend(old);
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{TimeRange, Value};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000).unwrap()
    }

    fn value(number: i64) -> Value {
        if number == 0 { Value::Bool(true) } else { Value::I64(number) }
    }

    /// Samples in the order in which they came.
    fn arrivals() -> impl Strategy<Value = Vec<(i64, i64)>> {
        prop::collection::vec((0..12_i64, 0..3_i64), 0..40)
    }

    fn gathered(arrivals: &[(i64, i64)], tally: &mut Tally) -> Run {
        let mut gathered = Gathered::default();
        for (time, number) in arrivals {
            gathered.times(&[at(*time)]);
            let mut one = Values::EMPTY;
            one.push(value(*number));
            gathered.values(&one, 0..1);
        }
        gathered.finish(tally)
    }

    fn fold(arrivals: &[(i64, i64)]) -> Vec<(Timestamp, Value)> {
        let fold: BTreeMap<i64, i64> = arrivals.iter().copied().collect();
        fold.into_iter().map(|(time, number)| (at(time), value(number))).collect()
    }

    proptest! {
        #[test]
        fn the_last_arrival_of_each_time_wins_and_all_others_are_counted(old in arrivals(), new in arrivals()) {
            let mut tally = Tally::default();
            let merged = overlay(gathered(&old, &mut tally), gathered(&new, &mut tally), &mut tally);
            let all: Vec<(i64, i64)> = old.iter().chain(&new).copied().collect();
            prop_assert_eq!(merged.iter().collect::<Vec<_>>(), fold(&all));
            let counted = u64::try_from(merged.len()).unwrap() + tally.duplicates + tally.corrections;
            prop_assert_eq!(counted, u64::try_from(all.len()).unwrap());
        }

        #[test]
        fn ranges_of_sources_hold_each_source_once(parts in 1..20_u64, source in any::<u128>()) {
            let ranges = SourceRange::split(parts);
            let holding = ranges.iter().filter(|range| range.contains(SourceId::new(source))).count();
            prop_assert_eq!(holding, 1);
        }
    }

    #[test]
    fn series_of_both_are_kept_in_order() {
        let run = |second| Run::new(vec![at(second)], Values::I64(vec![second]));
        let series = |names: &[(&str, i64)]| -> SourceRuns {
            names.iter().map(|(name, second)| (Metric::new(name).unwrap(), run(*second))).collect()
        };
        let (old, new) = (series(&[("a", 1), ("c", 1)]), series(&[("b", 2), ("c", 2), ("d", 2)]));
        let mut tally = Tally::default();
        let merged = overlay_source(old, new, &mut tally);
        let shape: Vec<(&str, usize)> =
            merged.iter().map(|(metric, run)| (metric.as_str(), run.slice(TimeRange::ALL).len())).collect();
        assert_eq!(shape, [("a", 1), ("b", 1), ("c", 2), ("d", 1)]);
        assert_eq!(tally, Tally::default());
    }
}
