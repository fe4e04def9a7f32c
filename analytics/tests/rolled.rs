//! PromQL from rollups equals PromQL from samples (I4): over ground and unground buckets, late segments, corrections,
//! samples on the bounds of windows, and values that folds cannot speak for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a test"
)]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{Api, Fixed, NOW, SECOND, at, source};
use prometheus::Registry;
use serde_json::Value as Json;
use tidemill_analytics::api::ApiLimits;
use tidemill_analytics::query::{Query, QueryError};
use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender};
use tidemill_store::catalog::SourceEntry;
use tidemill_store::layout::{
    BucketWidth, Eras, Place, Resolution, RetentionTimes, ShardCount, install_eras,
};
use tidemill_store::mill::{Mill, MillMetrics, MillOptions};
use tidemill_store::model::{Metric, Points, TimeRange, Value, WriterId};
use tidemill_store::read::{Explained, Latest, ReadLimits, ReadOptions, Reader, Selector, Series};
use tidemill_store::wide::{Memory, Order};

const MINUTE: i64 = 60 * SECOND;
/// The first bucket starts here, at a full hour.
const START: i64 = NOW - 120 * MINUTE;
const METRICS: [&str; 8] =
    ["requests_total", "temperature", "running", "whole_or_not", "odd", "sparse", "huge", "stale"];

/// A reader that knows samples alone.
struct Samples(Reader<Memory>);

impl Query for Samples {
    async fn sources(&self, selector: &Selector) -> Result<Vec<Arc<SourceEntry>>, QueryError> {
        Query::sources(&self.0, selector).await
    }

    async fn samples(&self, selector: &Selector, range: TimeRange) -> Result<Vec<Series>, QueryError> {
        Query::samples(&self.0, selector, range).await
    }

    async fn latest(&self, selector: &Selector) -> Result<Explained<Vec<Latest>>, QueryError> {
        Query::latest(&self.0, selector).await
    }

    /// All of them too new to say anything of the moment that is asked for.
    async fn latest_within(
        &self,
        selector: &Selector,
        _: TimeRange,
    ) -> Result<Explained<Vec<Latest>>, QueryError> {
        let mut latest = Query::latest(&self.0, selector).await?;
        latest.answer.iter_mut().for_each(|latest| latest.sample.time = at(NOW + 10_000 * MINUTE));
        Ok(latest)
    }

    async fn slices(
        &self,
        selector: &Selector,
        range: TimeRange,
        order: Order,
    ) -> Result<Vec<TimeRange>, QueryError> {
        Query::slices(&self.0, selector, range, order).await
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 % bound).unwrap()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }
}

/// A store that is written to and ground.
struct World {
    wide: Arc<Memory>,
    eras: Arc<Eras>,
    executor: Executor<Memory>,
    appenders: Vec<ShardAppender>,
    mill: Mill<Memory>,
    random: Random,
}

fn resolutions() -> Vec<Resolution> {
    [10, 60, 600, 3_600].into_iter().filter_map(Resolution::from_seconds).collect()
}

impl World {
    async fn new(seed: u64) -> Self {
        let memory = Memory::new();
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let eras = Arc::new(install_eras(&memory, ShardCount::new(2).unwrap(), width).await.unwrap());
        let wide = Arc::new(memory);
        let appender = |shard| {
            let writer = WriterId::from_random(77);
            ShardAppender::new(shard, writer, Arc::clone(&eras), AppendLimits::default())
        };
        let appenders = eras.at(at(NOW)).shards.shards().map(appender).collect();
        let metrics = AppendMetrics::register(&Registry::new()).unwrap();
        let executor = Executor::new(Arc::clone(&wide), RetryPolicy::default(), metrics);
        let options = MillOptions {
            resolutions: resolutions(),
            frame_samples_min: 1.try_into().unwrap(),
            ..MillOptions::default()
        };
        let metrics = MillMetrics::register(&Registry::new()).unwrap();
        // Long enough after all that was received that it counts as settled.
        let clock = Arc::new(Fixed(at(NOW + 60 * MINUTE)));
        let mill =
            Mill::new(Arc::clone(&wide), Arc::clone(&eras), "mill".to_owned(), options, clock, metrics);
        Self { wide, eras, executor, appenders, mill, random: Random(seed | 1) }
    }

