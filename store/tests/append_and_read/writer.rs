//! A writer as ingest drives it: routes random points to the appenders of their shards, carries plans out, is
//! interrupted and goes on, closes marks, and has a wall clock that jumps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender, WritePlan};
use tidemill_store::layout::Eras;
use tidemill_store::model::{
    Device, Metric, Points, Shard, Source, TagKey, TagValue, Tags, Tenant, Timestamp, Value, WriterId,
};
use tidemill_store::wide::Wide;
use tokio::time::{Instant, timeout};

use crate::model::{Model, Sent, SeriesName};
use crate::random::{Random, seconds};

/// Times near bucket bounds, before the epoch, and on both sides of the second era's start.
const TIMES: [i64; 12] = [-61, -60, -1, 0, 1, 59, 60, 3598, 3599, 3600, 7199, 7200];

pub(crate) struct Writer<W> {
    pub(crate) id: WriterId,
    random: Random,
    eras: Arc<Eras>,
    executor: Executor<W>,
    appenders: BTreeMap<Shard, ShardAppender>,
    model: Arc<Mutex<Model>>,
    wall: Wall,
    plans: u64,
    received: BTreeMap<Shard, Timestamp>,
}

/// A wall clock.
pub(crate) enum Wall {
    /// In seconds; forwards and backwards.
    Jumping(i64),
    /// That of the whole world, which passes as tokio's time does.
    True(Instant),
}

impl Wall {
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::Jumping(wall) => seconds(*wall),
            Self::True(start) => seconds(1_000_000).saturating_add(start.elapsed()),
        }
    }
}

/// One point as drawn: whose, when, and its values by metric.
struct Drawn {
    source: Arc<Source>,
    time: Timestamp,
    values: Vec<(Metric, Value)>,
}

impl<W: Wide> Writer<W> {
    pub(crate) fn new(seed: u64, wide: Arc<W>, eras: Arc<Eras>, model: Arc<Mutex<Model>>) -> Self {
        let mut random = Random::new(seed);
        let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
        Self {
            id: WriterId::from_random(random.next()),
            random,
            eras,
            executor: Executor::new(wide, RetryPolicy::default(), metrics),
            appenders: BTreeMap::new(),
            model,
            wall: Wall::Jumping(1_000_000),
            plans: 0,
            received: BTreeMap::new(),
        }
    }

    /// The same with a clock that is right.
    pub(crate) fn with_true_clock(mut self, start: Instant) -> Self {
        self.wall = Wall::True(start);
        self
    }

    /// Some batches, with whatever happens between them.
    pub(crate) async fn run(mut self, batches: u64) {
        for _ in 0..batches {
            let mut pause = 20;
            if let Wall::Jumping(wall) = &mut self.wall {
                *wall += i64::try_from(self.random.below(5)).unwrap() - 1;
            } else {
                pause = 400;
            }
            self.send().await;
            if self.random.one_in(5) && matches!(self.wall, Wall::Jumping(_)) {
                tokio::time::advance(Duration::from_mins(self.random.below(70))).await;
            }
            if self.random.one_in(4) {
                self.close().await;
            }
            tokio::time::sleep(Duration::from_millis(self.random.below(pause))).await;
        }
    }

    async fn send(&mut self) {
        let mut by_shard: BTreeMap<Shard, Vec<Drawn>> = BTreeMap::new();
        for _ in 0..=self.random.below(5) {
            let drawn = self.draw();
            by_shard.entry(self.eras.place(&drawn.source, drawn.time).shard).or_default().push(drawn);
        }
        for (shard, drawn) in by_shard {
            self.send_to(shard, &drawn).await;
        }
    }

    async fn send_to(&mut self, shard: Shard, drawn: &[Drawn]) {
        let batches: Vec<Points> = drawn.chunks(2).map(points).collect();
        let received_at = self.wall.now();
        let sent = self.note(shard, drawn, received_at);
        let now = Instant::now().into_std();
        let plan = self.appender(shard).plan(&batches, received_at, now);
        assert_eq!(plan.refusals(), []);
        self.carry_out(plan).await;
        self.model.lock().unwrap().acknowledge(sent);
    }

