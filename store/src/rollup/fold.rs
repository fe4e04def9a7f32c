//! What a run of samples says: everything that answers need, without the samples.
//!
//! A fold of samples equals the ordered merge of the folds of any parts of them (I4): counts, sums of integers,
//! extremes, first and last to the bit, doubles but for what compensated addition leaves (see [`Sum`]).
//! What happens between two neighbouring samples belongs to the later one, so that merging finds it between the
//! last sample of one fold and the first of the next. Rules:
//!
//! - Numbers are doubles, integers, and booleans as 0 and 1; text is none. NaN is in sums, deviations and integrals;
//!   it is an extreme only where there is nothing else, and it is neither above nor below anything.
//! - A reset is a number below the number before it; a change is another value than before, of another kind
//!   included, where NaN equals NaN and 0.0 equals -0.0.
//! - The step integral holds each number until the next sample; the linear one goes straight to the next number, and
//!   holds the value where that sample is none. States are held until the next sample.

use std::cmp::Ordering;
use std::time::Duration;

use crate::model::{Sample, Timestamp, Value};

use super::deviations::{Mean, merged_m2};
use super::neighbours::Step;
use super::number::{halves, nearest, quotient};
use super::sketch::Sketch;
use super::states::{State, StateSpan, States, TooManyStates};
use super::{Fields, Number, Sum, Total};

/// How many samples, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Doubles.
    pub floats: u64,
    /// Integers.
    pub integers: u64,
    /// Booleans.
    pub bools: u64,
    /// Texts.
    pub texts: u64,
}

impl Counts {
    /// All samples.
    pub const fn all(self) -> u64 {
        self.numbers() + self.texts
    }

    /// The samples that are numbers.
    pub const fn numbers(self) -> u64 {
        self.floats + self.integers + self.bools
    }

    /// The samples that are states.
    pub(crate) const fn states(self) -> u64 {
        self.bools + self.texts
    }

    fn add(&mut self, other: Self) {
        self.floats += other.floats;
        self.integers += other.integers;
        self.bools += other.bools;
        self.texts += other.texts;
    }
}

/// A sum of numbers: integers exact, doubles compensated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NumberSum {
    pub(crate) integers: i128,
    pub(crate) floats: Sum,
}

impl NumberSum {
    pub(crate) fn add(&mut self, number: Number) {
        match number {
            Number::Integer(integer) => self.integers += i128::from(integer),
            Number::Float(float) => self.floats.add(float),
        }
    }

    /// A sum of doubles that are whole numbers as the sum of integers that it is.
    pub(super) const fn whole(&self) -> Self {
        Self { integers: self.integers + self.floats.whole(), floats: Sum::ZERO }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.integers += other.integers;
        self.floats.merge(&other.floats);
    }

    /// Both together, as a sum of doubles.
    pub(crate) fn mixed(&self) -> Sum {
        let mut sum = self.floats;
        if self.integers != 0 {
            let (high, low) = halves(self.integers);
            sum.add(high);
            sum.add(low);
        }
        sum
    }
}

/// The least and the greatest number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extremes {
    pub(crate) min: Number,
    pub(crate) max: Number,
}

impl Extremes {
    fn take(&mut self, other: Self) {
        self.min = extreme(self.min, other.min, Ordering::Less);
        self.max = extreme(self.max, other.max, Ordering::Greater);
    }
}

/// The one of two numbers that is `wanted` of the other; the earlier on a tie; NaN gives way to any number.
fn extreme(kept: Number, new: Number, wanted: Ordering) -> Number {
    if kept.is_nan() || new.compare(kept) == Some(wanted) { new } else { kept }
}

/// The first and the last sample.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    pub(crate) first: Sample,
    pub(crate) last: Sample,
}

/// The areas under the samples, in value · seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Integrals {
    pub(crate) step: Sum,
    pub(crate) linear: Sum,
}

