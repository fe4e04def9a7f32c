//! The windows themselves: which one holds a moment.
//!
//! A calendar window starts at the first instant at which the zone's clock has reached its first day, so days
//! are 23 or 25 hours long where the clock changes, a day that a zone skipped has no window, and windows tile
//! the line even where the clock was set back over midnight.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use tidemill_store::model::{TimeRange, Timestamp};

use super::{CalendarUnit, Window};
use crate::moment;

/// A [`Window`] in a time zone: cuts the line into half-open windows. Fixed windows ignore the zone.
#[derive(Debug, Clone)]
pub struct Tiling {
    window: Window,
    zone: TimeZone,
}

impl Tiling {
    /// The windows of `window` in `zone`.
    pub fn new(window: Window, zone: TimeZone) -> Self {
        Self { window, zone }
    }

    /// The zone whose calendar is followed.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The window that holds `time`. Windows at the ends of the line are cut there.
    pub fn window_of(&self, time: Timestamp) -> TimeRange {
        match self.window {
            Window::Fixed(span) => fixed(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX), time),
            Window::Calendar { unit, every } => self.calendar(unit, every, time),
        }
    }

    /// The windows that share a moment with `range`, in order.
    pub fn windows_in(&self, range: TimeRange) -> impl Iterator<Item = TimeRange> + '_ {
        let first = (!range.is_empty()).then(|| self.window_of(range.start()));
        std::iter::successors(first, move |window| {
            (window.end() < range.end()).then(|| self.window_of(window.end()))
        })
    }

    fn calendar(&self, unit: CalendarUnit, every: i32, time: Timestamp) -> TimeRange {
        let start_of = |index| self.first_instant(unit, index, every);
        let mut index = index_of(unit, self.zone.to_datetime(moment::civil(time)).date(), every);
        // Where the clock was set back over a boundary, the date at `time` is behind the windows passed.
        while start_of(index + 1) <= time && start_of(index + 1) < Timestamp::MAX {
            index += 1;
        }
        between(start_of(index), start_of(index + 1))
    }

    /// The first instant at which the zone's date is at or after the first day of window `index`.
    fn first_instant(&self, unit: CalendarUnit, index: i32, every: i32) -> Timestamp {
        let Some(date) = first_day(unit, index, every) else {
            return if index < 0 { Timestamp::MIN } else { Timestamp::MAX };
        };
        let midnight = self.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0));
        let in_gap = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
        let Ok(instant) = midnight.compatible() else {
            return if date.year() < 1970 { Timestamp::MIN } else { Timestamp::MAX };
        };
        // `compatible` goes past a gap by the gap's length; the first instant is the gap's own end.
        let after_gap = || self.zone.preceding(after(instant)).next().map(|change| change.timestamp());
        let instant = if in_gap { after_gap().unwrap_or(instant) } else { instant };
        held(instant)
    }
}

fn after(instant: jiff::Timestamp) -> jiff::Timestamp {
    instant.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(instant)
}

fn held(instant: jiff::Timestamp) -> Timestamp {
    let nanos = instant.as_nanosecond();
    let bounds = i128::from(Timestamp::MIN.nanos())..=i128::from(Timestamp::MAX.nanos());
    let nanos = nanos.clamp(*bounds.start(), *bounds.end());
    i64::try_from(nanos).ok().and_then(|nanos| Timestamp::from_nanos(nanos).ok()).unwrap_or(Timestamp::MAX)
}

fn fixed(span: i64, time: Timestamp) -> TimeRange {
    let start = time.nanos() - time.nanos().rem_euclid(span);
    let clamp = |nanos: i64| nanos.clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos());
    let at = |nanos| Timestamp::from_nanos(clamp(nanos)).unwrap_or(Timestamp::MAX);
    between(at(start), at(start.saturating_add(span)))
}

fn between(start: Timestamp, end: Timestamp) -> TimeRange {
    let range = TimeRange::new(start, end);
    assert!(range.is_ok(), "window boundaries rise with their index");
    range.unwrap_or_else(|_| between(start, start))
}

/// Days from 1970-01-01.
const EPOCH: Date = Date::constant(1970, 1, 1);
/// From 1970-01-01, a Thursday, back to the Monday before.
const DAYS_SINCE_MONDAY: i32 = 3;

