//! The API over a real reader and the store in memory: what was appended is answered, at once (I3) and exactly (I4).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{Api, NOW, SECOND, at, source};
use prometheus::Registry;
use serde_json::{Value as Json, json};
use tidemill_analytics::api::ApiLimits;
use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender};
use tidemill_store::layout::{BucketWidth, Eras, ShardCount, install_eras};
use tidemill_store::model::{Metric, Points, Source, Value, WriterId};
use tidemill_store::read::{ReadLimits, Reader};
use tidemill_store::wide::Memory;

/// Writers over all shards, the API over what they write, and what it should answer.
struct World {
    api: Api<Reader<Memory>>,
    eras: Arc<Eras>,
    executor: Executor<Memory>,
    appenders: Vec<ShardAppender>,
    /// By device and metric, then time in seconds before now.
    model: BTreeMap<(String, String), BTreeMap<i64, i64>>,
    random: u64,
}

impl World {
    async fn new(seed: u64, limits: ReadLimits) -> Self {
        let wide = Memory::new();
        let width = BucketWidth::new(Duration::from_mins(10)).unwrap();
        let eras = Arc::new(install_eras(&wide, ShardCount::new(3).unwrap(), width).await.unwrap());
        let shards = eras.at(at(NOW)).shards;
        let appender = |shard, writer| {
            ShardAppender::new(
                shard,
                WriterId::from_random(writer),
                Arc::clone(&eras),
                AppendLimits::default(),
            )
        };
        let appenders = shards.shards().map(|shard| appender(shard, 77)).collect();
        let wide = Arc::new(wide);
        let metrics = AppendMetrics::register(&Registry::new()).unwrap();
        let executor = Executor::new(Arc::clone(&wide), RetryPolicy::default(), metrics);
        let api = Api::over(Reader::new(wide, limits), ApiLimits::default());
        Self { api, eras, executor, appenders, model: BTreeMap::new(), random: seed | 1 }
    }

    fn below(&mut self, bound: u64) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        i64::try_from(self.random % bound).unwrap()
    }

    /// Appends a few samples, late ones, repeated ones and corrections among them.
    async fn append(&mut self) {
        for _ in 0..=self.below(40) {
            let (device, metric) = (format!("d{}", self.below(4)), format!("m{}", self.below(3)));
            let (second, value) = (-self.below(7_200), self.below(1_000));
            let source = source("acme", &device, &[("site", "north")]);
            self.append_one(&source, &metric, NOW + second * SECOND, Value::I64(value)).await;
            self.model.entry((device, metric)).or_default().insert(second, value);
        }
    }

    async fn append_one(&mut self, source: &Source, metric: &str, time: i64, value: Value) {
        let mut points = Points::default();
        let place = points.source(&Arc::new(source.clone()));
        let metric = points.metric(Metric::new(metric).unwrap());
        points.value(metric, value);
        points.finish_point(place, at(time));
        let shard = self.eras.at(at(time)).shard(source);
        let appender = &mut self.appenders[usize::from(shard.get())];
        let mut plan = appender.plan([&points], at(NOW), tokio::time::Instant::now().into_std());
        assert!(plan.refusals().is_empty());
        self.executor.execute(&mut plan).await.unwrap();
    }

    /// Every page of a query, joined.
    async fn pages(&self, target: &str) -> Vec<(String, String, i64, i64)> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.api.get(&format!("{target}{cursor}")).await;
            found.extend(page["samples"].as_array().unwrap().iter().map(shown));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// PromQL over the same samples: sums and counts of each series, by name and by expression.
    async fn check_promql(&mut self) {
        for metric in ["m0", "m1", "m2"] {
            let of_metric = self.model.iter().filter(|((_, name), _)| name == metric);
            let sums: BTreeMap<String, i64> =
                of_metric.clone().map(|((device, _), all)| (device.clone(), all.values().sum())).collect();
            let selected = format!("{metric}%7Bdevice%3D~%22d.%2B%22,site%3D%22north%22%7D[2h]");
            let found = self.api.get(&format!("/api/v1/query?query=sum_over_time({selected})")).await;
            let one = |row: &Json| {
                let value = row["value"][1].as_str().unwrap().parse().unwrap();
                (row["metric"]["device"].as_str().unwrap().to_owned(), value)
            };
            let rows = found["data"]["result"].as_array().unwrap();
            assert_eq!(rows.iter().map(one).collect::<BTreeMap<String, i64>>(), sums, "{metric}");
            let counted =
                self.api.get(&format!("/api/v1/query?query=sum(count_over_time({metric}[2h]))")).await;
            let count: usize = of_metric.map(|(_, all)| all.len()).sum();
            let shown = counted["data"]["result"][0]["value"][1].as_str().map(|text| text.parse().unwrap());
            assert_eq!(shown.unwrap_or(0), count, "{metric}");
        }
    }

    async fn check_samples(&mut self) {
        let limit = self.below(60) + 1;
        for order in ["asc", "desc"] {
            let mut found = self.pages(&format!("/v1/samples?start=-2h&order={order}&limit={limit}")).await;
            let times: Vec<i64> = found.iter().map(|sample| sample.2).collect();
            if order == "asc" {
                assert!(times.is_sorted());
            } else {
                assert!(times.iter().rev().is_sorted());
            }
            found.sort();
            let all = self.model.iter().flat_map(|((device, metric), samples)| {
                samples.iter().map(|(second, value)| (device.clone(), metric.clone(), *second, *value))
            });
            let expected: Vec<_> = all.filter(|sample| sample.2 < 0).collect();
            assert_eq!(found, expected);
        }
    }

    async fn check_latest(&self) {
        let latest = self.api.get("/v1/latest").await;
        let found: Vec<_> = latest["samples"].as_array().unwrap().iter().map(shown).collect();
        let newest = self.model.iter().map(|((device, metric), samples)| {
            let (second, value) = samples.last_key_value().unwrap();
            (device.clone(), metric.clone(), *second, *value)
        });
        assert_eq!(found, newest.collect::<Vec<_>>());
    }

    /// Five-minute windows over a range that cuts the first and the last of them.
    async fn check_windows(&self) {
        let (from, until) = (-6_500, -100);
        let target = format!(
            "/v1/windows?window=5m&aggregate=count,sum,min,max,first,last&start={from}s&end={until}s"
        );
        let answer = self.api.get(&target).await;
        let mut expected = Vec::new();
        for ((device, metric), samples) in &self.model {
            let mut windows: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for (second, value) in samples.range(from..until) {
                windows.entry(second.div_euclid(300)).or_default().push(*value);
            }
            let window = |(at, values): (&i64, &Vec<i64>)| {
                json!({
                    "start": jiff::Timestamp::from_second(NOW / SECOND + at * 300).unwrap().to_string(),
                    "end": jiff::Timestamp::from_second(NOW / SECOND + (at + 1) * 300).unwrap().to_string(),
                    "count": values.len(), "sum": values.iter().sum::<i64>(),
                    "min": values.iter().min(), "max": values.iter().max(),
                    "first": values.first(), "last": values.last(),
                })
            };
            let windows: Vec<Json> = windows.iter().map(window).collect();
            if !windows.is_empty() {
                expected.push(json!({
                    "tenant": "acme", "device": device, "metric": metric, "tags": {"site": "north"}, "windows": windows,
                }));
            }
        }
        assert_eq!(answer, json!({"series": expected, "truncated": false, "next_start": null}));
    }

    async fn check_lists(&self) {
        let devices = self.api.get("/v1/devices").await;
        let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (device, metric) in self.model.keys() {
            expected.entry(device).or_default().push(metric);
        }
        let row = |(device, metrics): (&&str, &Vec<&str>)| {
            json!({
                "tenant": "acme", "device": device, "skew_seconds": null,
                "sources": [{"tags": {"site": "north"}, "metrics": metrics}],
            })
        };
        let expected: Vec<Json> = expected.iter().map(row).collect();
        assert_eq!(devices["devices"], Json::from(expected));
        let metrics = self.api.get("/v1/metrics?device=d0").await;
        let names = self.model.keys().filter(|(device, _)| device == "d0").map(|(_, metric)| metric);
        let expected: Vec<Json> =
            names.map(|name| json!({"metric": name, "kinds": ["i64"], "units": [], "series": 1})).collect();
        assert_eq!(metrics["metrics"], Json::from(expected));
    }
}

