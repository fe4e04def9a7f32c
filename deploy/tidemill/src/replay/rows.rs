//! Rows of a CSV file as telemetry payloads.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, bail};
use csv::{Reader, StringRecord};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Number, Value};

use crate::cli::ReplayArgs;

/// Which columns are published, and under which names.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    time: String,
    values: Vec<String>,
    metric: Option<String>,
}

impl Columns {
    /// As asked on the command line.
    pub(super) fn of(args: &ReplayArgs) -> Self {
        Self {
            time: args.time_column.clone(),
            values: args.value_columns.clone(),
            metric: args.metric.clone(),
        }
    }
}

/// Reads rows in order and renders each as a payload.
pub(super) struct RowReader {
    reader: Reader<File>,
    record: StringRecord,
    time: usize,
    values: Vec<(usize, String)>,
    empty_cells: u64,
}

impl RowReader {
    /// Opens a file and finds the columns.
    pub(super) fn open(path: &Path, columns: &Columns) -> anyhow::Result<Self> {
        let mut reader =
            Reader::from_path(path).with_context(|| format!("cannot open {}", path.display()))?;
        let headers =
            reader.headers().with_context(|| format!("{} has no header line", path.display()))?.clone();
        let find = |name: &str| {
            let position = headers.iter().position(|header| header.trim() == name);
            position.with_context(|| {
                let known: Vec<&str> = headers.iter().collect();
                format!("{} has no column {name:?}; it has {}", path.display(), known.join(", "))
            })
        };
        let time = find(&columns.time)?;
        let mut values = Vec::new();
        if columns.values.is_empty() {
            let others = headers.iter().enumerate().filter(|(index, _)| *index != time);
            values.extend(others.map(|(index, name)| (index, name.trim().to_owned())));
        } else {
            for name in &columns.values {
                values.push((find(name)?, name.clone()));
            }
        }
        if let Some(metric) = &columns.metric {
            let [(_, name)] = values.as_mut_slice() else {
                bail!(
                    "--metric names one column, but {} are published; choose one with --value-columns",
                    values.len()
                );
            };
            name.clone_from(metric);
        }
        Ok(Self { reader, record: StringRecord::new(), time, values, empty_cells: 0 })
    }

    /// Passes over rows that an earlier run has published; rows without values count too.
    pub(super) fn skip(&mut self, payloads: u64) -> anyhow::Result<()> {
        for done in 0..payloads {
            if self.next_payload()?.is_none() {
                bail!(
                    "the file has {done} rows, fewer than were acknowledged earlier; --restart starts over"
                );
            }
        }
        Ok(())
    }

    /// The next row that has a value; `None` at the end.
    pub(super) fn next_payload(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        while self.reader.read_record(&mut self.record)? {
            if let Some(payload) = self.payload()? {
                return Ok(Some(payload));
            }
        }
        Ok(None)
    }

    /// Cells that were empty and so not published.
    pub(super) const fn empty_cells(&self) -> u64 {
        self.empty_cells
    }

    fn payload(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let line = self.record.position().map_or(0, csv::Position::line);
        let cell = |index: usize| self.record.get(index).unwrap_or_default().trim();
        let time = parse_time(cell(self.time)).with_context(|| format!("line {line}"))?;
        let mut metrics = Map::new();
        for (index, name) in &self.values {
            match cell(*index) {
                "" => self.empty_cells += 1,
                text => drop(metrics.insert(name.clone(), parse_value(text))),
            }
        }
        if metrics.is_empty() {
            return Ok(None);
        }
        let message = serde_json::json!({ "ts": time.to_string(), "values": metrics });
        Ok(Some(serde_json::to_vec(&message)?))
    }
}

/// RFC 3339, a civil time in UTC, or Unix seconds with a fraction.
fn parse_time(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(civil) = text.parse::<DateTime>() {
        return Ok(civil.to_zoned(TimeZone::UTC)?.timestamp());
    }
    unix_seconds(text)
        .with_context(|| format!("{text:?} is no time: want RFC 3339, YYYY-MM-DD HH:MM:SS, or Unix seconds"))
}

fn unix_seconds(text: &str) -> Option<Timestamp> {
    const NANOS_DIGITS: usize = 9;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > NANOS_DIGITS || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: i128 = whole.parse().ok()?;
    let nanos: i128 = format!("{fraction:0<NANOS_DIGITS$}").parse().ok()?;
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    Timestamp::from_nanosecond(seconds.checked_mul(1_000_000_000)?.checked_add(sign * nanos)?).ok()
}

/// A number or a boolean where the text is one, else the text.
fn parse_value(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => serde_json::from_str::<Number>(text)
            .ok()
            .or_else(|| text.parse().ok().and_then(Number::from_f64))
            .map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn reader(csv: &str, columns: &Columns) -> anyhow::Result<RowReader> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(csv.as_bytes()).unwrap();
        RowReader::open(file.path(), columns)
    }

    fn columns(time: &str, values: &[&str], metric: Option<&str>) -> Columns {
        Columns {
            time: time.to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
            metric: metric.map(str::to_owned),
        }
    }

    fn payloads(mut rows: RowReader) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(payload) = rows.next_payload().unwrap() {
            all.push(String::from_utf8(payload).unwrap());
        }
        all
    }

    #[test]
    fn a_row_becomes_a_payload_with_exact_numbers() {
        let rows = reader(
            "timestamp,value\n2013-12-02 21:15:00,73.96732207\n2013-12-02 21:20:00,74\n",
            &columns("timestamp", &[], Some("temperature")),
        );
        assert_eq!(
            payloads(rows.unwrap()),
            [
                r#"{"ts":"2013-12-02T21:15:00Z","values":{"temperature":73.96732207}}"#,
                r#"{"ts":"2013-12-02T21:20:00Z","values":{"temperature":74}}"#,
            ]
        );
    }

    #[test]
    fn empty_cells_are_left_out_and_rows_without_any_value_too() {
        let mut rows = reader("t,a,b\n1,1,\n2,,\n3,x,true\n", &columns("t", &[], None)).unwrap();
        rows.skip(1).unwrap();
        assert_eq!(payloads(rows), [r#"{"ts":"1970-01-01T00:00:03Z","values":{"a":"x","b":true}}"#]);
    }

    #[test]
    fn a_missing_column_names_those_that_are_there() {
        let error = reader("when,v\n", &columns("timestamp", &[], None)).err().unwrap();
        assert!(error.to_string().contains("it has when, v"), "{error}");
        let error = reader("t,a,b\n", &columns("t", &[], Some("m"))).err().unwrap();
        assert!(error.to_string().contains("--value-columns"), "{error}");
    }

    #[test]
    fn unix_seconds_are_exact_on_both_sides_of_the_epoch() {
        assert_eq!(parse_time("1.000000001").unwrap().as_nanosecond(), 1_000_000_001);
        assert_eq!(parse_time("-1.5").unwrap().as_nanosecond(), -1_500_000_000);
        assert_eq!(parse_time("-0.5").unwrap().as_nanosecond(), -500_000_000);
        assert!(parse_time("yesterday").is_err());
    }
}
