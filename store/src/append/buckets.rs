//! What a writer remembers of each bucket of a shard: its next seq, and the mark in force.
//!
//! Of a closed bucket only the next seq is kept, so that writing to it again goes on densely; it is never
//! forgotten while the writer lives, which is why the number of buckets is bounded (I6).

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::layout::Bucket;
use crate::model::{CatalogN, Seq};

/// The buckets of one (writer, shard).
#[derive(Debug)]
pub(super) struct Buckets {
    open: HashMap<Bucket, Open>,
    /// The next seq of each closed bucket; at least 1.
    closed: HashMap<Bucket, Seq>,
    limit: usize,
}

#[derive(Debug)]
struct Open {
    next: Seq,
    mark: Option<Mark>,
    used: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    catalog: CatalogN,
    written: Instant,
}

/// A bucket that is closed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) bucket: Bucket,
    pub(super) through: Seq,
}

/// The writer touches too many buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BucketsFull;

impl Buckets {
    pub(super) fn new(limit: usize) -> Self {
        Self { open: HashMap::new(), closed: HashMap::new(), limit }
    }

    /// How many are open, and how many closed ones are remembered.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.open.len(), self.closed.len())
    }

    /// Makes `bucket` ready for segments.
    pub(super) fn open(&mut self, bucket: Bucket, now: Instant) -> Result<(), BucketsFull> {
        if let Some(open) = self.open.get_mut(&bucket) {
            open.used = now;
            return Ok(());
        }
        let next = match self.closed.remove(&bucket) {
            Some(next) => next,
            None if self.open.len() + self.closed.len() >= self.limit => return Err(BucketsFull),
            None => Seq::default(),
        };
        self.open.insert(bucket, Open { next, mark: None, used: now });
        Ok(())
    }

    /// The seq of the next segment of an open bucket; the one after it is taken next time.
    pub(super) fn take_seq(&mut self, bucket: Bucket) -> Seq {
        let open = self.open.get_mut(&bucket);
        assert!(open.is_some(), "a segment was cut for a bucket that is not open");
        open.map_or(Seq::default(), |open| {
            let seq = open.next;
            open.next = seq.next();
            seq
        })
    }

    /// Whether an open bucket needs a new mark before a segment that needs `needed` catalog rows; if so, it counts
    /// as written now, with all `catalog` rows.
    pub(super) fn mark(&mut self, bucket: Bucket, needed: CatalogN, catalog: CatalogN, due: Due) -> bool {
        let Some(open) = self.open.get_mut(&bucket) else { return false };
        let is_good = |mark: &Mark| {
            mark.catalog >= needed && due.now.saturating_duration_since(mark.written) <= due.age_max
        };
        if open.mark.as_ref().is_some_and(is_good) {
            return false;
        }
        open.mark = Some(Mark { catalog, written: due.now });
        true
    }

    /// Closes every bucket that was last used at or before `used_by`.
    pub(super) fn close(&mut self, used_by: Instant) -> Vec<Closed> {
        let mut closed = Vec::new();
        for (bucket, open) in self.open.extract_if(|_, open| open.used <= used_by) {
            // A bucket is opened for a segment, so it has one.
            let Some(through) = open.next.get().checked_sub(1) else { continue };
            closed.push(Closed { bucket, through: Seq::new(through) });
            self.closed.insert(bucket, open.next);
        }
        closed.sort_unstable_by_key(|closed| closed.bucket);
        closed
    }
}

/// When a mark has to be written again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) now: Instant,
    pub(super) age_max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::BucketWidth;
    use crate::model::Timestamp;

    const HOUR: Duration = Duration::from_hours(1);

    fn bucket(hour: u64) -> Bucket {
        let time = Timestamp::EPOCH.saturating_add(HOUR * u32::try_from(hour).unwrap());
        Bucket::at(time, BucketWidth::new(HOUR).unwrap())
    }

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn seq_goes_on_after_a_bucket_was_closed() {
        let (mut buckets, now) = (Buckets::new(8), now());
        buckets.open(bucket(0), now).unwrap();
        assert_eq!([0, 1].map(|_| buckets.take_seq(bucket(0)).get()), [0, 1]);
        assert_eq!(buckets.close(now), [Closed { bucket: bucket(0), through: Seq::new(1) }]);
        assert_eq!(buckets.counts(), (0, 1));
        buckets.open(bucket(0), now).unwrap();
        assert_eq!((buckets.take_seq(bucket(0)).get(), buckets.counts()), (2, (1, 0)));
    }

    #[test]
    fn a_mark_is_written_for_the_first_segment_for_new_catalog_rows_when_old_and_after_closing() {
        let (mut buckets, start) = (Buckets::new(8), now());
        let mark = |buckets: &mut Buckets, minutes: u64, needed, catalog| {
            let due = Due { now: start + Duration::from_mins(minutes), age_max: HOUR };
            buckets.open(bucket(0), due.now).unwrap();
            let is_marked = buckets.mark(bucket(0), CatalogN::new(needed), CatalogN::new(catalog), due);
            buckets.take_seq(bucket(0));
            is_marked
        };
        assert!(mark(&mut buckets, 0, 1, 3));
        assert!(!mark(&mut buckets, 1, 3, 4), "three rows are carried already");
        assert!(mark(&mut buckets, 2, 4, 4));
        assert!(!mark(&mut buckets, 62, 4, 4));
        assert!(mark(&mut buckets, 63, 4, 4), "older than an hour");
        assert_eq!(buckets.close(start + Duration::from_mins(63)).len(), 1);
        assert!(mark(&mut buckets, 63, 4, 4), "closed meanwhile");
    }

    #[test]
    fn only_idle_buckets_are_closed() {
        let (mut buckets, start) = (Buckets::new(8), now());
        let later = start + Duration::from_secs(1);
        for (hour, used) in [(2, start), (1, start), (3, later)] {
            buckets.open(bucket(hour), used).unwrap();
            buckets.take_seq(bucket(hour));
        }
        let closed: Vec<Bucket> = buckets.close(start).iter().map(|closed| closed.bucket).collect();
        assert_eq!(closed, [bucket(1), bucket(2)]);
    }

    #[test]
    fn closed_buckets_count_towards_the_limit_and_may_be_opened_again() {
        let (mut buckets, now) = (Buckets::new(2), now());
        for hour in [1, 2] {
            buckets.open(bucket(hour), now).unwrap();
            buckets.take_seq(bucket(hour));
        }
        buckets.close(now);
        assert_eq!(buckets.open(bucket(3), now), Err(BucketsFull));
        assert_eq!(buckets.open(bucket(1), now), Ok(()));
    }
}