/// What a run of samples of one series says, taken in the order of time. What is not [known](Fold::known) is
/// answered by `None`.
#[derive(Debug, Clone)]
pub struct Fold {
    pub(crate) known: Fields,
    pub(crate) counts: Counts,
    pub(crate) ends: Option<Ends>,
    pub(crate) sum: NumberSum,
    pub(crate) extremes: Option<Extremes>,
    pub(crate) m2: f64,
    pub(crate) resets: u64,
    pub(crate) reset_sum: NumberSum,
    pub(crate) changes: u64,
    pub(crate) integrals: Integrals,
    pub(crate) states: Option<Box<States>>,
    pub(crate) sketch: Option<Box<Sketch>>,
}

impl Default for Fold {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Fold {
    /// Of no samples, about which everything is known.
    pub const EMPTY: Self = Self {
        known: Fields::ALL,
        counts: Counts { floats: 0, integers: 0, bools: 0, texts: 0 },
        ends: None,
        sum: NumberSum { integers: 0, floats: Sum::ZERO },
        extremes: None,
        m2: 0.0,
        resets: 0,
        reset_sum: NumberSum { integers: 0, floats: Sum::ZERO },
        changes: 0,
        integrals: Integrals { step: Sum::ZERO, linear: Sum::ZERO },
        states: None,
        sketch: None,
    };

    /// Of no samples, to gather quantiles as well.
    pub fn with_sketch() -> Self {
        Self { sketch: Some(Box::default()), ..Self::EMPTY }
    }

    /// Of one sample.
    pub fn of(sample: &Sample) -> Self {
        let mut fold = Self::EMPTY;
        fold.put_first(sample);
        fold
    }

    /// Takes a sample later than all before it.
    pub fn push(&mut self, time: Timestamp, value: &Value) {
        let sample = Sample { time, value: value.clone() };
        let mut one = if self.sketch.is_some() { Self::with_sketch() } else { Self::EMPTY };
        one.put_first(&sample);
        self.merge(&one);
    }

    fn put_first(&mut self, sample: &Sample) {
        match sample.value {
            Value::F64(_) => self.counts.floats = 1,
            Value::I64(_) => self.counts.integers = 1,
            Value::Bool(_) => self.counts.bools = 1,
            Value::Text(_) => self.counts.texts = 1,
        }
        if let Some(number) = Number::of(&sample.value) {
            self.sum.add(number);
            self.extremes = Some(Extremes { min: number, max: number });
            let is_finite = number.nearest().is_finite();
            self.m2 = if is_finite { 0.0 } else { f64::NAN };
            self.sketch.iter_mut().for_each(|sketch| sketch.add(number.nearest()));
        }
        if let Some(state) = State::of(&sample.value) {
            self.states.insert(Box::new(States::NONE)).add(&state, 1, Duration::ZERO);
        }
        self.ends = Some(Ends { first: sample.clone(), last: sample.clone() });
    }

    /// Takes all samples of `later`, which lie after all of this one's. What either does not know, the whole does
    /// not know.
    pub fn merge(&mut self, later: &Self) {
        if later.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = later.clone();
            return;
        }
        self.known = self.known & later.known;
        self.merge_deviations(later);
        self.counts.add(later.counts);
        self.sum.merge(&later.sum);
        self.merge_extremes(later);
        self.merge_sketch(later);
        self.resets += later.resets;
        self.reset_sum.merge(&later.reset_sum);
        self.changes += later.changes;
        self.integrals.step.merge(&later.integrals.step);
        self.integrals.linear.merge(&later.integrals.linear);
        self.merge_states(later);
        self.merge_ends(later);
    }

    /// The same, of a fold that is of no more use.
    pub fn absorb(&mut self, later: Self) {
        if self.is_empty() && !later.is_empty() {
            *self = later;
        } else {
            self.merge(&later);
        }
    }

