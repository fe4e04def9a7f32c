//! Comparing an answer with what a file expects.

use anyhow::{Result, anyhow, bail, ensure};
use tidemill_analytics::promql::{Answer, Labels, Notes, Outcome, Steps, is_absent, present, whole_value};

use crate::case::{Expected, Wording};
use crate::notation::Point;

/// How far two numbers may lie apart: a part of the larger one.
const TOLERANCE: f64 = 1e-6;

/// Checks what an instant or range query gave, as it was asked for.
pub(crate) fn outcome(expected: &Expected, outcome: &Outcome, steps: Steps) -> Result<()> {
    answer(expected, &outcome.answer, steps)?;
    notes(expected, &outcome.notes)
}

/// Checks the values alone.
pub(crate) fn answer(expected: &Expected, answer: &Answer, steps: Steps) -> Result<()> {
    match answer {
        Answer::Text(text) => {
            ensure!(expected.text.as_deref() == Some(text), "the text {text:?}, not {:?}", expected.text);
            Ok(())
        }
        Answer::Scalar(values) => scalar(expected, values),
        Answer::Ranges(series) => {
            let (start, end, step) =
                expected.range_vector.ok_or_else(|| anyhow!("a range vector is not what is expected"))?;
            let grid = Steps::between(start, end, step);
            let found = series.iter().map(|series| {
                let at = |time: i64| series.times.iter().position(|t| *t == time);
                let value = |time: i64| at(time).map(|at| series.values[at]);
                let values: Vec<Option<f64>> = grid.iter().map(value).collect();
                let within = values.iter().flatten().count();
                ensure!(within == series.times.len(), "{} has samples off the grid", series.labels);
                Ok((series.labels.clone(), values))
            });
            rows(expected, &found.collect::<Result<Vec<_>>>()?)
        }
        Answer::Rows(found) => {
            let values = |row: &[f64]| row.iter().map(|value| present(*value)).collect::<Vec<_>>();
            let found: Vec<_> = found.iter().map(|row| (row.labels.clone(), values(&row.values))).collect();
            ensure!(found.iter().all(|(_, values)| values.len() == steps.count), "a row is too short");
            rows(expected, &found)
        }
    }
}

fn scalar(expected: &Expected, values: &[f64]) -> Result<()> {
    // Over a range, a scalar is shown as a series without labels.
    let wanted: Vec<Point> = match (&expected.scalar, expected.series.first()) {
        (Some(point), _) => vec![point.clone()],
        (None, Some((labels, points))) if labels.is_empty() => points.clone(),
        (None, _) => bail!("a scalar {values:?} is not what is expected"),
    };
    let values: Vec<Option<f64>> = values.iter().map(|value| Some(*value)).collect();
    points(&wanted, &values)
}

type Found = (Labels, Vec<Option<f64>>);

fn rows(expected: &Expected, found: &[Found]) -> Result<()> {
    ensure!(expected.scalar.is_none(), "a vector came where a scalar is expected");
    for (place, (labels, wanted)) in expected.series.iter().enumerate() {
        let at = found.iter().position(|(other, _)| other == labels);
        let Some(at) = at else { bail!("{labels} is missing from {found:?}") };
        ensure!(!expected.ordered || at == place, "{labels} is at place {at}, not {place}: {found:?}");
        points(wanted, &found[at].1).map_err(|error| anyhow!("{labels}: {error}"))?;
    }
    let more = found.iter().find(|(labels, _)| !expected.series.iter().any(|(wanted, _)| wanted == labels));
    match more {
        Some((labels, values)) => bail!("{labels} {values:?} is not expected"),
        None => Ok(()),
    }
}

fn points(wanted: &[Point], found: &[Option<f64>]) -> Result<()> {
    let longest = wanted.len().max(found.len());
    for at in 0..longest {
        let fits = match (wanted.get(at), found.get(at).copied().flatten()) {
            (None | Some(Point::Gap), None) => true,
            (Some(Point::Number(wanted)), Some(found)) => same(*wanted, found),
            _ => false,
        };
        ensure!(fits, "at {at}: {:?}, not {:?}", found.get(at), wanted.get(at));
    }
    Ok(())
}

fn same(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan() && is_absent(a) == is_absent(b);
    }
    #[expect(clippy::float_cmp, reason = "infinities are only equal to themselves")]
    if a == b {
        return true;
    }
    let (larger, difference) = (a.abs().max(b.abs()), (a - b).abs());
    if a == 0.0 || b == 0.0 || larger < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / (a.abs() + b.abs()) < TOLERANCE
}

fn notes(expected: &Expected, notes: &Notes) -> Result<()> {
    ensure!(!expected.no_warning || notes.warnings.is_empty(), "warnings {:?}", notes.warnings);
    ensure!(!expected.no_info || notes.infos.is_empty(), "infos {:?}", notes.infos);
    for wording in &expected.warns {
        contains(wording, &notes.warnings)?;
    }
    for wording in &expected.informs {
        contains(wording, &notes.infos)?;
    }
    Ok(())
}

fn contains(wording: &Wording, texts: &[String]) -> Result<()> {
    for text in texts {
        if fits(wording, text)? {
            return Ok(());
        }
    }
    bail!("no note {wording:?} among {texts:?}")
}

/// Whether a text is worded as expected.
pub(crate) fn fits(wording: &Wording, text: &str) -> Result<bool> {
    Ok(match wording {
        Wording::Any => true,
        Wording::Is(wanted) => text.ends_with(wanted.as_str()),
        Wording::Matches(pattern) => whole_value(&format!(".*(?:{pattern}).*"))?.is_match(text),
    })
}
