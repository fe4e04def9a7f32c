//! A day of a small fleet, in virtual time: written as ingesters do, ground by mills meanwhile, then asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use prometheus::Registry;
use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender};
use tidemill_store::layout::{Era, Eras, install_eras};
use tidemill_store::mill::{Mill, MillMetrics, MillOptions};
use tidemill_store::model::{
    Clock, Device, Metric, Points, Shard, Source, Tags, Tenant, Timestamp, Value, WriterId,
};
use tidemill_store::read::{Explain, ReadLimits, Reader, Selector};
use tidemill_store::rollup::Fields;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::counting::Counting;
use super::fleet::{Fleet, whole};
use super::model::Line;

const DAY: Duration = Duration::from_hours(24);
/// After the day: marks fall idle, the last bucket is ground, what it replaced is collected.
const AFTERWARDS: Duration = Duration::from_hours(1);
/// Days are aligned to the epoch; this one is in 2023.
const FIRST_DAY: u32 = 19_600;

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counted {
    lines: BTreeMap<&'static str, f64>,
}

impl Counted {
    pub(crate) fn of(&self, line: Line) -> f64 {
        self.lines.get(line.name()).copied().unwrap_or(f64::NAN)
    }
}

/// The clock of the simulated world: tokio's, from the beginning of a day on.
struct DayClock(Instant);

impl Clock for DayClock {
    fn now(&self) -> Timestamp {
        midnight().saturating_add(self.0.elapsed())
    }
}

fn midnight() -> Timestamp {
    Timestamp::EPOCH.saturating_add(DAY * FIRST_DAY)
}

/// Runs the day of `fleet`.
pub(crate) fn run(fleet: Fleet) -> Result<Counted> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(simulate(fleet))
}

async fn simulate(fleet: Fleet) -> Result<Counted> {
    let wide = Arc::new(Counting::default());
    let Era { shards, bucket_width, .. } = fleet.era()?;
    let eras = Arc::new(install_eras(&*wide, shards, bucket_width).await?);
    wide.forget();
    let clock: Arc<dyn Clock> = Arc::new(DayClock(Instant::now()));
    let (stop, stopped) = watch::channel(false);
    let mills: Vec<_> = (0..whole(fleet.mills))
        .map(|n| {
            let mill = mill(&wide, &eras, n, &fleet, &clock)?;
            let stopped = stopped.clone();
            Ok(tokio::spawn(async move { mill.run(stopped).await }))
        })
        .collect::<Result<_>>()?;
    let open = ingest(&wide, &eras, &fleet, &clock).await?;
    let mut lines = BTreeMap::new();
    stop.send(true)?;
    for mill in mills {
        mill.await?;
    }
    count(&wide, open, &mut lines);
    let explain = ask(&wide).await?;
    lines.insert(Line::FrameRows.name(), number(explain.frame_rows));
    lines.insert(Line::FrameBytes.name(), number(explain.bytes_read));
    ensure!(!explain.raw, "a question over hours read samples: {explain:?}");
    Ok(Counted { lines })
}

fn mill(
    wide: &Arc<Counting>,
    eras: &Arc<Eras>,
    n: u64,
    fleet: &Fleet,
    clock: &Arc<dyn Clock>,
) -> Result<Mill<Counting>> {
    let mut options = MillOptions { cpu_share: 1.0, ..MillOptions::default() };
    options.times.tail_bytes_min = whole(fleet.tail_bytes_min);
    let metrics = MillMetrics::register(&Registry::new())?;
    Ok(Mill::new(
        Arc::clone(wide),
        Arc::clone(eras),
        format!("mill-{n}"),
        options,
        Arc::clone(clock),
        metrics,
    ))
}

/// One (ingester, shard), and the devices that it hears of.
struct Lane {
    appender: ShardAppender,
    sources: Vec<(u64, Arc<Source>)>,
}

/// The day of all devices; the most buckets that one ingester had open at once.
async fn ingest(
    wide: &Arc<Counting>,
    eras: &Arc<Eras>,
    fleet: &Fleet,
    clock: &Arc<dyn Clock>,
) -> Result<usize> {
    let executor =
        Executor::new(Arc::clone(wide), RetryPolicy::default(), AppendMetrics::register(&Registry::new())?);
    let mut lanes = lanes(eras, fleet, clock.now())?;
    let metrics: Vec<Metric> =
        (0..whole(fleet.metrics)).map(|n| Metric::new(&format!("metric_{n}"))).collect::<Result<_, _>>()?;
    let (start, mut open) = (Instant::now(), 0);
    while start.elapsed() < DAY {
        let now = clock.now();
        for lane in lanes.values_mut() {
            let points = messages(&lane.sources, &metrics, now);
            let mut plan = lane.appender.plan([&points], now, Instant::now().into_std());
            executor.execute(&mut plan).await.context("the store in memory takes everything")?;
        }
        open = open.max(open_of_one(&lanes));
        sleep(Duration::from_secs_f64(fleet.interval)).await;
        close_idle(&mut lanes, &executor, clock).await?;
    }
    while start.elapsed() < DAY + AFTERWARDS {
        sleep(Duration::from_mins(1)).await;
        close_idle(&mut lanes, &executor, clock).await?;
    }
    Ok(open)
}

