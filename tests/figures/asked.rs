//! What questions about the ground day read, and how long they take while messages come in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value as Json;
use tidemill_tests::http::Http;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::Tidemill;
use tidemill_tests::wait;

use crate::fleet::{Device, Fleet, METRICS, name};
use crate::store::Store;

const PATIENCE: Duration = Duration::from_mins(1);
/// How often messages that are due are sent.
const BEAT: Duration = Duration::from_millis(5);
/// How long messages come in before anything is asked.
const BEFORE: Duration = Duration::from_secs(3);
/// Devices are asked for in steps of so many: a prime, so that all of them come.
const STEP: u32 = 7_919;

/// What a question read, when it was asked first.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Read {
    pub(crate) name: &'static str,
    pub(crate) resolution: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Rows of the answer: samples, or windows.
    pub(crate) answered: usize,
}

/// How long a question took, asked again and again.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Taken {
    pub(crate) name: &'static str,
    /// Most milliseconds that it shall take.
    pub(crate) goal_ms: Option<f64>,
    pub(crate) asked: usize,
    pub(crate) first_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// All that was asked.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Asked {
    pub(crate) reads: Vec<Read>,
    /// Messages a second that came in meanwhile.
    pub(crate) rate: u32,
    pub(crate) times: Vec<Taken>,
}

/// A path and its parameters.
type Request = (&'static str, Vec<(&'static str, String)>);

/// A question, of the `n`-th kind.
type Question = fn(Fleet, u32) -> Request;

/// Asks for reads first, of a process that has read nothing yet, then for times.
pub(crate) fn ask(store: &Store, fleet: Fleet, rate: u32) -> Result<Asked> {
    eprintln!("figures: questions are asked");
    let tidemill = store.start("ingest,query")?;
    let reads = reads(tidemill.http(), fleet)?;
    let is_over = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        let load = scope.spawn(|| load(&tidemill, fleet, rate, &is_over));
        wait::pause(BEFORE);
        let times = times(tidemill.http(), fleet);
        is_over.store(true, Ordering::Relaxed);
        load.join().map_err(|_| anyhow::anyhow!("the load ended early"))??;
        times
    })?;
    tidemill.stop_well(PATIENCE)?;
    Ok(Asked { reads, rate, times })
}

/// Messages of now, of all devices in turn.
fn load(tidemill: &Tidemill, fleet: Fleet, rate: u32, is_over: &AtomicBool) -> Result<()> {
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "load", Protocol::V5))?;
    let mut devices: Vec<Device> = (0..fleet.devices).map(Device::new).collect();
    let (started, mut sent) = (wait::now(), 0_u64);
    while !is_over.load(Ordering::Relaxed) {
        let due = started.elapsed().as_millis() * u128::from(rate) / 1_000;
        while u128::from(sent) < due {
            let number = u32::try_from(sent % u64::from(fleet.devices))?;
            let mut text = String::new();
            if let Some(device) = devices.get_mut(usize::try_from(number)?) {
                device.measure(jiff::Timestamp::now().as_millisecond(), &mut text);
            }
            let topic = format!("devices/{}/telemetry", name(number));
            publisher.publish(sent, &topic, text.as_bytes(), PATIENCE)?;
            sent += 1;
        }
        wait::pause(BEAT);
    }
    publisher.disconnect(PATIENCE)
}

