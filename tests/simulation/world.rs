//! One run: lives of a process on one store, each ended by a crash but the last, and then the judgement.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tidemill_ingest::config::IngestConfig;
use tidemill_ingest::metrics::{Accounting, IngestMetrics};
use tidemill_ingest::pipeline::{Pipeline, PipelineParts};
use tidemill_ingest::spool::{FaultyDisk, Keys, LogLimits, Spool, SpoolMetrics, SpoolOptions, Work};
use tidemill_store::append::AppendMetrics;
use tidemill_store::layout::tables::REJECTS;
use tidemill_store::layout::{BucketWidth, Eras, KnownEras, RejectRow, ShardCount, install_eras};
use tidemill_store::model::{Clock, TimeRange, Timestamp, Value, WriterId};
use tidemill_store::read::{ReadLimits, Reader, Selector};
use tidemill_store::wide::{Datum, FaultRates, Faults, Faulty, Key, Memory, Scan, Wide};
use tidemill_tests::oracle::{Checker, Plan, Sample};
use tidemill_tests::random::Random;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::broker::{Broker, Connection, Message};
use crate::sabotage::{Sabotage, SabotagedIntake, SabotagedStore};
use crate::spy::{Spied, Written};

/// The time of day when a run starts.
const START_MS: i64 = 1_800_000_000_000;
/// Virtual time between two lives.
const LIFE_MS: i64 = 3_600_000;
/// Messages of a run.
const MESSAGES: u64 = 600;
/// Crashes of a run.
const CRASHES: u64 = 4;
/// Connections of one life.
const CONNECTIONS: u64 = 5;
/// Virtual time in which everything must be acknowledged once faults have ended.
const LIVELY_WITHIN: Duration = Duration::from_mins(10);
/// Tenths of a second in which the spool must be empty then.
const DRAINED_WITHIN_TICKS: u32 = 6_000;
/// Bytes in flight that a life allows: a few groups, so that the bound is met.
const IN_FLIGHT_BYTES_MAX: usize = IN_FLIGHT_KIB_MAX * 1024;
const IN_FLIGHT_KIB_MAX: usize = 1024;

/// What the judges found; all zero but the counts of what went well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Acknowledged samples and rejects that cannot be read.
    pub(crate) lost: usize,
    /// Samples that nobody sent.
    pub(crate) invented: usize,
    /// Samples read twice.
    pub(crate) doubled: usize,
    /// Messages that the process does not account for.
    pub(crate) unaccounted: u64,
    /// Keys written again with other bytes.
    pub(crate) rewritten: usize,
    /// Times a limit was found passed.
    pub(crate) over_limit: u64,
    /// Messages unacknowledged long after faults ended.
    pub(crate) not_live: usize,
    /// Messages acknowledged.
    pub(crate) acknowledged: usize,
    /// Samples read.
    pub(crate) seen: usize,
}

