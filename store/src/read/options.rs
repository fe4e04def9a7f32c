//! What a reader has to know of how samples are ground and kept.

use std::fmt;
use std::sync::Arc;

use crate::layout::{Bucket, BucketWidth, Resolution, RetentionTimes};
use crate::model::{Clock, Timestamp};

/// How samples are ground and kept: the same settings as those of the mill, or a reader looks for windows that nobody
/// makes. What it does not find it reads from samples.
#[derive(Clone)]
pub struct ReadOptions {
    /// The resolutions that are made.
    pub resolutions: Vec<Resolution>,
    /// How long samples and windows are kept.
    pub retention: RetentionTimes,
    /// By which retention is judged; without a clock nothing ever expires.
    pub clock: Option<Arc<dyn Clock>>,
}

impl Default for ReadOptions {
    /// Minutes, hours and days, kept for ever.
    fn default() -> Self {
        let seconds = [60, 3_600, 86_400];
        Self {
            resolutions: seconds.into_iter().filter_map(Resolution::from_seconds).collect(),
            retention: RetentionTimes::FOREVER,
            clock: None,
        }
    }
}

impl fmt::Debug for ReadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resolutions, retention, clock: _ } = self;
        f.debug_struct("ReadOptions")
            .field("resolutions", resolutions)
            .field("retention", retention)
            .finish_non_exhaustive()
    }
}

/// What is there of ground buckets at one moment.
#[derive(Debug)]
pub(super) struct Shelf<'a> {
    options: &'a ReadOptions,
    now: Option<Timestamp>,
}

impl ReadOptions {
    pub(super) fn shelf(&self) -> Shelf<'_> {
        Shelf { options: self, now: self.clock.as_ref().map(|clock| clock.now()) }
    }
}

impl Shelf<'_> {
    /// Whether the samples of `bucket` have expired.
    pub(super) fn raw_expired(&self, bucket: Bucket) -> bool {
        self.now.is_some_and(|now| self.options.retention.raw_expired(bucket, now))
    }

    /// From when on there are samples, in buckets of `width`; `None` where they never expire.
    pub(super) fn raw_from(&self, width: BucketWidth) -> Option<Timestamp> {
        let oldest = self.now?.saturating_sub(self.options.retention.raw?);
        Some(Bucket::at(oldest, width).start())
    }

    /// The resolutions of `bucket` that are made and have not expired, coarsest first.
    pub(super) fn resolutions(&self, bucket: Bucket, width: BucketWidth) -> Vec<Resolution> {
        let is_there = |resolution: &&Resolution| {
            resolution.divides(width)
                && !self
                    .now
                    .is_some_and(|now| self.options.retention.frames_expired(bucket, **resolution, now))
        };
        let mut there: Vec<Resolution> = self.options.resolutions.iter().filter(is_there).copied().collect();
        there.sort_unstable_by_key(|&resolution| std::cmp::Reverse(resolution));
        there
    }
}
