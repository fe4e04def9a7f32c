//! When a busy shard takes its next batch: on a beat that all shards share.
//!
//! Pure. A shard that has little to write writes at once: nobody waits who could be served. One that has much would,
//! left alone, write as fast as the disk syncs: many small segments, each with a commit, a wake-up and acknowledgements
//! of its own. On the beat segments are larger, those of all shards come to one commit, and a group that is spread over
//! shards settles once. Senders who wait for acknowledgements before they send more gain nothing by that: where nothing
//! came in the end of a wait, shards go on without for a while. The wait is bounded by the beat (I6).

use std::time::Duration;

use tokio::time::Instant;

use crate::config::BatchPace;

/// So many waits in vain, one after another, tell senders that wait from a processor that was busy elsewhere.
const VAIN_MAX: u32 = 4;
/// Batches that are then taken at once: waits cost such senders a tenth of their rate at most.
const WITHOUT_WAIT: u32 = 256;

/// The beat, as one shard keeps it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// That of all shards of the pipeline.
    epoch: Instant,
    of: BatchPace,
    /// Waits in vain since the last one that was not.
    vain: u32,
    without_wait: u32,
}

impl Pace {
    /// A beat that begins at `epoch`.
    pub(super) const fn new(epoch: Instant, of: BatchPace) -> Self {
        Self { epoch, of, vain: 0, without_wait: 0 }
    }

    /// Until when a shard waits that has just written a batch of so many messages.
    pub(super) fn next(&mut self, written: usize, now: Instant) -> Option<Instant> {
        let beat = self.of.beat.as_nanos();
        if written < self.of.busy_messages_min || beat == 0 {
            return None;
        }
        if self.without_wait > 0 {
            self.without_wait -= 1;
            return None;
        }
        let into = now.saturating_duration_since(self.epoch).as_nanos() % beat;
        now.checked_add(Duration::from_nanos(u64::try_from(beat - into).unwrap_or(0)))
    }

    /// Notes that a wait is over at `now`, and when the last message came.
    pub(super) fn waited(&mut self, now: Instant, arrived_at: Option<Instant>) {
        let is_coming = |at| now.saturating_duration_since(at) < self.of.beat / 2;
        if arrived_at.is_some_and(is_coming) {
            self.vain = 0;
            return;
        }
        self.vain += 1;
        if self.vain == VAIN_MAX {
            (self.vain, self.without_wait) = (0, WITHOUT_WAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: Duration = Duration::from_millis(1);

    fn pace(epoch: Instant) -> Pace {
        Pace::new(epoch, BatchPace { beat: 4 * MILLIS, busy_messages_min: 10 })
    }

    #[test]
    fn busy_shards_meet_on_the_beat_and_others_do_not_wait() {
        let epoch = Instant::now();
        let next = |written, after| pace(epoch).next(written, epoch + after).map(|next| next - epoch);
        assert_eq!(next(9, MILLIS), None);
        assert_eq!(next(10, MILLIS), Some(4 * MILLIS));
        assert_eq!(next(10, 3 * MILLIS), Some(4 * MILLIS));
        assert_eq!(next(10, 4 * MILLIS), Some(8 * MILLIS), "a whole beat at most");
        assert_eq!(next(10, 9 * MILLIS), Some(12 * MILLIS));
    }

    #[test]
    fn where_waits_are_in_vain_there_are_none_for_a_while() {
        let epoch = Instant::now();
        let mut pace = pace(epoch);
        let mut wait = |arrived_after: Option<Duration>| {
            let is_wait = pace.next(10, epoch).is_some();
            if is_wait {
                pace.waited(epoch + 4 * MILLIS, arrived_after.map(|after| epoch + after));
            }
            is_wait
        };
        for _ in 0..2 * VAIN_MAX {
            assert!(wait(Some(MILLIS)), "nothing came in the end, once");
            assert!(wait(Some(3 * MILLIS)), "messages still came");
        }
        assert!((0..VAIN_MAX).all(|_| wait(None)));
        assert!((0..WITHOUT_WAIT).all(|_| !wait(None)));
        assert!(wait(None));
    }

    #[test]
    fn without_a_beat_nobody_waits() {
        let mut pace = Pace::new(Instant::now(), BatchPace { beat: Duration::ZERO, busy_messages_min: 0 });
        assert_eq!(pace.next(100, Instant::now()), None);
    }
}
