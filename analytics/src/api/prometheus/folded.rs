//! Windows made of folds: which cuts and fields they need, and their values, the same as over the samples (I4). Pure.
//!
//! Where a fold cannot say what the samples would (not-a-number and infinities among them, integers beyond 2^53,
//! texts between numbers), [`NeedsSamples`] sends the whole selector to the samples.

use tidemill_store::model::{Sample, Timestamp};
use tidemill_store::read::SeriesFolds;
use tidemill_store::rollup::{Fields, Fold, WindowState};

use super::columns::number;
use crate::promql::{ABSENT, Demand, RangeFunction, Steps, Wanted, WindowFacts, metric_of};

/// Integers up to this are doubles without loss.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Only the samples themselves answer this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeedsSamples;

/// What is made of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// The newest value, not older than the window is long.
    Latest,
    /// A function's value.
    Function(RangeFunction),
}

impl Made {
    /// What a demand asks for, where folds can tell it.
    pub(super) fn of(demand: &Demand) -> Option<Self> {
        match demand.hint.wanted {
            // Without a metric's name the lookback differs from series to series.
            Wanted::Latest => metric_of(&demand.matchers).map(|_| Self::Latest),
            Wanted::Function(function) => function.is_told_by_facts().then_some(Self::Function(function)),
            Wanted::Samples => None,
        }
    }

    /// What folds must know.
    pub(super) fn fields(self) -> Fields {
        use RangeFunction as F;
        let base = Fields::COUNT | Fields::SUM | Fields::MIN_MAX;
        match self {
            Self::Latest
            | Self::Function(
                F::FirstOverTime | F::LastOverTime | F::TimeOfFirst | F::TimeOfLast | F::Delta,
            ) => base | Fields::FIRST_LAST,
            Self::Function(F::Increase | F::Rate | F::Resets) => base | Fields::FIRST_LAST | Fields::RESETS,
            Self::Function(F::Changes) => base | Fields::CHANGES,
            Self::Function(F::StddevOverTime | F::StdvarOverTime) => base | Fields::M2,
            Self::Function(_) => base,
        }
    }
}

/// Windows over cuts.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) cuts: Vec<Timestamp>,
    /// By window: the positions of the cuts that it starts and ends at, and these moments themselves.
    windows: Vec<(usize, usize, i64, i64)>,
}

impl Layout {
    /// The windows `(end − length, end]`. For [`Made::Latest`] cuts are ends alone: what is older than `length` is
    /// known by its time. `None` where a bound is beyond all times.
    pub(super) fn of(made: Made, ends: Steps, length: i64) -> Option<Self> {
        let starts = ends.earlier(length);
        let mut moments: Vec<i64> = ends.iter().collect();
        match made {
            Made::Latest => moments.push(starts.start),
            Made::Function(_) => moments.extend(starts.iter()),
        }
        moments.sort_unstable();
        moments.dedup();
        let place = |moment: i64| moments.binary_search(&moment).ok();
        let windows = ends.iter().zip(starts.iter()).map(|(end, start)| {
            let first = if made == Made::Latest { 0 } else { place(start)? };
            Some((first, place(end)?, start, end))
        });
        let windows: Option<Vec<_>> = windows.collect();
        let cuts: Result<Vec<_>, _> = moments.iter().map(|moment| Timestamp::from_nanos(*moment)).collect();
        Some(Self { windows: windows?, cuts: cuts.ok()? })
    }

    /// One value for each window of a series, or [`ABSENT`].
    pub(super) fn values(&self, made: Made, series: SeriesFolds) -> Result<Vec<f64>, NeedsSamples> {
        let parts = left_open(series.cells);
        match made {
            Made::Latest => self.latest(&parts),
            Made::Function(function) => self.applied(function, &parts),
        }
    }

    fn applied(&self, function: RangeFunction, parts: &[(usize, Fold)]) -> Result<Vec<f64>, NeedsSamples> {
        let mut sliding = Sliding::over(parts);
        let value = |&(first, last, after, through): &(usize, usize, i64, i64)| {
            let fold = sliding.window(first, last);
            let Some(facts) = facts(&fold, function)? else { return Ok(ABSENT) };
            function.of_facts(&facts, (after, through)).ok_or(NeedsSamples)
        };
        self.windows.iter().map(value).collect()
    }

    fn latest(&self, parts: &[(usize, Fold)]) -> Result<Vec<f64>, NeedsSamples> {
        let mut parts = parts.iter().peekable();
        let mut newest = None;
        let value = |&(_, last, after, through): &(usize, usize, i64, i64)| {
            while let Some((_, fold)) = parts.next_if(|(part, _)| *part < last) {
                newest = facts(fold, RangeFunction::LastOverTime)?.or(newest);
            }
            Ok(newest.map_or(ABSENT, |facts: WindowFacts| facts.latest(through, through - after)))
        };
        self.windows.iter().map(value).collect()
    }
}

