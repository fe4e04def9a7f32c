//! JSON of answers: rows in an array, bounded in bytes, and the values in them.
//!
//! Integers are written exactly (also beyond 2^53), doubles in the shortest form that reads back the same. JSON
//! has no NaN and no infinities: those are the strings "NaN", "Infinity" and "-Infinity".

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tidemill_store::model::{Metric, Source, Tags, Value, ValueKind};
use tidemill_store::rollup::State;

use crate::window::Answer;

/// An answer under construction: `{"<field>":[row,row…`.
#[derive(Debug)]
pub(super) struct Rows {
    out: Vec<u8>,
    bytes_max: usize,
    count: usize,
}

/// Whether a row still went in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in the answer.
    Kept,
    /// It would pass the byte limit, and is not in the answer.
    Full,
}

impl Rows {
    /// An answer whose rows stand in the array `field`.
    pub(super) fn new(field: &'static str, bytes_max: usize) -> Self {
        let mut out = Vec::with_capacity(4 * 1024);
        out.push(b'{');
        write_key(&mut out, field);
        out.push(b'[');
        Self { out, bytes_max, count: 0 }
    }

    /// Adds the row that `write` writes, unless the answer would grow beyond its limit; the first row always fits.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Pushed {
        let before = self.out.len();
        if self.count > 0 {
            self.out.push(b',');
        }
        write(&mut self.out);
        if self.out.len() > self.bytes_max && self.count > 0 {
            self.out.truncate(before);
            return Pushed::Full;
        }
        self.count += 1;
        Pushed::Kept
    }

    /// How many rows there are.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Ends the array and the answer, with a few more fields.
    pub(super) fn finish(mut self, fields: &[(&'static str, serde_json::Value)]) -> Bytes {
        self.out.push(b']');
        for (name, value) in fields {
            self.out.push(b',');
            write_key(&mut self.out, name);
            write_json(&mut self.out, value);
        }
        self.out.extend_from_slice(b"}\n");
        Bytes::from(self.out)
    }
}

/// Writes anything that serde can.
pub(super) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(out, value);
    assert!(written.is_ok(), "plain values have a JSON form and memory takes every write");
}

/// Writes `"name":`.
pub(super) fn write_key(out: &mut Vec<u8>, name: &str) {
    write_json(out, name);
    out.push(b':');
}

/// Writes `"…"` around something that needs no escapes.
pub(super) fn write_quoted(out: &mut Vec<u8>, value: impl Display) {
    let written = write!(out, "\"{value}\"");
    assert!(written.is_ok(), "memory takes every write");
}

/// Writes a double; NaN and infinities as strings.
pub(super) fn write_float(out: &mut Vec<u8>, float: f64) {
    if float.is_finite() {
        write_json(out, &float);
    } else if float.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if float > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    }
}

/// Writes a sample's value.
pub(super) fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::F64(float) => write_float(out, *float),
        Value::I64(integer) => write_json(out, integer),
        Value::Bool(truth) => write_json(out, truth),
        Value::Text(text) => write_json(out, &**text),
    }
}

/// Writes an aggregate's answer.
pub(super) fn write_answer(out: &mut Vec<u8>, answer: &Answer) {
    match answer {
        Answer::Null => out.extend_from_slice(b"null"),
        Answer::Integer(integer) => write_json(out, integer),
        Answer::Float(float) => write_float(out, *float),
        Answer::Bool(truth) => write_json(out, truth),
        Answer::Text(text) => write_json(out, &**text),
        Answer::Durations(states) => write_durations(out, states),
    }
}

/// Writes seconds by state.
fn write_durations(out: &mut Vec<u8>, states: &[(State, Duration)]) {
    out.push(b'{');
    for (n, (state, held)) in states.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        match state {
            State::Bool(truth) => write_key(out, if *truth { "true" } else { "false" }),
            State::Text(text) => write_key(out, text),
        }
        write_float(out, held.as_secs_f64());
    }
    out.push(b'}');
}

/// Writes tags as an object.
pub(super) fn write_tags(out: &mut Vec<u8>, tags: &Tags) {
    out.push(b'{');
    for (n, (key, value)) in tags.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_key(out, key.as_str());
        write_json(out, value.as_str());
    }
    out.push(b'}');
}

/// Writes `{"tenant":…,"device":…,"metric":…,"tags":{…}`, with which every row of a series begins.
pub(super) fn write_series(out: &mut Vec<u8>, source: &Source, metric: &Metric) {
    out.extend_from_slice(b"{\"tenant\":");
    write_json(out, source.tenant().as_str());
    out.extend_from_slice(b",\"device\":");
    write_json(out, source.device().as_str());
    out.extend_from_slice(b",\"metric\":");
    write_json(out, metric.as_str());
    out.extend_from_slice(b",\"tags\":");
    write_tags(out, source.tags());
}

/// The name of a kind of value.
pub(super) const fn kind_name(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::F64 => "f64",
        ValueKind::I64 => "i64",
        ValueKind::Bool => "bool",
        ValueKind::Text => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: &Value) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_exactly() {
        assert_eq!(value(&Value::I64(i64::MIN)), "-9223372036854775808");
        assert_eq!(value(&Value::F64(21.0)), "21.0");
        assert_eq!(value(&Value::F64(0.1 + 0.2)), "0.30000000000000004");
        assert_eq!(value(&Value::F64(f64::NAN)), "\"NaN\"");
        assert_eq!(value(&Value::F64(f64::NEG_INFINITY)), "\"-Infinity\"");
        assert_eq!(value(&Value::Text("a\"\u{1}é".into())), "\"a\\\"\\u0001é\"");
        let mut out = Vec::new();
        write_answer(&mut out, &Answer::Integer(i128::from(i64::MAX) * 2));
        assert_eq!(out, b"18446744073709551614");
    }

    #[test]
    fn an_answer_is_cut_before_the_row_that_would_pass_its_limit() {
        let mut rows = Rows::new("rows", 20);
        let row = |out: &mut Vec<u8>| out.extend_from_slice(b"123456");
        assert_eq!([rows.push(row), rows.push(row)], [Pushed::Kept, Pushed::Full]);
        assert_eq!(rows.finish(&[("next", serde_json::Value::Null)]), "{\"rows\":[123456],\"next\":null}\n");
        let mut one = Rows::new("rows", 1);
        assert_eq!(one.push(row), Pushed::Kept, "an answer always gets somewhere");
    }
}
