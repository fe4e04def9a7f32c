//! When a row goes away by itself: the rule that every backend keeps, each in its own way.
//!
//! Pure. A row is kept for the retention of its class, counted from the end of what it describes: a bucket for
//! blocks and frames, a day for rejects. Never sooner; how much later it is gone from the disk is each backend's
//! business, which is why readers go by the rule and not by what they find.

use std::time::Duration;

use super::{Datum, Key, Retention, Row, Table};
use crate::layout::{Resolution, RetentionTimes};
use crate::model::Timestamp;

const DAY_MILLIS: i64 = 86_400_000;

/// How long each class of rows is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// What is ground.
    pub ground: RetentionTimes,
    /// Rejects; `None` for ever.
    pub rejects: Option<Duration>,
}

impl Expiry {
    /// Nothing ever expires.
    pub const NEVER: Self = Self { ground: RetentionTimes::FOREVER, rejects: None };

    /// How long the rows of a partition are kept after they end; `None` for ever.
    pub fn retention(&self, table: &Table, partition: &Key) -> Option<Duration> {
        self.of_class(table.retention, partition.part(0))
    }

    /// When a row expires; `None` if never. Panics where a table that expires by `ends_at` has no such cell.
    pub fn expires_at(&self, table: &Table, partition: &Key, row: &Row) -> Option<Timestamp> {
        let retention = self.retention(table, partition)?;
        let ends_at = Timestamp::from_millis(ends_at_millis(table, partition, row)?).ok()?;
        Some(ends_at.saturating_add(retention))
    }

    /// How long rows of a class are kept; `leading` is the first part of their partition.
    pub(super) fn of_class(&self, class: Retention, leading: Option<&Datum>) -> Option<Duration> {
        match class {
            Retention::Forever => None,
            Retention::Rejects => self.rejects,
            Retention::Blocks => self.ground.raw,
            Retention::Frames => {
                let seconds = u32::try_from(leading?.as_int()?).ok()?;
                self.ground.frames.get(&Resolution::from_seconds(seconds)?).copied()
            }
        }
    }

    /// The longest time that anything of a class is kept; `None` where some of it, or all, is kept for ever.
    pub(super) fn longest(&self, class: Retention) -> Option<Duration> {
        match class {
            Retention::Frames => self.ground.frames.values().max().copied(),
            Retention::Forever | Retention::Rejects | Retention::Blocks => self.of_class(class, None),
        }
    }
}

/// The end of what a row describes; `None` for rows that never expire.
pub(super) fn ends_at_millis(table: &Table, partition: &Key, row: &Row) -> Option<i64> {
    match table.retention {
        Retention::Forever => None,
        Retention::Rejects => time_millis(partition).map(|day| day.saturating_add(DAY_MILLIS)),
        Retention::Blocks | Retention::Frames => {
            let index = table.cell_index("ends_at");
            assert!(index.is_some(), "{} expires and has no cell ends_at", table.name);
            row.cells.get(index?)?.as_instant()
        }
    }
}

/// The time that a partition is named by: its last instant.
fn time_millis(partition: &Key) -> Option<i64> {
    partition.parts().iter().rev().find_map(Datum::as_instant)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::layout::tables::{BLOCKS, FRAMES, MARKS, REJECTS};

    const HOUR: Duration = Duration::from_hours(1);

    fn expiry() -> Expiry {
        let frames = BTreeMap::from([(Resolution::from_seconds(60).unwrap(), HOUR * 5)]);
        Expiry { ground: RetentionTimes { raw: Some(HOUR * 2), frames }, rejects: Some(HOUR) }
    }

    fn ending(table: &Table, hours: i64) -> Row {
        let ends_at = |column: &crate::wide::Column| match column.name {
            "ends_at" => Datum::Instant(hours * 3_600_000),
            _ => Datum::Int(0),
        };
        Row { clustering: Key::default(), cells: table.cells.iter().map(ends_at).collect() }
    }

    fn hours(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000).unwrap()
    }

    #[test]
    fn blocks_and_frames_count_from_the_end_of_their_bucket() {
        let blocks = Key::from([Datum::Int(0), Datum::Instant(0)]);
        assert_eq!(expiry().expires_at(&BLOCKS, &blocks, &ending(&BLOCKS, 7)), Some(hours(9)));
        let frames = |seconds| Key::from([Datum::Int(seconds), Datum::Int(0), Datum::Instant(0)]);
        assert_eq!(expiry().expires_at(&FRAMES, &frames(60), &ending(&FRAMES, 7)), Some(hours(12)));
        assert_eq!(expiry().expires_at(&FRAMES, &frames(3600), &ending(&FRAMES, 7)), None);
        assert_eq!(Expiry::NEVER.expires_at(&BLOCKS, &blocks, &ending(&BLOCKS, 7)), None);
    }

    #[test]
    fn rejects_count_from_the_end_of_their_day() {
        let day = Key::from([Datum::Instant(DAY_MILLIS), Datum::Int(3)]);
        assert_eq!(expiry().expires_at(&REJECTS, &day, &ending(&REJECTS, 0)), Some(hours(49)));
        assert_eq!(expiry().expires_at(&MARKS, &Key::from([Datum::Int(0)]), &ending(&MARKS, 0)), None);
    }
}