/// From cells `[cut, next)` with the sample at the cut apart to parts `(cut, next]`, by the position of the cut.
fn left_open(cells: Vec<(usize, WindowState)>) -> Vec<(usize, Fold)> {
    let mut parts: Vec<(usize, Fold)> = Vec::with_capacity(cells.len());
    for (cell, WindowState { boundary, interior }) in cells {
        if let (Some(Sample { time, value }), Some(before)) = (boundary, cell.checked_sub(1)) {
            match parts.last_mut().filter(|(part, _)| *part == before) {
                Some((_, fold)) => fold.push(time, &value),
                None => parts.push((before, Fold::of(&Sample { time, value }))),
            }
        }
        if !interior.is_empty() {
            parts.push((cell, interior));
        }
    }
    parts
}

/// Folds of windows that move on over parts: each part is merged twice, however much windows overlap.
struct Sliding<'a> {
    parts: &'a [(usize, Fold)],
    /// From each part in the front to the front's end, the first part last.
    front: Vec<Fold>,
    /// Everything behind the front.
    back: Fold,
    first: usize,
    middle: usize,
    past: usize,
}

impl<'a> Sliding<'a> {
    const fn over(parts: &'a [(usize, Fold)]) -> Self {
        Self { parts, front: Vec::new(), back: Fold::EMPTY, first: 0, middle: 0, past: 0 }
    }

    /// The fold of the parts between two cuts, neither of which lies before those of the window before.
    fn window(&mut self, start: usize, end: usize) -> Fold {
        while let Some((_, fold)) = self.parts.get(self.past).filter(|(part, _)| *part < end) {
            self.back.merge(fold);
            self.past += 1;
        }
        while self.first < self.past && self.parts.get(self.first).is_some_and(|(part, _)| *part < start) {
            self.first += 1;
            self.front.pop();
        }
        if self.first >= self.middle {
            self.turn_over();
        }
        let Some(front) = self.front.last() else { return self.back.clone() };
        let mut all = front.clone();
        all.merge(&self.back);
        all
    }

    /// Makes all that is in the window the front.
    fn turn_over(&mut self) {
        self.front.clear();
        let mut all = Fold::EMPTY;
        for (_, fold) in self.parts.get(self.first..self.past).unwrap_or_default().iter().rev() {
            let mut longer = fold.clone();
            longer.merge(&all);
            all = longer.clone();
            self.front.push(longer);
        }
        self.middle = self.past;
        self.back = Fold::EMPTY;
    }
}

/// What a fold says of its numbers; `None` where it has none.
fn facts(fold: &Fold, function: RangeFunction) -> Result<Option<WindowFacts>, NeedsSamples> {
    let counts = fold.counts();
    if counts.numbers() == 0 {
        return Ok(None);
    }
    let kinds = [counts.floats, counts.integers, counts.bools];
    let is_mixed = kinds.into_iter().filter(|count| *count > 0).count() > 1;
    // A value of another kind is a change in a fold, and none where the numbers are equal.
    if counts.texts > 0 || (is_mixed && function == RangeFunction::Changes) {
        return Err(NeedsSamples);
    }
    let known = || {
        let end = |sample: Option<&Sample>| {
            sample.and_then(|sample| Some((sample.time.nanos(), number(&sample.value)?)))
        };
        Some(WindowFacts {
            count: counts.numbers(),
            sum: fold.sum()?.nearest(),
            mean: fold.mean()?,
            min: fold.min()?.nearest(),
            max: fold.max()?.nearest(),
            m2: fold.m2().unwrap_or(f64::NAN),
            first: end(fold.first()).unwrap_or((0, f64::NAN)),
            last: end(fold.last()).unwrap_or((0, f64::NAN)),
            lost: fold.reset_sum().unwrap_or(f64::NAN),
            resets: fold.resets().unwrap_or(0),
            changes: fold.changes().unwrap_or(0),
        })
    };
    let facts = known().ok_or(NeedsSamples)?;
    // Not-a-number, which staleness looks like too, and infinities; sums that overflow.
    let is_plain = facts.sum.is_finite() && facts.mean.is_finite();
    let is_exact = counts.integers == 0 || facts.min.abs().max(facts.max.abs()) <= EXACT_MAX;
    if is_plain && is_exact { Ok(Some(facts)) } else { Err(NeedsSamples) }
}