fn index_of(unit: CalendarUnit, date: Date, every: i32) -> i32 {
    let days = || date.duration_since(EPOCH).as_hours() / 24;
    let days = || i32::try_from(days()).unwrap_or(i32::MAX);
    let (year, month) = (i32::from(date.year()), i32::from(date.month()));
    match unit {
        CalendarUnit::Day => days().div_euclid(every),
        CalendarUnit::Week => (days() + DAYS_SINCE_MONDAY).div_euclid(7 * every),
        CalendarUnit::Month => (year * 12 + month - 1).div_euclid(every),
        CalendarUnit::Year => year.div_euclid(every),
    }
}

/// The first day of window `index`; `None` outside of the calendar.
fn first_day(unit: CalendarUnit, index: i32, every: i32) -> Option<Date> {
    let first = index.checked_mul(every)?;
    match unit {
        CalendarUnit::Day => day(first),
        CalendarUnit::Week => day(first.checked_mul(7)? - DAYS_SINCE_MONDAY),
        CalendarUnit::Month => month(first.div_euclid(12), first.rem_euclid(12) + 1),
        CalendarUnit::Year => month(first, 1),
    }
}

fn day(days: i32) -> Option<Date> {
    EPOCH.checked_add(jiff::SignedDuration::from_hours(i64::from(days) * 24)).ok()
}

