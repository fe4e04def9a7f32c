//! A piece of a series, borrowed from whoever took it apart: what a [`Run`] holds, without a copy, and with times that
//! are never written out where they follow each other at one step.
//!
//! Pure; knows neither whose samples they are nor where they lay. Times ascend strictly (I4).

use crate::model::{TimeRange, Timestamp};

use super::{Run, Values};

/// Samples of one series, ascending by time, each time once; as many values as times.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// When.
    pub times: Times<'a>,
    /// What, in the same order.
    pub values: &'a Values,
}

/// Times that ascend strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times<'a> {
    /// At one step.
    Even(Even),
    /// One by one.
    Listed(&'a [Timestamp]),
}

/// Times at one step: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Even {
    first: i64,
    /// Above 0.
    step: i64,
    count: usize,
}

impl Piece<'_> {
    /// How many samples.
    pub const fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are no samples.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a Run> for Piece<'a> {
    fn from(run: &'a Run) -> Self {
        Self { times: Times::Listed(&run.times), values: &run.values }
    }
}

impl Times<'_> {
    /// How many.
    pub const fn len(&self) -> usize {
        match self {
            Self::Even(even) => even.count,
            Self::Listed(times) => times.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Even {
    /// `count` times from `first` on, in nanoseconds; `None` where there are none, where they do not ascend, and where
    /// one of them is no [`Timestamp`] or too far from the first.
    pub fn new(first: i64, step: i64, count: usize) -> Option<Self> {
        let further = i64::try_from(count.checked_sub(1)?).ok()?;
        let last = first.checked_add(step.checked_mul(further)?)?;
        last.checked_sub(first)?;
        Timestamp::from_nanos(first).ok()?;
        Timestamp::from_nanos(last).ok()?;
        (step > 0).then_some(Self { first, step, count })
    }

    /// The first, in nanoseconds since the epoch.
    pub const fn first(&self) -> i64 {
        self.first
    }

    /// From one to the next, in nanoseconds; above 0.
    pub const fn step(&self) -> i64 {
        self.step
    }

    /// How many; at least one.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The time at `position`; wherever it lies, also behind the last.
    #[expect(clippy::as_conversions, clippy::cast_possible_wrap, reason = "a position is far below 2^63")]
    pub const fn at(&self, position: usize) -> i64 {
        self.first.wrapping_add(self.step.wrapping_mul(position as i64))
    }

    /// The last.
    pub const fn last(&self) -> i64 {
        self.at(self.count - 1)
    }

    /// How many are before a moment.
    pub fn before(&self, moment: i64) -> usize {
        if moment <= self.first {
            return 0;
        }
        if moment > self.last() {
            return self.count;
        }
        usize::try_from((moment - 1 - self.first) / self.step).map_or(self.count, |whole| whole + 1)
    }

    /// Those in a range; `None` where there are none.
    #[must_use]
    pub fn within(&self, range: TimeRange) -> Option<Self> {
        let (start, end) = (self.before(range.start().nanos()), self.before(range.end().nanos()));
        (start < end).then(|| Self { first: self.at(start), count: end - start, ..*self })
    }

    /// These and those that follow, where they go on at the same step.
    #[must_use]
    pub fn followed_by(self, next: Self) -> Option<Self> {
        (next.step == self.step && next.first == self.at(self.count))
            .then(|| Self::new(self.first, self.step, self.count.saturating_add(next.count)))
            .flatten()
    }

    /// One by one.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Timestamp> {
        let Self { first, step, count } = self;
        let mut next = first;
        (0..count).map(move |_| {
            let at = next;
            next = next.wrapping_add(step);
            Timestamp::from_nanos(at).unwrap_or(Timestamp::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn even_times_are_told_as_if_they_were_listed(
            first in -50..50_i64, step in 1..20_i64, count in 1..30_usize, (a, b) in (-100..700_i64, -100..700_i64),
        ) {
            let at = |nanos| Timestamp::from_nanos(nanos).unwrap();
            let even = Even::new(first, step, count).unwrap();
            let listed: Vec<_> = even.iter().collect();
            prop_assert_eq!(listed.len(), count);
            prop_assert!(listed.windows(2).all(|pair| pair[1].nanos() - pair[0].nanos() == step));
            prop_assert_eq!(even.before(a), listed.iter().filter(|time| time.nanos() < a).count());
            let range = TimeRange::new(at(a.min(b)), at(a.max(b))).unwrap();
            let within: Vec<_> = even.within(range).into_iter().flat_map(Even::iter).collect();
            let expected: Vec<_> = listed.iter().copied().filter(|time| range.contains(*time)).collect();
            prop_assert_eq!(within, expected);
        }
    }

    #[test]
    fn times_that_are_none_are_refused() {
        assert!(Even::new(0, 1, 0).is_none(), "none");
        assert!(Even::new(0, 0, 2).is_none(), "they do not ascend");
        assert!(Even::new(Timestamp::MAX.nanos(), 1, 2).is_none(), "beyond all times");
        assert!(Even::new(Timestamp::MIN.nanos(), i64::MAX, 2).is_some());
        assert!(Even::new(Timestamp::MIN.nanos(), i64::MAX / 2 + 1, 3).is_none(), "too far apart");
    }

    #[test]
    fn what_goes_on_at_the_same_step_is_joined() {
        let even = |first, count| Even::new(first, 10, count).unwrap();
        assert_eq!(even(0, 3).followed_by(even(30, 2)), Some(even(0, 5)));
        assert_eq!(even(0, 3).followed_by(even(40, 2)), None);
    }
}
