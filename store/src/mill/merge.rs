//! From segments to runs: the samples of some sources, gathered in correction order, each time once (I4). Pure, and
//! where grinding spends much of its processor time.
//!
//! Segments are added in the order (`received_at`, writer, seq); of two samples of one series and time the later in
//! this order wins, and a segment wins over a block. What loses is counted: as a duplicate where the values are the
//! same, as a correction where they are not.

use std::iter::Peekable;
use std::ops::Range;
use std::vec;

use hashbrown::HashMap;

use crate::codec::convert::{index, position};
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

/// The samples of one source, in the order in which they were added.
#[derive(Debug, Default)]
struct OfSource {
    /// The times of its points, which its series share: most points have all metrics.
    times: Vec<Timestamp>,
    series: Vec<Series>,
}

/// The values of one metric of a source, in the order of its points.
#[derive(Debug)]
struct Series {
    metric: usize,
    points: Points,
    values: Values,
}

/// Which points of its source a series has.
#[derive(Debug)]
enum Points {
    /// So far all from this one on.
    From(usize),
    /// These.
    Each(Vec<u32>),
}

/// The samples of a range of sources.
#[derive(Debug)]
pub(super) struct Gather {
    range: SourceRange,
    metrics: Vec<Metric>,
    metric_positions: HashMap<Metric, usize>,
    /// Where the series of a source are.
    source_positions: HashMap<SourceId, usize>,
    sources: Vec<(SourceId, OfSource)>,
}

/// What was gathered, source by source.
#[derive(Debug)]
pub(super) struct NewSources {
    metrics: Vec<Metric>,
    sources: Peekable<vec::IntoIter<(SourceId, OfSource)>>,
}

/// The points of a source in a segment.
struct Part {
    /// Where the source is.
    source: usize,
    /// Where they begin among all of the source.
    start: usize,
    points: Range<usize>,
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
        let parts: Vec<Part> =
            of_range.into_iter().map(|(source, points)| self.part(source, segment, points)).collect();
        for (metric, column) in columns {
            let metric = self.metric(metric);
            let is_whole = column.points().eq(segment.all());
            if is_whole {
                self.add_whole(&column, metric, &parts);
            } else {
                self.add_sparse(&column, metric, &parts);
            }
        }
        Ok(())
    }

    /// Adds the times of a source's points.
    fn part(&mut self, source: SourceId, segment: &Segment, points: Range<usize>) -> Part {
        let next = self.sources.len();
        let at = *self.source_positions.entry(source).or_insert(next);
        if at == next {
            self.sources.push((source, OfSource::default()));
        }
        let mut part = Part { source: at, start: 0, points };
        if let Some((_, of_source)) = self.sources.get_mut(at) {
            part.start = of_source.times.len();
            of_source.times.extend_from_slice(segment.times().get(part.points.clone()).unwrap_or_default());
        }
        part
    }

    /// Adds a column in which every point has one value.
    fn add_whole(&mut self, column: &Column, metric: usize, parts: &[Part]) {
        for Part { source, start, points } in parts {
            let Some((_, of_source)) = self.sources.get_mut(*source) else { continue };
            let of_part = *start..start + points.len();
            of_source.series(metric, *start).add(of_part, column.values(), points.clone());
        }
    }

    fn add_sparse(&mut self, column: &Column, metric: usize, parts: &[Part]) {
        let mut points = column.points().enumerate().peekable();
        let mut of_part = Vec::new();
        for part in parts {
            while points.next_if(|(_, point)| *point < part.points.start).is_some() {}
            let Some(&(first, _)) = points.peek().filter(|(_, point)| *point < part.points.end) else {
                continue;
            };
            of_part.clear();
            while let Some((_, point)) = points.next_if(|(_, point)| *point < part.points.end) {
                of_part.push(part.start + (point - part.points.start));
            }
            let Some((_, of_source)) = self.sources.get_mut(part.source) else { continue };
            let values = first..first + of_part.len();
            of_source.series(metric, part.start).add(of_part.iter().copied(), column.values(), values);
        }
    }

    fn metric(&mut self, metric: &Metric) -> usize {
        if let Some(&at) = self.metric_positions.get(metric) {
            return at;
        }
        self.metrics.push(metric.clone());
        self.metric_positions.insert(metric.clone(), self.metrics.len() - 1);
        self.metrics.len() - 1
    }

    /// The sources in order.
    pub(super) fn finish(mut self) -> NewSources {
        self.sources.sort_unstable_by_key(|(source, _)| *source);
        NewSources { metrics: self.metrics, sources: self.sources.into_iter().peekable() }
    }
}

impl NewSources {
    /// The next source.
    pub(super) fn peek(&mut self) -> Option<SourceId> {
        self.sources.peek().map(|(source, _)| *source)
    }