    fn value(&mut self, metric: &str, time: i64) -> Value {
        let seconds = (time - START) / SECOND;
        let random = self.random.below(1_000);
        match metric {
            // A counter that falls back now and then.
            "requests_total" => Value::I64(seconds % 1_700 * 3 + random % 3),
            "running" => Value::Bool(random % 5 > 1),
            "whole_or_not" if random % 3 == 0 => Value::I64(20 + random % 2),
            "odd" if random == 1 => Value::F64(f64::NAN),
            "odd" if random == 2 => Value::F64(f64::NEG_INFINITY),
            "odd" if random == 3 => Value::Text("off".into()),
            "odd" if random < 50 => Value::F64(if random % 2 == 0 { 0.0 } else { -0.0 }),
            "huge" => Value::I64((1 << 60) + random),
            "stale" if random < 5 => Value::F64(f64::from_bits(0x7ff0_0000_0000_0002)),
            _ => Value::F64(20.0 + (seconds as f64 / 500.0).sin() + random as f64 / 700.0),
        }
    }

    /// Samples of some seconds, of all devices: many of them on the bounds of windows.
    async fn append(&mut self, times: impl Iterator<Item = i64>) {
        for time in times {
            for device in ["d0", "d1", "d2"] {
                if self.random.one_in(10) {
                    continue;
                }
                let mut points = Points::default();
                let of = source("acme", device, &[("site", "north")]);
                let place = points.source(&Arc::new(of.clone()));
                for name in METRICS.into_iter().filter(|name| *name != "sparse" || time % (7 * MINUTE) == 0) {
                    let value = self.value(name, time);
                    let metric = points.metric(Metric::new(name).unwrap());
                    points.value(metric, value);
                }
                points.finish_point(place, at(time));
                let shard = self.eras.at(at(time)).shard(&of);
                let appender = &mut self.appenders[usize::from(shard.get())];
                let mut plan = appender.plan([&points], at(NOW), tokio::time::Instant::now().into_std());
                self.executor.execute(&mut plan).await.unwrap();
            }
        }
    }

    async fn grind(&mut self, hour: i64) {
        let era = self.eras.at(at(START + hour * 60 * MINUTE));
        let bucket = era.bucket(at(START + hour * 60 * MINUTE));
        for shard in era.shards.shards() {
            self.mill.grind_bucket(Place { shard, bucket }).await.unwrap();
        }
    }

    /// An hour and a half, some of it ground, some late, some corrected, some neither.
    async fn fill(&mut self) {
        self.append((0..3_600).step_by(10).map(|second| START + second * SECOND)).await;
        let off: Vec<i64> = (0..60).map(|_| START + self.random.below(3_600_000) * SECOND / 1_000).collect();
        self.append(off.into_iter()).await;
        self.append((3_600..5_400).step_by(10).map(|second| START + second * SECOND)).await;
        self.grind(0).await;
        self.grind(1).await;
        // Up to now, and a little beyond, as the clocks of devices have it.
        self.append((5_400..6_000).step_by(10).map(|second| START + second * SECOND)).await;
        self.append((6_900..7_220).step_by(20).map(|second| START + second * SECOND)).await;
        let late: Vec<i64> = (0..4).map(|_| START + self.random.below(3_600) / 10 * 10 * SECOND).collect();
        self.append(late.into_iter()).await;
    }

    fn reader(&self) -> Reader<Memory> {
        let options = ReadOptions { resolutions: resolutions(), ..ReadOptions::default() };
        Reader::with(Arc::clone(&self.wide), ReadLimits::default(), options)
    }

    /// The same data, from whatever is cheapest, and from samples alone.
    fn apis(&self) -> (Api<Reader<Memory>>, Api<Samples>) {
        let any = Api::over(self.reader(), ApiLimits::default());
        (any, Api::over(Samples(self.reader()), ApiLimits::default()))
    }