/// Device, metric, seconds before now, value.
fn shown(sample: &Json) -> (String, String, i64, i64) {
    let text = |field: &str| sample[field].as_str().unwrap().to_owned();
    let time: jiff::Timestamp = text("time").parse().unwrap();
    (text("device"), text("metric"), time.as_second() - NOW / SECOND, sample["value"].as_i64().unwrap())
}

async fn run(seed: u64, limits: ReadLimits) {
    let mut world = World::new(seed, limits).await;
    for _ in 0..6 {
        world.append().await;
        world.check_latest().await;
        world.check_samples().await;
        world.check_promql().await;
        world.check_windows().await;
        world.check_lists().await;
    }
}

#[tokio::test]
async fn what_was_appended_is_answered_at_once_and_exactly() {
    for seed in 1..=20 {
        run(seed, ReadLimits::default()).await;
    }
}

#[tokio::test]
async fn answers_are_the_same_where_a_range_must_be_read_in_many_parts() {
    for seed in 1..=5 {
        run(seed, ReadLimits { samples_max: 60, ..ReadLimits::default() }).await;
    }
}

#[tokio::test]
async fn a_value_keeps_its_kind_and_its_bits_on_the_way_through_the_store() {
    let mut world = World::new(1, ReadLimits::default()).await;
    let device = source("acme", "d", &[]);
    let values = [
        ("bool", Value::Bool(true), "true"),
        ("exact", Value::I64(i64::MIN), "-9223372036854775808"),
        ("float", Value::F64(0.1 + 0.2), "0.30000000000000004"),
        ("infinity", Value::F64(f64::INFINITY), "\"Infinity\""),
        ("nan", Value::F64(f64::NAN), "\"NaN\""),
        ("text", Value::Text("grün \"x\"\n".into()), r#""grün \"x\"\n""#),
        ("whole", Value::F64(2.0), "2.0"),
    ];
    for (metric, value, _) in &values {
        world.append_one(&device, metric, NOW - 1, value.clone()).await;
    }
    let text = world.api.ask("GET", "/v1/latest").await.text;
    for (metric, _, shown) in values {
        let row = format!(
            r#""metric":"{metric}","tags":{{}},"time":"2025-06-01T11:59:59.999999999Z","value":{shown}}}"#
        );
        assert!(text.contains(&row), "{row} in {text}");
    }
}
