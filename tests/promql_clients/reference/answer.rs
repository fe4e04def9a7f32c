//! What a server answered to PromQL, in a form that can be compared. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Labels, written out, with the points of each series: milliseconds and value.
pub(crate) type Series = BTreeMap<String, Vec<(i64, f64)>>;

/// An answer, or the kind of error and what it says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Series(Series),
    Refused(String, String),
}

impl Answer {
    /// Reads the body of an answer of `query` or `query_range`.
    pub(crate) fn of(body: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(body).with_context(|| body.to_owned())?;
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text("status") != "success" {
            return Ok(Self::Refused(text("errorType"), text("error")));
        }
        let result = json.pointer("/data/result").context("no result")?;
        let mut series = Series::new();
        if json.pointer("/data/resultType").and_then(Value::as_str) == Some("scalar") {
            series.insert("scalar".to_owned(), vec![point(result)?]);
            return Ok(Self::Series(series));
        }
        for one in result.as_array().context("not an array")? {
            let labels: BTreeMap<String, Value> =
                serde_json::from_value(one.get("metric").context("no metric")?.clone())?;
            let many = one.get("values").and_then(Value::as_array).into_iter().flatten();
            let points = many.chain(one.get("value")).map(point).collect::<Result<_>>()?;
            ensure!(series.insert(format!("{labels:?}"), points).is_none(), "twice: {labels:?}");
        }
        Ok(Self::Series(series))
    }

    /// How many points there are.
    pub(crate) fn points(&self) -> usize {
        match self {
            Self::Series(series) => series.values().map(Vec::len).sum(),
            Self::Refused(..) => 0,
        }
    }

    /// The first difference beyond `tolerance`, relative to values above 1 and absolute below; none where both refuse.
    pub(crate) fn difference(&self, other: &Self, tolerance: f64) -> Option<Difference> {
        let (left, right) = match (self, other) {
            (Self::Series(left), Self::Series(right)) => (left, right),
            (Self::Refused(left, _), Self::Refused(right, _)) if left == right => return None,
            _ => return Some(Difference::Form(format!("{} – {}", self.brief(), other.brief()))),
        };
        left.keys().chain(right.keys()).find_map(|labels| match (left.get(labels), right.get(labels)) {
            (Some(left), Some(right)) => of_points(labels, (left, right), tolerance),
            (Some(_), None) => Some(Difference::Form(format!("only left: {labels}"))),
            _ => Some(Difference::Form(format!("only right: {labels}"))),
        })
    }

    fn brief(&self) -> String {
        match self {
            Self::Series(series) => format!("{} series", series.len()),
            Self::Refused(kind, why) => format!("{kind}: {why}"),
        }
    }
}

/// How two answers differ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Difference {
    /// In errors, series or times.
    Form(String),
    /// In the value of a series at a time.
    Value(String, f64, f64),
}

type Points = [(i64, f64)];

fn of_points(labels: &str, (left, right): (&Points, &Points), tolerance: f64) -> Option<Difference> {
    let times = |points: &Points| points.iter().map(|(time, _)| *time).collect::<BTreeSet<_>>();
    if let Some(odd) = times(left).symmetric_difference(&times(right)).next() {
        let counts = (left.len(), right.len());
        return Some(Difference::Form(format!("{labels}: a point at {odd} on one side of {counts:?}")));
    }
    let mut pairs = left.iter().zip(right);
    let wrong = pairs.find(|((_, left), (_, right))| !near(*left, *right, tolerance));
    wrong.map(|((time, left), (_, right))| Difference::Value(format!("{labels} at {time}"), *left, *right))
}

fn point(json: &Value) -> Result<(i64, f64)> {
    let seconds = json.get(0).and_then(Value::as_f64).context("no time")?;
    let value = json.get(1).and_then(Value::as_str).context("no value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse()?,
    };
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "milliseconds are far below 2^53"
    )]
    let millis = (seconds * 1_000.0).round() as i64;
    Ok((millis, value))
}

fn near(left: f64, right: f64, tolerance: f64) -> bool {
    let scale = left.abs().max(right.abs()).max(1.0);
    left.to_bits() == right.to_bits()
        || (left.is_nan() && right.is_nan())
        || (scale.is_finite() && (left - right).abs() <= tolerance * scale)
}

/// Proves that differences are noticed and that what is near enough is none.
pub(crate) fn notices() -> Result<()> {
    let vector = |value: &str| {
        let result = format!(r#"[{{"metric": {{"a": "b"}}, "value": [1.5, "{value}"]}}]"#);
        Answer::of(&format!(
            r#"{{"status": "success", "data": {{"resultType": "vector", "result": {result}}}}}"#
        ))
    };
    let refused = Answer::of(r#"{"status": "error", "errorType": "execution", "error": "x"}"#)?;
    let none = Answer::of(r#"{"status": "success", "data": {"resultType": "vector", "result": []}}"#)?;
    let million = vector("1000000")?;
    for same in
        [(&million, &vector("1000000.0001")?), (&vector("+Inf")?, &vector("+Inf")?), (&refused, &refused)]
    {
        ensure!(same.0.difference(same.1, 1e-9).is_none(), "{same:?}");
    }
    let (more, nan) = (vector("1000000.01")?, vector("NaN")?);
    for other in [&more, &nan, &vector("+Inf")?, &refused, &none] {
        ensure!(million.difference(other, 1e-9).is_some(), "{other:?}");
        ensure!(other.difference(&million, 1e-9).is_some(), "{other:?}");
    }
    Ok(())
}