fn month(year: i32, month: i32) -> Option<Date> {
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::moment::{Local, Utc};

    fn at(text: &str) -> Timestamp {
        moment::parse(text, Timestamp::EPOCH).unwrap()
    }

    fn tiling(window: &str, zone: &str) -> Tiling {
        Tiling::new(Window::parse(window).unwrap(), TimeZone::get(zone).unwrap())
    }

    fn window(window: &str, zone: &str, time: &str) -> (String, Duration) {
        let tiling = tiling(window, zone);
        let range = tiling.window_of(at(time));
        (Local(range.start(), &tiling.zone).to_string(), range.end().saturating_since(range.start()))
    }

    #[test]
    fn days_follow_the_clock_changes_of_their_zone() {
        for (zone, time, start, minutes) in [
            ("Europe/Berlin", "2025-03-30T12:00:00Z", "2025-03-30T00:00:00+01:00", 23 * 60),
            ("Europe/Berlin", "2025-10-26T12:00:00Z", "2025-10-26T00:00:00+02:00", 25 * 60),
            ("America/New_York", "2025-11-02T12:00:00Z", "2025-11-02T00:00:00-04:00", 25 * 60),
            ("Australia/Lord_Howe", "2025-10-05T00:00:00Z", "2025-10-05T00:00:00+10:30", 23 * 60 + 30),
            ("Australia/Lord_Howe", "2025-04-06T00:00:00Z", "2025-04-06T00:00:00+11:00", 24 * 60 + 30),
            // Midnight does not exist: the day starts at one.
            ("America/Havana", "2024-03-10T12:00:00Z", "2024-03-10T01:00:00-04:00", 23 * 60),
            // Midnight comes twice: the day starts at the first.
            ("America/Havana", "2024-11-03T12:00:00Z", "2024-11-03T00:00:00-04:00", 25 * 60),
        ] {
            let expected = (start.to_owned(), Duration::from_mins(minutes));
            assert_eq!(window("1d", zone, time), expected, "{zone} {time}");
        }
    }

    #[test]
    fn a_day_that_a_zone_skipped_has_no_window() {
        let (start, length) = window("1d", "Pacific/Apia", "2011-12-30T09:59:59Z");
        assert_eq!((start.as_str(), length.as_secs()), ("2011-12-29T00:00:00-10:00", 86_400));
        let (start, length) = window("1d", "Pacific/Apia", "2011-12-30T10:00:00Z");
        assert_eq!((start.as_str(), length.as_secs()), ("2011-12-31T00:00:00+14:00", 86_400));
    }

    #[test]
    fn weeks_start_on_monday_and_months_on_the_first() {
        let starts = |w, time| window(w, "Europe/Berlin", time).0;
        assert_eq!(starts("1w", "2025-06-01T12:00:00Z"), "2025-05-26T00:00:00+02:00");
        assert_eq!(starts("1w", "1969-12-31T12:00:00Z"), "1969-12-29T00:00:00+01:00");
        assert_eq!(starts("1mo", "2025-03-31T22:00:00Z"), "2025-04-01T00:00:00+02:00");
        assert_eq!(starts("3mo", "2025-06-01T12:00:00Z"), "2025-04-01T00:00:00+02:00");
        assert_eq!(starts("1y", "1969-12-31T22:59:59Z"), "1969-01-01T00:00:00+01:00");
        assert_eq!(starts("2d", "1969-12-31T12:00:00Z"), "1969-12-30T00:00:00+01:00");
    }

    #[test]
    fn fixed_windows_are_aligned_to_the_epoch_on_both_sides() {
        let kolkata = tiling("1h", "Asia/Kolkata");
        let range = kolkata.window_of(Timestamp::from_nanos(-1).unwrap());
        assert_eq!(Utc(range.start()).to_string(), "1969-12-31T23:00:00Z");
        assert_eq!(range.end(), Timestamp::EPOCH);
    }

    #[test]
    fn windows_in_a_range_are_those_that_share_a_moment_with_it() {
        let range = TimeRange::new(at("2025-06-01T12:01:00Z"), at("2025-06-01T12:10:00Z")).unwrap();
        let starts: Vec<String> =
            tiling("5m", "UTC").windows_in(range).map(|w| Utc(w.start()).to_string()).collect();
        assert_eq!(starts, ["2025-06-01T12:00:00Z", "2025-06-01T12:05:00Z"]);
        let nothing = TimeRange::new(range.start(), range.start()).unwrap();
        assert_eq!(tiling("5m", "UTC").windows_in(nothing).count(), 0);
    }

    const ZONES: [&str; 9] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Havana",
        "America/Sao_Paulo",
        "Pacific/Apia",
        "America/Juneau",
        "Asia/Kathmandu",
    ];
    const WINDOWS: [&str; 10] = ["1s", "5m", "7h", "1d", "3d", "1w", "2w", "1mo", "5mo", "1y"];

    /// A moment anywhere, or within two days of a clock change.
    fn moments(zone: &'static str) -> impl Strategy<Value = Timestamp> {
        let anywhere = Timestamp::MIN.nanos()..Timestamp::MAX.nanos();
        let near_change = (anywhere.clone(), -172_800_000_000_000..172_800_000_000_000_i64).prop_map(
            move |(nanos, off)| {
                let zone = TimeZone::get(zone).unwrap();
                let from = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
                let change = zone.following(from).next().map_or(from, |change| change.timestamp());
                held(change + jiff::SignedDuration::from_nanos(off))
            },
        );
        prop_oneof![anywhere.prop_map(|nanos| Timestamp::from_nanos(nanos).unwrap()), near_change]
            .prop_filter("the last moment has no window", |time| *time < Timestamp::MAX)
    }

    fn cases() -> impl Strategy<Value = (&'static str, &'static str, Timestamp)> {
        (0..ZONES.len(), 0..WINDOWS.len())
            .prop_flat_map(|(zone, window)| (Just(ZONES[zone]), Just(WINDOWS[window]), moments(ZONES[zone])))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_instant_lies_in_exactly_one_window((zone, window, time) in cases()) {
            let tiling = tiling(window, zone);
            let range = tiling.window_of(time);
            prop_assert!(range.contains(time));
            // Every moment of a window gives that window, and the next one starts where it ends.
            let last = Timestamp::from_nanos(range.end().nanos() - 1).unwrap();
            prop_assert_eq!(tiling.window_of(range.start()), range);
            prop_assert_eq!(tiling.window_of(last), range);
            if range.end() < Timestamp::MAX {
                prop_assert_eq!(tiling.window_of(range.end()).start(), range.end());
            }
            if range.start() > Timestamp::MIN {
                let before = Timestamp::from_nanos(range.start().nanos() - 1).unwrap();
                prop_assert_eq!(tiling.window_of(before).end(), range.start());
            }
        }

        #[test]
        fn a_day_starts_at_the_first_instant_of_its_date((zone, _, time) in cases()) {
            let tiling = tiling("1d", zone);
            let start = tiling.window_of(time).start();
            prop_assume!(start > Timestamp::MIN);
            let date = |nanos| tiling.zone.to_datetime(moment::civil(Timestamp::from_nanos(nanos).unwrap())).date();
            prop_assert!(date(start.nanos()) > date(start.nanos() - 1));
        }
    }
}
