//! The time policy: which event times are taken as they are, and which put their message into quarantine.
//!
//! Pure: the time of receipt is an argument. A device with a broken clock must not spread its samples over
//! buckets of all ages, and what it says must not be lost either: it is kept with both times (I7).

use std::fmt;
use std::time::Duration;

use tidemill_store::model::Timestamp;

/// How far in the past an event may lie: far enough for replays of old files, near enough that the usual marks
/// of an unset clock (1970, 1980, 2000) stay outside.
pub const PAST_MAX_DEFAULT: Duration = Duration::from_hours(24 * 3653);

/// How far ahead of our clock an event may lie: clocks without a good time server drift by minutes.
pub const FUTURE_MAX_DEFAULT: Duration = Duration::from_mins(5);

/// Why a message waits of which it is not known yet how it is stored.
pub const ERAS_UNKNOWN: &str = "eras_unknown";

/// Which of two times is the time of a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeBasis {
    /// The one in the payload; a point without is refused.
    Payload,
    /// The time of receipt; times in payloads are not read.
    Receipt,
    /// The one in the payload, or the time of receipt where there is none.
    #[default]
    PayloadElseReceipt,
}

/// Accepts `[now − past_max, now + future_max]`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimePolicy {
    /// How far in the past an event may lie; usually the retention of raw data.
    pub past_max: Duration,
    /// How far in the future an event may lie.
    pub future_max: Duration,
}

/// How the samples of a template get their times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRule {
    /// Where they come from.
    pub basis: TimeBasis,
    /// Which are taken.
    pub accepted: TimePolicy,
}

/// The times that are accepted of messages received at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    received_at: Timestamp,
    earliest: Timestamp,
    latest: Timestamp,
    /// The last moment of which it is known how events are stored.
    known_last: Timestamp,
}

/// An event time outside of the window, with the time of receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event time {} lies outside of what is accepted at {}: {bound}", Civil(*event), Civil(*received_at))]
pub struct OutOfWindow {
    /// When the device says that it measured.
    pub event: Timestamp,
    /// When the message was received.
    pub received_at: Timestamp,
    /// Which bound it passes.
    pub bound: TimeBound,
}

/// A bound of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeBound {
    /// Too old: before this moment.
    Earliest(Timestamp),
    /// Too far ahead: after this moment.
    Latest(Timestamp),
    /// Taken, but not yet: how events after this moment are stored is known later.
    Known(Timestamp),
}

impl Default for TimePolicy {
    fn default() -> Self {
        Self { past_max: PAST_MAX_DEFAULT, future_max: FUTURE_MAX_DEFAULT }
    }
}

impl TimePolicy {
    /// What is accepted of messages received at `now`.
    pub fn window(&self, now: Timestamp) -> TimeWindow {
        TimeWindow {
            received_at: now,
            earliest: now.saturating_sub(self.past_max),
            latest: now.saturating_add(self.future_max),
            known_last: Timestamp::MAX,
        }
    }
}

impl TimeWindow {
    /// The time of receipt that the window is about.
    pub const fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// The same, where it is not known yet how events at `end` or later are stored.
    #[must_use]
    pub fn until(self, end: Timestamp) -> Self {
        Self { known_last: self.known_last.min(end.saturating_sub(Duration::from_nanos(1))), ..self }
    }

    /// Seconds from `event` to the time of receipt; below zero where it lies ahead.
    pub fn skew(&self, event: Timestamp) -> f64 {
        let (behind, ahead) =
            (self.received_at.saturating_since(event), event.saturating_since(self.received_at));
        behind.as_secs_f64() - ahead.as_secs_f64()
    }

    /// Whether an event at `event` is taken as it is.
    pub fn check(&self, event: Timestamp) -> Result<(), OutOfWindow> {
        let bound = if event < self.earliest {
            TimeBound::Earliest(self.earliest)
        } else if event > self.latest {
            TimeBound::Latest(self.latest)
        } else if event > self.known_last {
            TimeBound::Known(self.known_last)
        } else {
            return Ok(());
        };
        Err(OutOfWindow { event, received_at: self.received_at, bound })
    }
}

impl TimeBound {
    /// A word for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Earliest(_) => "too_old",
            Self::Latest(_) => "in_the_future",
            Self::Known(_) => ERAS_UNKNOWN,
        }
    }
}

impl fmt::Display for TimeBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest(at) => write!(f, "the earliest is {}", Civil(*at)),
            Self::Latest(at) => write!(f, "the latest is {}", Civil(*at)),
            Self::Known(at) => write!(
                f,
                "the eras are known up to {}; it is taken by itself once the store says what follows",
                Civil(*at)
            ),
        }
    }
}

/// A timestamp as RFC 3339 text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Civil(pub(crate) Timestamp);

impl fmt::Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0.nanos())) {
            Ok(time) => fmt::Display::fmt(&time, f),
            Err(_) => fmt::Debug::fmt(&self.0, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    #[test]
    fn both_ends_of_the_window_are_accepted_and_a_nanosecond_beyond_is_not() {
        let policy = TimePolicy { past_max: Duration::from_secs(100), future_max: Duration::from_secs(10) };
        let window = policy.window(at(1000));
        assert_eq!(window.check(at(900)), Ok(()));
        assert_eq!(window.check(at(1010)), Ok(()));
        let before = window.check(Timestamp::from_nanos(at(900).nanos() - 1).unwrap()).unwrap_err();
        assert_eq!(before.bound.label(), "too_old");
        let known = window.until(at(1005));
        assert!(known.check(at(1004)).is_ok() && known.check(at(1005)).is_err());
        assert_eq!(known.check(at(1005)).unwrap_err().bound.label(), ERAS_UNKNOWN);
        let latest = Timestamp::from_nanos(at(1010).nanos() + 1).unwrap();
        assert_eq!(known.check(latest).unwrap_err().bound.label(), "in_the_future");
        let after = window.check(Timestamp::from_nanos(at(1010).nanos() + 1).unwrap()).unwrap_err();
        assert_eq!(after.bound.label(), "in_the_future");
    }

    #[test]
    fn skew_is_the_time_from_the_event_to_the_receipt() {
        let window = TimePolicy::default().window(at(1000));
        assert_eq!((window.skew(at(990)), window.skew(at(1002))), (10.0, -2.0));
    }

    #[test]
    fn the_detail_names_both_times_and_the_bound() {
        let policy = TimePolicy { past_max: Duration::from_hours(1), future_max: Duration::ZERO };
        let error = policy.window(at(1_700_000_000)).check(at(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the event time 1970-01-01T00:00:00Z lies outside of what is accepted at 2023-11-14T22:13:20Z: \
             the earliest is 2023-11-14T21:13:20Z"
        );
    }

    #[test]
    fn the_default_keeps_unset_clocks_out() {
        let window = TimePolicy::default().window(at(1_800_000_000));
        assert!(window.check(at(946_684_800)).is_err(), "the year 2000");
        assert!(window.check(at(1_500_000_000)).is_ok(), "the year 2017");
    }

    #[test]
    fn a_window_at_the_ends_of_time_is_held_there() {
        let wide = TimePolicy { past_max: Duration::MAX, future_max: Duration::MAX };
        let window = wide.window(at(0));
        assert_eq!((window.check(Timestamp::MIN), window.check(Timestamp::MAX)), (Ok(()), Ok(())));
    }
}