impl Findings {
    pub(crate) fn is_clean(&self) -> bool {
        let good = Self { acknowledged: self.acknowledged, seen: self.seen, ..Self::default() };
        *self == good && self.seen > 0
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A time of day that follows the virtual clock.
#[derive(Debug)]
struct VirtualClock {
    base: Timestamp,
    started: Instant,
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.base.saturating_add(self.started.elapsed())
    }
}

/// What outlives a process.
struct World {
    memory: Memory,
    faults: Faults,
    written: Written,
    eras: Arc<Eras>,
    broker: Broker,
    /// Where there is a spool: half of the seeds have one.
    disk: Option<FaultyDisk>,
    sabotage: Sabotage,
    random: Random,
    findings: Findings,
}

/// Runs `seed` and judges it.
pub(crate) fn simulate(seed: u64, sabotage: Sabotage) -> Result<Findings> {
    let plan = Plan { devices: 17, start_ms: START_MS - 86_400_000, step_ms: 977_000, seed };
    let memory = Memory::new();
    let eras = Arc::new(in_virtual_time(|| eras(memory.clone()))?);
    let mut world = World {
        memory,
        faults: Faults::new(seed),
        written: Written::default(),
        eras,
        broker: Broker::new(plan, MESSAGES),
        disk: seed.is_multiple_of(2).then(FaultyDisk::default),
        sabotage,
        random: Random::of(seed),
        findings: Findings::default(),
    };
    for life in 0..CRASHES {
        world.faults.set_rates(rates(&mut world.random, sabotage));
        let span = Duration::from_millis(20 + world.random.below(1_500));
        let end = world.live(life, span)?;
        world.judge_process(&end);
        world.crash_disk();
    }
    world.faults.set_rates(FaultRates { lose_one_in: lose_one_in(sabotage), ..FaultRates::default() });
    let end = world.live(CRASHES, LIVELY_WITHIN)?;
    world.judge_process(&end);
    world.judge_store(plan)?;
    Ok(world.findings)
}

/// What a life leaves behind.
struct LifeEnd {
    accounting: Accounting,
    violations: u64,
    taken_over: u64,
    in_flight_bytes_most: u64,
}

impl World {
    /// One life of the process: it ends when everything is acknowledged, or after `span`, in the middle of whatever it
    /// does, with all of its tasks.
    fn live(&mut self, life: u64, span: Duration) -> Result<LifeEnd> {
        let base = Timestamp::from_millis(START_MS + LIFE_MS * i64::try_from(life)?)?;
        let randoms: Vec<Random> =
            (0..CONNECTIONS * 40).map(|_| Random::of(self.random.below(u64::MAX))).collect();
        let delivered_before = self.broker.delivered();
        let metrics = IngestMetrics::default();
        let wide = Spied::new(Faulty::new(self.memory.clone(), self.faults.clone()), self.written.clone());
        let wide = Arc::new(SabotagedStore::new(wide, self.sabotage));
        let (disk, spooling) = (self.disk.clone(), metrics.clone());
        let (eras, broker, sabotage) = (Arc::clone(&self.eras), self.broker.clone(), self.sabotage);
        let in_flight_bytes_most = in_virtual_time(|| async {
            let clock: Arc<dyn Clock> = Arc::new(VirtualClock { base, started: Instant::now() });
            let spool = disk.map(|disk| spool(disk, &clock, &spooling)).transpose()?;
            let drained = spool.clone();
            let parts = PipelineParts {
                wide,
                eras: KnownEras::read_at(eras, clock.now()),
                writer: WriterId::from_random(1_000 + 2 * life),
                clock,
                metrics: metrics.clone(),
                append_metrics: AppendMetrics::register(&prometheus::Registry::new())?,
                spool,
            };
            let pipeline = Pipeline::start(parts, config()?)?;
            let intake = SabotagedIntake::new(pipeline.intake(), sabotage);
            let registry = prometheus::Registry::new();
            metrics.register(&registry)?;
            let connections = connections(&broker, &intake, randoms);
            let most = watch_bytes(&registry, &broker);
            tokio::pin!(connections, most);
            let most = timeout(span, async {
                tokio::select! {
                    biased;
                    most = &mut most => most,
                    () = &mut connections => most.await,
                }
            });
            // What was acknowledged by the spool is to be seen in the end, too.
            let most = async {
                let most = most.await;
                for _ in 0..DRAINED_WITHIN_TICKS {
                    if most.is_err() || drained.as_ref().is_none_or(|spool| spool.depth().records == 0) {
                        break;
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                most
            };
            Ok(most.await.unwrap_or_else(|_crash| bytes_in_flight(&registry)))
        })?;
        let taken_over = self.broker.delivered() - delivered_before;
        Ok(LifeEnd {
            accounting: metrics.messages(),
            violations: metrics.violations(),
            taken_over,
            in_flight_bytes_most,
        })
    }

    /// The machine dies with the process: what the disk was not asked to keep may be gone.
    fn crash_disk(&mut self) {
        let Self { disk, random, .. } = self;
        if let Some(disk) = disk {
            disk.crash(|below| random.below(below.max(1)));
        }
    }

    /// Judges what the process said of itself against what was handed to it.
    fn judge_process(&mut self, end: &LifeEnd) {
        let Accounting { received, .. } = end.accounting;
        self.findings.unaccounted +=
            received.abs_diff(end.taken_over).saturating_sub(unsettled_at_a_crash(end));
        self.findings.unaccounted += u64::from(!end.accounting.balanced()) + end.violations;
        let limit = u64::try_from(IN_FLIGHT_BYTES_MAX).unwrap_or(u64::MAX);
        self.findings.over_limit += u64::from(end.in_flight_bytes_most > limit);
    }

    /// Judges what can be read against what was acknowledged.
    fn judge_store(&mut self, plan: Plan) -> Result<()> {
        let acknowledged = self.broker.acknowledged();
        let total = usize::try_from(MESSAGES)?;
        self.findings.acknowledged = acknowledged.len();
        self.findings.not_live = total - acknowledged.len();
        self.findings.rewritten = self.written.rewritten();
        let sound = acknowledged.iter().filter_map(|message| match message {
            Message::Sound(number) => Some(*number),
            Message::Poison(_) => None,
        });
        let mut checker = Checker::new(plan, 0..MESSAGES, sound);
        for sample in in_virtual_time(|| samples(self.memory.clone()))? {
            checker.see(sample);
        }
        let verdict = checker.verdict();
        let kept = in_virtual_time(|| rejects(self.memory.clone()))?;
        let poison_lost = acknowledged.iter().filter(|message| match message {
            Message::Sound(_) => false,
            Message::Poison(number) => !kept.contains(format!("poison {number}").as_bytes()),
        });
        self.findings.lost = verdict.lost.len() + poison_lost.count();
        self.findings.invented = verdict.invented.len();
        self.findings.doubled = verdict.doubled.len();
        self.findings.seen = verdict.seen;
        Ok(())
    }
}

fn spool(disk: FaultyDisk, clock: &Arc<dyn Clock>, accounting: &IngestMetrics) -> Result<Spool> {
    let options = SpoolOptions {
        limits: LogLimits { bytes_max: 1 << 20, file_bytes_max: 4 << 10 },
        store_deadline: Duration::from_millis(300),
        forward_bytes_per_second: 1 << 20,
        always: false,
        work: Work::Inline,
    };
    let shown = SpoolMetrics::register(&prometheus::Registry::new())?;
    Ok(Spool::open(disk, Keys::default(), options, Arc::clone(clock), (shown, accounting.clone()))?)
}

/// A connection may be cut between a pipeline taking its group and the broker noting that: at most one group each.
fn unsettled_at_a_crash(end: &LifeEnd) -> u64 {
    if end.accounting.in_flight > 0 { CONNECTIONS * 12 } else { 0 }
}

/// Runs a future on a runtime of its own whose clock is virtual. What it spawned dies with it, wherever it is.
fn in_virtual_time<T, F: Future<Output = Result<T>>>(make: impl FnOnce() -> F) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async { make().await })
}

async fn eras(memory: Memory) -> Result<Eras> {
    let width = BucketWidth::new(Duration::from_hours(6))?;
    Ok(install_eras(&memory, ShardCount::new(3)?, width).await?)
}

fn config() -> Result<IngestConfig> {
    let mut config = IngestConfig::with_defaults()?;
    config.memory.in_flight_bytes_max = IN_FLIGHT_BYTES_MAX;
    config.batch.messages_max = 40;
    Ok(config)
}

/// Keeps `CONNECTIONS` connections open until all is acknowledged or no chance is left to open another.
async fn connections<I>(broker: &Broker, intake: &SabotagedIntake<I>, randoms: Vec<Random>)
where
    SabotagedIntake<I>: tidemill_ingest::source::Intake,
{
    let mut open = JoinSet::new();
    for random in randoms {
        while open.len() >= usize::try_from(CONNECTIONS).unwrap_or(1) {
            open.join_next().await;
        }
        if broker.is_done() {
            break;
        }
        open.spawn(Connection::new(broker.clone()).run(intake.clone(), random));
    }
    while open.join_next().await.is_some() {}
}

/// Looks at the bytes in flight now and then until the broker is done; the most there were.
async fn watch_bytes(registry: &prometheus::Registry, broker: &Broker) -> u64 {
    let mut most = 0;
    while !broker.is_done() {
        most = most.max(bytes_in_flight(registry));
        sleep(Duration::from_millis(5)).await;
    }
    most
}

fn bytes_in_flight(registry: &prometheus::Registry) -> u64 {
    const NAME: &str = "tidemill_ingest_in_flight_bytes";
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(NAME)).map(str::trim);
    line.and_then(|value| value.parse().ok()).unwrap_or(u64::MAX)
}

