//! What to do with a bucket: grind it, collect what its seal replaced, let its marks go, or leave it. Pure.
//!
//! A bucket is ground when it has closed and gone quiet, when late segments have settled, or when the unground tail
//! outgrows what is ground: each grind of an open bucket then at least doubles what is ground, so that all of them
//! together write at most a small multiple of the last. Around its end it is left to itself: what comes in the end
//! would only have all the rest ground with it once more.

use std::time::Duration;

use super::GrindTimes;
use crate::layout::Bucket;
use crate::model::Timestamp;

/// How far the writers of a bucket are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    /// None has a mark.
    None,
    /// All marks are closed, or so old that they count as closed.
    Closed,
    /// Some writer may go on.
    Open,
}

/// Segments that no seal covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unground {
    /// Bytes of those that may be covered now.
    pub(super) settled_bytes: u64,
    /// When the first and the last of those that may be covered now were received.
    pub(super) settled: Option<(Timestamp, Timestamp)>,
    /// Whether there are others, which may not.
    pub(super) more: bool,
}

/// What is known of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BucketView {
    pub(super) bucket: Bucket,
    pub(super) writers: Writers,
    pub(super) unground: Unground,
    /// Marks that what is sealed already lets go.
    pub(super) spent_marks: usize,
    /// Bytes of the segments that were ground so far.
    pub(super) ground_bytes: u64,
    /// For how long a seal that has something to collect was seen in force; `None` where it has nothing.
    pub(super) collectable_for: Option<Duration>,
}

/// Why a bucket is ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is over, and no writer goes on.
    Closed,
    /// Late segments have settled.
    Late,
    /// Its tail outgrew what is ground.
    Tail,
}

/// Why a bucket is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// All that there is is ground, and nothing is to be collected.
    Clean,
    /// What is unground is too young, or waits for a hole to be filled.
    Unsettled,
    /// It is open, and its tail is short.
    Open,
    /// Late segments may be followed by more.
    Late,
    /// Readers may still need what is to be collected.
    Grace,
}

/// What to do with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Grind it.
    Grind(Reason),
    /// Delete marks that say nothing any more.
    Unmark,
    /// Delete what its seal replaced.
    Collect,
    /// Do nothing for now.
    Leave(Why),
}

impl BucketView {
    /// What to do at `now`.
    pub(super) fn decide(&self, times: &GrindTimes, now: Timestamp) -> Decision {
        let grind = self.grind(times, now);
        match (grind, self.collectable_for) {
            (Ok(reason), _) => Decision::Grind(reason),
            (Err(_), _) if self.spent_marks > 0 => Decision::Unmark,
            (Err(_), Some(seen)) if seen >= times.grace => Decision::Collect,
            (Err(Why::Clean), Some(_)) => Decision::Leave(Why::Grace),
            (Err(why), _) => Decision::Leave(why),
        }
    }

