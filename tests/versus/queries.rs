//! The lines of the comparison, and how they are asked: one after another, over a connection that stays.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use tidemill_tests::http::Http;
use tidemill_tests::wait;

use crate::data::{Fleet, name};
use crate::rivals::{Kind, Rival};

/// Asked before anything is timed.
const WARM_UP: u32 = 3;
/// Asked at least, however long it takes.
const REPEAT_MIN: u32 = 5;
/// Devices that turn by turn are asked for.
const TURNS: u32 = 16;
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

/// A query with its range of time; `$d` stands for a device, `$e` for eight.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) query: &'static str,
    end: u64,
    /// How far back, and from point to point; none for one moment.
    range: Option<(u64, u64)>,
    devices: u32,
    /// What Tidemill is asked instead: a path of its own interface, and its parameters but for `$d`.
    native: Option<(&'static str, &'static [(&'static str, &'static str)])>,
}

/// The lines, in the order of the table.
pub(crate) fn lines(fleet: Fleet) -> Vec<Line> {
    let all = HOUR * u64::from(fleet.hours);
    let half = all.min(12 * HOUR);
    let (long, longer) = (half / HOUR, all / HOUR);
    let line = |name: &str, query, range: Option<(u64, u64)>| Line {
        // Of a fleet that is younger, what there is.
        name: name.replace("12 h", &format!("{long} h")).replace("24 h", &format!("{longer} h")),
        query,
        end: fleet.end(),
        range: range.map(|(length, step)| (length - step, step)),
        devices: fleet.devices,
        native: None,
    };
    let native = |name, query, parameters| Line {
        native: Some(("/v1/latest", parameters)),
        ..line(name, query, None)
    };
    vec![
        line("last value of a device", "temperature{device=\"$d\"}", None),
        line(
            "a device, 1 h, average of 5 m",
            "avg_over_time(temperature{device=\"$d\"}[5m])",
            Some((HOUR, 5 * MINUTE)),
        ),
        line(
            "8 devices, 12 h, maximum of 1 h",
            "max_over_time(temperature{device=~\"$e\"}[1h])",
            Some((half, HOUR)),
        ),
        line("latest of all devices", "temperature", None),
        line("all devices, 24 h, average of 1 h", "avg_over_time(temperature[1h])", Some((all, HOUR))),
        line("fleet's average a minute, 24 h", "avg(avg_over_time(temperature[1m]))", Some((all, MINUTE))),
        line("topk: ten greatest averages of 1 h", "topk(10, avg_over_time(temperature[1h]))", None),
        line("rate by tag, 24 h by 1 h", "sum by (site) (rate(energy_total[1h]))", Some((all, HOUR))),
        line("quantile of the fleet, 24 h by 5 m", "quantile(0.95, temperature)", Some((all, 5 * MINUTE))),
        native(
            "last value of a device, /v1/latest",
            "temperature{device=\"$d\"}",
            &[("device", "$d"), ("metric", "temperature")],
        ),
        native(
            "latest of all devices, /v1/latest",
            "temperature",
            &[("metric", "temperature"), ("limit", "100000")],
        ),
    ]
}

impl Line {
    /// What is asked in this turn.
    fn form(&self, turn: u32) -> Vec<(&'static str, String)> {
        let eight: Vec<String> = (0..8).map(|one| self.device(turn % TURNS + one)).collect();
        let query = self.query.replace("$d", &self.device(turn % TURNS)).replace("$e", &eight.join("|"));
        // Only VictoriaMetrics keeps answers, and is told not to use them.
        let mut form = vec![("query", query), ("nocache", "1".to_owned())];
        match self.range {
            None => form.push(("time", self.end.to_string())),
            Some((back, step)) => form.extend([
                ("start", (self.end - back).to_string()),
                ("end", self.end.to_string()),
                ("step", step.to_string()),
            ]),
        }
        form
    }

    /// The path and parameters of Tidemill's own interface, where the line is asked there.
    fn native(&self, turn: u32) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        let (path, parameters) = self.native?;
        let device = self.device(turn % TURNS);
        let of = |(key, value): &(&'static str, &str)| (*key, value.replace("$d", &device));
        Some((path, parameters.iter().map(of).collect()))
    }

    fn device(&self, number: u32) -> String {
        name((7 + 61 * number) % self.devices.max(1))
    }

    fn path(&self) -> &'static str {
        if self.range.is_some() { "/api/v1/query_range" } else { "/api/v1/query" }
    }
}

/// How long a line took, in milliseconds, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Timing {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) asked: usize,
    pub(crate) series: usize,
    pub(crate) points: usize,
    /// The sum of all values of the first turn.
    pub(crate) sum: f64,
}

/// Asks until it has been asked often or long enough.
pub(crate) fn time(rival: &Rival, line: &Line, repeat: u32, seconds: u64) -> Result<Timing> {
    let own = matches!(rival.kind(), Kind::Tidemill | Kind::Cassandra);
    let ask = |turn: u32| match line.native(turn).filter(|_| own) {
        Some(native) => ask_native(rival.http(), &native),
        None => ask(rival.http(), line, turn),
    };
    let first = ask(0)?;
    for turn in 0..WARM_UP {
        ask(turn)?;
    }
    let started = wait::now();
    let mut spans: Vec<Duration> = Vec::new();
    for turn in 0..repeat.max(REPEAT_MIN) {
        if turn >= REPEAT_MIN && started.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let before = wait::now();
        ask(turn)?;
        spans.push(before.elapsed());
    }
    spans.sort_unstable();
    let quantile = |hundredths: usize| {
        let place = (spans.len() * hundredths).div_ceil(100).saturating_sub(1);
        spans.get(place).map_or(0.0, |span| span.as_secs_f64() * 1_000.0)
    };
    let counts = count(&first)?;
    Ok(Timing {
        p50_ms: quantile(50),
        p99_ms: quantile(99),
        asked: spans.len(),
        series: counts.0,
        points: counts.1,
        sum: counts.2,
    })
}

fn ask(http: &Http, line: &Line, turn: u32) -> Result<String> {
    let form = line.form(turn);
    let form: Vec<(&str, &str)> = form.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let answer = http.form(line.path(), &form)?;
    let start: String = answer.body.chars().take(300).collect();
    ensure!(answer.status == 200, "{}: {} {start}", line.query, answer.status);
    Ok(answer.body)
}

fn ask_native(http: &Http, (path, parameters): &(&str, Vec<(&str, String)>)) -> Result<String> {
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Ok(http.expect(200, path, &parameters)?.body)
}

/// Series, points and the sum of all values.
fn count(body: &str) -> Result<(usize, usize, f64)> {
    let json: BTreeMap<String, Value> = serde_json::from_str(body)?;
    if let Some(samples) = json.get("samples").and_then(Value::as_array) {
        let sum = samples.iter().filter_map(|sample| sample.get("value")?.as_f64()).sum();
        return Ok((samples.len(), samples.len(), sum));
    }
    let result = json.get("data").and_then(|data| data.get("result")).and_then(Value::as_array);
    let result = result.context("no result")?;
    let points = result.iter().flat_map(|series| {
        let many = series.get("values").and_then(Value::as_array).into_iter().flatten();
        many.chain(series.get("value"))
    });
    let values = points.filter_map(|point| point.get(1)?.as_str()?.parse::<f64>().ok());
    let (points, sum) = values.fold((0, 0.0), |(points, sum), value| (points + 1, sum + value));
    Ok((result.len(), points, sum))
}
