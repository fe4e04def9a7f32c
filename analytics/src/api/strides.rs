//! How much of a range is read at once. Pure.
//!
//! Slices are as long as buckets are. Read one by one, a long and sparse range costs many small reads; read all at
//! once, a dense one does not fit. So slices are joined, twice as many each time as long as few samples come, and
//! what turns out too large is halved.

use std::collections::VecDeque;
use std::time::Duration;

use tidemill_store::model::TimeRange;
use tidemill_store::wide::Order;

/// A range is not halved below this: where a second is too large, more halves will not help either.
const HALVES_MIN: Duration = Duration::from_secs(1);

/// Slices on their way to be read.
#[derive(Debug)]
pub(super) struct Strides {
    /// In the order of reading.
    slices: VecDeque<TimeRange>,
    order: Order,
    /// How many slices make the next stride.
    width: usize,
    /// How many samples a stride should have at most.
    samples_wanted: usize,
}

impl Strides {
    /// Reads `slices`, disjoint and in `order`, about `samples_wanted` samples at once.
    pub(super) fn new(slices: Vec<TimeRange>, order: Order, samples_wanted: usize) -> Self {
        Self { slices: slices.into(), order, width: 1, samples_wanted }
    }

    /// The same, with so many slices joined at first.
    #[must_use]
    pub(super) fn beginning_with(self, slices: usize) -> Self {
        Self { width: slices.max(1), ..self }
    }

    /// Whether nothing is left to read.
    pub(super) fn is_done(&self) -> bool {
        self.slices.is_empty()
    }

    /// What to read next.
    pub(super) fn next(&mut self) -> Option<TimeRange> {
        let width = self.width.min(self.slices.len());
        let taken: Vec<TimeRange> = self.slices.drain(..width).collect();
        let (first, last) = (*taken.first()?, *taken.last()?);
        let (early, late) = self.ordered(first, last);
        TimeRange::new(early.start(), late.end()).ok()
    }

    /// Learns that the last stride had so many samples.
    pub(super) fn took(&mut self, samples: usize) {
        if samples > self.samples_wanted {
            self.width = (self.width / 2).max(1);
        } else if samples <= self.samples_wanted / 2 {
            self.width = self.width.saturating_mul(2);
        }
    }

    /// Puts a stride that was too large back in halves, and joins no slices for now. `false` where it is too short.
    pub(super) fn halve(&mut self, stride: TimeRange) -> bool {
        let length = stride.end().saturating_since(stride.start());
        let middle = stride.start().saturating_add(length / 2);
        let (Ok(early), Ok(late)) =
            (TimeRange::new(stride.start(), middle), TimeRange::new(middle, stride.end()))
        else {
            return false;
        };
        if length < HALVES_MIN {
            return false;
        }
        let (first, second) = self.ordered(early, late);
        self.slices.push_front(second);
        self.slices.push_front(first);
        self.width = 1;
        true
    }

    /// Swaps two of anything where time runs backwards.
    fn ordered<T>(&self, a: T, b: T) -> (T, T) {
        match self.order {
            Order::Ascending => (a, b),
            Order::Descending => (b, a),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemill_store::model::Timestamp;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn range(start: i64, end: i64) -> TimeRange {
        let at = |second: i64| Timestamp::from_nanos(second * SECOND).unwrap();
        TimeRange::new(at(start), at(end)).unwrap()
    }

    #[test]
    fn slices_are_joined_while_few_samples_come() {
        let mut strides = Strides::new((0..20).map(|n| range(n, n + 1)).collect(), Order::Ascending, 100);
        let mut read = Vec::new();
        for samples in [10, 10, 60, 101, 100] {
            read.push(strides.next().unwrap());
            strides.took(samples);
        }
        assert_eq!(read, [range(0, 1), range(1, 3), range(3, 7), range(7, 11), range(11, 13)]);
    }

    proptest! {
        /// A store that refuses more than `most` samples of a density gives every sample once, in order.
        #[test]
        fn every_moment_of_the_slices_is_read_once_in_order(
            slices in prop::collection::btree_set(0..60_i64, 1..30),
            density in 1..40_usize,
            most in 10..100_usize,
            descending in any::<bool>(),
        ) {
            let order = if descending { Order::Descending } else { Order::Ascending };
            let mut expected: Vec<TimeRange> = slices.iter().map(|n| range(n * 10, n * 10 + 10)).collect();
            if descending {
                expected.reverse();
            }
            // The samples: one each eighth of a second, where there is a slice.
            let sampled: Vec<TimeRange> = expected.clone();
            let moments = |range: &TimeRange| -> Vec<i64> {
                let grid = (0..4_800).map(|eighth| eighth * SECOND / 8);
                let mut found: Vec<i64> =
                    grid.filter(|nanos| holds(range, *nanos) && sampled.iter().any(|slice| holds(slice, *nanos))).collect();
                if descending {
                    found.reverse();
                }
                found
            };
            let mut strides = Strides::new(expected.clone(), order, most);
            let mut read = Vec::new();
            while let Some(stride) = strides.next() {
                let samples = moments(&stride).len() * density / 80;
                if samples > most && strides.halve(stride) {
                    continue;
                }
                strides.took(samples);
                read.push(stride);
            }
            prop_assert!(strides.is_done());
            let all = |ranges: &[TimeRange]| ranges.iter().flat_map(moments).collect::<Vec<_>>();
            prop_assert_eq!(all(&read), all(&expected));
        }
    }

    fn holds(range: &TimeRange, nanos: i64) -> bool {
        range.contains(Timestamp::from_nanos(nanos).unwrap())
    }
}
