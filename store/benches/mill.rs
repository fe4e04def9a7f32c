//! What grinding costs on the store in memory: a bucket at its end, the same in several passes, an open bucket ground
//! whenever its tail has outgrown what is ground, and a few late samples.
//!
//! Prints a table; judges nothing. `cargo bench -p tidemill-store --bench mill`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails when it cannot go on"
)]

use std::sync::Arc;
use std::time::Duration;

use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender};
use tidemill_store::layout::{Bucket, BucketWidth, Eras, Place, ShardCount, install_eras};
use tidemill_store::mill::{Ground, Mill, MillMetrics, MillOptions};
use tidemill_store::model::{
    Clock, Device, Metric, Points, Shard, Source, Tags, Tenant, Timestamp, Value, WriterId,
};
use tidemill_store::wide::Memory;
use tokio::time::Instant;

const DEVICES: u64 = 1_000;
const METRICS: [&str; 5] = ["temperature", "humidity", "pressure", "voltage", "state"];
const STEP_SECONDS: u64 = 10;
/// Messages of a device in its bucket of six hours.
const ROUNDS: u64 = 2_160;
const MESSAGES_PER_SEGMENT: u64 = 500;

struct Late;

impl Clock for Late {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH.saturating_add(Duration::from_hours(12))
    }
}

/// Processor time of all threads so far: other work on the machine does not count. Linux only.
fn processor_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        stat.split(' ')
            .next()
            .and_then(|nanos| nanos.parse().ok())
            .map_or(Duration::ZERO, Duration::from_nanos)
    };
    tasks.filter_map(Result::ok).map(of).sum()
}

/// A store, a writer, and devices whose values walk in steps of a tenth.
struct Fleet {
    wide: Arc<Memory>,
    appender: ShardAppender,
    executor: Executor<Memory>,
    sources: Vec<Arc<Source>>,
    walks: Vec<[f64; 4]>,
    random: u64,
}

impl Fleet {
    async fn new() -> Self {
        let wide = Arc::new(Memory::new());
        let eras = eras(&wide).await;
        let limits = AppendLimits::default();
        let appender = ShardAppender::new(Shard::new(0), WriterId::from_random(2), eras, limits);
        let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
        let executor = Executor::new(Arc::clone(&wide), RetryPolicy::default(), metrics);
        let device = |n| Device::new(&format!("device-{n:06}")).unwrap();
        let source = |n| Source::new(Tenant::new("default").unwrap(), device(n), Tags::default());
        let sources = (0..DEVICES).map(|n| Arc::new(source(n))).collect();
        let walks = vec![[200.0, 400.0, 10_000.0, 33.0]; usize::try_from(DEVICES).unwrap()];
        Self { wide, appender, executor, sources, walks, random: 1 }
    }

    fn step(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        [-1.0, 0.0, 0.0, 1.0].get(usize::try_from(self.random >> 62).unwrap()).copied().unwrap_or_default()
    }

    /// The messages `from..to` of the fleet, device after device, round after round.
    async fn send(&mut self, from: u64, to: u64) {
        let mut at = from;
        while at < to {
            let end = to.min(at + MESSAGES_PER_SEGMENT);
            let mut points = Points::default();
            let metrics = METRICS.map(|name| points.metric(Metric::new(name).unwrap()));
            for n in at..end {
                let device = usize::try_from(n % DEVICES).unwrap();
                let source = points.source(self.sources.get(device).unwrap());
                for (metric, which) in metrics.iter().zip(0..4_usize) {
                    let step = self.step();
                    let walk = self.walks.get_mut(device).and_then(|walks| walks.get_mut(which)).unwrap();
                    *walk += step;
                    points.value(*metric, Value::F64(*walk / 10.0));
                }
                points.value(metrics[4], Value::I64(i64::from(n % 97 == 0)));
                // Not all devices measure at the same millisecond.
                let millis = n / DEVICES * STEP_SECONDS * 1_000 + n % DEVICES * 7;
                points.finish_point(source, Timestamp::EPOCH.saturating_add(Duration::from_millis(millis)));
            }
            let received = Timestamp::EPOCH.saturating_add(Duration::from_secs(at / 100));
            let mut plan = self.appender.plan([&points], received, Instant::now().into_std());
            self.executor.execute(&mut plan).await.unwrap();
            at = end;
        }
    }

    async fn mill(&self, memory_bytes_max: usize) -> Mill<Memory> {
        let options = MillOptions { cpu_share: 1.0, memory_bytes_max, ..MillOptions::default() };
        let metrics = MillMetrics::register(&prometheus::Registry::new()).unwrap();
        let eras = eras(&self.wide).await;
        Mill::new(Arc::clone(&self.wide), eras, "bench".into(), options, Arc::new(Late), metrics)
    }
}

async fn eras(wide: &Memory) -> Arc<Eras> {
    let width = BucketWidth::new(Duration::from_hours(6)).unwrap();
    Arc::new(install_eras(wide, ShardCount::new(1).unwrap(), width).await.unwrap())
}

fn place() -> Place {
    let width = BucketWidth::new(Duration::from_hours(6)).unwrap();
    Place { shard: Shard::new(0), bucket: Bucket::at(Timestamp::EPOCH, width) }
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Grinds and says what it cost, over `samples` new ones.
async fn grind(name: &str, mill: &Mill<Memory>, samples: u64) -> Ground {
    let (start, began) = (processor_time(), Instant::now());
    let ground = mill.grind_bucket(place()).await.unwrap();
    let spent = processor_time().saturating_sub(start).as_secs_f64();
    let took = began.elapsed().as_secs_f64();
    println!(
        "{name:<28} {:>6.2} s processor, {took:>6.2} s; per M samples {:>6.3} s, per M messages of 5 {:>6.3} s; \
         {:>5.1} M samples/s; {:>5.2} bytes a sample in segments, {:>5.2} in blocks and frames",
        spent,
        spent / number(samples) * 1e6,
        spent / number(samples) * 5e6,
        number(samples) / spent / 1e6,
        number(ground.segment_bytes) / number(samples),
        number(ground.written_bytes) / number(ground.samples),
    );
    ground
}

async fn run() {
    let samples = DEVICES * ROUNDS * 5;
    let mut fleet = Fleet::new().await;
    fleet.send(0, DEVICES * ROUNDS).await;
    grind("at the end", &fleet.mill(1 << 30).await, samples).await;

    fleet.send(DEVICES * ROUNDS / 2, DEVICES * ROUNDS / 2 + DEVICES).await;
    grind("one more round, late", &fleet.mill(1 << 30).await, DEVICES * 5).await;

    let mut fleet = Fleet::new().await;
    fleet.send(0, DEVICES * ROUNDS).await;
    grind("at the end, 64 MiB", &fleet.mill(64 << 20).await, samples).await;

    let mut fleet = Fleet::new().await;
    let (mut written, mut segments, mut sent) = (0, 0, 0);
    for share in [32, 16, 8, 4, 2, 1] {
        let until = DEVICES * ROUNDS / share;
        fleet.send(sent, until).await;
        let ground = grind("whenever the tail doubles", &fleet.mill(1 << 30).await, (until - sent) * 5).await;
        (written, segments, sent) = (written + ground.written_bytes, segments + ground.segment_bytes, until);
    }
    println!(
        "write amplification of all of them: {:.2} of segment bytes",
        number(written) / number(segments)
    );
}

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}
