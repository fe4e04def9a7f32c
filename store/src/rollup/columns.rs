//! Folding the columns of a run: by the chunk where all values are of one kind, else sample by sample.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::{Run, Values};
use crate::model::{Sample, Timestamp, Value};

use super::fold::Ends;
use super::states::{State, States};
use super::{Counts, Fold, Number, floats};

impl Fold {
    /// Takes the samples at some positions of a run, later than all before them.
    pub fn extend(&mut self, run: &Run, positions: Range<usize>) {
        let Some(times) = run.times.get(positions.clone()) else { return };
        match &run.values {
            Values::F64(values) => {
                self.extend_by_chunk(times, values.get(positions), floats::fold, Value::F64);
            }
            Values::I64(values) => {
                self.extend_by_chunk(times, values.get(positions), fold_integers, Value::I64);
            }
            Values::Bool(values) => {
                self.extend_by_chunk(times, values.get(positions), fold_bools, Value::Bool);
            }
            Values::Text(values) => {
                let mut fold = fold_texts(times, values.get(positions).unwrap_or_default());
                fold.sketch = self.sketch.as_ref().map(|_| Box::default());
                self.merge(&fold);
            }
            Values::Mixed(values) => {
                for (time, value) in times.iter().zip(values.get(positions).unwrap_or_default()) {
                    self.push(*time, value);
                }
            }
        }
    }

    /// Takes samples in the order of time, later than all before them.
    pub fn extend_samples(&mut self, samples: &[Sample]) {
        for samples in samples.chunks(floats::CHUNK) {
            let run: Run = samples.iter().map(|sample| (sample.time, sample.value.clone())).collect();
            self.extend(&run, 0..samples.len());
        }
    }

    /// Chunks that `fold` does not take are pushed sample by sample.
    fn extend_by_chunk<T: Copy>(
        &mut self,
        times: &[Timestamp],
        values: Option<&[T]>,
        fold: impl Fn(&[Timestamp], &[T]) -> Option<Self>,
        value: impl Fn(T) -> Value,
    ) {
        let chunks = times.chunks(floats::CHUNK).zip(values.unwrap_or_default().chunks(floats::CHUNK));
        for (times, values) in chunks {
            let Some(mut fold) = fold(times, values) else {
                for (time, of) in times.iter().zip(values) {
                    self.push(*time, &value(*of));
                }
                continue;
            };
            if let Some(mut sketch) = self.sketch.as_ref().map(|_| Box::<super::Sketch>::default()) {
                let numbers = values.iter().filter_map(|of| Number::of(&value(*of)));
                sketch.extend(numbers.map(Number::nearest));
                fold.sketch = Some(sketch);
            }
            if self.is_empty() {
                *self = fold;
            } else {
                self.merge(&fold);
            }
        }
    }
}

/// Integers of a larger magnitude are no doubles.
const WHOLE_MAX: u64 = 1 << 53;

/// The fold of a chunk of integers by way of doubles, whose compensated sums of integers are exact.
fn fold_integers(times: &[Timestamp], values: &[i64]) -> Option<Fold> {
    let mut doubles = [0.0; floats::CHUNK];
    let doubles = doubles.get_mut(..values.len())?;
    let mut largest = 0;
    for (double, value) in doubles.iter_mut().zip(values) {
        largest = largest.max(value.unsigned_abs());
        *double = exact(*value);
    }
    if largest > WHOLE_MAX {
        return None;
    }
    let (first, last) = (*values.first()?, *values.last()?);
    let fold = floats::fold(times, doubles)?;
    let counts = Counts { integers: fold.counts.floats, ..Counts::default() };
    fold.with_integers(counts, [Value::I64(first), Value::I64(last)])
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a conversion in one instruction; magnitudes are checked"
)]
const fn exact(value: i64) -> f64 {
    value as f64
}

fn fold_bools(times: &[Timestamp], values: &[bool]) -> Option<Fold> {
    let integers: Vec<i64> = values.iter().map(|value| i64::from(*value)).collect();
    let (first, last) = (*values.first()?, *values.last()?);
    let fold = fold_integers(times, &integers)?;
    let counts = Counts { bools: fold.counts.integers, ..Counts::default() };
    let states = fold_states(times, values, |value| State::Bool(*value));
    let fold = Fold { states: Some(Box::new(states)), ..fold };
    fold.with_integers(counts, [Value::Bool(first), Value::Bool(last)])
}

fn fold_texts(times: &[Timestamp], values: &[Arc<str>]) -> Fold {
    let ends = times.first().zip(values.first()).zip(times.last().zip(values.last()));
    let Some(((start, first), (end, last))) = ends else { return Fold::EMPTY };
    let sample = |time: &Timestamp, text| Sample { time: *time, value: Value::Text(Arc::clone(text)) };
    let changes = values.iter().zip(values.iter().skip(1)).filter(|(a, b)| a != b).count();
    let states = fold_states(times, values, |value| State::Text(Arc::clone(value)));
    Fold {
        counts: Counts { texts: u64::try_from(values.len()).unwrap_or(u64::MAX), ..Counts::default() },
        ends: Some(Ends { first: sample(start, first), last: sample(end, last) }),
        changes: u64::try_from(changes).unwrap_or(u64::MAX),
        states: Some(Box::new(states)),
        ..Fold::EMPTY
    }
}

/// Stretches of equal values are added at once.
fn fold_states<T: PartialEq>(times: &[Timestamp], values: &[T], state: impl Fn(&T) -> State) -> States {
    let mut states = States::NONE;
    let mut at = 0;
    for stretch in values.chunk_by(|a, b| a == b) {
        let (Some(value), Some(start)) = (stretch.first(), times.get(at)) else { break };
        at += stretch.len();
        let end = times.get(at).or(times.last()).unwrap_or(start);
        let count = u64::try_from(stretch.len()).unwrap_or(u64::MAX);
        states.add(&state(value), count, end.saturating_since(*start));
    }
    states
}

impl Fold {
    /// This fold of doubles that are whole numbers as the fold of integers that it is.
    fn with_integers(mut self, counts: Counts, [first, last]: [Value; 2]) -> Option<Self> {
        let ends = self.ends.as_mut()?;
        (ends.first.value, ends.last.value) = (first, last);
        let extremes = self.extremes.as_mut()?;
        extremes.min = extremes.min.whole()?;
        extremes.max = extremes.max.whole()?;
        self.sum = self.sum.whole();
        self.reset_sum = self.reset_sum.whole();
        self.counts = counts;
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::nearest;
    use super::*;

    #[test]
    fn chunks_say_what_single_samples_say() {
        let time =
            |n: usize| Timestamp::from_millis(i64::try_from(n * n % 7 + n * 10).unwrap() * 100).unwrap();
        let n = floats::CHUNK * 2 + 77;
        let wave = |n: usize| i64::try_from(n * 7919 % 1000).unwrap() - 400;
        let runs: [Run; 4] = [
            (0..n).map(|n| (time(n), Value::F64(nearest(i128::from(wave(n))) / 100.0))).collect(),
            (0..n).map(|n| (time(n), Value::I64(wave(n) * (1 << 43)))).collect(),
            (0..n).map(|n| (time(n), Value::Bool(wave(n) > 0))).collect(),
            (0..n).map(|n| (time(n), Value::Text(format!("{}", wave(n) / 100).into()))).collect(),
        ];
        for run in runs {
            let (mut whole, mut single) = (Fold::with_sketch(), Fold::with_sketch());
            whole.extend(&run, 0..n);
            run.iter().for_each(|(time, value)| single.push(time, &value));
            super::super::tests::assert_same(&whole, &single);
        }
    }
}