    fn question(&mut self) -> String {
        let random = &mut self.random;
        let functions = [
            "avg_over_time",
            "sum_over_time",
            "min_over_time",
            "max_over_time",
            "count_over_time",
            "first_over_time",
            "last_over_time",
            "stddev_over_time",
            "stdvar_over_time",
            "present_over_time",
            "rate",
            "increase",
            "delta",
            "resets",
            "changes",
            "ts_of_first_over_time",
            "absent_over_time",
            "quantile_over_time",
            "irate",
            "",
        ];
        let function = random.pick(&functions);
        let metric = random.pick(&METRICS);
        let range = random.pick(&["10s", "1m", "90s", "10m", "20m", "1h"]);
        let shift = random.pick(&[
            "",
            "",
            "",
            " offset 1m",
            " offset -10m",
            " offset 7s",
            " @ 1748777400",
            " @ end()",
        ]);
        let text = match function {
            "" => format!("{metric}{shift}"),
            "quantile_over_time" => format!("quantile_over_time(0.9, {metric}[{range}]{shift})"),
            _ => format!("{function}({metric}[{range}]{shift})"),
        };
        match random.below(9) {
            2 => metric.to_owned(),
            0 => format!("sum by (site) ({text})"),
            1 => format!("max_over_time(({text})[5m:1m])"),
            _ => text,
        }
    }

    /// The parameters of a request.
    fn request(&mut self, question: &str) -> String {
        let query = encoded(question);
        let random = &mut self.random;
        let start = START / SECOND + random.pick(&[0, 600, 3_600, 1_777]);
        if random.one_in(3) || (!question.contains('[') && random.one_in(2)) {
            let time = random.pick(&[NOW / SECOND, start + 1_800, START / SECOND + 6_000]);
            return format!("query?query={query}&time={time}&stats=all");
        }
        let (step, count) = random.pick(&[(10, 30), (30, 50), (60, 60), (600, 7), (3_600, 2), (47, 20)]);
        format!("query_range?query={query}&start={start}&end={}&step={step}&stats=all", start + step * count)
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02X}"))
}

/// Values by series and time.
fn values(answer: &Json) -> BTreeMap<(String, String), String> {
    let mut all = BTreeMap::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        let samples = series["values"].as_array().cloned().unwrap_or_else(|| vec![series["value"].clone()]);
        for sample in samples {
            let value = sample[1].as_str().unwrap().to_owned();
            all.insert((series["metric"].to_string(), sample[0].to_string()), value);
        }
    }
    all
}