    fn merge_deviations(&mut self, later: &Self) {
        let (before, after) = (self.counts.numbers(), later.counts.numbers());
        if before == 0 || after == 0 {
            self.m2 = if before == 0 { later.m2 } else { self.m2 };
        } else if self.known.contains(Fields::M2) {
            let means = [Mean::of(&self.sum, before), Mean::of(&later.sum, after)];
            self.m2 = merged_m2([self.m2, later.m2], means, [before, after]);
        }
    }

    fn merge_extremes(&mut self, later: &Self) {
        match (&mut self.extremes, later.extremes) {
            (Some(extremes), Some(later)) => extremes.take(later),
            (None, later) => self.extremes = later,
            (Some(_), None) => {}
        }
    }

    fn merge_sketch(&mut self, later: &Self) {
        match (&mut self.sketch, &later.sketch) {
            (Some(sketch), Some(later)) => sketch.merge(later),
            (_, None) => self.sketch = None,
            (None, Some(_)) => {}
        }
    }

    fn merge_states(&mut self, later: &Self) {
        match (&mut self.states, &later.states) {
            (Some(states), Some(later)) => states.merge(later),
            (None, Some(later)) => self.states = Some(later.clone()),
            (_, None) => {}
        }
    }

    /// What happens between the last sample and the first of `later`.
    fn merge_ends(&mut self, later: &Self) {
        let (Some(ends), Some(later)) = (&mut self.ends, &later.ends) else { return };
        let step = Step::between(&ends.last, &later.first);
        self.changes += u64::from(step.is_change);
        if let Some(before) = step.reset_from {
            self.resets += 1;
            self.reset_sum.add(before);
        }
        if let Some((area, linear_area)) = step.areas {
            self.integrals.step.add(area);
            self.integrals.linear.add(linear_area);
        }
        if let (Some(states), Some(state)) = (&mut self.states, State::of(&ends.last.value)) {
            states.add(&state, 0, step.lasted);
        }
        ends.last = later.last.clone();
    }

    /// What is known; everything where the samples were folded here.
    pub const fn known(&self) -> Fields {
        self.known
    }

    /// Whether there are no samples.
    pub const fn is_empty(&self) -> bool {
        self.counts.all() == 0
    }

    /// How many samples, by kind.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many samples.
    pub const fn count(&self) -> u64 {
        self.counts.all()
    }

    /// The first sample.
    pub fn first(&self) -> Option<&Sample> {
        self.ends.as_ref().map(|ends| &ends.first)
    }

    /// The last sample.
    pub fn last(&self) -> Option<&Sample> {
        self.ends.as_ref().map(|ends| &ends.last)
    }

    /// From the first to the last sample.
    pub fn duration(&self) -> Option<Duration> {
        self.ends.as_ref().map(|ends| ends.last.time.saturating_since(ends.first.time))
    }

    /// Whether `fields` are known and there are numbers for them to be of.
    fn has_numbers(&self, fields: Fields) -> bool {
        self.known.contains(fields) && self.counts.numbers() > 0
    }

    /// The least number.
    pub fn min(&self) -> Option<Number> {
        self.extremes.map(|extremes| extremes.min)
    }

    /// The greatest number.
    pub fn max(&self) -> Option<Number> {
        self.extremes.map(|extremes| extremes.max)
    }

    /// The sum of the numbers: exact where none is a double.
    pub fn sum(&self) -> Option<Total> {
        self.has_numbers(Fields::SUM).then(|| match self.counts.floats {
            0 => Total::Integer(self.sum.integers),
            _ => Total::Float(self.sum.mixed().total()),
        })
    }

    /// The mean of the numbers.
    pub fn mean(&self) -> Option<f64> {
        let count = self.counts.numbers();
        self.has_numbers(Fields::SUM).then(|| match self.counts.floats {
            0 => quotient(self.sum.integers, count),
            _ => self.sum.mixed().mean(nearest(i128::from(count))),
        })
    }

