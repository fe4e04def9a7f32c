//! Eras: from a time on, this many shards and this bucket width.
//!
//! Invariants: the first era reaches back to the beginning of time; each later one starts on a bucket boundary
//! of the era before it and of its own, so buckets tile the line without overlap, negative times too.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::model::{Shard, Source, TimeRange, Timestamp};

/// How many shards an era has: 1 to 4,096.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardCount(NonZeroU16);

/// The width of an era's buckets: whole seconds, from one minute to 400 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketWidth(i64);

/// Why an era was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErasError {
    /// The shard count is out of bounds.
    #[error("{0} shards; the count must be between 1 and 4096")]
    ShardCount(u64),
    /// The bucket width is out of bounds.
    #[error("buckets of {0:?}; the width must be whole seconds, from 1 minute to 400 days")]
    BucketWidth(Duration),
    /// There is no era.
    #[error("there is no era; apply the schema first")]
    None,
    /// The first era does not start at the beginning of time.
    #[error("the first era starts at {0:?}, not at the beginning of time")]
    First(Timestamp),
    /// An era starts inside of a bucket.
    #[error("the era from {0:?} on does not start on a bucket boundary of both eras")]
    Boundary(Timestamp),
    /// Eras are not what they were.
    #[error("the era from {0:?} on has changed, though points were placed by it")]
    Changed(Timestamp),
    /// Two eras start at one time, or out of order.
    #[error("the era from {0:?} on does not start after the one before it")]
    Order(Timestamp),
}

impl ShardCount {
    /// The most shards of any era.
    pub const MAX: u16 = 4096;

    /// From a number.
    pub fn new(count: u64) -> Result<Self, ErasError> {
        u16::try_from(count)
            .ok()
            .filter(|&count| count <= Self::MAX)
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or(ErasError::ShardCount(count))
    }

    /// The count.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Every shard, in order.
    pub fn shards(self) -> impl Iterator<Item = Shard> {
        (0..self.get()).map(Shard::new)
    }
}

impl BucketWidth {
    const SECOND: i64 = 1_000_000_000;
    const MIN: Duration = Duration::from_mins(1);
    const MAX: Duration = Duration::from_hours(9600);

    /// From a duration.
    pub fn new(width: Duration) -> Result<Self, ErasError> {
        let nanos = i64::try_from(width.as_nanos()).unwrap_or(i64::MAX);
        if width < Self::MIN || width > Self::MAX || nanos % Self::SECOND != 0 {
            return Err(ErasError::BucketWidth(width));
        }
        Ok(Self(nanos))
    }

    /// The first moment from `time` on that is a boundary of buckets of both widths; `None` where there is none in
    /// whole milliseconds before [`Timestamp::MAX`].
    pub fn common_boundary(self, other: Self, time: Timestamp) -> Option<Timestamp> {
        let (mut divisor, mut rest) = (self.0, other.0);
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        let both = (self.0 / divisor).checked_mul(other.0)?;
        let before = time.nanos().div_euclid(both).checked_mul(both)?;
        let at = if before == time.nanos() { before } else { before.checked_add(both)? };
        Timestamp::from_nanos(at).ok()
    }

    /// The width.
    pub const fn get(self) -> Duration {
        Duration::from_nanos(self.0.cast_unsigned())
    }
}

/// An epoch-aligned interval of event time. Ordered by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    start: i64,
    width: i64,
}

impl Bucket {
    /// The bucket of `width` that holds `time`.
    pub fn at(time: Timestamp, width: BucketWidth) -> Self {
        Self { start: time.nanos().div_euclid(width.0) * width.0, width: width.0 }
    }

    /// The bucket of `width` that starts at `millis`, as [`Bucket::start_millis`] gave it; `None` where none does.
    pub fn from_start_millis(millis: i64, width: BucketWidth) -> Option<Self> {
        let start = millis.checked_mul(1_000_000)?;
        let bucket = Self { start, width: width.0 };
        let held = clamp(start);
        (Self::at(held, width) == bucket).then_some(bucket)
    }

    /// Its start in whole milliseconds: how it is named in keys. It may lie a little before
    /// [`Timestamp::MIN`], which is why it is not a [`Timestamp`].
    pub const fn start_millis(self) -> i64 {
        self.start.div_euclid(1_000_000)
    }

    /// Its start, held at [`Timestamp::MIN`].
    pub fn start(self) -> Timestamp {
        clamp(self.start)
    }

    /// Its end, held at just past [`Timestamp::MAX`] where it is the last.
    pub fn end(self) -> Timestamp {
        clamp(self.start.saturating_add(self.width))
    }

