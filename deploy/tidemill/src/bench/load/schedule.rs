//! When one connection's messages are due, and what that makes of their latency.
//!
//! Pure; times are nanoseconds since the load began. Latency counts from when a message was due, not from when there
//! was room to send it, so a server that stalls is charged for everything that had to wait (no coordinated omission).

use std::collections::VecDeque;

/// When messages are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// As soon as there is room in the window.
    Full,
    /// `burst` messages together, every `period`, the first at `start`.
    Bursts { start: u64, period: u64, burst: u64 },
    /// Never: the connection is open and says nothing.
    Silent,
}

/// The schedule of one connection.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    sent: u64,
}

impl Schedule {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, sent: 0 }
    }

    /// How many messages are due at `now` and not yet sent.
    pub(super) fn due(&self, now: u64) -> u64 {
        match self.pace {
            Pace::Full => u64::MAX,
            Pace::Silent => 0,
            Pace::Bursts { start, .. } if now < start => 0,
            Pace::Bursts { start, period, burst } => {
                let bursts = (now - start) / period.max(1) + 1;
                bursts.saturating_mul(burst).saturating_sub(self.sent)
            }
        }
    }

    /// When the next message is due; `None` where that is no question of time.
    pub(super) fn next(&self) -> Option<u64> {
        match self.pace {
            Pace::Full | Pace::Silent => None,
            Pace::Bursts { start, period, burst } => Some(start + self.sent / burst.max(1) * period),
        }
    }

    /// Notes that a message is sent at `now`; gives when it was due.
    pub(super) fn send(&mut self, now: u64) -> u64 {
        let due = self.next().unwrap_or(now);
        self.sent += 1;
        due
    }
}

/// Messages sent and not acknowledged, by when they were due, in order.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged {
    runs: VecDeque<(u64, u64)>,
    count: u64,
}

impl Unacknowledged {
    pub(super) fn push(&mut self, due: u64) {
        self.count += 1;
        match self.runs.back_mut() {
            Some((last, count)) if *last == due => *count += 1,
            Some(_) | None => self.runs.push_back((due, 1)),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Takes the `count` oldest and gives them to `each` as (when due, how many).
    pub(super) fn settle(&mut self, mut count: u64, mut each: impl FnMut(u64, u64)) {
        self.count = self.count.saturating_sub(count);
        while count > 0
            && let Some((due, left)) = self.runs.front_mut()
        {
            let settled = count.min(*left);
            each(*due, settled);
            *left -= settled;
            count -= settled;
            if *left == 0 {
                self.runs.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_come_due_together_and_late_ones_keep_their_time() {
        let mut schedule = Schedule::new(Pace::Bursts { start: 100, period: 50, burst: 2 });
        assert_eq!((schedule.due(99), schedule.due(100), schedule.due(149)), (0, 2, 2));
        assert_eq!(schedule.next(), Some(100));
        assert_eq!([schedule.send(100), schedule.send(100)], [100, 100]);
        assert_eq!((schedule.due(149), schedule.next()), (0, Some(150)));
        assert_eq!(schedule.due(1_000), 36, "all that a stall has held up");
        assert_eq!((schedule.send(1_000), schedule.next()), (150, Some(150)));
    }

    #[test]
    fn without_a_pace_messages_are_due_when_they_are_sent() {
        let mut schedule = Schedule::new(Pace::Full);
        assert_eq!((schedule.due(7), schedule.next(), schedule.send(7)), (u64::MAX, None, 7));
        assert_eq!(Schedule::new(Pace::Silent).due(u64::MAX), 0);
    }

    #[test]
    fn acknowledgements_settle_the_oldest_first() {
        let mut waiting = Unacknowledged::default();
        for due in [1, 1, 1, 4] {
            waiting.push(due);
        }
        let mut settled = Vec::new();
        waiting.settle(2, |due, count| settled.push((due, count)));
        waiting.settle(2, |due, count| settled.push((due, count)));
        assert_eq!(settled, [(1, 2), (1, 1), (4, 1)]);
        assert_eq!(waiting.count(), 0);
    }
}
