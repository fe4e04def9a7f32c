//! How windows are asked for: `30s`, `5m`, `1h30m` (fixed), `1d`, `2w`, `1mo`, `1y` (calendar).

use std::time::Duration;

use crate::moment::{self, SpanError};

/// Shortest fixed window.
const FIXED_MIN: Duration = Duration::from_millis(1);
/// Longest fixed window: beyond it a calendar unit says better what is meant.
const FIXED_MAX: Duration = Duration::from_hours(366 * 24);
/// Most calendar units in one window; keeps every boundary well inside the calendar.
const UNITS_MAX: i32 = 400;

/// How the line of time is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Intervals of one length, aligned to the Unix epoch whatever the time zone; between 1 ms and 366 days.
    Fixed(Duration),
    /// `every` calendar units of a time zone; their length follows its clock changes.
    Calendar {
        /// The unit.
        unit: CalendarUnit,
        /// How many units make a window: 1 to 400.
        every: i32,
    },
}

/// A unit of the calendar, and from where several of them are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarUnit {
    /// From midnight to midnight; several are counted from 1970-01-01.
    Day,
    /// From Monday to Monday (ISO 8601); several are counted from Monday 1969-12-29.
    Week,
    /// From the first of a month; several are counted from January of year 0, so `3mo` are quarters.
    Month,
    /// From January 1; several are counted from year 0.
    Year,
}

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not a span and not a number of calendar units.
    #[error("is not a window: {0}; a window is fixed (30s, 5m, 1h) or of the calendar (1d, 1w, 1mo, 1y)")]
    Form(SpanError),
    /// A day within a fixed span.
    #[error("mixes calendar units with others; use one of them, such as 36h or 1d")]
    Mixed,
    /// Too short or too long.
    #[error("must be between 1ms and 366 days, or between 1 and 400 calendar units")]
    Bounds,
}

impl Window {
    /// Reads a window.
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let (digits, unit) = moment::split_while(text, |c| c.is_ascii_digit());
        let unit = match unit {
            "d" => Some(CalendarUnit::Day),
            "w" => Some(CalendarUnit::Week),
            "mo" => Some(CalendarUnit::Month),
            "y" => Some(CalendarUnit::Year),
            _ => None,
        };
        match unit {
            Some(unit) if !digits.is_empty() => {
                let every = digits.parse().ok().filter(|every| (1..=UNITS_MAX).contains(every));
                every.map(|every| Self::Calendar { unit, every }).ok_or(WindowError::Bounds)
            }
            _ => Self::parse_fixed(text),
        }
    }

    fn parse_fixed(text: &str) -> Result<Self, WindowError> {
        let span = moment::parse_span(text).map_err(WindowError::Form)?;
        if text.contains(['d', 'w']) {
            return Err(WindowError::Mixed);
        }
        if (FIXED_MIN..=FIXED_MAX).contains(&span) { Ok(Self::Fixed(span)) } else { Err(WindowError::Bounds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_and_calendar_windows_are_told_apart() {
        let fixed = |seconds| Ok(Window::Fixed(Duration::from_secs(seconds)));
        let calendar = |unit, every| Ok(Window::Calendar { unit, every });
        for (text, expected) in [
            ("30s", fixed(30)),
            ("5m", fixed(300)),
            ("1h30m", fixed(5400)),
            ("24h", fixed(86_400)),
            ("500ms", Ok(Window::Fixed(Duration::from_millis(500)))),
            ("1d", calendar(CalendarUnit::Day, 1)),
            ("2w", calendar(CalendarUnit::Week, 2)),
            ("3mo", calendar(CalendarUnit::Month, 3)),
            ("1y", calendar(CalendarUnit::Year, 1)),
            ("1d12h", Err(WindowError::Mixed)),
            ("0s", Err(WindowError::Bounds)),
            ("1us", Err(WindowError::Bounds)),
            ("0d", Err(WindowError::Bounds)),
            ("401d", Err(WindowError::Bounds)),
            ("99999999999d", Err(WindowError::Bounds)),
            ("9000h", Err(WindowError::Bounds)),
            ("", Err(WindowError::Form(SpanError::Form))),
            ("d", Err(WindowError::Form(SpanError::Form))),
            ("-5m", Err(WindowError::Form(SpanError::Form))),
            ("5M", Err(WindowError::Form(SpanError::Unit("M".into())))),
        ] {
            assert_eq!(Window::parse(text), expected, "{text:?}");
        }
    }
}
