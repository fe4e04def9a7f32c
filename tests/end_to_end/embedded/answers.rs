//! Every route of the native API over what devices have just sent (I3, I4).

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::oracle::{Checker, METRICS, Sample};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::windows::{self, Series};
use tidemill_tests::{api, environment};

use crate::{PLAN, SOON};

const MINUTE_NS: i128 = 60_000_000_000;

/// A program to which messages 0 to below `count` were published and which has acknowledged them.
fn with_messages(count: u64) -> Result<Tidemill> {
    let tidemill = Builder::new()?.start()?;
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    for number in 0..count {
        publisher.publish(number, &PLAN.topic(number), &PLAN.payload(number), SOON)?;
    }
    publisher.disconnect(SOON)?;
    Ok(tidemill)
}

pub(crate) fn at_once(protocol: Protocol) -> Result<()> {
    const COUNT: u64 = 200;
    let tidemill = Builder::new()?.start()?;
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "device", protocol))?;
    for number in 0..COUNT {
        publisher.publish(number, &PLAN.topic(number), &PLAN.payload(number), SOON)?;
        publisher.wait_acknowledged(number, SOON)?;
        ensure_same(api::latest(tidemill.http(), &PLAN.device(number))?, PLAN.samples(number))
            .with_context(|| format!("right after the acknowledgement of message {number}"))?;
    }
    publisher.disconnect(SOON)?;
    let mut checker = Checker::new(PLAN, 0..COUNT, 0..COUNT);
    for sample in api::plan_samples(tidemill.http(), &PLAN)? {
        checker.see(sample);
    }
    checker.verdict().ensure_clean()
}

pub(crate) fn mosquitto_pub() -> Result<()> {
    let tidemill = Builder::new()?.start()?;
    for (version, value) in [("mqttv311", 21.5), ("mqttv5", -3.25)] {
        let mut command = Command::new(environment::mosquitto_pub().context("no mosquitto_pub")?);
        command.args(["-V", version, "-h", "127.0.0.1", "-p", &tidemill.mqtt_address().port().to_string()]);
        command.args(["-q", "1", "-t", "devices/d1/telemetry", "-m"]);
        let output = command.arg(json!({"temperature": value}).to_string()).output()?;
        ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let latest = api::latest(tidemill.http(), "d1")?;
        ensure!(latest.len() == 1, "{latest:?}");
        ensure!(latest.iter().all(|sample| sample.value == json!(value)), "{version}: {latest:?}");
    }
    Ok(())
}

pub(crate) fn pages() -> Result<()> {
    const COUNT: u64 = 800;
    let tidemill = with_messages(COUNT)?;
    let http = tidemill.http();
    let (start, end) = api::plan_range(&PLAN)?;
    let range = [("start", start.as_str()), ("end", end.as_str())];
    for limit in ["7", "100", "100000"] {
        let mut checker = Checker::new(PLAN, 0..COUNT, 0..COUNT);
        for sample in api::samples(http, &range, limit)? {
            checker.see(sample);
        }
        checker.verdict().ensure_clean().with_context(|| format!("pages of {limit}"))?;
    }
    let one = [&range[..], &[("device", "device-3"), ("metric", "energy")]].concat();
    let ascending = api::samples(http, &one, "11")?;
    let numbers = (3..COUNT).step_by(8);
    let of = |number: u64| PLAN.samples(number).into_iter().find(|sample| sample.metric == "energy");
    ensure!(ascending == numbers.filter_map(of).collect::<Vec<_>>(), "one series");
    let newest_first =
        http.json("/v1/samples", &[&one[..], &[("order", "desc"), ("limit", "9")]].concat())?;
    let newest: Result<Vec<_>> = api::rows(&newest_first, "samples")?.iter().map(Sample::from_json).collect();
    ensure!(newest?.into_iter().eq(ascending.into_iter().rev().take(9)), "descending: {newest_first}");
    Ok(())
}