fn is_same(question: &str, a: &str, b: &str) -> bool {
    let exact = ["min_", "max_", "count_", "first_", "last_", "present_", "resets", "changes", "ts_of"];
    if a == b {
        return true;
    }
    let [a, b] = [a, b].map(|text| text.parse::<f64>().unwrap());
    let is_exact = exact.iter().any(|name| question.starts_with(name)) && !question.contains("((");
    !is_exact && (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// How often rollups and kept newest samples gave the answer.
#[derive(Default)]
struct Counts {
    rollups: usize,
    latest: usize,
}

async fn compare(world: &mut World, questions: usize, counts: &mut Counts) {
    let (any, samples) = world.apis();
    for _ in 0..questions {
        let question = world.question();
        let request = world.request(&question);
        let answer = any.get(&format!("/api/v1/{request}")).await;
        let expected = samples.get(&format!("/api/v1/{request}")).await;
        let (found, wanted) = (values(&answer), values(&expected));
        assert!(found.keys().eq(wanted.keys()), "{question} {request}\n{found:?}\n{wanted:?}");
        for ((key, a), b) in found.iter().zip(wanted.values()) {
            assert!(is_same(&question, a, b), "{question} {request} {key:?}: {a} is not {b}");
        }
        for used in answer["data"]["stats"]["selectors"].as_array().unwrap() {
            counts.rollups += usize::from(used["answeredFrom"] == "rollups");
            counts.latest += usize::from(used["answeredFrom"] == "latest");
        }
    }
}

#[tokio::test]
async fn windows_from_rollups_are_those_of_the_samples() {
    let mut counts = Counts::default();
    for seed in 1..=3 {
        let mut world = World::new(seed * 7_919).await;
        world.fill().await;
        compare(&mut world, 70, &mut counts).await;
        world.grind(0).await;
        compare(&mut world, 50, &mut counts).await;
    }
    assert!(counts.rollups > 30, "rollups answered {} times", counts.rollups);
    assert!(counts.latest > 5, "the newest samples answered {} times", counts.latest);
}

async fn asked(api: &Api<Reader<Memory>>, question: &str, at: i64) -> Json {
    api.get(&format!("/api/v1/query?query={}&time={at}&stats=all", encoded(question))).await
}

#[tokio::test]
async fn statistics_tell_of_each_selector_what_it_was_answered_from() {
    let mut world = World::new(5).await;
    world.fill().await;
    let api = Api::over(world.reader(), ApiLimits::default());
    let hour = START / SECOND + 3_600;
    let question = "avg_over_time(temperature[1h]) / max_over_time(temperature{device=\"d0\"}[7s])";
    let answer = asked(&api, question, hour).await;
    let [rolled, raw] = answer["data"]["stats"]["selectors"].as_array().unwrap().as_slice() else {
        panic!("two selectors: {answer}")
    };
    assert_eq!((&rolled["answeredFrom"], &rolled["resolution"]), (&"rollups".into(), &"1h".into()));
    assert_eq!(rolled["selector"], "temperature");
    assert!(rolled["samplesFolded"].as_u64() > Some(500) && rolled["samplesRead"] == 0);
    assert_eq!((&raw["answeredFrom"], &raw["resolution"]), (&"samples".into(), &"raw".into()));
    assert_eq!(raw["selector"], "temperature{device=\"d0\"}");
    assert!(raw["rows_read"].as_u64() > Some(0));
}

#[tokio::test]
async fn what_has_expired_is_answered_from_rollups_or_refused_and_never_silently_less() {
    let mut world = World::new(5).await;
    world.fill().await;
    // All of it: what is not ground before its samples expire is gone with them.
    world.grind(0).await;
    world.grind(1).await;
    let hour = START / SECOND + 3_600;
    let whole = Api::over(world.reader(), ApiLimits::default());
    let retention = RetentionTimes { raw: Some(Duration::from_hours(2)), ..RetentionTimes::FOREVER };
    let clock = Arc::new(Fixed(at(NOW + 180 * MINUTE)));
    let options = ReadOptions { resolutions: resolutions(), retention, clock: Some(clock) };
    let reader = Reader::with(Arc::clone(&world.wide), ReadLimits::default(), options);
    let api = Api::over(reader, ApiLimits::default());
    let question = "sum_over_time(requests_total[1h])";
    let [kept, before] = [asked(&api, question, hour).await, asked(&whole, question, hour).await];
    assert!(!values(&before).is_empty());
    assert_eq!(values(&kept), values(&before), "rollups outlive samples");
    let askew = format!("/api/v1/query?query={}&time={}", encoded(question), hour - 7);
    let refused = api.ask("GET", &askew).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["errorType"]), (422, &"execution".into()));
    assert!(refused.text.contains("Z have expired; what is left"), "{}", refused.text);
    let raw = asked(&api, "quantile_over_time(0.5, temperature[1h])", hour).await;
    let warning = raw["warnings"][0].as_str().unwrap();
    assert!(warning.contains("expired") && values(&raw).is_empty(), "{raw}");
    for at in [hour - 1800, hour - 7, hour, hour + 3_600] {
        let [kept, before] = [asked(&api, "temperature", at).await, asked(&whole, "temperature", at).await];
        let says = kept["warnings"][0].as_str().is_some_and(|warning| warning.contains("expired"));
        assert!(says || values(&kept) == values(&before), "{at}: {kept}");
    }
}
