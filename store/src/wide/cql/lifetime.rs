//! How long a row has still to live when it is written.
//!
//! A server counts a time to live from the moment it writes, while retention counts from the end of a row's bucket:
//! the difference is taken here, so that a late grind does not keep a bucket longer. What a server cannot express
//! is kept without end, never dropped early; readers go by the rule itself.

use std::fmt;
use std::sync::Arc;

use super::statement::lives_by_row;
use crate::model::{Clock, Timestamp};
use crate::wide::{Expiry, Key, Row, Table};

/// The longest time to live that servers take: 20 years.
const SECONDS_MAX: i32 = 20 * 365 * 86_400;
/// Servers keep the moment of expiry in 31 bits (Cassandra before 5, and 5 in its mode for older neighbours) and
/// refuse a later one. A day less, for their clocks.
const EXPIRES_BEFORE: i64 = 0x7FFF_FFFF - 86_400;

/// For how long a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// As its table says.
    OfTable,
    /// Seconds of its own; 0 for ever.
    OfRow(i32),
}

/// Tells lifetimes by the time of day.
pub(super) struct Lifetimes {
    expiry: Expiry,
    clock: Arc<dyn Clock>,
}

impl Lifetimes {
    pub(super) fn new(expiry: Expiry, clock: Arc<dyn Clock>) -> Self {
        Self { expiry, clock }
    }

    /// The time of day.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// For how long a row is to be written at `now`; `None` where it has expired already.
    pub(super) fn of(&self, table: &Table, partition: &Key, row: &Row, now: Timestamp) -> Option<Lifetime> {
        if !lives_by_row(table) {
            return Some(Lifetime::OfTable);
        }
        match self.expiry.expires_at(table, partition, row) {
            None => Some(Lifetime::OfRow(0)),
            Some(at) if at <= now => None,
            Some(at) => Some(Lifetime::OfRow(seconds(at, now))),
        }
    }
}

/// From `now` to `at`, rounded up; 0, which stands for ever, where a server could not tell.
fn seconds(at: Timestamp, now: Timestamp) -> i32 {
    let seconds = at.saturating_since(now).as_nanos().div_ceil(1_000_000_000);
    let told = at.millis_floor() / 1000 < EXPIRES_BEFORE;
    i32::try_from(seconds).ok().filter(|&seconds| told && seconds <= SECONDS_MAX).unwrap_or(0)
}

impl fmt::Debug for Lifetimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifetimes").field("expiry", &self.expiry).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::layout::RetentionTimes;
    use crate::layout::tables::{BLOCKS, SEGMENTS};
    use crate::wide::Datum;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            at(1_000_000)
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    fn of(raw: Option<Duration>, ends_at_millis: i64) -> Option<Lifetime> {
        let ground = RetentionTimes { raw, ..RetentionTimes::FOREVER };
        let lifetimes = Lifetimes::new(Expiry { ground, rejects: None }, Arc::new(Fixed));
        let cells = BLOCKS.cells.iter().map(|_| Datum::Instant(ends_at_millis)).collect();
        let row = Row { clustering: Key::default(), cells };
        lifetimes.of(&BLOCKS, &Key::default(), &row, lifetimes.now())
    }

    #[test]
    fn a_time_to_live_counts_from_the_buckets_end() {
        let hour = Some(Duration::from_hours(1));
        assert_eq!(of(hour, 1_000_000_000), Some(Lifetime::OfRow(3600)));
        assert_eq!(of(hour, 999_000_000), Some(Lifetime::OfRow(2600)), "a late grind does not extend it");
        assert_eq!(of(hour, 996_400_001), Some(Lifetime::OfRow(1)), "a part of a second counts whole");
        assert_eq!(of(hour, 996_400_000), None, "what has expired is not written");
        assert_eq!(of(None, 0), Some(Lifetime::OfRow(0)));
    }

    #[test]
    fn what_a_server_cannot_tell_is_kept() {
        assert_eq!(
            of(Some(Duration::from_hours(20 * 365 * 24 + 1)), 1_000_000_000),
            Some(Lifetime::OfRow(0))
        );
        let end_of_the_31_bits = (EXPIRES_BEFORE - 3600) * 1000;
        assert_eq!(of(Some(Duration::from_hours(1)), end_of_the_31_bits), Some(Lifetime::OfRow(0)));
        assert_eq!(seconds(at(EXPIRES_BEFORE - 1), at(EXPIRES_BEFORE - 11)), 10);
    }

    #[test]
    fn other_rows_live_as_their_table_says() {
        let lifetimes = Lifetimes::new(Expiry::NEVER, Arc::new(Fixed));
        let row = Row { clustering: Key::default(), cells: Vec::new() };
        let lifetime = lifetimes.of(&SEGMENTS, &Key::default(), &row, lifetimes.now());
        assert_eq!(lifetime, Some(Lifetime::OfTable));
    }
}
