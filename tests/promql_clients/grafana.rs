//! How Grafana fills in what dashboards leave open: intervals from the range of time, variables by their label queries.
//! Pure.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// Variables and their values.
pub(crate) type Bindings = BTreeMap<String, String>;

/// As wide as panels are asked for, in points.
const POINTS: u64 = 1_000;
/// Intervals that Grafana rounds to, in seconds.
const ROUND: [u64; 14] = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600];

/// The range of time that a dashboard shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Unix seconds.
    pub(crate) start: u64,
    /// Unix seconds.
    pub(crate) end: u64,
    /// Between two points, and `$__interval`.
    pub(crate) interval: u64,
    /// How often the data source has samples.
    scrape: u64,
}

impl Span {
    /// From `now-…` (as dashboards write it) to `now`, with samples every `scrape` seconds.
    pub(crate) fn new(from: &str, now: u64, scrape: u64) -> Result<Self> {
        let back = from.strip_prefix("now-").with_context(|| format!("a range from {from}"))?;
        let length = seconds(back)?;
        let wanted = length / POINTS;
        let rounded = ROUND.into_iter().rev().find(|&round| round <= wanted).unwrap_or(1);
        let interval = rounded.max(scrape);
        // Aligned, so that a panel that is asked again has the same points.
        let end = now / interval * interval;
        Ok(Self { start: end - length / interval * interval, end, interval, scrape })
    }

    /// The variables that Grafana makes of it.
    pub(crate) fn bindings(&self) -> Bindings {
        let rate = (self.interval + self.scrape).max(4 * self.scrape);
        let range = self.end - self.start;
        let pairs = [
            ("__interval", format!("{}s", self.interval)),
            ("__interval_ms", (self.interval * 1_000).to_string()),
            ("__rate_interval", format!("{rate}s")),
            ("__range", format!("{range}s")),
            ("__range_s", range.to_string()),
            ("__range_ms", (range * 1_000).to_string()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// A duration such as `15s` or `6h`.
pub(crate) fn seconds(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => bail!("the unit {other:?} of {text:?}"),
    };
    Ok(digits.parse::<u64>()? * unit)
}

/// `text` with each `$name`, `${name}` and `${name:format}` replaced; an unknown one is an error.
pub(crate) fn expand(text: &str, bindings: &Bindings) -> Result<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, behind) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').context("a brace without end")?,
            None => {
                after.split_at(after.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(after.len()))
            }
        };
        let name = name.split(':').next().unwrap_or_default();
        expanded.push_str(bindings.get(name).with_context(|| format!("no variable {name:?} for {text:?}"))?);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// A value of a variable that may have several, as Grafana puts it into a matcher: what regular expressions give a
/// meaning to is escaped, once for them and once for the string.
pub(crate) fn escaped(value: &str) -> String {
    let mut text = String::new();
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\\\\\"),
            '$' | '^' | '*' | '{' | '}' | '[' | ']' | '\'' | '+' | '?' | '.' | '(' | ')' | '|' => {
                text.push_str("\\\\");
                text.push(letter);
            }
            other => text.push(other),
        }
    }
    text
}

/// The label query of a variable: its label, and the selector where it has one.
pub(crate) fn label_values(query: &str) -> Result<(Option<String>, String)> {
    let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.with_context(|| format!("not label_values(…): {query}"))?;
    let (selector, label) = match inner.rsplit_once(',') {
        Some((selector, label)) => (Some(selector.trim().to_owned()), label.trim()),
        None => (None, inner.trim()),
    };
    ensure!(!label.is_empty(), "no label: {query}");
    Ok((selector, label.to_owned()))
}
