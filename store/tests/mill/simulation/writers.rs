//! A writer as ingest drives it: random points into the appenders of their shards, some twice, some late, some as
//! corrections; plans that are interrupted and go on; marks that are closed; crashes, after which another lifetime
//! begins; and a wall clock minutes off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender, WritePlan};
use tidemill_store::layout::Eras;
use tidemill_store::model::{Clock, Metric, Points, Shard, Source, Timestamp, Value, WriterId};
use tidemill_store::wide::Wide;
use tokio::time::{Instant, timeout};

use super::judge::{Judge, Spot};
use super::world::SkewedClock;
use crate::bench::{seconds, source};
use crate::random::Random;

/// Times in a bucket that is over, in one that ends meanwhile, and in the one after it.
const TIMES: [i64; 9] = [1, 3_598, 3_599, 3_600, 3_601, 7_100, 7_198, 7_200, 7_260];

pub(crate) struct Writer<W> {
    pub(crate) random: Random,
    pub(crate) eras: Arc<Eras>,
    pub(crate) executor: Executor<W>,
    pub(crate) judge: Arc<Mutex<Judge>>,
    pub(crate) clock: SkewedClock,
    /// Devices that only this writer writes, and one that both do.
    pub(crate) devices: [&'static str; 3],
    life: u64,
    appenders: BTreeMap<Shard, ShardAppender>,
}

struct Drawn {
    source: Arc<Source>,
    metric: Metric,
    time: Timestamp,
    value: Value,
}

impl<W: Wide> Writer<W> {
    pub(crate) fn new(
        wide: Arc<W>,
        eras: Arc<Eras>,
        judge: Arc<Mutex<Judge>>,
        clock: SkewedClock,
        (seed, devices): (u64, [&'static str; 3]),
    ) -> Self {
        let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
        let executor = Executor::new(wide, RetryPolicy::default(), metrics);
        let mut random = Random::new(seed);
        let life = random.next();
        Self { random, eras, executor, judge, clock, devices, life, appenders: BTreeMap::new() }
    }

    pub(crate) async fn run(mut self, batches: u64) {
        for _ in 0..batches {
            self.send().await;
            if self.random.one_in(4) {
                self.close().await;
            }
            if self.random.one_in(12) {
                (self.life, self.appenders) = (self.random.next(), BTreeMap::new());
            }
            let pause = if self.random.one_in(6) { 15_000 } else { 1_200 };
            tokio::time::sleep(Duration::from_millis(1 + self.random.below(pause))).await;
        }
        self.close().await;
    }

    async fn send(&mut self) {
        let mut by_shard: BTreeMap<Shard, Vec<Drawn>> = BTreeMap::new();
        for _ in 0..=self.random.below(4) {
            let drawn = self.draw();
            by_shard.entry(self.eras.place(&drawn.source, drawn.time).shard).or_default().push(drawn);
        }
        for (shard, drawn) in by_shard {
            let sent: Vec<(Spot, usize)> = {
                let mut judge = self.judge.lock().unwrap();
                drawn.iter().map(|drawn| judge.send(self.life, &drawn.spot(), &drawn.value)).collect()
            };
            let batches = [points(&drawn)];
            let (received_at, now) = (self.clock.now(), Instant::now().into_std());
            let plan = self.appender(shard).plan(&batches, received_at, now);
            assert_eq!(plan.refusals(), []);
            if !self.carry_out(plan).await {
                // A crash: nothing was acknowledged, and another lifetime begins.
                (self.life, self.appenders) = (self.random.next(), BTreeMap::new());
                return;
            }
            self.judge.lock().unwrap().acknowledge(&sent);
        }
    }

    async fn close(&mut self) {
        let (received_at, now) = (self.clock.now(), Instant::now().into_std());
        let plans: Vec<WritePlan> =
            self.appenders.values_mut().map(|appender| appender.close_all(received_at, now)).collect();
        for plan in plans {
            if !self.carry_out(plan).await {
                (self.life, self.appenders) = (self.random.next(), BTreeMap::new());
                return;
            }
        }
    }

    /// Some attempts are cut short; what is left of the plan goes on, or the writer crashes: `false`.
    async fn carry_out(&mut self, mut plan: WritePlan) -> bool {
        while self.random.one_in(3) {
            let patience = Duration::from_millis(self.random.below(60));
            if timeout(patience, self.executor.execute(&mut plan)).await.is_ok() {
                return true;
            }
            if self.random.one_in(6) {
                return false;
            }
        }
        self.executor.execute(&mut plan).await.unwrap();
        true
    }

    fn appender(&mut self, shard: Shard) -> &mut ShardAppender {
        let (id, eras) = (WriterId::from_random(self.life), Arc::clone(&self.eras));
        let limits = AppendLimits {
            segment_bytes_max: 1_200,
            mark_age_max: Duration::from_mins(1),
            ..AppendLimits::default()
        };
        self.appenders.entry(shard).or_insert_with(|| ShardAppender::new(shard, id, eras, limits))
    }

    fn draw(&mut self) -> Drawn {
        let random = &mut self.random;
        let source = source(random.pick(&self.devices));
        let metric = Metric::new(random.pick(&["x", "y"])).unwrap();
        let time = seconds(random.pick(&TIMES));
        // Few values, so that duplicates are as frequent as corrections.
        let value = match random.below(6) {
            0 => Value::F64(f64::NAN),
            1 => Value::Text("s".into()),
            2 => Value::Bool(true),
            _ => Value::I64(i64::try_from(random.below(4)).unwrap()),
        };
        Drawn { source, metric, time, value }
    }
}

impl Drawn {
    fn spot(&self) -> Spot {
        (self.source.device().to_string(), self.metric.to_string(), self.time)
    }
}

fn points(drawn: &[Drawn]) -> Points {
    let mut points = Points::default();
    for drawn in drawn {
        let source = points.source(&drawn.source);
        let metric = points.metric(drawn.metric.clone());
        points.value(metric, drawn.value.clone());
        points.finish_point(source, drawn.time);
    }
    points
}
