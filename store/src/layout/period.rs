//! Resolutions of rollups, and periods: the spans of time that one partition of seals or frames holds.
//!
//! Pure. A period is a whole number of buckets, aligned to the epoch, so that a long range is read from few
//! partitions while none of them grows large. Part of the stored layout.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Bucket, BucketWidth};

/// Buckets whose seals lie in one partition.
const SEALS_PER_PERIOD: i64 = 64;
/// Windows of a series whose frames lie in one partition, rounded up to whole buckets.
const WINDOWS_PER_PERIOD: i64 = 128;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The width of a rollup's windows: whole seconds, from one second to a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resolution(NonZeroU32);

/// Why a resolution was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a resolution of {0:?}; it must be whole seconds that divide a day, from 1 second to 1 day")]
pub struct ResolutionError(Duration);

impl Resolution {
    const DAY_SECONDS: u32 = 86_400;

    /// From a duration. It must divide a day, so that days are made of whole windows.
    pub fn new(width: Duration) -> Result<Self, ResolutionError> {
        let seconds = u32::try_from(width.as_secs()).ok().filter(|_| width.subsec_nanos() == 0);
        seconds.and_then(Self::from_seconds).ok_or(ResolutionError(width))
    }

    /// From whole seconds; `None` where it is no resolution.
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        let divides = seconds > 0 && Self::DAY_SECONDS.is_multiple_of(seconds);
        NonZeroU32::new(seconds).filter(|_| divides).map(Self)
    }

    /// In seconds.
    pub const fn seconds(self) -> u32 {
        self.0.get()
    }

    /// In nanoseconds.
    pub fn nanos(self) -> i64 {
        i64::from(self.0.get()) * NANOS_PER_SECOND
    }

    /// Whether buckets of `width` are cut into whole windows: only then is the resolution stored for them.
    pub fn divides(self, width: BucketWidth) -> bool {
        nanos(width) % self.nanos() == 0
    }
}

/// What one partition of seals or frames holds: named by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    start_millis: i64,
}

impl Period {
    /// The period that the seal of `bucket` lies in; `width` is that of the bucket's era.
    pub fn of_seal(bucket: Bucket, width: BucketWidth) -> Self {
        Self::holding(bucket, width, SEALS_PER_PERIOD)
    }

    /// The period that the frames of `bucket` lie in.
    pub fn of_frames(bucket: Bucket, width: BucketWidth, resolution: Resolution) -> Self {
        let windows_nanos = resolution.nanos().saturating_mul(WINDOWS_PER_PERIOD);
        let buckets = windows_nanos / nanos(width) + i64::from(windows_nanos % nanos(width) != 0);
        Self::holding(bucket, width, buckets.max(1))
    }

    /// The end of a period of seals.
    pub fn end_of_seals_millis(self, width: BucketWidth) -> i64 {
        self.start_millis.saturating_add((nanos(width) / 1_000_000).saturating_mul(SEALS_PER_PERIOD))
    }

    /// The period of seals that starts at `millis`; `None` where none does.
    pub fn of_seals_from_start_millis(millis: i64, width: BucketWidth) -> Option<Self> {
        let period = (nanos(width) / 1_000_000).saturating_mul(SEALS_PER_PERIOD);
        (millis.rem_euclid(period) == 0).then_some(Self { start_millis: millis })
    }

    /// The period of seals after this one.
    #[must_use]
    pub fn next_of_seals(self, width: BucketWidth) -> Self {
        Self { start_millis: self.end_of_seals_millis(width) }
    }

    /// Its start in whole milliseconds: how it is named in keys.
    pub const fn start_millis(self) -> i64 {
        self.start_millis
    }

    fn holding(bucket: Bucket, width: BucketWidth, buckets: i64) -> Self {
        let width_millis = nanos(width) / 1_000_000;
        let period_millis = width_millis.saturating_mul(buckets);
        let start_millis = bucket.start_millis().div_euclid(period_millis).saturating_mul(period_millis);
        Self { start_millis }
    }
}

fn nanos(width: BucketWidth) -> i64 {
    i64::try_from(width.get().as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn width(hours: u64) -> BucketWidth {
        BucketWidth::new(Duration::from_hours(hours)).unwrap()
    }

    fn at(hours: i64, width: BucketWidth) -> Bucket {
        Bucket::at(Timestamp::from_millis(hours * 3_600_000).unwrap(), width)
    }

    #[test]
    fn a_period_of_frames_holds_128_windows_or_one_bucket() {
        let hour = Resolution::new(Duration::from_hours(1)).unwrap();
        let start = |at_hours, hours| {
            Period::of_frames(at(at_hours, width(hours)), width(hours), hour).start_millis() / 3_600_000
        };
        assert_eq!((start(127, 1), start(128, 1), start(-1, 1)), (0, 128, -128));
        assert_eq!((start(143, 24), start(144, 24)), (0, 144), "six days hold 128 hours");
        assert_eq!(start(480, 480), 480, "a long bucket has a period of its own");
    }

    #[test]
    fn a_period_of_seals_holds_64_buckets() {
        let start = |hours| Period::of_seal(at(hours, width(1)), width(1)).start_millis() / 3_600_000;
        assert_eq!((start(0), start(63), start(64), start(-1)), (0, 0, 64, -64));
    }

    #[test]
    fn a_resolution_divides_the_day() {
        assert!(Resolution::new(Duration::from_secs(7)).is_err());
        assert!(Resolution::new(Duration::from_millis(1500)).is_err());
        assert!(Resolution::new(Duration::ZERO).is_err());
        let minute = Resolution::new(Duration::from_mins(1)).unwrap();
        assert!(minute.divides(width(1)) && !Resolution::from_seconds(86_400).unwrap().divides(width(1)));
    }
}
