//! Windows of time: which keyspace a row lies in, where rows go away by themselves.
//!
//! Pure. A table whose rows expire is cut into keyspaces `TABLE@START..END`, frames into `TABLE.RESOLUTION@START..END`,
//! in hours since the epoch; a row lies where the time of its partition does, so that a partition is never in two.
//! Windows of one family never overlap: a window is made as wide as the retention of its day says and cut short where
//! others are, so that the width may change with configuration. A window goes as a whole when its last row has
//! expired; when that is stands in it, under the key [`ENDS_AT_KEY`], written with the row itself.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::super::{ColumnType, Datum, Expiry, Retention, Table};

/// The key under which a window keeps the latest end of its rows, in milliseconds: shorter than any row's.
pub(super) const ENDS_AT_KEY: [u8; 1] = [0];

/// Windows within a retention: few enough to keep files few, many enough that little outlives it.
const WINDOWS_PER_RETENTION: u64 = 30;
/// The width of windows where nothing expires yet.
const HOURS_WITHOUT_RETENTION: i64 = 30 * 24;
const MILLIS_PER_HOUR: i64 = 3_600_000;
const SIGN: u64 = 1 << 63;

/// Which windows belong together: for frames the resolution in seconds, otherwise 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Family(i64);

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) family: Family,
    pub(super) hour: i64,
}

/// How the keys of a table tell where their rows lie.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    table: &'static Table,
    retention: Retention,
    time_at: usize,
}

impl Cut {
    /// `None` for a table whose rows stay. Panics where the time of a partition does not stand at a fixed place in its
    /// key: a mistake in the table.
    pub(super) fn of(table: &'static Table) -> Option<Self> {
        if table.retention == Retention::Forever {
            return None;
        }
        let time_at = table.partition.iter().rposition(|column| column.kind == ColumnType::Instant);
        let eight = |kind| matches!(kind, ColumnType::Int | ColumnType::Instant);
        let fixed = table.partition.iter().all(|column| eight(column.kind));
        assert!(fixed && time_at.is_some(), "{} expires and its partitions have no time", table.name);
        Some(Self { table, retention: table.retention, time_at: time_at.unwrap_or(0) * 8 })
    }

    /// The table.
    pub(super) const fn table(&self) -> &'static Table {
        self.table
    }

    /// Where the row under `key` lies; `None` where that is no key of the table.
    pub(super) fn place(&self, key: &[u8]) -> Option<Place> {
        let family = match self.retention {
            Retention::Frames => Family(number(key, 0)?),
            Retention::Forever | Retention::Rejects | Retention::Blocks => Family(0),
        };
        Some(Place { family, hour: number(key, self.time_at)?.div_euclid(MILLIS_PER_HOUR) })
    }

    /// How long rows of a family are kept.
    pub(super) fn retention(&self, family: Family, expiry: &Expiry) -> Option<Duration> {
        expiry.of_class(self.retention, Some(&Datum::Int(family.0)))
    }

    /// The window to make for `place`, beside those that there are.
    pub(super) fn window<W>(&self, place: Place, expiry: &Expiry, others: &Windows<W>) -> Range<i64> {
        let width = self.retention(place.family, expiry).map_or(HOURS_WITHOUT_RETENTION, |retention| {
            let hours = retention.as_secs().div_ceil(3600 * WINDOWS_PER_RETENTION);
            i64::try_from(hours).unwrap_or(HOURS_WITHOUT_RETENTION).max(1)
        });
        let start = place.hour.div_euclid(width) * width;
        others.gap(place, start..start.saturating_add(width))
    }

    /// The name of a window's keyspace.
    pub(super) fn name(&self, Family(family): Family, hours: &Range<i64>) -> String {
        let table = self.table.name;
        match self.retention {
            Retention::Frames => format!("{table}.{family}@{}..{}", hours.start, hours.end),
            Retention::Forever | Retention::Rejects | Retention::Blocks => {
                format!("{table}@{}..{}", hours.start, hours.end)
            }
        }
    }

    /// The window that a keyspace of this name is; `None` where it is none of this table's.
    pub(super) fn parse(&self, name: &str) -> Option<(Family, Range<i64>)> {
        let (family, hours) = name.strip_prefix(self.table.name)?.split_once('@')?;
        let (start, end) = hours.split_once("..")?;
        let family = if family.is_empty() { 0 } else { family.strip_prefix('.')?.parse().ok()? };
        let hours = start.parse().ok()?..end.parse().ok()?;
        (self.name(Family(family), &hours) == name).then_some((Family(family), hours))
    }
}

/// The number that stands at `at` in a key.
fn number(key: &[u8], at: usize) -> Option<i64> {
    let bytes = key.get(at..)?.first_chunk()?;
    Some((u64::from_be_bytes(*bytes) ^ SIGN).cast_signed())
}

/// When the rows of a window have all expired, in milliseconds: `ends_at` is the latest end among them, where known.
pub(super) fn expires_at_millis(hours: &Range<i64>, ends_at: Option<i64>, retention: Duration) -> i64 {
    let ends_at = ends_at.unwrap_or_else(|| hours.end.saturating_mul(MILLIS_PER_HOUR));
    ends_at.saturating_add(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX))
}

/// The windows of a table, with what stands for each.
#[derive(Debug)]
pub(super) struct Windows<W>(BTreeMap<(Family, i64), (i64, W)>);

impl<W> Default for Windows<W> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<W> Windows<W> {
    /// The window that holds `place`.
    pub(super) fn get(&self, place: Place) -> Option<&W> {
        let (_, (end, window)) = self.before(place)?;
        (place.hour < *end).then_some(window)
    }

