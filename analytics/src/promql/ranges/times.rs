//! The times of a column: one by one, or at one step and then never written out.

use super::super::value::Steps;

/// Times that ascend strictly, in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub enum Times<'a> {
    /// At one step, which is above 0; from the first to the last is a number of nanoseconds that 64 bits hold.
    Even(Steps),
    /// One by one.
    Listed(&'a [i64]),
}

impl<'a> Times<'a> {
    /// How many.
    pub const fn len(self) -> usize {
        match self {
            Self::Even(steps) => steps.count,
            Self::Listed(times) => times.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The time at a position.
    #[expect(clippy::as_conversions, clippy::cast_possible_wrap, reason = "a position is far below 2^63")]
    pub fn get(self, position: usize) -> Option<i64> {
        match self {
            Self::Even(Steps { start, step, count }) => {
                (position < count).then(|| start.wrapping_add(step.wrapping_mul(position as i64)))
            }
            Self::Listed(times) => times.get(position).copied(),
        }
    }

    /// The last.
    pub(super) fn last(self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Those from a position on.
    pub(super) fn iter_from(self, position: usize) -> impl Iterator<Item = i64> + use<'a> {
        (position..self.len()).map_while(move |at| self.get(at))
    }
}

/// Counts the times that are not after some moments, which never go back.
pub(super) enum Passed<'a> {
    Even(PassedEven),
    Listed { times: &'a [i64], count: usize },
}

impl<'a> Passed<'a> {
    pub(super) fn of(times: Times<'a>) -> Self {
        match times {
            Times::Even(steps) => Self::Even(PassedEven::of(steps)),
            Times::Listed(times) => Self::Listed { times, count: 0 },
        }
    }

    /// How many are not after `moment`.
    #[inline]
    pub(super) fn up_to(&mut self, moment: i64) -> usize {
        match self {
            Self::Even(even) => even.up_to(moment),
            Self::Listed { times, count } => {
                // A few at most when windows slide, so they are counted one by one.
                let rest = times.get(*count..).unwrap_or_default();
                *count += rest.iter().take_while(|time| **time <= moment).count();
                *count
            }
        }
    }
}

/// Divides no more often than the distance between moments changes, which for windows is once.
pub(super) struct PassedEven {
    times: Steps,
    last: i64,
    /// The latest moment that was asked for, held within the times.
    moment: i64,
    count: usize,
    /// From the last time that is not after it to the moment.
    rest: i64,
    /// The latest distance between two moments, in steps and what is left of one.
    distance: i64,
    steps: usize,
    part: i64,
}

impl PassedEven {
    fn of(times: Steps) -> Self {
        let (moment, last) = (times.start, times.last());
        Self { times, last, moment, count: 1, rest: 0, distance: 0, steps: 0, part: 0 }
    }

    #[inline]
    fn up_to(&mut self, moment: i64) -> usize {
        if moment < self.times.start {
            return 0;
        }
        let moment = moment.min(self.last);
        let distance = moment - self.moment;
        if distance != self.distance {
            self.distance = distance;
            self.steps = usize::try_from(distance / self.times.step).unwrap_or(0);
            self.part = distance % self.times.step;
        }
        self.moment = moment;
        self.count += self.steps;
        self.rest += self.part;
        if self.rest >= self.times.step {
            self.rest -= self.times.step;
            self.count += 1;
        }
        self.count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn even_times_are_counted_as_if_they_were_listed(
            start in -90..90_i64, step in 1..40_i64, count in 1..20_usize,
            distances in prop::collection::vec(prop_oneof![4 => Just(7_i64), 1 => 0..200_i64], 1..30),
        ) {
            let even = Times::Even(Steps { start, step, count });
            let listed: Vec<i64> = even.iter_from(0).collect();
            prop_assert_eq!((listed.len(), even.last()), (count, listed.last().copied()));
            let (mut a, mut b) = (Passed::of(even), Passed::of(Times::Listed(&listed)));
            let mut moment = -150;
            for distance in distances {
                moment += distance;
                prop_assert_eq!(a.up_to(moment), b.up_to(moment));
            }
        }
    }
}