    /// Whether it holds `time`.
    pub const fn contains(self, time: Timestamp) -> bool {
        self.start <= time.nanos() && time.nanos() < self.start.saturating_add(self.width)
    }
}

fn clamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos.clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos()))
        .unwrap_or(Timestamp::EPOCH)
}

/// From `starts_at` on: this many shards, this bucket width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Era {
    /// The first moment of the era, in whole milliseconds.
    pub starts_at: Timestamp,
    /// How many shards.
    pub shards: ShardCount,
    /// How wide its buckets are.
    pub bucket_width: BucketWidth,
}

impl Era {
    /// The shard of `source` in this era.
    #[inline]
    pub fn shard(&self, source: &Source) -> Shard {
        shard_of(source.device_hash(), self.shards)
    }

    /// The bucket of this era that holds `time`.
    pub fn bucket(&self, time: Timestamp) -> Bucket {
        Bucket::at(time, self.bucket_width)
    }
}

/// Where a point is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The shard.
    pub shard: Shard,
    /// The bucket.
    pub bucket: Bucket,
}

/// All eras, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eras(Vec<Era>);

impl Eras {
    /// Checks `eras`, which must be in order.
    pub fn new(eras: Vec<Era>) -> Result<Self, ErasError> {
        let first = eras.first().ok_or(ErasError::None)?;
        if first.starts_at != Timestamp::MIN {
            return Err(ErasError::First(first.starts_at));
        }
        for (before, era) in eras.iter().zip(eras.iter().skip(1)) {
            if era.starts_at <= before.starts_at {
                return Err(ErasError::Order(era.starts_at));
            }
            let on_boundary = |width: BucketWidth| era.starts_at.nanos() % width.0 == 0;
            if !on_boundary(before.bucket_width) || !on_boundary(era.bucket_width) {
                return Err(ErasError::Boundary(era.starts_at));
            }
        }
        Ok(Self(eras))
    }

    /// The eras that are in force of those in `stored`, which must be in order. One that does not start on a boundary
    /// of the one in force before it and of its own is not: two that were added at the same time may each fit behind
    /// what was there and not together, and then all who read them must take the same.
    pub fn in_force(stored: impl IntoIterator<Item = Era>) -> Result<Self, ErasError> {
        let mut eras: Vec<Era> = Vec::new();
        for era in stored {
            let fits = |before: &Era| {
                let boundary = before.bucket_width.common_boundary(era.bucket_width, era.starts_at);
                era.starts_at > before.starts_at && boundary == Some(era.starts_at)
            };
            if eras.last().is_none_or(fits) {
                eras.push(era);
            }
        }
        Self::new(eras)
    }

    /// The first era that starts before `until` and in which `later` differs from these.
    pub fn contradicted_by(&self, later: &Self, until: Timestamp) -> Option<Era> {
        let before =
            |eras: &Self| eras.0.iter().filter(|era| era.starts_at < until).copied().collect::<Vec<_>>();
        let (known, told) = (before(self), before(later));
        let differs = known.iter().zip(&told).find(|(known, told)| known != told).map(|(_, told)| *told);
        let (shorter, longer) = if known.len() < told.len() { (known, told) } else { (told, known) };
        differs.or_else(|| longer.get(shorter.len()).copied())
    }

    /// One era for all time.
    pub fn single(shards: ShardCount, bucket_width: BucketWidth) -> Self {
        Self(vec![Era { starts_at: Timestamp::MIN, shards, bucket_width }])
    }

    /// The eras in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Era> {
        self.0.iter()
    }

    /// The era that holds `time`.
    #[inline]
    pub fn at(&self, time: Timestamp) -> Era {
        let era = self.0.iter().rev().find(|era| era.starts_at <= time);
        assert!(era.is_some(), "the first era reaches back to the beginning of time");
        era.copied().unwrap_or(Era {
            starts_at: Timestamp::MIN,
            shards: ShardCount(NonZeroU16::MIN),
            bucket_width: BucketWidth(BucketWidth::SECOND * 60),
        })
    }

    /// Where a point of `source` at `time` is stored.
    pub fn place(&self, source: &Source, time: Timestamp) -> Place {
        let era = self.at(time);
        Place { shard: era.shard(source), bucket: era.bucket(time) }
    }

    /// The most shards that any era has.
    pub fn shards_max(&self) -> u16 {
        self.0.iter().map(|era| era.shards.get()).max().unwrap_or(1)
    }

    /// The parts of `range` that fall into each era, in order.
    pub fn split(&self, range: TimeRange) -> Vec<(Era, TimeRange)> {
        let ends = self.0.iter().skip(1).map(|era| era.starts_at).chain([Timestamp::MAX]);
        self.0
            .iter()
            .zip(ends)
            .filter_map(|(era, end)| {
                let reach = TimeRange::new(era.starts_at, end).ok()?;
                Some((*era, reach.intersection(&range)?))
            })
            .collect()
    }
}

