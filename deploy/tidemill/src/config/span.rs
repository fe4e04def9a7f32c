//! A duration as operators write it: `500ms`, `5m`, `90 days`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A duration that is read and written as text.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    /// Whole seconds.
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Days of 24 hours.
    pub(crate) const fn days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            format!("{text:?} is not a duration such as \"500ms\", \"5m\" or \"90days\": {error}")
        })
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        humantime::format_duration(span.0).to_string()
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them_and_back() {
        for (text, seconds) in [("90days", 90 * 86_400), ("1h 30m", 5_400), ("10s", 10)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_secs(), seconds);
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert!("soon".parse::<Span>().unwrap_err().contains("not a duration"));
    }
}