async fn close_idle(
    lanes: &mut BTreeMap<(u64, Shard), Lane>,
    executor: &Executor<Counting>,
    clock: &Arc<dyn Clock>,
) -> Result<()> {
    for lane in lanes.values_mut() {
        let mut plan = lane.appender.close_idle(clock.now(), Instant::now().into_std());
        executor.execute(&mut plan).await.context("the store in memory takes everything")?;
    }
    Ok(())
}

fn lanes(eras: &Arc<Eras>, fleet: &Fleet, now: Timestamp) -> Result<BTreeMap<(u64, Shard), Lane>> {
    let mut lanes: BTreeMap<(u64, Shard), Lane> = BTreeMap::new();
    for n in 0..whole(fleet.devices) {
        let ingester = n % whole(fleet.ingesters);
        let device = Device::new(&format!("device-{n:06}"))?;
        let source = Arc::new(Source::new(Tenant::new("default")?, device, Tags::default()));
        let shard = eras.place(&source, now).shard;
        let lane = lanes.entry((ingester, shard)).or_insert_with(|| {
            let writer = WriterId::from_random(2 * (ingester + 1));
            let appender = ShardAppender::new(shard, writer, Arc::clone(eras), AppendLimits::default());
            Lane { appender, sources: Vec::new() }
        });
        lane.sources.push((n, source));
    }
    Ok(lanes)
}

/// A message of each device: walks of tenths, no two alike.
fn messages(sources: &[(u64, Arc<Source>)], metrics: &[Metric], now: Timestamp) -> Points {
    let mut points = Points::default();
    let metrics: Vec<_> = metrics.iter().map(|metric| points.metric(metric.clone())).collect();
    let seconds = now.millis_floor().unsigned_abs() / 1_000;
    for (n, source) in sources {
        let source = points.source(source);
        for (at, metric) in (0_u32..).zip(&metrics) {
            let noise = (seconds ^ (n << 7) ^ u64::from(at)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 59;
            let tenths = 200 + u32::try_from(noise).unwrap_or_default() + at;
            points.value(*metric, Value::F64(f64::from(tenths) / 10.0));
        }
        points.finish_point(source, now);
    }
    points
}

fn open_of_one(lanes: &BTreeMap<(u64, Shard), Lane>) -> usize {
    lanes.iter().filter(|((ingester, _), _)| *ingester == 0).map(|(_, lane)| lane.appender.buckets().0).sum()
}

fn count(wide: &Counting, open: usize, lines: &mut BTreeMap<&'static str, f64>) {
    let counts = wide.counts();
    let of = |table: &str, what: fn(&super::counting::Counts) -> usize| counts.get(table).map_or(0, what);
    let partitions =
        ["segments", "blocks", "frames", "seals"].map(|table| of(table, |counts| counts.partitions.len()));
    lines.insert(Line::Partitions.name(), number(partitions.iter().sum()));
    lines.insert(Line::Marks.name(), number(of("marks", |counts| count_of(counts.rows))));
    lines.insert(Line::CatalogRows.name(), number(of("catalog", |counts| count_of(counts.rows))));
    let exchanges = ["seals", "leases"].map(|table| of(table, |counts| count_of(counts.exchanges)));
    lines.insert(Line::SealExchanges.name(), number(exchanges[0]));
    // Mills beat during the hour afterwards, too.
    let beats = number(exchanges[1]) * DAY.as_secs_f64() / (DAY + AFTERWARDS).as_secs_f64();
    lines.insert(Line::Exchanges.name(), number(exchanges[0]) + beats);
    lines.insert(Line::OpenBuckets.name(), number(open));
}

/// A day of one metric of the whole fleet, by the hour.
async fn ask(wide: &Arc<Counting>) -> Result<Explain> {
    let reader = Reader::new(Arc::clone(wide), ReadLimits::default());
    let hours: Vec<Timestamp> =
        (0..=24).map(|hour| midnight().saturating_add(Duration::from_hours(hour))).collect();
    let selector = Selector { metrics: vec![Metric::new("metric_1")?], ..Selector::default() };
    Ok(reader.folds(&selector, &hours, Fields::SUM | Fields::MIN_MAX).await?.explain)
}

fn count_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
