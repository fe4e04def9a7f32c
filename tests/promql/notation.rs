//! The notation of test files: durations, series, and points such as `1+2x10 _ stale NaN {{schema:0}}`.

use anyhow::{Context, Result, anyhow, bail};
use tidemill_analytics::promql::{ABSENT, Labels, MatchOp, NAME, parse_selector};

pub(crate) const SECOND: i64 = 1_000_000_000;

/// A point of a series in the notation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Point {
    /// Nothing here.
    Gap,
    /// A number; [`ABSENT`] is a staleness marker.
    Number(f64),
    /// A native histogram, which is not read further.
    Histogram,
}

/// `5m`, `1h30m`, `10s53ms`, or a number of seconds, in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok(nanos(seconds));
    }
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).context("a duration ends without a unit")?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let nanos = match unit {
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "d" => 86_400 * SECOND,
            other => bail!("{other:?} is no unit of {text:?}"),
        };
        total += number.parse::<i64>().with_context(|| format!("{text:?}"))? * nanos;
        rest = after;
    }
    Ok(total)
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "the files' times are small")]
fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

/// A number as the files write it.
pub(crate) fn number(text: &str) -> Result<f64> {
    match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" => Ok(f64::INFINITY),
        "-inf" => Ok(f64::NEG_INFINITY),
        "nan" => Ok(f64::NAN),
        _ => text.parse().map_err(|error| anyhow!("{text:?}: {error}")),
    }
}

/// A line of a metric with labels and what follows it. `None` where the line is no series.
pub(crate) fn series(line: &str) -> Result<(Labels, &str)> {
    let end = metric_end(line);
    let (metric, rest) = line.split_at(end);
    Ok((labels(metric)?, rest.trim()))
}

/// Behind the closing brace, or behind the name where there is none.
fn metric_end(line: &str) -> usize {
    let plain = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    if !line[plain..].starts_with('{') || line[plain..].starts_with("{{") {
        return plain;
    }
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in line[plain..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return plain + at + 1,
            _ => {}
        }
    }
    line.len()
}

fn labels(metric: &str) -> Result<Labels> {
    if metric.trim() == "{}" {
        return Ok(Labels::default());
    }
    // A selector must select something; a set of labels need not.
    let matchers = parse_selector(metric).with_context(|| format!("{metric:?}"))?;
    for matcher in &matchers {
        if !matches!(matcher.op, MatchOp::Equal) {
            bail!("{metric:?} is no set of labels");
        }
    }
    Ok(Labels::new(matchers.iter().map(|m| (m.name.as_str().into(), m.value.as_str().into()))))
}

/// The labels with the name of a native histogram that `load_with_nhcb` makes of a classic one.
pub(crate) fn native_of(labels: &Labels) -> Option<Labels> {
    let name = labels.get(NAME);
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))?;
    Some(labels.with(NAME, base).with("le", ""))
}

/// The points of a series.
pub(crate) fn points(text: &str) -> Result<Vec<Point>> {
    let mut all = Vec::new();
    for word in words(text) {
        one(word, &mut all).with_context(|| format!("the points {word:?}"))?;
    }
    Ok(all)
}

/// Words without the white space within `{{…}}`.
fn words(text: &str) -> Vec<&str> {
    let (mut all, mut start, mut depth) = (Vec::new(), None, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            all.extend(start.take().map(|start| &text[start..at]));
        } else {
            start.get_or_insert(at);
        }
    }
    all.extend(start.map(|start| &text[start..]));
    all
}

fn one(word: &str, all: &mut Vec<Point>) -> Result<()> {
    if word.starts_with("{{") {
        let times = word.rsplit_once("}}").map_or("", |(_, after)| after);
        // `a+bxN` and `axN`: the first and N more.
        let more = times.trim_start_matches('x').parse::<usize>().ok();
        all.extend(std::iter::repeat_n(Point::Histogram, more.map_or(1, |more| more + 1)));
        return Ok(());
    }
    let (value, times) = match word.split_once('x') {
        Some((value, times)) => (value, Some(times.parse::<usize>()?)),
        None => (word, None),
    };
    match (value, times) {
        ("_", times) => all.extend(std::iter::repeat_n(Point::Gap, times.unwrap_or(1))),
        ("stale", times) => {
            all.extend(std::iter::repeat_n(Point::Number(ABSENT), times.map_or(1, |n| n + 1)));
        }
        (value, None) => all.push(Point::Number(number(value)?)),
        (value, Some(times)) => {
            let (mut next, step) = match split_step(value) {
                Some((start, step)) => (number(start)?, number(step)?),
                None => (number(value)?, 0.0),
            };
            for _ in 0..=times {
                all.push(Point::Number(next));
                next += step;
            }
        }
    }
    Ok(())
}

/// `1+2` and `1-2`, but not the sign of an exponent.
fn split_step(value: &str) -> Option<(&str, &str)> {
    let signs = value.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    let at = signs.map(|(at, _)| at).find(|at| !value[..*at].ends_with(['e', 'E']))?;
    let (start, step) = value.split_at(at);
    Some((start, step.trim_start_matches('+')))
}