fn reads(http: &Http, fleet: Fleet) -> Result<Vec<Read>> {
    let questions: [(&'static str, Question); 4] = [
        ("one device, the day, samples of 5 metrics", device_samples),
        ("one device, the day, by 1 h", device_hours),
        ("one device, an hour, by 1 m", device_hour),
        ("all devices, the day, by 1 h", fleet_hours),
    ];
    questions.into_iter().map(|(name, question)| read(http, fleet, name, question)).collect()
}

fn read(http: &Http, fleet: Fleet, name: &'static str, question: Question) -> Result<Read> {
    let (path, mut parameters) = question(fleet, 1);
    parameters.push(("explain", "true".to_owned()));
    let answer: Json = serde_json::from_str(&body(http, path, &parameters)?)?;
    let explain = answer.get("explain").context("no explanation")?;
    let number = |key: &str| explain.get(key).and_then(Json::as_u64).unwrap_or_default();
    Ok(Read {
        name,
        resolution: explain.get("resolution").and_then(Json::as_str).unwrap_or_default().to_owned(),
        rows: number("rows_read"),
        bytes: number("bytes_read"),
        answered: answered(&answer),
    })
}

/// How many samples an answer has, or windows of all its series.
fn answered(answer: &Json) -> usize {
    let list = |json: &Json, key: &str| json.get(key).and_then(Json::as_array).map_or(0, Vec::len);
    let series = answer.get("series").and_then(Json::as_array).into_iter().flatten();
    list(answer, "samples") + series.map(|series| list(series, "windows")).sum::<usize>()
}

fn times(http: &Http, fleet: Fleet) -> Result<Vec<Taken>> {
    let questions: [(&'static str, Question, Option<f64>, u32); 4] = [
        ("one device, an hour, by 1 m", device_hour, Some(5.0), 300),
        ("one device, an hour, samples", device_hour_samples, Some(5.0), 300),
        ("all devices, the day, by 1 h", fleet_hours, Some(50.0), 100),
        ("all devices, until now, by 1 h", fleet_hours_until_now, None, 50),
    ];
    let mut times = Vec::new();
    for (name, question, goal_ms, asked) in questions {
        times.push(time(http, fleet, (name, goal_ms), (question, asked))?);
    }
    Ok(times)
}

fn time(
    http: &Http,
    fleet: Fleet,
    (name, goal_ms): (&'static str, Option<f64>),
    (question, asked): (Question, u32),
) -> Result<Taken> {
    let mut spans = Vec::new();
    for turn in 0..asked {
        let (path, parameters) = question(fleet, turn);
        let before = wait::now();
        let body = body(http, path, &parameters)?;
        spans.push(before.elapsed().as_secs_f64() * 1_000.0);
        let answer = serde_json::from_str(&body)?;
        ensure!(answered(&answer) > 0, "{path} {parameters:?}: nothing is answered");
    }
    let first_ms = spans.first().copied().unwrap_or_default();
    spans.sort_unstable_by(f64::total_cmp);
    let quantile = |hundredths: usize| {
        let place = (spans.len() * hundredths).div_ceil(100).saturating_sub(1);
        spans.get(place).copied().unwrap_or_default()
    };
    Ok(Taken {
        name,
        goal_ms,
        asked: spans.len(),
        first_ms,
        p50_ms: quantile(50),
        p99_ms: quantile(99),
        max_ms: quantile(100),
    })
}

fn body(http: &Http, path: &str, parameters: &[(&'static str, String)]) -> Result<String> {
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Ok(http.expect(200, path, &parameters)?.body)
}

fn range(start_ms: i64, end_ms: i64) -> [(&'static str, String); 2] {
    let time = |ms: i64| (ms / 1_000).to_string();
    [("start", time(start_ms)), ("end", time(end_ms))]
}

fn metric(turn: u32) -> (&'static str, String) {
    let of = usize::try_from(turn).unwrap_or(0) % 4;
    ("metric", METRICS.get(of).copied().unwrap_or_default().to_owned())
}

fn device(fleet: Fleet, turn: u32) -> (&'static str, String) {
    ("device", name(turn.wrapping_mul(STEP) % fleet.devices))
}

fn limit() -> (&'static str, String) {
    ("limit", "100000".to_owned())
}

fn by(window: &str) -> [(&'static str, String); 2] {
    [("window", window.to_owned()), ("aggregate", "avg,min,max".to_owned())]
}

/// Another hour of the day each time.
fn hour(fleet: Fleet, turn: u32) -> [(&'static str, String); 2] {
    let start = fleet.start_ms() + i64::from(turn % fleet.hours) * 3_600_000;
    range(start, start + 3_600_000)
}

fn device_samples(fleet: Fleet, turn: u32) -> Request {
    let mut parameters = vec![device(fleet, turn), limit()];
    parameters.extend(range(fleet.start_ms(), fleet.end_ms));
    ("/v1/samples", parameters)
}

fn device_hours(fleet: Fleet, turn: u32) -> Request {
    let mut parameters = vec![device(fleet, turn + 1), metric(turn), limit()];
    parameters.extend(range(fleet.start_ms(), fleet.end_ms).into_iter().chain(by("1h")));
    ("/v1/windows", parameters)
}

fn device_hour(fleet: Fleet, turn: u32) -> Request {
    let mut parameters = vec![device(fleet, turn + 2), metric(turn), limit()];
    parameters.extend(hour(fleet, turn).into_iter().chain(by("1m")));
    ("/v1/windows", parameters)
}

fn device_hour_samples(fleet: Fleet, turn: u32) -> Request {
    let mut parameters = vec![device(fleet, turn + 3), metric(turn), limit()];
    parameters.extend(hour(fleet, turn));
    ("/v1/samples", parameters)
}

fn fleet_hours(fleet: Fleet, turn: u32) -> Request {
    let mut parameters = vec![metric(turn), limit()];
    parameters.extend(range(fleet.start_ms(), fleet.end_ms).into_iter().chain(by("1h")));
    ("/v1/windows", parameters)
}

fn fleet_hours_until_now(_: Fleet, turn: u32) -> Request {
    let mut parameters = vec![metric(turn), limit(), ("start", "-24h".to_owned())];
    parameters.extend(by("1h"));
    ("/v1/windows", parameters)
}