/// Faults of one life: all kinds, each now and then.
fn rates(random: &mut Random, sabotage: Sabotage) -> FaultRates {
    let mut rate = |most: u64| u16::try_from(random.below(most)).unwrap_or(0);
    FaultRates {
        not_applied: rate(80),
        unknown_applied: rate(80),
        unknown_lost: rate(80),
        unknown_late: rate(40),
        read_unavailable: rate(50),
        delayed: rate(300),
        delay_max: Duration::from_millis(400),
        lose_one_in: lose_one_in(sabotage),
    }
}

fn lose_one_in(sabotage: Sabotage) -> Option<std::num::NonZeroU64> {
    if sabotage == Sabotage::LossyStore { std::num::NonZeroU64::new(200) } else { None }
}

async fn samples(memory: Memory) -> Result<Vec<Sample>> {
    let reader = Reader::new(Arc::new(memory), ReadLimits::default());
    let mut samples = Vec::new();
    for series in reader.samples(&Selector::default(), TimeRange::ALL).await? {
        samples.extend(series.samples.iter().map(|sample| Sample {
            device: series.source.device().to_string(),
            metric: series.metric.to_string(),
            time_ns: i128::from(sample.time.nanos()),
            value: json(&sample.value),
        }));
    }
    Ok(samples)
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::F64(number) => serde_json::json!(number),
        Value::I64(number) => serde_json::json!(number),
        Value::Bool(flag) => serde_json::json!(flag),
        Value::Text(text) => serde_json::json!(**text),
    }
}

/// The payloads of all rejects.
async fn rejects(memory: Memory) -> Result<BTreeSet<Vec<u8>>> {
    const DAY_MS: i64 = 86_400_000;
    let mut payloads = BTreeSet::new();
    for day in -1..=1 {
        let day = START_MS.div_euclid(DAY_MS) * DAY_MS + day * DAY_MS;
        for slot in 0..64 {
            let scan = Scan {
                page_rows_max: 1_000_000,
                ..Scan::partition(&REJECTS, Key::from([Datum::Instant(day), Datum::Int(slot)]))
            };
            for row in &memory.scan(&scan, None).await?.rows {
                let reject = RejectRow::from_row(row).context("a stored reject")?;
                payloads.insert(reject.payload.to_vec());
            }
        }
    }
    Ok(payloads)
}
