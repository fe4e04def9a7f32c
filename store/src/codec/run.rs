//! A run: samples of one series in the order of time, columnar. What grinding gathers, blocks hold and reads give.
//!
//! Pure; knows neither whose samples they are nor how they are packed. Times ascend strictly: duplicates and
//! corrections are settled by whoever makes a run (I4).

use std::ops::Range;

use crate::model::{TimeRange, Timestamp, Value};

use super::Values;

/// Samples of one series, ascending by time, each time once.
///
/// The fields are open for those who go through them column by column; as many values as times, always.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// When, strictly ascending.
    pub times: Vec<Timestamp>,
    /// What, in the same order.
    pub values: Values,
}

impl Default for Run {
    fn default() -> Self {
        Self { times: Vec::new(), values: Values::EMPTY }
    }
}

impl Run {
    /// From its columns.
    ///
    /// Panics where they differ in length or times do not ascend strictly.
    pub fn new(times: Vec<Timestamp>, values: Values) -> Self {
        assert!(times.len() == values.len(), "a run has as many values as times");
        assert!(times.is_sorted_by(|a, b| a < b), "times of a run ascend strictly");
        Self { times, values }
    }

    /// From columns that their maker has checked already.
    pub(crate) fn from_checked(times: Vec<Timestamp>, values: Values) -> Self {
        debug_assert!(times.is_sorted_by(|a, b| a < b), "times of a run ascend strictly");
        assert!(times.len() == values.len(), "a run has as many values as times");
        Self { times, values }
    }

    /// Adds a sample at the end.
    ///
    /// Panics where it is not later than the last.
    pub fn push(&mut self, time: Timestamp, value: Value) {
        assert!(self.times.last().is_none_or(|&last| last < time), "times of a run ascend strictly");
        self.times.push(time);
        self.values.push(value);
    }

    /// Keeps the first `len` samples.
    pub fn truncate(&mut self, len: usize) {
        self.times.truncate(len);
        self.values.truncate(len);
    }

    /// How many samples.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The time of the first sample.
    pub fn first_time(&self) -> Option<Timestamp> {
        self.times.first().copied()
    }

    /// The time of the last sample.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.times.last().copied()
    }

    /// The positions of the samples in a range of time.
    pub fn positions(&self, range: TimeRange) -> Range<usize> {
        positions(&self.times, range)
    }

    /// A copy of the samples in a range of time.
    #[must_use]
    pub fn slice(&self, range: TimeRange) -> Self {
        self.slice_at(self.positions(range))
    }

    /// A copy of the samples at some positions, of which those past the end are missing.
    #[must_use]
    pub fn slice_at(&self, positions: Range<usize>) -> Self {
        let end = positions.end.min(self.len());
        let range = positions.start.min(end)..end;
        let times = self.times.get(range.clone()).unwrap_or_default().to_vec();
        Self { times, values: self.values.slice(range) }
    }

    /// The samples in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Timestamp, Value)> {
        self.times.iter().copied().zip(self.values.iter())
    }
}

/// The positions of ascending times in a range.
pub(crate) fn positions(times: &[Timestamp], range: TimeRange) -> Range<usize> {
    let before = |bound: Timestamp| times.partition_point(|&time| time < bound);
    before(range.start())..before(range.end())
}

/// Panics where times do not ascend strictly.
impl FromIterator<(Timestamp, Value)> for Run {
    fn from_iter<I: IntoIterator<Item = (Timestamp, Value)>>(samples: I) -> Self {
        let mut run = Self::default();
        samples.into_iter().for_each(|(time, value)| run.push(time, value));
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    #[test]
    fn a_run_takes_the_kind_of_its_values_and_becomes_mixed_where_they_differ() {
        let mut run: Run = (0..3).map(|n| (at(n), Value::I64(n))).collect();
        assert_eq!(run.values, Values::I64(vec![0, 1, 2]));
        run.push(at(3), Value::Bool(true));
        assert_eq!(run.values.get(3), Some(Value::Bool(true)));
        assert_eq!(run.iter().take(3).map(|(_, value)| value).collect::<Vec<_>>(), [0, 1, 2].map(Value::I64));
    }

    #[test]
    fn a_slice_holds_its_start_and_not_its_end() {
        let run: Run = (0..10).map(|n| (at(n), Value::I64(n))).collect();
        let part = run.slice(TimeRange::new(at(3), at(5)).unwrap());
        assert_eq!(part, Run::new(vec![at(3), at(4)], Values::I64(vec![3, 4])));
        assert!(run.slice(TimeRange::new(at(10), at(90)).unwrap()).is_empty());
        assert_eq!(run.slice_at(8..99).first_time(), Some(at(8)));
        assert_eq!(run.slice_at(8..99).last_time(), Some(at(9)));
    }

    #[test]
    #[should_panic(expected = "ascend strictly")]
    fn a_time_that_comes_twice_is_refused() {
        let _: Run = [(at(1), Value::I64(1)), (at(1), Value::I64(2))].into_iter().collect();
    }
}