    async fn close(&mut self) {
        let (received_at, now) = (self.wall.now(), Instant::now().into_std());
        for received in self.received.values_mut() {
            *received = received_at.max(*received);
        }
        let all = self.random.one_in(3);
        let plans: Vec<WritePlan> = self
            .appenders
            .values_mut()
            .map(|appender| {
                if all { appender.close_all(received_at, now) } else { appender.close_idle(received_at, now) }
            })
            .collect();
        for plan in plans {
            self.carry_out(plan).await;
        }
    }

    /// Some attempts are cut short; what is left of the plan goes on.
    async fn carry_out(&mut self, mut plan: WritePlan) {
        while self.random.one_in(3) {
            let patience = Duration::from_millis(self.random.below(60));
            if timeout(patience, self.executor.execute(&mut plan)).await.is_ok() {
                return;
            }
        }
        self.executor.execute(&mut plan).await.unwrap();
    }

    fn appender(&mut self, shard: Shard) -> &mut ShardAppender {
        let (id, eras) = (self.id, Arc::clone(&self.eras));
        // Small segments, so that a plan holds several.
        let limits = AppendLimits { segment_bytes_max: 1_200, ..AppendLimits::default() };
        self.appenders.entry(shard).or_insert_with(|| ShardAppender::new(shard, id, eras, limits))
    }

    /// Writes down what is about to be sent.
    fn note(&mut self, shard: Shard, drawn: &[Drawn], received_at: Timestamp) -> std::ops::Range<usize> {
        let received = self.received.entry(shard).or_insert(received_at);
        *received = received_at.max(*received);
        self.plans += 1;
        let mut model = self.model.lock().unwrap();
        let start = model.sent.len();
        let mut place = 0;
        for point in drawn {
            for (metric, value) in &point.values {
                let order = (*received, self.id, self.plans, place);
                let series = name(&point.source, metric);
                model.sent.push(Sent {
                    series,
                    time: point.time,
                    value: value.clone(),
                    order,
                    is_acked: false,
                });
                place += 1;
            }
        }
        start..model.sent.len()
    }

    fn draw(&mut self) -> Drawn {
        let random = &mut self.random;
        let tenant = Tenant::new(random.pick(&["t", "u"])).unwrap();
        let device = Device::new(random.pick(&["a", "b", "c", "d"])).unwrap();
        let tags = if random.one_in(3) {
            vec![(TagKey::new("site").unwrap(), TagValue::new("n").unwrap())]
        } else {
            vec![]
        };
        let source = Arc::new(Source::new(tenant, device, Tags::new(tags).unwrap()));
        let time = seconds(if random.one_in(2) {
            random.pick(&TIMES)
        } else {
            3600 + i64::try_from(random.below(90)).unwrap()
        });
        let values = (0..=random.below(2))
            .map(|_| {
                let name = random.pick(&["x", "y", "z"]);
                (Metric::new(name).unwrap(), value(name, random))
            })
            .collect();
        Drawn { source, time, values }
    }
}

/// Integers of `x`, doubles of `y`, anything of `z`.
fn value(metric: &str, random: &mut Random) -> Value {
    let number = i64::try_from(random.below(1_000_000)).unwrap();
    let double = || f64::from(u32::try_from(number).unwrap()) / 128.0;
    match (metric, random.below(5)) {
        ("x", _) => Value::I64(number),
        ("y" | "z", 0) => Value::F64(f64::NAN),
        ("y", _) => Value::F64(double()),
        (_, 1) => Value::Bool(random.one_in(2)),
        (_, 2) => Value::Text("s".into()),
        (_, _) => Value::I64(number),
    }
}

fn points(drawn: &[Drawn]) -> Points {
    let mut points = Points::default();
    for point in drawn {
        let source = points.source(&point.source);
        for (metric, value) in &point.values {
            let metric = points.metric(metric.clone());
            points.value(metric, value.clone());
        }
        points.finish_point(source, point.time);
    }
    points
}

fn name(source: &Source, metric: &Metric) -> SeriesName {
    let tags: Vec<String> = source.tags().iter().map(|(k, v)| format!("{k}={v}")).collect();
    (source.tenant().to_string(), source.device().to_string(), tags.join(","), metric.to_string())
}
