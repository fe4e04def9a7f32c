//! What evaluation works on: columns of numbers over steps, with a mark for "no sample here".
//!
//! The mark is the bit pattern that Prometheus uses for staleness: a signalling NaN that no arithmetic produces and
//! that no sample may have. Every operation looks for it before it computes.

use super::labels::Labels;

/// "There is no sample."
pub const ABSENT: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether `value` is the mark, which is also what a staleness marker looks like.
pub const fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// The value where there is one.
pub const fn present(value: f64) -> Option<f64> {
    if is_absent(value) { None } else { Some(value) }
}

/// Nanoseconds as seconds. Whole seconds and the rest apart: today's nanoseconds are beyond what a double holds.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "seconds are doubles in PromQL")]
pub const fn seconds(nanos: i64) -> f64 {
    (nanos / SECOND) as f64 + (nanos % SECOND) as f64 / 1e9
}

const SECOND: i64 = 1_000_000_000;

/// A count as a number.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) const fn count(n: usize) -> f64 {
    n as f64
}

/// A number as a count: cut to a whole number, held between 0 and the largest.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what is wanted"
)]
pub(super) const fn whole(value: f64) -> usize {
    value as usize
}

/// Moments at equal distances. At least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The first, in nanoseconds since the epoch.
    pub start: i64,
    /// The distance in nanoseconds; 0 only where there is one step.
    pub step: i64,
    /// How many.
    pub count: usize,
}

impl Steps {
    /// One moment.
    pub const fn one(at: i64) -> Self {
        Self { start: at, step: 0, count: 1 }
    }

    /// From `start` to at most `end`. One moment where `end` is not after `start` or `step` is not positive.
    pub fn between(start: i64, end: i64, step: i64) -> Self {
        if step <= 0 || end <= start {
            return Self::one(start);
        }
        let more = usize::try_from((i128::from(end) - i128::from(start)) / i128::from(step));
        Self { start, step, count: more.unwrap_or(usize::MAX - 1) + 1 }
    }

    /// The moments, ascending.
    pub fn iter(self) -> impl ExactSizeIterator<Item = i64> {
        let (mut next, step) = (self.start, self.step);
        (0..self.count).map(move |_| {
            let at = next;
            next = next.saturating_add(step);
            at
        })
    }

    /// The last moment.
    pub fn last(self) -> i64 {
        let steps = i64::try_from(self.count.saturating_sub(1)).unwrap_or(i64::MAX);
        self.start.saturating_add(self.step.saturating_mul(steps))
    }

    /// All moments `earlier` nanoseconds earlier.
    #[must_use]
    pub const fn earlier(self, earlier: i64) -> Self {
        Self { start: self.start.saturating_sub(earlier), ..self }
    }
}

/// A series over the steps of an evaluation.
#[derive(Debug, Clone)]
pub struct Row {
    /// Whose.
    pub labels: Labels,
    /// Whether the metric's name is to be taken out at the end of the query. Until then functions see it.
    pub drop_name: bool,
    /// One value for each step, or [`ABSENT`].
    pub values: Vec<f64>,
}

impl Row {
    /// Whether any step has a value.
    pub fn is_present(&self) -> bool {
        self.values.iter().any(|value| !is_absent(*value))
    }

    /// Replaces each value that there is.
    pub fn map(&mut self, f: impl Fn(f64) -> f64) {
        for value in &mut self.values {
            if !is_absent(*value) {
                *value = f(*value);
            }
        }
    }
}

/// A series as sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSeries {
    /// Whose.
    pub labels: Labels,
    /// As in [`Row`].
    pub drop_name: bool,
    /// Ascending, each time once, in nanoseconds.
    pub times: Vec<i64>,
    /// One for each time; none is [`ABSENT`].
    pub values: Vec<f64>,
}

/// What a query gives.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A number for each step.
    Scalar(Vec<f64>),
    /// Series over the steps; those without any value are left out.
    Rows(Vec<Row>),
    /// Series as sampled: a range selector by itself.
    Ranges(Vec<RawSeries>),
    /// A text.
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_told_from_every_other_nan() {
        assert!(is_absent(ABSENT));
        assert!(!is_absent(f64::NAN) && !is_absent(f64::from_bits(0x7ff8_0000_0000_0001)));
    }

    #[test]
    fn steps_end_at_or_before_the_end() {
        assert_eq!(Steps::between(0, 10, 3).iter().collect::<Vec<_>>(), [0, 3, 6, 9]);
        assert_eq!(Steps::between(0, 9, 3).last(), 9);
        assert_eq!(Steps::between(5, 5, 3).count, 1);
    }

    #[test]
    fn milliseconds_of_today_are_the_nearest_seconds() {
        for millis in [1_700_006_403_750_i64, 1_700_006_634_750, 1_763_923_511_137, -1_500, 0, 137] {
            let nearest: f64 = format!("{millis}e-3").parse().unwrap();
            assert_eq!(seconds(millis * 1_000_000).to_bits(), nearest.to_bits(), "{millis}");
        }
    }
}