/// hash modulo the shard count; part of the stored layout.
fn shard_of(device_hash: u64, shards: ShardCount) -> Shard {
    let shard = device_hash % u64::from(shards.get());
    Shard::new(u16::try_from(shard).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos).unwrap()
    }

    fn minute() -> BucketWidth {
        BucketWidth::new(Duration::from_mins(1)).unwrap()
    }

    #[test]
    fn buckets_tile_the_line_on_both_sides_of_the_epoch() {
        let before = Bucket::at(at(-1), minute());
        let after = Bucket::at(at(0), minute());
        assert_eq!(before.end(), after.start());
        assert!(before.contains(at(-60_000_000_000)) && !before.contains(at(-60_000_000_001)));
        let last = Bucket::at(Timestamp::MAX, BucketWidth::new(Duration::from_hours(9600)).unwrap());
        assert!(last.contains(Timestamp::MAX));
        let first = Bucket::at(Timestamp::MIN, BucketWidth::new(Duration::from_hours(9600)).unwrap());
        assert!(first.contains(Timestamp::MIN) && first.start_millis() < Timestamp::MIN.millis_floor());
    }

    #[test]
    fn an_era_must_start_on_a_boundary_of_both_widths() {
        let shards = ShardCount::new(4).unwrap();
        let hour = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let first = Era { starts_at: Timestamp::MIN, shards, bucket_width: minute() };
        let second = |starts_at| Era { starts_at, shards, bucket_width: hour };
        assert!(Eras::new(vec![first, second(at(3_600_000_000_000))]).is_ok());
        assert!(matches!(Eras::new(vec![first, second(at(60_000_000_000))]), Err(ErasError::Boundary(_))));
        assert!(matches!(Eras::new(vec![second(at(0))]), Err(ErasError::First(_))));
    }

    #[test]
    fn widths_share_the_boundaries_of_their_least_common_multiple() {
        let (six, ten) =
            (BucketWidth::new(Duration::from_mins(6)), BucketWidth::new(Duration::from_mins(10)));
        let (six, ten) = (six.unwrap(), ten.unwrap());
        let minutes = |minutes: i64| at(minutes * 60_000_000_000);
        assert_eq!(six.common_boundary(ten, minutes(1)), Some(minutes(30)));
        assert_eq!(six.common_boundary(ten, minutes(60)), Some(minutes(60)));
        assert_eq!(ten.common_boundary(six, minutes(-1)), Some(minutes(0)));
        let odd = |seconds| BucketWidth::new(Duration::from_secs(seconds)).unwrap();
        assert_eq!(odd(34_559_999).common_boundary(odd(34_559_998), minutes(1)), None);
    }

    #[test]
    fn an_era_that_changed_is_found_and_one_that_came_is_not() {
        let shards = ShardCount::new(4).unwrap();
        let first = Era { starts_at: Timestamp::MIN, shards, bucket_width: minute() };
        let from = |nanos| Era { starts_at: at(nanos), ..first };
        let eras = |eras: &[Era]| Eras::new(eras.to_vec()).unwrap();
        let (one, hour) = (eras(&[first]), 3_600_000_000_000);
        let two = eras(&[first, from(hour)]);
        assert_eq!(one.contradicted_by(&two, at(hour)), None);
        assert_eq!(one.contradicted_by(&two, at(hour + 1)), Some(from(hour)));
        assert_eq!(two.contradicted_by(&one, at(hour + 1)), Some(from(hour)));
        assert_eq!(two.contradicted_by(&one, at(hour)), None, "what has not begun may still go");
    }

    #[test]
    fn a_range_is_split_where_the_era_changes() {
        let shards = ShardCount::new(4).unwrap();
        let first = Era { starts_at: Timestamp::MIN, shards, bucket_width: minute() };
        let second = Era { starts_at: at(0), ..first };
        let eras = Eras::new(vec![first, second]).unwrap();
        let parts = eras.split(TimeRange::new(at(-5), at(5)).unwrap());
        let ends: Vec<_> = parts.iter().map(|(era, range)| (era.starts_at, range.end())).collect();
        assert_eq!(ends, [(Timestamp::MIN, at(0)), (at(0), at(5))]);
    }

    #[test]
    fn counts_and_widths_out_of_bounds_are_refused() {
        assert!(ShardCount::new(0).is_err() && ShardCount::new(4097).is_err());
        assert!(BucketWidth::new(Duration::from_secs(59)).is_err());
        assert!(BucketWidth::new(Duration::from_millis(60_500)).is_err());
    }
}
