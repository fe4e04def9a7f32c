//! What a message costs between its decoded points and its answer, on the store in memory: planning (segments
//! encoded), and reading back cold, warm, one device of many, and the latest of all. Then what a ground day answers
//! in: with the feature `lsm` on the embedded store, else in memory.
//!
//! Prints a table; judges nothing. `cargo bench -p tidemill-store --features lsm --bench append_and_read`; with the
//! feature `cql` and `-- HOST:PORT DATACENTER` the ground day is on that node.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark prints, and fails when it cannot go on"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender};
use tidemill_store::layout::{BucketWidth, Eras, Place, ShardCount, install_eras};
use tidemill_store::mill::{Mill, MillMetrics, MillOptions};
use tidemill_store::model::{
    Clock, Device, Metric, Points, Shard, Source, Tags, Tenant, TimeRange, Timestamp, Value, WriterId,
};
use tidemill_store::read::{Explain, Explained, ReadFailure, ReadLimits, Reader, Selector};
use tidemill_store::rollup::Fields;
use tidemill_store::wide::{Memory, Wide};
use tokio::time::Instant;

const DEVICES: usize = 2_000;
const METRICS: [&str; 5] = ["temperature", "humidity", "pressure", "voltage", "state"];
/// Seconds between the messages of a device.
const STEP: u64 = 10;

fn sources() -> Vec<Arc<Source>> {
    let device = |n| Device::new(&format!("device-{n:06}")).unwrap();
    let source = |n| Source::new(Tenant::new("default").unwrap(), device(n), Tags::default());
    (0..DEVICES).map(|n| Arc::new(source(n))).collect()
}

/// Messages of 5 samples each, round after round of all devices.
fn batches(sources: &[Arc<Source>], messages: usize, per_batch: usize) -> Vec<Points> {
    let names = METRICS.map(|name| Metric::new(name).unwrap());
    let all: Vec<usize> = (0..messages).collect();
    let batch = |numbers: &[usize]| {
        let mut points = Points::default();
        let metrics = names.clone().map(|name| points.metric(name));
        for &n in numbers {
            let source = sources.get(n % DEVICES).map(|source| points.source(source)).unwrap();
            let round = u64::try_from(n / DEVICES).unwrap();
            let wave = f64::from(u32::try_from((n * 7) % 1000).unwrap()) / 10.0;
            for (metric, base) in metrics.iter().take(4).zip([0.0, 40.0, 1000.0, 3.0]) {
                points.value(*metric, Value::F64(base + wave));
            }
            points.value(metrics[4], Value::I64(i64::try_from(n % 3).unwrap()));
            points.finish_point(source, Timestamp::EPOCH.saturating_add(Duration::from_secs(round * STEP)));
        }
        points
    };
    all.chunks(per_batch).map(batch).collect()
}

fn appender(eras: &Arc<Eras>, writer: u64) -> ShardAppender {
    ShardAppender::new(
        Shard::new(0),
        WriterId::from_random(writer),
        Arc::clone(eras),
        AppendLimits::default(),
    )
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

/// Processor time and bytes for all batches but the first `warm_up`, in which all sources are announced.
async fn append(eras: &Arc<Eras>, wide: &Memory, batches: &[Points], warm_up: usize) -> (Duration, usize) {
    let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
    let executor = Executor::new(Arc::new(wide.clone()), RetryPolicy::default(), metrics);
    let mut appender = appender(eras, 1);
    let (mut start, mut bytes) = (processor_time(), 0);
    for (at, batch) in batches.iter().enumerate() {
        if at == warm_up {
            (start, bytes) = (processor_time(), 0);
        }
        let mut plan = appender.plan([batch], Timestamp::EPOCH, Instant::now().into_std());
        bytes += executor.execute(&mut plan).await.unwrap().bytes;
    }
    (processor_time().saturating_sub(start), bytes)
}

async fn timed<T>(name: &str, samples: usize, work: impl Future<Output = T>) -> T {
    let start = processor_time();
    let result = work.await;
    let spent = processor_time().saturating_sub(start).as_secs_f64();
    let rate = f64::from(u32::try_from(samples).unwrap()) / spent / 1e6;
    println!("{name:<44} {:>10.2} ms of processor time {rate:>8.2} M samples/s", spent * 1e3);
    result
}

async fn run() {
    let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
    let sources = sources();
    for per_batch in [1, 20, 100, 500, 1000] {
        let wide = Memory::new();
        let eras = Arc::new(install_eras(&wide, ShardCount::new(1).unwrap(), width).await.unwrap());
        let messages = (per_batch * 2_000).clamp(DEVICES * 4, 200_000);
        let batches = batches(&sources, messages, per_batch);
        let warm_up = DEVICES / per_batch;
        let (spent, bytes) = append(&eras, &wide, &batches, warm_up).await;
        let counted = f64::from(u32::try_from(messages - warm_up * per_batch).unwrap());
        let (each, size) =
            (spent.as_secs_f64() * 1e9 / counted, f64::from(u32::try_from(bytes).unwrap()) / counted);
        println!(
            "{per_batch:>4} messages of 5 samples a batch: {each:>7.0} ns and {size:>6.1} bytes a message"
        );
    }
    let wide = Memory::new();
    let eras = Arc::new(install_eras(&wide, ShardCount::new(1).unwrap(), width).await.unwrap());
    let messages = 200_000;
    append(&eras, &wide, &batches(&sources, messages, 500), 0).await;
    let reader = Reader::new(Arc::new(wide), ReadLimits::default());
    let (all, samples) = (Selector::default(), messages * METRICS.len());
    let one = Selector {
        tenant: Some(Tenant::new("default").unwrap()),
        devices: vec![Device::new("device-000777").unwrap()],
        ..Selector::default()
    };
    let of_one = samples / DEVICES;
    timed("samples of all, cold", samples, reader.samples(&all, TimeRange::ALL)).await.unwrap();
    timed("samples of all, warm", samples, reader.samples(&all, TimeRange::ALL)).await.unwrap();
    timed("samples of one device, warm", of_one, reader.samples(&one, TimeRange::ALL)).await.unwrap();
    timed("latest of all, warm", samples, reader.latest(&all)).await.unwrap();
    timed("latest of one device, warm", of_one, reader.latest(&one)).await.unwrap();
    timed("sources, warm", DEVICES, reader.sources(&all)).await.unwrap();
}

/// Devices of the ground day, and the seconds between their messages.
const FLEET: usize = 4_000;
const FLEET_STEP: u64 = 60;
const SHARDS: u64 = 8;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH.saturating_add(Duration::from_hours(36))
    }
}

