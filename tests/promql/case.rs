//! The commands of a test file.

use anyhow::{Context, Result, bail};
use tidemill_analytics::promql::Labels;

use crate::notation::{Point, duration, points, series};

/// A command and the line that it starts at.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) line: usize,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Clear,
    Load { step: i64, histograms: bool, series: Vec<(Labels, Vec<Point>)> },
    Eval(Box<Eval>),
}

#[derive(Debug)]
pub(crate) struct Eval {
    pub(crate) query: String,
    pub(crate) times: Times,
    pub(crate) expected: Expected,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Times {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// A text that must be there.
#[derive(Debug)]
pub(crate) enum Wording {
    Any,
    Is(String),
    Matches(String),
}

#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) fails: Option<Wording>,
    pub(crate) warns: Vec<Wording>,
    pub(crate) informs: Vec<Wording>,
    pub(crate) no_warning: bool,
    pub(crate) no_info: bool,
    pub(crate) ordered: bool,
    pub(crate) text: Option<String>,
    /// Start, end and step of a range vector.
    pub(crate) range_vector: Option<(i64, i64, i64)>,
    pub(crate) scalar: Option<Point>,
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
}

/// Reads a file.
pub(crate) fn commands(text: &str) -> Result<Vec<Command>> {
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).collect();
    let mut all = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (line, text) = lines[at];
        at += 1;
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let rest = lines[at..].iter().map(|(_, line)| *line);
        let body: Vec<&str> = rest.take_while(|line| !line.is_empty() && !is_command(line)).collect();
        let word = text.split_whitespace().next().unwrap_or_default();
        let used = if word == "clear" { 0 } else { body.len() };
        let body: Vec<&str> = body.into_iter().filter(|line| !line.starts_with('#')).collect();
        let what = command(word, text, &body).with_context(|| format!("line {line}: {text}"))?;
        at += used;
        all.push(Command { line, what });
    }
    Ok(all)
}

fn is_command(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    ["clear", "load", "load_with_nhcb", "eval", "eval_fail"].contains(&word)
}

fn command(word: &str, text: &str, body: &[&str]) -> Result<What> {
    match word {
        "clear" => Ok(What::Clear),
        "load" | "load_with_nhcb" => {
            let step = duration(text.split_whitespace().nth(1).context("no step")?)?;
            let series = body.iter().map(|line| line_of_series(line)).collect::<Result<_>>()?;
            Ok(What::Load { step, histograms: word == "load_with_nhcb", series })
        }
        "eval" | "eval_fail" => {
            let (times, query) = times(text)?;
            let mut expected = Expected::default();
            if word == "eval_fail" {
                expected.fails = Some(Wording::Any);
            }
            for line in body {
                expectation(line, &mut expected).with_context(|| (*line).to_owned())?;
            }
            Ok(What::Eval(Box::new(Eval { query: query.to_owned(), times, expected })))
        }
        other => bail!("{other:?} is no command"),
    }
}

fn line_of_series(line: &str) -> Result<(Labels, Vec<Point>)> {
    let (labels, rest) = series(line)?;
    Ok((labels, points(rest)?))
}

/// `eval instant at T QUERY` or `eval range from A to B step S QUERY`.
fn times(text: &str) -> Result<(Times, &str)> {
    let mut rest = text;
    let mut word = || {
        let trimmed = rest.trim_start();
        let (word, after) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
        rest = after;
        word
    };
    word();
    let times = match word() {
        "instant" => {
            word();
            Times::Instant(duration(word())?)
        }
        "range" => {
            word();
            let start = duration(word())?;
            word();
            let end = duration(word())?;
            word();
            Times::Range { start, end, step: duration(word())? }
        }
        other => bail!("{other:?} is neither instant nor range"),
    };
    Ok((times, rest.trim()))
}

fn expectation(line: &str, expected: &mut Expected) -> Result<()> {
    let Some(what) = line.strip_prefix("expect ") else {
        return result(line, expected);
    };
    let (word, rest) = what.trim().split_once([' ', '\t']).unwrap_or((what.trim(), ""));
    match word {
        "fail" => expected.fails = Some(wording(rest)),
        "warn" => expected.warns.push(wording(rest)),
        "info" => expected.informs.push(wording(rest)),
        "no_warn" => expected.no_warning = true,
        "no_info" => expected.no_info = true,
        "ordered" => expected.ordered = true,
        "string" => {
            let quoted = rest.trim();
            let inner = quoted.get(1..quoted.len() - 1).context("no quotes")?;
            expected.text = Some(inner.to_owned());
        }
        "range" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["vector", "from", start, "to", end, "step", step] = words[..] else {
                bail!("no range vector")
            };
            expected.range_vector = Some((duration(start)?, duration(end)?, duration(step)?));
        }
        other => bail!("{other:?} is no expectation"),
    }
    Ok(())
}

fn wording(rest: &str) -> Wording {
    let rest = rest.trim();
    if let Some(text) = rest.strip_prefix("msg:") {
        Wording::Is(text.trim().to_owned())
    } else if let Some(text) = rest.strip_prefix("regex:") {
        Wording::Matches(text.trim().to_owned())
    } else {
        Wording::Any
    }
}

fn result(line: &str, expected: &mut Expected) -> Result<()> {
    let begins_with_number = crate::notation::number(line).is_ok();
    if begins_with_number {
        expected.scalar = Some(Point::Number(crate::notation::number(line)?));
        return Ok(());
    }
    expected.series.push(line_of_series(line)?);
    Ok(())
}
