//! What a mill may use and how long it waits. Every default is stated with its reason.

use std::time::Duration;

use crate::append::RetryPolicy;
use crate::codec::block::PackLimits;
use crate::layout::{BucketWidth, Resolution, RetentionTimes};

/// When a bucket is ground.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrindTimes {
    /// A segment is ground no sooner than this after it was received: by then all that was received before it is
    /// in the store, so that what a grind covers is a dense beginning of what was received.
    pub settle: Duration,
    /// Late segments are ground once none came for so long.
    pub late_quiet: Duration,
    /// Late segments are ground after this time even where more keep coming.
    pub late_wait_max: Duration,
    /// An open bucket is ground once its unground tail has at least these bytes, and more than what is ground.
    pub tail_bytes_min: u64,
    /// An open bucket that ends within so long is left until it is over and what came until then has settled.
    pub over_soon: Duration,
    /// After which time an open mark counts as closed, holes included.
    pub mark_age_max: Duration,
    /// For how long a seal must have been seen in force before what it replaced is deleted: longer than the longest
    /// query, the time for which readers trust a seal, and the replication lag together.
    pub grace: Duration,
}

impl Default for GrindTimes {
    /// Ten seconds are many times what a write takes. Two minutes let a reconnected device finish, and a quarter of
    /// an hour bounds how often a bucket that never falls silent is rewritten. Under 4 MiB a tail is cheaper to read
    /// than to grind, and queries can do without for the last five minutes. Five minutes are more than any query may
    /// run.
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(10),
            late_quiet: Duration::from_mins(2),
            late_wait_max: Duration::from_mins(15),
            tail_bytes_min: 4 * 1024 * 1024,
            over_soon: Duration::from_mins(5),
            mark_age_max: Duration::from_hours(24),
            grace: Duration::from_mins(5),
        }
    }
}

/// How a mill shares the work with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How often a mill says that it lives, and looks at the others.
    pub beat_every: Duration,
    /// A mill that has not changed its beat for so long, by the clock of who looks, is dead.
    pub takeover_after: Duration,
}

impl Default for LeaseTimes {
    /// Four beats are missed before a mill is taken for dead; its shards are taken well within a minute.
    fn default() -> Self {
        Self { beat_every: Duration::from_secs(5), takeover_after: Duration::from_secs(20) }
    }
}

/// What a mill may use.
#[derive(Debug, Clone, PartialEq)]
pub struct MillOptions {
    /// Resolutions of frames; one is stored for the buckets that it divides.
    pub resolutions: Vec<Resolution>,
    /// Windows of a series are stored in a resolution where they hold so many samples on average; in the coarsest
    /// they are always stored.
    pub frame_samples_min: u32,
    /// Windows at least so wide carry a quantile sketch of 1 %; `None`: no window does.
    pub sketches_from: Option<Resolution>,
    /// How long what is ground is kept.
    pub retention: RetentionTimes,
    /// When buckets are ground.
    pub times: GrindTimes,
    /// How shards are shared.
    pub leases: LeaseTimes,
    /// How often the marks of the shards are looked at.
    pub survey_every: Duration,
    /// Memory for the samples of one grind, roughly; a larger bucket is ground in several passes.
    pub memory_bytes_max: usize,
    /// Buckets ground at once.
    pub grinds_in_flight_max: usize,
    /// Writes of one grind that are in flight at once.
    pub writes_in_flight_max: usize,
    /// Bytes of the bodies of one write.
    pub write_bytes_max: usize,
    /// How large blocks become.
    pub packs: PackLimits,
    /// The share of one processor that grinding takes, above 0 and at most 1; each grind in flight has its own.
    pub cpu_share: f64,
    /// Rows of writers' catalogs that are remembered, 16 bytes each.
    pub catalog_rows_max: usize,
    /// Waits between attempts.
    pub retry: RetryPolicy,
}

impl MillOptions {
    /// The resolutions that are stored for buckets of `width`, finest first.
    pub fn resolutions_of(&self, width: BucketWidth) -> Vec<Resolution> {
        let mut stored: Vec<Resolution> =
            self.resolutions.iter().copied().filter(|resolution| resolution.divides(width)).collect();
        stored.sort_unstable();
        stored.dedup();
        stored
    }
}

impl Default for MillOptions {
    /// Minutes, hours and days: the windows that dashboards ask for. 64 MiB hold two million samples: more passes
    /// over less memory cost no more processor time (measured with 1 GiB and 64 MiB). Half a processor leaves ingest
    /// undisturbed and still grinds millions of samples a second.
    fn default() -> Self {
        let resolutions = [60, 3_600, 86_400].into_iter().filter_map(Resolution::from_seconds).collect();
        Self {
            resolutions,
            frame_samples_min: 20,
            sketches_from: None,
            retention: RetentionTimes::FOREVER,
            times: GrindTimes::default(),
            leases: LeaseTimes::default(),
            survey_every: Duration::from_secs(10),
            memory_bytes_max: 64 * 1024 * 1024,
            grinds_in_flight_max: 1,
            writes_in_flight_max: 4,
            write_bytes_max: 512 * 1024,
            packs: PackLimits::DEFAULT,
            cpu_share: 0.5,
            catalog_rows_max: 4_000_000,
            retry: RetryPolicy::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_resolutions_that_divide_a_bucket_are_stored_for_it() {
        let seconds = |minutes| {
            let width = BucketWidth::new(Duration::from_mins(minutes)).unwrap();
            let stored = MillOptions::default().resolutions_of(width);
            stored.iter().map(|resolution| resolution.seconds()).collect::<Vec<_>>()
        };
        assert_eq!(seconds(5), [60]);
        assert_eq!(seconds(60), [60, 3_600]);
        assert_eq!(seconds(24 * 60), [60, 3_600, 86_400]);
    }
}
