//! Answers as Prometheus' JSON: values are texts, times seconds. Bounded in bytes (I6).

use bytes::Bytes;
use serde_json::Value as Json;

use super::failure::{ErrorType, Failure};
use crate::promql::{
    Answer, Labels, Mode, Notes, RawSeries, Row, Steps, float, is_absent, plain_float, write_time,
};

/// What there is to say of answers that were cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// How an answer is written.
pub(super) struct Shape {
    pub(super) mode: Mode,
    pub(super) steps: Steps,
    /// Most series.
    pub(super) limit: Option<usize>,
    pub(super) bytes_max: usize,
}

/// `{"status":"success","data":…}` with what there is to say.
pub(super) fn success(data: &Json, notes: &Notes) -> Bytes {
    let mut body = String::from("{\"status\":\"success\",\"data\":");
    body.push_str(&data.to_string());
    finish(body, notes)
}

fn finish(mut body: String, notes: &Notes) -> Bytes {
    for (name, list) in [("warnings", &notes.warnings), ("infos", &notes.infos)] {
        if !list.is_empty() {
            body.push_str(",\"");
            body.push_str(name);
            body.push_str("\":");
            body.push_str(&Json::from(list.clone()).to_string());
        }
    }
    body.push('}');
    Bytes::from(body)
}

/// The answer of a query.
pub(super) fn query(
    answer: &Answer,
    mut notes: Notes,
    shape: &Shape,
    stats: Option<&Json>,
) -> Result<Bytes, Failure> {
    let mut body = String::from("{\"status\":\"success\",\"data\":{\"resultType\":\"");
    let truncated = write_result(&mut body, answer, shape)?;
    if truncated {
        notes.warn(TRUNCATED.to_owned());
    }
    if let Some(stats) = stats {
        body.push_str(",\"stats\":");
        body.push_str(&stats.to_string());
    }
    body.push('}');
    Ok(finish(body, &notes))
}

/// Writes type and result; says whether series were left out.
fn write_result(body: &mut String, answer: &Answer, shape: &Shape) -> Result<bool, Failure> {
    let at = shape.steps.start;
    match (answer, shape.mode) {
        (Answer::Text(text), _) => {
            body.push_str("string\",\"result\":[");
            write_time(body, at);
            body.push(',');
            body.push_str(&Json::from(text.as_str()).to_string());
            body.push(']');
        }
        (Answer::Scalar(values), Mode::Instant) => {
            // As Prometheus has it, without exponent here.
            body.push_str("scalar\",\"result\":[");
            write_time(body, at);
            body.push_str(",\"");
            body.push_str(&plain_float(values.first().copied().unwrap_or(f64::NAN)));
            body.push_str("\"]");
        }
        (Answer::Scalar(values), Mode::Range) => {
            let row = Row { labels: Labels::default(), drop_name: false, values: values.clone() };
            return rows(body, &[row], shape);
        }
        (Answer::Rows(all), _) => return rows(body, all, shape),
        (Answer::Ranges(all), _) => return ranges(body, all, shape),
    }
    Ok(false)
}

fn rows(body: &mut String, all: &[Row], shape: &Shape) -> Result<bool, Failure> {
    let instant = shape.mode == Mode::Instant;
    body.push_str(if instant { "vector\",\"result\":[" } else { "matrix\",\"result\":[" });
    each(body, all, shape, |body, row| {
        write_labels(body, &row.labels);
        if instant {
            body.push_str(",\"value\":");
            write_sample(body, shape.steps.start, row.values.first().copied().unwrap_or(f64::NAN));
        } else {
            write_samples(body, shape.steps.iter().zip(row.values.iter().copied()));
        }
    })
}

fn ranges(body: &mut String, all: &[RawSeries], shape: &Shape) -> Result<bool, Failure> {
    body.push_str("matrix\",\"result\":[");
    each(body, all, shape, |body, series| {
        write_labels(body, &series.labels);
        write_samples(body, series.times.iter().copied().zip(series.values.iter().copied()));
    })
}