/// A day of the fleet, message by message of 1,000 at once, and the first seconds of the next.
async fn fill<W: Wide>(wide: &Arc<W>, eras: &Arc<Eras>) {
    let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
    let executor = Executor::new(Arc::clone(wide), RetryPolicy::default(), metrics);
    let names = METRICS.map(|name| Metric::new(name).unwrap());
    let device = |n| Device::new(&format!("device-{n:06}")).unwrap();
    let source = |n| Arc::new(Source::new(Tenant::new("default").unwrap(), device(n), Tags::default()));
    let mut by_shard: BTreeMap<Shard, Vec<Arc<Source>>> = BTreeMap::new();
    for source in (0..FLEET).map(source) {
        by_shard.entry(eras.place(&source, Timestamp::EPOCH).shard).or_default().push(source);
    }
    for (shard, sources) in by_shard {
        let limits = AppendLimits::default();
        let mut appender = ShardAppender::new(shard, WriterId::from_random(2), Arc::clone(eras), limits);
        for round in 0..=86_400 / FLEET_STEP {
            let mut points = Points::default();
            let metrics = names.clone().map(|name| points.metric(name));
            for (n, source) in sources.iter().enumerate() {
                let source = points.source(source);
                let wave = f64::from(u32::try_from(round * 7 % 1000).unwrap()) / 10.0;
                for (metric, base) in metrics.iter().take(4).zip([0.0, 40.0, 1000.0, 3.0]) {
                    points
                        .value(*metric, Value::F64(base + wave + f64::from(u32::try_from(n % 10).unwrap())));
                }
                points.value(metrics[4], Value::I64(i64::try_from(round % 3).unwrap()));
                let late = Duration::from_secs(round * FLEET_STEP);
                points.finish_point(source, Timestamp::EPOCH.saturating_add(late));
            }
            let mut plan = appender.plan([&points], Timestamp::EPOCH, Instant::now().into_std());
            executor.execute(&mut plan).await.unwrap();
        }
    }
}

/// The best of some runs, since others use the machine, too; and what each of them read.
async fn best<T, F>(name: &str, mut ask: impl FnMut() -> F)
where
    F: Future<Output = Result<Explained<T>, ReadFailure>>,
{
    let (mut best, mut explain) = (Duration::MAX, Explain::default());
    for _ in 0..7 {
        let start = Instant::now();
        explain = ask().await.unwrap().explain;
        best = best.min(start.elapsed());
    }
    println!(
        "{name:<64} {:>9.3} ms {:>6} rows {:>10} bytes read",
        best.as_secs_f64() * 1e3,
        explain.rows_read(),
        explain.bytes_read
    );
}

