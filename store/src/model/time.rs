//! Event time: nanoseconds since the Unix epoch, and half-open ranges of it.
//!
//! Timestamps are bounded well inside `i64`, so that cutting the line into buckets never overflows.

use std::fmt;
use std::time::Duration;

/// Why a time was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Outside of what a [`Timestamp`] can hold.
    #[error("the time lies outside of the years 1684 to 2255")]
    OutOfRange,
    /// A range that ends before it starts.
    #[error("the range ends before it starts")]
    Reversed,
}

/// A moment: nanoseconds since 1970-01-01T00:00:00Z, between [`Timestamp::MIN`] and [`Timestamp::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest: 9 × 10^18 ns before the epoch (October 1684).
    pub const MIN: Self = Self(-9_000_000_000_000_000_000);
    /// The latest: 9 × 10^18 ns after the epoch (March 2255).
    pub const MAX: Self = Self(9_000_000_000_000_000_000);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Result<Self, TimeError> {
        if nanos < Self::MIN.0 || nanos > Self::MAX.0 { Err(TimeError::OutOfRange) } else { Ok(Self(nanos)) }
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Result<Self, TimeError> {
        match millis.checked_mul(1_000_000) {
            Some(nanos) => Self::from_nanos(nanos),
            None => Err(TimeError::OutOfRange),
        }
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded towards the past.
    pub const fn millis_floor(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole microseconds since the epoch, rounded towards the past.
    pub const fn micros_floor(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This moment with what is below a millisecond cut off, towards the past.
    #[must_use]
    pub const fn floor_to_millis(self) -> Self {
        Self(self.millis_floor() * 1_000_000)
    }

    /// `span` later, held at [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos).min(Self::MAX.0))
    }

    /// `span` earlier, held at [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(nanos).max(Self::MIN.0))
    }

    /// How long after `earlier` this is; zero where it is not after.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000));
        write!(f, "{seconds}.{nanos:09}s")
    }
}

/// A half-open range of time: `start` is in it, `end` is not. Never reversed; may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start: Timestamp,
    end: Timestamp,
}

impl TimeRange {
    /// Every moment before [`Timestamp::MAX`].
    pub const ALL: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// From `start` to before `end`.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, TimeError> {
        if end < start { Err(TimeError::Reversed) } else { Ok(Self { start, end }) }
    }

    /// The first moment of the range.
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// The first moment after the range.
    pub const fn end(&self) -> Timestamp {
        self.end
    }

    /// Whether the range holds no moment.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether `time` lies in the range.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// What both ranges hold; `None` where that is nothing.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }
}

/// Where shells learn the time of day. Deciding code takes a [`Timestamp`] instead.
pub trait Clock: Send + Sync + 'static {
    /// The time of day now; it may jump either way.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_towards_the_past_on_both_sides_of_the_epoch() {
        assert_eq!(Timestamp::from_nanos(-1).unwrap().millis_floor(), -1);
        assert_eq!(Timestamp::from_nanos(1_999_999).unwrap().floor_to_millis().nanos(), 1_000_000);
        assert_eq!(format!("{:?}", Timestamp::from_nanos(-1).unwrap()), "-1.999999999s");
    }

    #[test]
    fn arithmetic_is_held_at_the_bounds() {
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::from_nanos(1)), Timestamp::MIN);
        assert_eq!(Timestamp::EPOCH.saturating_since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(i64::MAX), Err(TimeError::OutOfRange));
    }

    #[test]
    fn a_range_holds_its_start_and_not_its_end() {
        let at = |n| Timestamp::from_nanos(n).unwrap();
        let range = TimeRange::new(at(10), at(20)).unwrap();
        assert!(range.contains(at(10)) && !range.contains(at(20)));
        assert_eq!(range.intersection(&TimeRange::new(at(20), at(30)).unwrap()), None);
        assert_eq!(TimeRange::new(at(20), at(10)), Err(TimeError::Reversed));
    }
}