fn each<T>(
    body: &mut String,
    all: &[T],
    shape: &Shape,
    write: impl Fn(&mut String, &T),
) -> Result<bool, Failure> {
    let shown = shape.limit.unwrap_or(usize::MAX).min(all.len());
    for (n, one) in all.iter().take(shown).enumerate() {
        body.push_str(if n > 0 { ",{\"metric\":" } else { "{\"metric\":" });
        write(body, one);
        body.push('}');
        if body.len() > shape.bytes_max {
            let why =
                format!("the answer has more than {} bytes; ask for fewer series or steps", shape.bytes_max);
            return Err(Failure::new(ErrorType::Execution, why));
        }
    }
    body.push(']');
    Ok(shown < all.len())
}

/// `{"name":"value"}`.
fn write_labels(body: &mut String, labels: &Labels) {
    body.push('{');
    for (n, label) in labels.iter().enumerate() {
        if n > 0 {
            body.push(',');
        }
        write_text(body, &label.name);
        body.push(':');
        write_text(body, &label.value);
    }
    body.push('}');
}

fn write_text(body: &mut String, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        body.push('"');
        body.push_str(text);
        body.push('"');
    } else {
        body.push_str(&Json::from(text).to_string());
    }
}

fn write_samples(body: &mut String, samples: impl Iterator<Item = (i64, f64)>) {
    body.push_str(",\"values\":[");
    let mut first = true;
    for (time, value) in samples.filter(|(_, value)| !is_absent(*value)) {
        if !std::mem::take(&mut first) {
            body.push(',');
        }
        write_sample(body, time, value);
    }
    body.push(']');
}

fn write_sample(body: &mut String, time: i64, value: f64) {
    body.push('[');
    write_time(body, time);
    body.push_str(",\"");
    body.push_str(&float(value));
    body.push_str("\"]");
}

/// A set of labels as an object.
pub(super) fn object(labels: &Labels) -> Json {
    labels.iter().map(|label| (label.name.to_string(), Json::from(&*label.value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::ABSENT;

    fn shape(mode: Mode, limit: Option<usize>) -> Shape {
        Shape {
            mode,
            steps: Steps { start: 1_500_000_000, step: 1_000_000_000, count: 2 },
            limit,
            bytes_max: 10_000,
        }
    }

    fn row(value: &str, values: [f64; 2]) -> Row {
        Row { labels: Labels::of(&[("a", value)]), drop_name: false, values: values.to_vec() }
    }

    #[test]
    fn values_are_texts_and_gaps_are_left_out() {
        let answer = Answer::Rows(vec![row("x\"", [1.0, ABSENT]), row("y", [f64::INFINITY, 2.5])]);
        let body = query(&answer, Notes::default(), &shape(Mode::Range, None), None).unwrap();
        assert_eq!(
            String::from_utf8(body.to_vec()).unwrap(),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"x\""},"values":[[1.500,"1"]]},{"metric":{"a":"y"},"values":[[1.500,"+Inf"],[2.500,"2.5"]]}]}}"#
        );
    }

    #[test]
    fn an_answer_that_is_cut_says_so() {
        let answer = Answer::Rows(vec![row("x", [1.0, 1.0]), row("y", [1.0, 1.0])]);
        let body = query(&answer, Notes::default(), &shape(Mode::Instant, Some(1)), None).unwrap();
        assert_eq!(
            String::from_utf8(body.to_vec()).unwrap(),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"x"},"value":[1.500,"1"]}]},"warnings":["results truncated due to limit"]}"#
        );
    }

    #[test]
    fn an_answer_that_is_too_long_is_refused() {
        let shape = Shape { bytes_max: 10, ..shape(Mode::Range, None) };
        assert!(query(&Answer::Rows(vec![row("x", [1.0, 1.0])]), Notes::default(), &shape, None).is_err());
    }
}