async fn ground<W: Wide>(wide: Arc<W>) {
    let width = BucketWidth::new(Duration::from_hours(24)).unwrap();
    let eras = Arc::new(install_eras(&*wide, ShardCount::new(SHARDS).unwrap(), width).await.unwrap());
    fill(&wide, &eras).await;
    // A day of all devices from segments is more than one query is allowed.
    let limits = ReadLimits { samples_max: 20_000_000, bytes_max: 1 << 30, ..ReadLimits::default() };
    let unground = Arc::new(Reader::new(Arc::clone(&wide), limits));
    ask(&unground, "segments").await;
    let metrics = MillMetrics::register(&prometheus::Registry::new()).unwrap();
    let options = MillOptions { cpu_share: 1.0, ..MillOptions::default() };
    let mill = Mill::new(Arc::clone(&wide), Arc::clone(&eras), "m".into(), options, Arc::new(Noon), metrics);
    let bucket = eras.at(Timestamp::EPOCH).bucket(Timestamp::EPOCH);
    let (start, mut samples, mut before, mut after) = (Instant::now(), 0.0, 0.0, 0.0);
    for shard in (0..u16::try_from(SHARDS).unwrap()).map(Shard::new) {
        let ground = mill.grind_bucket(Place { shard, bucket }).await.unwrap();
        samples += number(ground.samples);
        before += number(ground.segment_bytes);
        after += number(ground.written_bytes);
    }
    println!(
        "{:<64} {:>9.3} ms, {:.1} M samples/s; {:.2} bytes a sample in segments, {:.2} in blocks and frames",
        "grinding",
        start.elapsed().as_secs_f64() * 1e3,
        samples / 1e6 / start.elapsed().as_secs_f64(),
        before / samples,
        after / samples
    );
    ask(&Reader::new(wide, limits), "ground").await;
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

async fn ask<W: Wide>(reader: &Reader<W>, what: &str) {
    let device = |n: usize| Device::new(&format!("device-{n:06}")).unwrap();
    let select = |devices: std::ops::Range<usize>, metrics: &[&str]| Selector {
        tenant: Some(Tenant::new("default").unwrap()),
        devices: devices.map(device).collect(),
        metrics: metrics.iter().map(|name| Metric::new(name).unwrap()).collect(),
        ..Selector::default()
    };
    let hours: Vec<Timestamp> =
        (0..=24).map(|hour| Timestamp::EPOCH.saturating_add(Duration::from_hours(hour))).collect();
    let fields = Fields::SUM | Fields::MIN_MAX;
    let (thousand, all) = (select(0..1_000, &["temperature"]), select(0..1_000, &[]));
    let device_all = select(777..778, &[]);
    let (one, fleet) = (select(777..778, &["temperature"]), Selector::default());
    let name = |question: &str| format!("{what}: {question}");
    best(&name("24 h x 1,000 devices x 1 h, one metric"), || reader.folds(&thousand, &hours, fields)).await;
    best(&name("24 h x 1,000 devices x 1 h, five metrics"), || reader.folds(&all, &hours, fields)).await;
    let temperature = Selector { metrics: thousand.metrics.clone(), ..Selector::default() };
    best(&name("24 h x 4,000 devices x 1 h, one metric"), || reader.folds(&temperature, &hours, fields))
        .await;
    let days = [hours[0], hours[24]];
    best(&name("one device, one day, five metrics"), || reader.folds(&device_all, &days, fields)).await;
    best(&name("one device, one hour, folded"), || reader.folds(&one, &hours[3..5], fields)).await;
    let hour = TimeRange::new(hours[3], hours[4]).unwrap();
    best(&name("one device, one hour, samples"), || reader.runs(&one, hour)).await;
    best(&name("latest of 4,000 devices, five metrics"), || reader.latest(&fleet)).await;
    let one = select(777..778, &["temperature"]);
    best(&name("latest of one device, one metric"), || reader.latest(&one)).await;
}

#[cfg(feature = "lsm")]
async fn ground_day() {
    use tidemill_store::wide::lsm::{Lsm, LsmOptions};
    let directory = tempfile::tempdir().unwrap();
    let options = LsmOptions::new(directory.path().join("store"));
    let tables = &tidemill_store::layout::tables::ALL;
    let store = Arc::new(Lsm::open(options, tables, &prometheus::Registry::new()).unwrap());
    ground(Arc::clone(&store)).await;
    store.close().await.unwrap();
}

#[cfg(not(feature = "lsm"))]
async fn ground_day() {
    ground(Arc::new(Memory::new())).await;
}

/// The same on a node, in a keyspace that is left behind.
#[cfg(feature = "cql")]
async fn ground_day_on(node: &str, datacenter: &str) {
    use tidemill_store::wide::cql::{Cql, CqlOptions, Keyspace, schema};
    let name = format!("tidemill_bench_{}", std::process::id());
    let options = CqlOptions::new(vec![node.to_owned()], Keyspace::new(&name).unwrap(), datacenter, 1);
    schema::apply(&options).await.unwrap();
    ground(Arc::new(Cql::connect(&options, Arc::new(Noon)).await.unwrap())).await;
}

#[cfg(not(feature = "cql"))]
async fn ground_day_on(node: &str, _: &str) {
    println!("{node} is for the feature cql");
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        if let [node, datacenter] = arguments.as_slice() {
            return ground_day_on(node, datacenter).await;
        }
        run().await;
        ground_day().await;
    });
}