    fn grind(&self, times: &GrindTimes, now: Timestamp) -> Result<Reason, Why> {
        let Some((first, last)) = self.unground.settled else {
            return Err(if self.unground.more { Why::Unsettled } else { Why::Clean });
        };
        let is_ending = self.bucket.end() <= now.saturating_add(times.over_soon)
            && now < self.bucket.end().saturating_add(times.settle * 2);
        if !is_ending && self.unground.settled_bytes >= times.tail_bytes_min.max(self.ground_bytes) {
            return Ok(Reason::Tail);
        }
        if self.bucket.end() > now {
            return Err(Why::Open);
        }
        match self.writers {
            Writers::None | Writers::Closed if !self.unground.more => Ok(Reason::Closed),
            Writers::None | Writers::Closed | Writers::Open => {
                let is_quiet = !self.unground.more && last.saturating_add(times.late_quiet) <= now;
                let waited = first.saturating_add(times.late_wait_max) <= now;
                if is_quiet || waited { Ok(Reason::Late) } else { Err(Why::Late) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::BucketWidth;

    const MIB: u64 = 1024 * 1024;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    fn view() -> BucketView {
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let settled = Some((at(3_000), at(3_500)));
        BucketView {
            bucket: Bucket::at(Timestamp::EPOCH, width),
            writers: Writers::Open,
            unground: Unground { settled_bytes: MIB, settled, more: false },
            spent_marks: 0,
            ground_bytes: 0,
            collectable_for: None,
        }
    }

    fn decide(view: BucketView, now: i64) -> Decision {
        view.decide(&GrindTimes::default(), at(now))
    }

    #[test]
    fn an_open_bucket_is_ground_when_its_tail_outgrows_what_is_ground() {
        assert_eq!(decide(view(), 3_599), Decision::Leave(Why::Open));
        let with = |settled_bytes, ground_bytes| BucketView {
            unground: Unground { settled_bytes, ..view().unground },
            ground_bytes,
            ..view()
        };
        assert_eq!(decide(with(4 * MIB, 0), 3_299), Decision::Grind(Reason::Tail));
        assert_eq!(decide(with(4 * MIB, 5 * MIB), 3_299), Decision::Leave(Why::Open));
        assert_eq!(decide(with(5 * MIB, 5 * MIB), 3_299), Decision::Grind(Reason::Tail));
    }

    #[test]
    fn around_its_end_a_bucket_is_left_until_all_of_it_has_settled() {
        let ending = BucketView {
            unground: Unground { settled_bytes: 40 * MIB, settled: Some((at(3_000), at(3_590))), more: true },
            ..view()
        };
        assert_eq!(decide(ending, 3_299), Decision::Grind(Reason::Tail));
        assert_eq!(decide(ending, 3_300), Decision::Leave(Why::Open));
        assert_eq!(decide(ending, 3_600), Decision::Leave(Why::Late));
        assert_eq!(decide(ending, 3_619), Decision::Leave(Why::Late));
        assert_eq!(decide(ending, 3_620), Decision::Grind(Reason::Tail));
        let closed = BucketView {
            writers: Writers::Closed,
            unground: Unground { more: false, ..ending.unground },
            ..ending
        };
        assert_eq!(decide(closed, 3_600), Decision::Grind(Reason::Closed));
    }

    #[test]
    fn a_bucket_that_is_over_is_ground_once_its_writers_have_closed_it() {
        let closed = BucketView { writers: Writers::Closed, ..view() };
        assert_eq!(decide(closed, 3_600), Decision::Grind(Reason::Closed));
        assert_eq!(decide(closed, 3_599), Decision::Leave(Why::Open));
        assert_eq!(decide(view(), 3_600), Decision::Leave(Why::Late));
        assert_eq!(decide(view(), 3_500 + 120), Decision::Grind(Reason::Late));
    }

    #[test]
    fn late_segments_that_keep_coming_are_ground_now_and_then() {
        let more = |first| BucketView {
            unground: Unground { settled: Some((at(first), at(9_000))), more: true, ..view().unground },
            ..view()
        };
        assert_eq!(decide(more(8_200), 9_010), Decision::Leave(Why::Late));
        assert_eq!(decide(more(8_110), 9_010), Decision::Grind(Reason::Late));
        let young =
            BucketView { unground: Unground { settled_bytes: 0, settled: None, more: true }, ..view() };
        assert_eq!(decide(young, 9_010), Decision::Leave(Why::Unsettled));
    }

    #[test]
    fn what_was_replaced_is_collected_after_the_grace_and_marks_go_first() {
        let clean = Unground { settled_bytes: 0, settled: None, more: false };
        let collectable = |seconds, spent_marks| BucketView {
            unground: clean,
            spent_marks,
            collectable_for: Some(Duration::from_secs(seconds)),
            ..view()
        };
        assert_eq!(decide(collectable(299, 0), 9_000), Decision::Leave(Why::Grace));
        assert_eq!(decide(collectable(300, 0), 9_000), Decision::Collect);
        assert_eq!(decide(collectable(300, 1), 9_000), Decision::Unmark);
        assert_eq!(decide(BucketView { unground: clean, ..view() }, 9_000), Decision::Leave(Why::Clean));
    }
}