    /// Adds a window, which overlaps no other.
    pub(super) fn insert(&mut self, family: Family, hours: &Range<i64>, window: W) {
        self.0.insert((family, hours.start), (hours.end, window));
    }

    /// Takes a window out.
    pub(super) fn remove(&mut self, family: Family, start: i64) -> Option<W> {
        self.0.remove(&(family, start)).map(|(_, window)| window)
    }

    /// Every window.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Family, Range<i64>, &W)> {
        self.0.iter().map(|(&(family, start), (end, window))| (family, start..*end, window))
    }

    fn before(&self, place: Place) -> Option<(i64, &(i64, W))> {
        let held = self.0.range(..=(place.family, place.hour)).next_back();
        held.filter(|((family, _), _)| *family == place.family).map(|((_, start), window)| (*start, window))
    }

    /// `hours`, which hold `place`, as far as no window lies there.
    fn gap(&self, place: Place, hours: Range<i64>) -> Range<i64> {
        let end_before = self.before(place).map_or(i64::MIN, |(_, (end, _))| *end);
        let after = self.0.range((place.family, place.hour.saturating_add(1))..).next();
        let start_after =
            after.filter(|((family, _), _)| *family == place.family).map(|((_, start), _)| *start);
        hours.start.max(end_before)..hours.end.min(start_after.unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Key;
    use super::super::key;
    use super::*;
    use crate::layout::tables::{BLOCKS, FRAMES, MARKS, REJECTS};
    use crate::layout::{Resolution, RetentionTimes};

    fn expiry(raw_days: u64) -> Expiry {
        let days = |days: u64| Duration::from_hours(24 * days);
        let frames = BTreeMap::from([(Resolution::from_seconds(60).unwrap(), days(90))]);
        Expiry { ground: RetentionTimes { raw: Some(days(raw_days)), frames }, rejects: Some(days(30)) }
    }

    fn at(table: &'static Table, partition: &[Datum]) -> Place {
        Cut::of(table).unwrap().place(&key::encode(&Key::new(partition.to_vec()), &Key::default())).unwrap()
    }

    #[test]
    fn a_row_lies_where_the_time_of_its_partition_does() {
        let hours = |hours: i64| Datum::Instant(hours * MILLIS_PER_HOUR);
        assert_eq!(at(&BLOCKS, &[Datum::Int(7), hours(5)]), Place { family: Family(0), hour: 5 });
        assert_eq!(at(&BLOCKS, &[Datum::Int(7), Datum::Instant(-1)]).hour, -1);
        let frames = at(&FRAMES, &[Datum::Int(60), Datum::Int(7), hours(5)]);
        assert_eq!(frames, Place { family: Family(60), hour: 5 });
        assert_eq!(at(&REJECTS, &[hours(24), Datum::Int(1)]).hour, 24);
        assert!(Cut::of(&MARKS).is_none());
        assert_eq!(Cut::of(&BLOCKS).unwrap().place(&[0; 15]), None);
    }

    #[test]
    fn names_come_back_and_those_of_others_do_not() {
        for (table, family) in [(&BLOCKS, Family(0)), (&FRAMES, Family(3600))] {
            let cut = Cut::of(table).unwrap();
            let name = cut.name(family, &(-24..48));
            assert_eq!(cut.parse(&name), Some((family, -24..48)), "{name}");
        }
        assert_eq!(Cut::of(&FRAMES).unwrap().name(Family(60), &(0..72)), "frames.60@0..72");
        for other in
            ["blocks", "blocks@", "blocks@1..", "blocks@01..2", "blocks.60@1..2", "blocksx@1..2", "marks"]
        {
            assert_eq!(Cut::of(&BLOCKS).unwrap().parse(other), None, "{other}");
        }
    }

    #[test]
    fn windows_are_some_thirty_in_a_retention() {
        let (blocks, frames) = (Cut::of(&BLOCKS).unwrap(), Cut::of(&FRAMES).unwrap());
        let none = Windows::<()>::default();
        let place = |family| Place { family: Family(family), hour: 50 };
        assert_eq!(blocks.window(place(0), &expiry(30), &none), 48..72);
        assert_eq!(frames.window(place(60), &expiry(30), &none), 0..72);
        assert_eq!(frames.window(place(3600), &expiry(30), &none), 0..720, "what is kept for ever");
    }

    #[test]
    fn a_window_has_expired_when_its_last_row_has() {
        let hour = Duration::from_hours(1);
        assert_eq!(expires_at_millis(&(0..24), Some(MILLIS_PER_HOUR), hour), 2 * MILLIS_PER_HOUR);
        assert_eq!(expires_at_millis(&(0..24), None, hour), 25 * MILLIS_PER_HOUR);
        assert_eq!(expires_at_millis(&(0..24), Some(i64::MAX), hour), i64::MAX);
    }

    proptest! {
        #[test]
        fn windows_never_overlap_however_retention_changes(
            rows in proptest::collection::vec((-2000..2000_i64, 1..400_u64, 0..2_i64), 1..60),
        ) {
            let cut = Cut::of(&BLOCKS).unwrap();
            let mut windows = Windows::default();
            for (hour, raw_days, family) in rows {
                let place = Place { family: Family(family), hour };
                if windows.get(place).is_none() {
                    let hours = cut.window(place, &expiry(raw_days), &windows);
                    prop_assert!(hours.contains(&hour));
                    windows.insert(place.family, &hours, hours.clone());
                }
                prop_assert!(windows.get(place).unwrap().contains(&hour));
            }
            let all: Vec<_> = windows.iter().map(|(family, hours, _)| (family, hours)).collect();
            for (one, next) in all.iter().zip(all.iter().skip(1)) {
                prop_assert!(one.0 != next.0 || one.1.end <= next.1.start);
            }
        }
    }
}