    /// The runs of `source` by metric, where it is next; what lost is counted.
    pub(super) fn take(&mut self, source: SourceId, tally: &mut Tally) -> SourceRuns {
        let Some((_, of_source)) = self.sources.next_if(|(next, _)| *next == source) else {
            return SourceRuns::new();
        };
        let OfSource { times, series } = of_source;
        let mut runs = SourceRuns::with_capacity(series.len());
        for series in series {
            let metric = self.metrics.get(series.metric).cloned();
            runs.extend(metric.map(|metric| (metric, series.run(&times, tally))));
        }
        runs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        runs
    }
}

impl OfSource {
    /// The series of `metric`, which begins with the point at `start` where it is new; a source has few.
    fn series(&mut self, metric: usize, start: usize) -> &mut Series {
        let at = self.series.iter().position(|series| series.metric == metric).unwrap_or_else(|| {
            self.series.push(Series { metric, points: Points::From(start), values: Values::EMPTY });
            self.series.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just now")]
        &mut self.series[at]
    }
}

impl Series {
    /// Adds the values at `range`, each of its point.
    fn add(&mut self, points: impl Iterator<Item = usize> + Clone, values: &Values, range: Range<usize>) {
        if let Points::From(first) = self.points {
            let next = first + self.values.len();
            if !points.clone().eq(next..next + range.len()) {
                self.points = Points::Each((first..next).map(position).collect());
            }
        }
        if let Points::Each(each) = &mut self.points {
            each.extend(points.map(position));
        }
        append(&mut self.values, values, range);
    }

    /// Its samples in order, each time once; what lost is counted.
    fn run(self, times: &[Timestamp], tally: &mut Tally) -> Run {
        let Self { points, values, .. } = self;
        let times: Vec<Timestamp> = match points {
            Points::From(first) => times.get(first..first + values.len()).unwrap_or_default().to_vec(),
            Points::Each(each) => each.iter().filter_map(|&at| times.get(index(at)).copied()).collect(),
        };
        if times.is_sorted_by(|a, b| a < b) {
            Run::from_checked(times, values)
        } else {
            settle(&times, &values, tally)
        }
    }
}

/// Samples in the order of time, of each time the one that was added last.
fn settle(times: &[Timestamp], values: &Values, tally: &mut Tally) -> Run {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by_key(|&at| times.get(at));
    let mut run = Run::default();
    for (at, next) in order.iter().zip(order.iter().skip(1).map(Some).chain([None])) {
        let (Some(&time), Some(value)) = (times.get(*at), values.get(*at)) else { continue };
        let Some(&next) = next.filter(|&&next| times.get(next) == Some(&time)) else {
            run.push(time, value);
            continue;
        };
        let is_same = values.get(next).as_ref() == Some(&value);
        tally.duplicates += u64::from(is_same);
        tally.corrections += u64::from(!is_same);
    }
    run
}

/// Appends the values at `range`.
fn append(to: &mut Values, from: &Values, range: Range<usize>) {
    if to.is_empty() {
        *to = from.slice(range);
        return;
    }
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
        let mut of_source = OfSource::default();
        for (point, (time, number)) in arrivals.iter().enumerate() {
            of_source.times.push(at(*time));
            let mut one = Values::EMPTY;
            one.push(value(*number));
            of_source.series(0, point).add([point].into_iter(), &one, 0..1);
        }
        let OfSource { times, series } = of_source;
        series.into_iter().next().map(|series| series.run(&times, tally)).unwrap_or_default()
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
        fn series_that_share_times_keep_their_own_samples(
            parts in prop::collection::vec(prop::collection::vec((0..50_i64, 0..8_u8), 1..5), 1..8),
        ) {
            let (mut of_source, mut arrived, mut count) = (OfSource::default(), vec![Vec::new(); 3], 0_i64);
            for part in &parts {
                let start = of_source.times.len();
                of_source.times.extend(part.iter().map(|(time, _)| at(*time)));
                for (metric, arrived) in arrived.iter_mut().enumerate() {
                    let has = |point: &usize| part[*point].1 >> metric & 1 == 1;
                    let points: Vec<usize> = (0..part.len()).filter(has).collect();
                    let values: Vec<i64> = (count + 1..).take(points.len()).collect();
                    count += i64::try_from(points.len()).unwrap();
                    arrived.extend(points.iter().zip(&values).map(|(point, number)| (part[*point].0, *number)));
                    if !points.is_empty() {
                        let of_part = points.iter().map(|point| start + point);
                        of_source.series(metric, start).add(of_part, &Values::I64(values), 0..points.len());
                    }
                }
            }
            let OfSource { times, series } = of_source;
            prop_assert_eq!(series.len(), arrived.iter().filter(|arrived| !arrived.is_empty()).count());
            for series in series {
                let metric = series.metric;
                let run = series.run(&times, &mut Tally::default());
                prop_assert_eq!(run.iter().collect::<Vec<_>>(), fold(&arrived[metric]));
            }
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