pub(crate) fn windows() -> Result<()> {
    const COUNT: u64 = 4_000;
    let tidemill = with_messages(COUNT)?;
    let http = tidemill.http();
    let (start, end) = api::plan_range(&PLAN)?;
    for device in 0..2_u64 {
        let temperatures = (device..COUNT).step_by(8).flat_map(|number| PLAN.samples(number));
        let temperatures = temperatures.filter(|sample| sample.metric == "temperature");
        let series: Series =
            temperatures.filter_map(|sample| Some((sample.time_ns, sample.value.as_f64()?))).collect();
        let series_name = (&*PLAN.device(device), "temperature");
        for (name, minutes) in [("5m", 5), ("1h", 60)] {
            let read = windows::read(http, series_name, name, (&start, &end))?;
            windows::ensure_equal(&read, &windows::expected(&series, minutes * MINUTE_NS))
                .with_context(|| format!("{series_name:?} {name}"))?;
        }
        half_open(&tidemill, series_name, &series)?;
    }
    Ok(())
}

/// A sample on the start of a range is in it, one on its end is not.
fn half_open(tidemill: &Tidemill, (device, metric): (&str, &str), series: &Series) -> Result<()> {
    let times: Vec<String> = series.keys().take(4).map(|ns| (ns / 1_000_000_000).to_string()).collect();
    let [start, _, _, end] = &times[..] else { anyhow::bail!("too few samples") };
    let query = [
        ("device", device),
        ("metric", metric),
        ("window", "1d"),
        ("start", start.as_str()),
        ("end", end.as_str()),
        ("aggregate", "count,first,last"),
    ];
    let answer = tidemill.http().json("/v1/windows", &query)?;
    let rows = api::rows(&answer, "series")?.first().context("no series")?;
    let [row] = api::rows(rows, "windows")? else { anyhow::bail!("one day expected: {answer}") };
    let values: Vec<f64> = series.values().take(3).copied().collect();
    let expected = [json!(3), json!(values.first()), json!(values.last())];
    let answered = ["count", "first", "last"].map(|name| row.get(name).cloned().unwrap_or_default());
    ensure!(answered == expected, "{answer}, expected {expected:?}");
    Ok(())
}

pub(crate) fn lists() -> Result<()> {
    let tidemill = with_messages(64)?;
    let names = |path: &str, field: &str, name: &str, query: &[(&str, &str)]| -> Result<Vec<Value>> {
        let answer = tidemill.http().json(path, query)?;
        Ok(api::rows(&answer, field)?.iter().filter_map(|row| row.get(name).cloned()).collect())
    };
    let devices = names("/v1/devices", "devices", "device", &[])?;
    let expected: Vec<Value> = (0..8).map(|number| json!(PLAN.device(number))).collect();
    ensure!(devices == expected, "{devices:?}");
    let skews = names("/v1/devices", "devices", "skew_seconds", &[])?;
    ensure!(skews.len() == 8 && skews.iter().all(|skew| skew.as_f64() > Some(1e6)), "{skews:?}");
    let mut metrics = names("/v1/metrics", "metrics", "metric", &[("device", "device-5")])?;
    metrics.sort_by_key(Value::to_string);
    let mut expected = METRICS.map(Value::from);
    expected.sort_by_key(Value::to_string);
    ensure!(metrics == expected, "{metrics:?}");
    ensure!(names("/v1/metrics", "metrics", "metric", &[("device", "nobody")])?.is_empty(), "nobody");
    let kinds = names("/v1/metrics", "metrics", "kinds", &[("metric", "energy")])?;
    ensure!(kinds == [json!(["i64"])], "{kinds:?}");
    Ok(())
}

/// The same samples, whatever their order.
fn ensure_same(mut read: Vec<Sample>, mut expected: Vec<Sample>) -> Result<()> {
    read.sort_by(|a, b| a.metric.cmp(&b.metric));
    expected.sort_by(|a, b| a.metric.cmp(&b.metric));
    ensure!(read == expected, "{read:?}, expected {expected:?}");
    Ok(())
}