    /// The sum of the squared deviations of the numbers from their mean.
    pub fn m2(&self) -> Option<f64> {
        self.has_numbers(Fields::M2).then_some(self.m2)
    }

    /// The variance of the numbers, taken as the whole population.
    pub fn variance(&self) -> Option<f64> {
        self.m2().map(|m2| m2 / nearest(i128::from(self.counts.numbers())))
    }

    /// The standard deviation of the numbers, taken as the whole population.
    pub fn stddev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// How often a number was below the number before it.
    pub fn resets(&self) -> Option<u64> {
        self.has_numbers(Fields::RESETS).then_some(self.resets)
    }

    /// How much a counter grew from the first to the last sample, resets to 0 included: last - first + the sum of
    /// the values before the resets (Prometheus, `increase` before extrapolation). Exact for integers; none where
    /// there is text.
    pub fn increase(&self) -> Option<Total> {
        let ends = self.ends.as_ref().filter(|_| self.known.contains(Fields::RESETS))?;
        let (first, last) = (Number::of(&ends.first.value)?, Number::of(&ends.last.value)?);
        if self.counts.texts > 0 {
            return None;
        }
        if let (Number::Integer(first), Number::Integer(last), 0) = (first, last, self.counts.floats) {
            let difference = i128::from(last) - i128::from(first);
            return Some(Total::Integer(difference + self.reset_sum.integers));
        }
        let mut sum = self.reset_sum.mixed();
        sum.add(last.nearest());
        sum.add(-first.nearest());
        Some(Total::Float(sum.total()))
    }

    /// The sum of the numbers from which a counter fell.
    pub fn reset_sum(&self) -> Option<f64> {
        self.has_numbers(Fields::RESETS).then(|| self.reset_sum.mixed().total())
    }

    /// How often the value was another than before.
    pub fn changes(&self) -> Option<u64> {
        (self.known.contains(Fields::CHANGES) && !self.is_empty()).then_some(self.changes)
    }

    /// The area under the numbers in value · seconds, each held until the next sample; the last one counts nothing.
    pub fn step_integral(&self) -> Option<f64> {
        self.has_numbers(Fields::INTEGRALS).then(|| self.integrals.step.total())
    }

    /// The area under straight lines between the numbers, in value · seconds.
    pub fn linear_integral(&self) -> Option<f64> {
        self.has_numbers(Fields::INTEGRALS).then(|| self.integrals.linear.total())
    }

    /// Each state's count and how long it was held, ascending; none where no sample is a boolean or a text.
    pub fn states(&self) -> Option<Result<&[StateSpan], TooManyStates>> {
        let is_known = self.known.contains(Fields::STATES) && self.counts.states() > 0;
        self.states.as_ref().filter(|_| is_known).map(|states| states.spans())
    }

    /// The quantile sketch of the numbers, where one was gathered throughout.
    pub fn sketch(&self) -> Option<&Sketch> {
        self.sketch.as_deref()
    }

    /// A number within 1 % of the one at rank ⌊`q` (count - 1)⌋, and never beyond the extremes where these are known;
    /// none without a sketch.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let answer = self.sketch.as_ref()?.quantile(q)?;
        let held = |extremes: Extremes| answer.max(extremes.min.nearest()).min(extremes.max.nearest());
        Some(self.extremes.map_or(answer, held))
    }

    /// This fold with what is not in `fields`, or needed by them, forgotten.
    #[must_use]
    pub fn only(mut self, fields: Fields) -> Self {
        let fields = fields.with_needed();
        self.known = self.known & fields;
        if !fields.contains(Fields::FIRST_LAST) {
            self.ends = None;
        }
        if !fields.contains(Fields::MIN_MAX) {
            self.extremes = None;
        }
        if !fields.contains(Fields::STATES) {
            self.states = None;
        }
        if !fields.contains(Fields::SKETCH) {
            self.sketch = None;
        }
        self
    }
}
