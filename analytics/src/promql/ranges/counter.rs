//! Rates, increases and differences, and how often a series changed or fell.
//!
//! The samples of a window seldom lie on its bounds, so differences are extrapolated to them: as far as a tenth
//! more than the mean distance of samples, else by half of that distance; a counter not further back than to zero.

use super::super::value::{ABSENT, count, seconds};
use super::{Kernel, Window};

/// `rate`, `increase`, `delta`.
pub(super) struct Extrapolated {
    counter: bool,
    per_second: bool,
    /// Where in the column the value fell: the position of the lower value.
    falls: Vec<usize>,
    /// The first of `falls` that a window may still hold.
    next_fall: usize,
}

impl Extrapolated {
    pub(super) const fn rate() -> Self {
        Self { counter: true, per_second: true, falls: Vec::new(), next_fall: 0 }
    }

    pub(super) const fn increase() -> Self {
        Self { counter: true, per_second: false, falls: Vec::new(), next_fall: 0 }
    }

    pub(super) const fn delta() -> Self {
        Self { counter: false, per_second: false, falls: Vec::new(), next_fall: 0 }
    }

    /// The sum of the values from which the counter fell within a window.
    fn lost(&mut self, window: &Window<'_>) -> f64 {
        let passed = |fall: &&usize| **fall <= window.first;
        self.next_fall +=
            self.falls.get(self.next_fall..).unwrap_or_default().iter().take_while(passed).count();
        let mut lost = 0.0;
        for fall in self.falls.get(self.next_fall..).unwrap_or_default() {
            let before = fall.checked_sub(window.first + 1).and_then(|at| window.values.get(at));
            match before {
                Some(before) if fall - window.first < window.values.len() => lost += before,
                Some(_) | None => break,
            }
        }
        lost
    }
}

impl Kernel for Extrapolated {
    fn begin(&mut self, values: &[f64]) {
        self.falls.clear();
        self.next_fall = 0;
        if self.counter {
            let pairs = values.iter().zip(values.iter().skip(1)).enumerate();
            self.falls.extend(pairs.filter(|(_, (before, after))| after < before).map(|(at, _)| at + 1));
        }
    }

    fn value(&mut self, window: &Window<'_>) -> f64 {
        let (Some((first_time, first)), Some((last_time, last))) =
            (window.first_time().zip(window.values.first()), window.last_time().zip(window.values.last()))
        else {
            return ABSENT;
        };
        let ends = Ends {
            first: (first_time, *first),
            last: (last_time, *last),
            count: count(window.values.len()),
            lost: self.lost(window),
            after: window.after,
            through: window.through,
        };
        self.of(&ends)
    }
}

/// All that a difference is made of.
pub(super) struct Ends {
    /// Time and value of the first sample.
    pub(super) first: (i64, f64),
    /// Time and value of the last.
    pub(super) last: (i64, f64),
    /// How many there are.
    pub(super) count: f64,
    /// The sum of the values from which a counter fell.
    pub(super) lost: f64,
    /// The window is after this …
    pub(super) after: i64,
    /// … up to this.
    pub(super) through: i64,
}

impl Extrapolated {
    /// The value of a window.
    pub(super) fn of(&self, ends: &Ends) -> f64 {
        if ends.count < 2.0 {
            return ABSENT;
        }
        let Ends { first: (first_time, first), last: (last_time, last), .. } = *ends;
        let difference = last - first + ends.lost;
        let sampled = seconds(last_time - first_time);
        let bounds = Bounds {
            sampled,
            before: seconds(first_time - ends.after),
            behind: seconds(ends.through - last_time),
            distance: sampled / (ends.count - 1.0),
        };
        let zero = if self.counter && difference > 0.0 && first >= 0.0 {
            sampled * (first / difference)
        } else {
            f64::INFINITY
        };
        let value = difference * bounds.factor(zero);
        if self.per_second { value / seconds(ends.through - ends.after) } else { value }
    }
}

/// How the samples of a window lie between its bounds, in seconds.
struct Bounds {
    sampled: f64,
    before: f64,
    behind: f64,
    /// Mean distance between samples.
    distance: f64,
}

impl Bounds {
    /// By how much a difference grows when extrapolated; not further back than `zero` seconds.
    fn factor(&self, zero: f64) -> f64 {
        let near = self.distance * 1.1;
        let reach = |gap: f64| if gap >= near { self.distance / 2.0 } else { gap };
        (self.sampled + reach(self.before).min(zero) + reach(self.behind)) / self.sampled
    }
}

/// `irate`, `idelta`: of the last two samples.
pub(super) struct LastTwo {
    counter: bool,
}

impl LastTwo {
    pub(super) const fn rate() -> Self {
        Self { counter: true }
    }

    pub(super) const fn delta() -> Self {
        Self { counter: false }
    }
}

impl Kernel for LastTwo {
    fn value(&mut self, window: &Window<'_>) -> f64 {
        let [.., v0, v1] = window.values else { return ABSENT };
        let last = window.first + window.values.len() - 1;
        let (Some(t0), Some(t1)) = (window.column.get(last - 1), window.column.get(last)) else {
            return ABSENT;
        };
        let difference = if self.counter && v1 < v0 { *v1 } else { v1 - v0 };
        if self.counter { difference / seconds(t1 - t0) } else { difference }
    }
}

pub(super) fn changes(values: &[f64]) -> f64 {
    #[expect(clippy::float_cmp, reason = "a change is any other value")]
    let differ = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
    count(pairs(values).filter(|(a, b)| differ(*a, *b)).count())
}

pub(super) fn resets(values: &[f64]) -> f64 {
    count(pairs(values).filter(|(before, after)| after < before).count())
}

fn pairs(values: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    values.iter().copied().zip(values.iter().skip(1).copied())
}
