//! How long what is ground is kept: raw samples and each resolution for themselves, counted from a bucket's end.
//!
//! Pure. Backends remove by this rule some time later; readers and the mill go by the rule itself, so that what has
//! expired is gone for all of them at one moment, whether it is still on disk or not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Bucket, Resolution};
use crate::model::Timestamp;

/// Retention of each class; what is not named is kept for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionTimes {
    /// Of raw samples, in blocks.
    pub raw: Option<Duration>,
    /// Of the frames of a resolution.
    pub frames: BTreeMap<Resolution, Duration>,
}

impl RetentionTimes {
    /// Everything is kept for ever.
    pub const FOREVER: Self = Self { raw: None, frames: BTreeMap::new() };

    /// When the raw samples of `bucket` expire; `None` if never.
    pub fn raw_expires_at(&self, bucket: Bucket) -> Option<Timestamp> {
        self.raw.map(|retention| bucket.end().saturating_add(retention))
    }

    /// When the frames of `bucket` in `resolution` expire; `None` if never.
    pub fn frames_expire_at(&self, bucket: Bucket, resolution: Resolution) -> Option<Timestamp> {
        self.frames.get(&resolution).map(|&retention| bucket.end().saturating_add(retention))
    }

    /// Whether the raw samples of `bucket` have expired at `now`.
    pub fn raw_expired(&self, bucket: Bucket, now: Timestamp) -> bool {
        self.raw_expires_at(bucket).is_some_and(|at| at <= now)
    }

    /// Whether the frames of `bucket` in `resolution` have expired at `now`.
    pub fn frames_expired(&self, bucket: Bucket, resolution: Resolution, now: Timestamp) -> bool {
        self.frames_expire_at(bucket, resolution).is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::BucketWidth;

    #[test]
    fn retention_counts_from_the_buckets_end() {
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let bucket = Bucket::at(Timestamp::EPOCH, width);
        let minute = Resolution::from_seconds(60).unwrap();
        let times = RetentionTimes {
            raw: Some(Duration::from_hours(2)),
            frames: BTreeMap::from([(minute, Duration::from_hours(5))]),
        };
        let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000).unwrap();
        assert!(!times.raw_expired(bucket, at(2)) && times.raw_expired(bucket, at(3)));
        assert!(!times.frames_expired(bucket, minute, at(5)) && times.frames_expired(bucket, minute, at(6)));
        assert!(!times.frames_expired(bucket, Resolution::from_seconds(3600).unwrap(), at(99)));
        assert!(!RetentionTimes::FOREVER.raw_expired(bucket, Timestamp::MAX));
    }
}
