//! Folding doubles by the column: in passes over a chunk that stays in the nearest cache, without a branch a sample.

use crate::model::{Sample, Timestamp, Value};

use super::fold::{Ends, Extremes, Integrals, NumberSum};
use super::lanes::{LANES, Lanes};
use super::neighbours::{areas, seconds};
use super::number::nearest;
use super::{Counts, Fold, Number, Sum};

/// Samples in a chunk: 4 KiB of values and as much of times.
pub(super) const CHUNK: usize = 512;

/// The fold of a chunk of doubles, without a sketch; `None` where it is empty, or where a sum leaves the finite
/// doubles, so that each sample must be looked at.
pub(super) fn fold(times: &[Timestamp], values: &[f64]) -> Option<Fold> {
    let (&first, &last) = (values.first()?, values.last()?);
    // Longer spans do not fit the integers of the passes below.
    times.last()?.nanos().checked_sub(times.first()?.nanos())?;
    let ends = Ends {
        first: Sample { time: *times.first()?, value: Value::F64(first) },
        last: Sample { time: *times.last()?, value: Value::F64(last) },
    };
    let Summary { sum, min, max, m2 } = summarise(values)?;
    let Between { resets, changes, reset_sum, integrals } = between(times, values)?;
    let floats = u64::try_from(values.len()).unwrap_or(u64::MAX);
    Some(Fold {
        counts: Counts { floats, ..Counts::default() },
        ends: Some(ends),
        sum: NumberSum { integers: 0, floats: sum },
        extremes: Some(Extremes { min: Number::Float(min), max: Number::Float(max) }),
        m2,
        resets,
        reset_sum: NumberSum { integers: 0, floats: reset_sum },
        changes,
        integrals,
        ..Fold::EMPTY
    })
}

struct Summary {
    sum: Sum,
    min: f64,
    max: f64,
    m2: f64,
}

fn summarise(values: &[f64]) -> Option<Summary> {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = Lanes::default();
    let (mut least, mut greatest) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    let mut take = |chunk: &[f64; LANES], terms: [f64; LANES]| {
        lanes.add(terms);
        for (least, value) in least.iter_mut().zip(chunk) {
            *least = if value < least { *value } else { *least };
        }
        for (greatest, value) in greatest.iter_mut().zip(chunk) {
            *greatest = if value > greatest { *value } else { *greatest };
        }
    };
    for chunk in chunks {
        take(chunk, *chunk);
    }
    let first = values.first().copied().unwrap_or(0.0);
    take(&padded(rest, first), padded(rest, 0.0));
    let sum = lanes.sum()?;
    let min = least.into_iter().fold(f64::INFINITY, f64::min);
    let max = greatest.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let m2 = deviations(values, &sum);
    Some(Summary { sum, min: earliest(min, values), max: earliest(max, values), m2 })
}

/// 0.0 and -0.0 are equal, and the earlier one is the extreme.
fn earliest(extreme: f64, values: &[f64]) -> f64 {
    let is_zero = |value: &f64| *value == 0.0;
    if is_zero(&extreme) { values.iter().copied().find(is_zero).unwrap_or(extreme) } else { extreme }
}

/// Around a rounded mean, less what the rounding did.
fn deviations(values: &[f64], sum: &Sum) -> f64 {
    let count = nearest(i128::try_from(values.len()).unwrap_or(0));
    let mean = sum.mean(count);
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (mut squares, mut shift) = ([0.0; LANES], [0.0; LANES]);
    for chunk in chunks.iter().copied().chain([padded(rest, mean)]) {
        for ((square, shift), value) in squares.iter_mut().zip(&mut shift).zip(chunk) {
            let distance = value - mean;
            *square += distance * distance;
            *shift += distance;
        }
    }
    let shift = shift.into_iter().sum::<f64>();
    (squares.into_iter().sum::<f64>() - shift * shift / count).max(0.0)
}

fn padded(rest: &[f64], filler: f64) -> [f64; LANES] {
    let mut lanes = [filler; LANES];
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = *value;
    }
    lanes
}

/// What happens between the samples.
pub(super) struct Between {
    pub(super) resets: u64,
    pub(super) changes: u64,
    pub(super) reset_sum: Sum,
    pub(super) integrals: Integrals,
}

/// Sums of what happens between samples, in lanes.
#[derive(Default)]
struct BetweenLanes {
    resets: [u64; LANES],
    changes: [u64; LANES],
    reset_sum: Lanes,
    step: Lanes,
    linear: Lanes,
}

impl BetweenLanes {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the caller's loop keeps the lanes in registers")]
    #[expect(clippy::float_cmp, reason = "a change is any other number")]
    fn take(&mut self, spans: [f64; LANES], before: &[f64; LANES], next: &[f64; LANES]) {
        let (mut resets, mut step, mut linear) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        let terms = resets.iter_mut().zip(&mut step).zip(&mut linear);
        for (((reset, step), linear), ((span, a), b)) in terms.zip(spans.iter().zip(before).zip(next)) {
            *reset = if b < a { *a } else { 0.0 };
            (*step, *linear) = areas(*span, *a, *b);
        }
        for (count, (a, b)) in self.resets.iter_mut().zip(before.iter().zip(next)) {
            *count += u64::from(b < a);
        }
        for (count, (a, b)) in self.changes.iter_mut().zip(before.iter().zip(next)) {
            *count += u64::from(b != a);
        }
        self.reset_sum.add(resets);
        self.step.add(step);
        self.linear.add(linear);
    }
}

/// Of values without NaN and infinities.
fn between(times: &[Timestamp], values: &[f64]) -> Option<Between> {
    let (before, next) = (values, values.get(1..)?);
    let (start, end) = (times, times.get(1..)?);
    let mut lanes = BetweenLanes::default();
    let chunks = before.as_chunks::<LANES>().0.iter().zip(next.as_chunks::<LANES>().0);
    let spans = start.as_chunks::<LANES>().0.iter().zip(end.as_chunks::<LANES>().0);
    for ((before, next), (start, end)) in chunks.zip(spans) {
        let mut span = [0.0; LANES];
        for (span, (start, end)) in span.iter_mut().zip(start.iter().zip(end)) {
            *span = seconds(end.nanos() - start.nanos());
        }
        lanes.take(span, before, next);
    }
    let rest = next.len() - next.len() % LANES;
    for at in rest..next.len() {
        let (before, next) = (*before.get(at)?, *next.get(at)?);
        let span = seconds(end.get(at)?.nanos() - start.get(at)?.nanos());
        lanes.take(padded(&[span], 0.0), &padded(&[before], 0.0), &padded(&[next], 0.0));
    }
    Some(Between {
        resets: lanes.resets.iter().sum(),
        changes: lanes.changes.iter().sum(),
        reset_sum: lanes.reset_sum.sum()?,
        integrals: Integrals { step: lanes.step.sum()?, linear: lanes.linear.sum()? },
    })
}
