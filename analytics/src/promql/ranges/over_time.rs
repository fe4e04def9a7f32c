//! Sums, means, extremes and the like of a window.

use std::collections::VecDeque;

use super::super::kahan::{Mean, Sum};
use super::super::value::{ABSENT, count as number, seconds};
use super::{Kernel, Window};

pub(super) fn sum(values: &[f64]) -> f64 {
    let plain = Sum::of_plain(values);
    if plain.is_finite() {
        return plain.total();
    }
    values.iter().fold(Sum::default(), |sum, value| sum.plus(*value)).total()
}

pub(super) fn mean(values: &[f64]) -> f64 {
    let plain = Sum::of_plain(values);
    if plain.is_finite() && !values.is_empty() {
        return plain.over(number(values.len()));
    }
    let Some((first, rest)) = values.split_first() else { return ABSENT };
    let mut mean = Mean::of(*first);
    for value in rest {
        mean.add(*value);
    }
    mean.mean()
}

pub(super) fn count(values: &[f64]) -> f64 {
    number(values.len())
}

pub(super) fn first(values: &[f64]) -> f64 {
    values.first().copied().unwrap_or(ABSENT)
}

pub(super) fn last(values: &[f64]) -> f64 {
    values.last().copied().unwrap_or(ABSENT)
}

/// The variance of all values, by Welford's recurrence with compensated sums.
pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut n, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for value in values {
        n += 1.0;
        let before = value - mean.total();
        mean.add(before / n);
        squares.add(before * (value - mean.total()));
    }
    squares.total() / n
}

/// `min_over_time`, `max_over_time`: the positions that may still become the extreme, as a queue. Each sample
/// enters and leaves once, however much windows overlap.
pub(super) struct Extreme {
    /// Whether the first is beyond the second.
    beyond: fn(f64, f64) -> bool,
    queue: VecDeque<(usize, f64)>,
    /// The first position that has not entered.
    next: usize,
}

impl Extreme {
    pub(super) fn min() -> Self {
        Self { beyond: |a, b| a < b, queue: VecDeque::new(), next: 0 }
    }

    pub(super) fn max() -> Self {
        Self { beyond: |a, b| a > b, queue: VecDeque::new(), next: 0 }
    }
}

impl Kernel for Extreme {
    fn begin(&mut self, _: &[f64]) {
        self.queue.clear();
        self.next = 0;
    }

    fn value(&mut self, window: &Window<'_>) -> f64 {
        let from = self.next.max(window.first);
        let fresh = window.values.get(from - window.first..).unwrap_or_default();
        for (at, value) in fresh.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            // Of equal ones the first stays: 0 and -0 are told apart when they are shown.
            while self.queue.back().is_some_and(|(_, last)| (self.beyond)(*value, *last)) {
                self.queue.pop_back();
            }
            self.queue.push_back((from + at, *value));
        }
        self.next = window.first + window.values.len();
        while self.queue.front().is_some_and(|(at, _)| *at < window.first) {
            self.queue.pop_front();
        }
        // Nothing but NaN.
        self.queue.front().map_or(f64::NAN, |(_, value)| *value)
    }
}

/// `ts_of_…_over_time`: when it was, in seconds; of equal extremes the last.
pub(super) enum TimeOf {
    First,
    Last,
    Max,
    Min,
}

impl Kernel for TimeOf {
    fn value(&mut self, window: &Window<'_>) -> f64 {
        let time = match self {
            Self::First => window.first_time(),
            Self::Last => window.last_time(),
            Self::Max => time_of(window, |value, best| value >= best),
            Self::Min => time_of(window, |value, best| value <= best),
        };
        time.map_or(ABSENT, seconds)
    }
}

fn time_of(window: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> Option<i64> {
    let mut samples = window.samples();
    let first = samples.next()?;
    let best = samples.fold(
        first,
        |best, sample| {
            if better(sample.1, best.1) || best.1.is_nan() { sample } else { best }
        },
    );
    Some(best.0)
}

#[cfg(test)]
mod tests {
    use super::super::Times;
    use super::*;

    #[test]
    fn the_variance_of_equal_values_is_zero() {
        assert_eq!(variance(&[1.599_050_563_727_786_8; 3]), 0.0);
        assert!((variance(&[0.0, 8.0, 8.0, 2.0, 3.0]) - 10.56).abs() < 1e-12);
    }

    #[test]
    fn extremes_of_sliding_windows_are_those_of_each_window() {
        let values = [3.0, f64::NAN, 1.0, 2.0, 2.0, 0.5, f64::NAN, f64::NAN, f64::NAN, 7.0];
        let mut kernel = Extreme::min();
        for (first, past) in [(0, 2), (0, 4), (1, 5), (2, 6), (3, 8), (6, 9), (8, 10)] {
            let slice = &values[first..past];
            let column = Times::Listed(&[]);
            let window = Window { column, first, values: slice, after: 0, through: 0, at: 0, step: 0 };
            let expected = slice.iter().copied().fold(f64::NAN, f64::min);
            let found = kernel.value(&window);
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{first}..{past}");
        }
    }
}
