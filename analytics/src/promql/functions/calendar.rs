//! Parts of the date and time of day, in UTC, of values that are Unix seconds.

use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;

use super::super::eval::{EvalError, Evaluator, mapped};
use super::super::function::Calendar;
use super::super::labels::Labels;
use super::super::value::{Row, Steps, seconds};
use super::Arguments;

pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    part: Calendar,
    args: &Arguments<'_>,
    steps: Steps,
) -> Result<Vec<Row>, EvalError> {
    let rows = if let Ok(node) = args.node(0) {
        evaluator.rows(node, steps)?
    } else {
        let values = steps.iter().map(seconds).collect();
        vec![Row { labels: Labels::default(), drop_name: false, values }]
    };
    Ok(mapped(rows, |value| date(value).map_or(f64::NAN, |date| f64::from(of(part, date)))))
}

/// The date; `None` where the calendar does not reach.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "saturates; what is too far is no date"
)]
fn date(unix_seconds: f64) -> Option<DateTime> {
    if unix_seconds.is_nan() {
        return None;
    }
    let timestamp = Timestamp::from_second(unix_seconds as i64).ok()?;
    Some(TimeZone::UTC.to_datetime(timestamp))
}

fn of(part: Calendar, date: DateTime) -> i16 {
    match part {
        Calendar::DayOfMonth => date.day().into(),
        Calendar::DayOfWeek => {
            if date.weekday() == Weekday::Sunday {
                0
            } else {
                date.weekday().to_monday_one_offset().into()
            }
        }
        Calendar::DayOfYear => date.day_of_year(),
        Calendar::DaysInMonth => date.days_in_month().into(),
        Calendar::Hour => date.hour().into(),
        Calendar::Minute => date.minute().into(),
        Calendar::Month => date.month().into(),
        Calendar::Year => date.year(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_date_are_those_of_utc() {
        let leap = date(1_483_191_420.9).unwrap();
        let parts = [Calendar::DayOfYear, Calendar::DayOfWeek, Calendar::Hour, Calendar::Year]
            .map(|part| of(part, leap));
        assert_eq!(parts, [366, 6, 13, 2016]);
        assert_eq!(of(Calendar::DayOfWeek, date(259_200.0).unwrap()), 0);
        assert!(date(f64::INFINITY).is_none() && date(f64::NAN).is_none());
    }
}
