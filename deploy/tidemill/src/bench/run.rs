//! One run from start to end: system, connections, warm-up, measurement, settling, account.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;

use super::goals::outcomes;
use super::load::{Counts, Generator, Load, Phase, Qos, Rate};
use super::plan::{Plan, Until};
use super::queries::Queries;
use super::report::{Account, RunReport};
use super::say;
use super::system::{Backend, Front, Metrics, Snapshot, System, float};
use crate::shutdown::StopSignals;

/// How often the progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How often a run looks whether it is over, and whether a broker lags behind.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the full rate is measured where a run goes at a share of it.
const CALIBRATION: Duration = Duration::from_secs(4);
/// How long it is sent before that.
const CALIBRATION_WARM_UP: Duration = Duration::from_secs(2);
/// Messages that a broker may have and the program not: it acknowledges what it merely queues. With those that are on
/// their way to it they are fewer than there are packet identifiers, which some brokers else use twice.
const BACKLOG_MAX: u64 = 10_000;
/// A system whose counts do not move for so long has nothing left to do: a database may pause for many seconds.
const QUIET: Duration = Duration::from_secs(30);

/// One moment: what was sent, used and counted until then.
struct Mark {
    at: Instant,
    counts: Counts,
    snapshot: Snapshot,
}

/// Carries out `plan` on a system of its own, or on `attached`.
pub(super) async fn run(
    plan: &Plan,
    attached: Option<System>,
    stop: &mut StopSignals,
) -> anyhow::Result<RunReport> {
    let system = if let Some(system) = attached {
        system
    } else {
        say(&format!("{}: starting the system under test", plan.scenario));
        System::start(&plan.system).await?
    };
    let outcome = measure(plan, &system, stop).await;
    let stopped = system.stop().await;
    let report = outcome?;
    stopped?;
    Ok(report)
}

async fn measure(plan: &Plan, system: &System, stop: &mut StopSignals) -> anyhow::Result<RunReport> {
    let load = match plan.share {
        Some(percent) => at_share(plan, system, percent, stop).await?,
        None => plan.load.clone(),
    };
    say(&format!("{}: opening {} connections", plan.scenario, load.connections));
    let begun = system.metrics().await?;
    let generator = open(&load, system, stop).await?;
    generator.set(Phase::Send);
    let devices = load.devices.max(load.connections);
    let queries = system.http().filter(|_| plan.queries).map(|http| Queries::start(http, devices));
    let mut watch = Watch { plan, system, generator: &generator, stop };
    if watch.wait(Until::Elapsed(plan.warm_up)).await? {
        return Err(early_end(generator).await);
    }
    generator.begin_measuring();
    queries.iter().for_each(Queries::begin_measuring);
    let before = mark(&generator, system).await?;
    let interrupted = watch.wait(plan.until).await?;
    generator.end_measuring();
    let after = mark(&generator, system).await?;
    let queries = match queries {
        Some(queries) => queries.finish().await?,
        None => Vec::new(),
    };
    say(&format!("{}: waiting for the last acknowledgements", plan.scenario));
    let (latencies, counts) = generator.finish().await?;
    let account = settle(system, &begun, counts, load.qos).await?;
    let messages = messages(plan, &before, &after);
    let (seconds, stored_bytes) = ((after.at - before.at).as_secs_f64(), system.stored_bytes());
    let samples = load.shape.samples();
    let stored_samples = float(account.stored.unwrap_or(0)) * float(samples);
    let counted = after.snapshot.metrics.since(&before.snapshot.metrics);
    let (fsyncs, cql_requests) = requests(&plan.system.backend, &counted);
    let run = RunReport {
        scenario: plan.scenario.to_owned(),
        load: describe(&load),
        interrupted,
        seconds,
        messages,
        messages_per_second: float(messages) / seconds,
        samples_per_second: float(messages * samples) / seconds,
        acknowledged: latencies.summary(),
        processes: processes(&before, &after, messages),
        counted,
        fsyncs,
        cql_requests,
        stored_bytes,
        stored_bytes_per_sample: (stored_bytes > 0 && stored_samples > 0.0)
            .then(|| float(stored_bytes) / stored_samples),
        mill_lag_seconds: plan
            .system
            .roles
            .contains("mill")
            .then(|| after.snapshot.metrics.get("tidemill_mill_lag_seconds")),
        queries,
        account,
        goals: Vec::new(),
    };
    Ok(RunReport { goals: outcomes(&run), ..run })
}

/// Syncs of the embedded store, and requests to Cassandra: each of them for one store only.
fn requests(backend: &Backend, counted: &BTreeMap<String, f64>) -> (Option<f64>, Option<f64>) {
    let of = |name: &str| counted.get(name).copied();
    match backend {
        Backend::Lsm => (of("tidemill_store_commit_seconds_count"), None),
        Backend::Cassandra(_) => {
            let names = ["write_seconds_count", "read_seconds_count", "retries_total"];
            let counts = names.map(|name| of(&format!("tidemill_store_{name}")));
            (None, counts.into_iter().flatten().reduce(|sum, count| sum + count))
        }
    }
}

/// The load at `percent` of the rate that the system sustains.
async fn at_share(plan: &Plan, system: &System, percent: u8, stop: &mut StopSignals) -> anyhow::Result<Load> {
    say(&format!("{}: finding the full rate", plan.scenario));
    let full = Load { rate: Rate::Full, ..plan.load.clone() };
    let generator = open(&full, system, stop).await?;
    generator.set(Phase::Send);
    let mut watch = Watch { plan, system, generator: &generator, stop };
    if watch.wait(Until::Elapsed(CALIBRATION_WARM_UP)).await? {
        return Err(early_end(generator).await);
    }
    let before = mark(&generator, system).await?;
    if watch.wait(Until::Elapsed(CALIBRATION)).await? {
        return Err(early_end(generator).await);
    }
    let after = mark(&generator, system).await?;
    generator.finish().await?;
    let per_second = float(messages(plan, &before, &after)) / (after.at - before.at).as_secs_f64();
    let messages_per_second = (per_second * f64::from(percent) / 100.0).max(1.0);
    say(&format!("{}: {per_second:.0} msg/s is the full rate", plan.scenario));
    Ok(Load { rate: Rate::Paced { messages_per_second, burst: None }, ..full })
}

async fn open(load: &Load, system: &System, stop: &mut StopSignals) -> anyhow::Result<Generator> {
    tokio::select! {
        biased;
        _ = stop.next() => bail!("interrupted"),
        generator = Generator::open(load, system.mqtt()) => generator,
    }
}

/// Why a load ended before anything was measured.
async fn early_end(generator: Generator) -> anyhow::Error {
    match generator.finish().await {
        Ok(_) => anyhow::anyhow!("interrupted before anything was measured"),
        Err(error) => error,
    }
}

async fn mark(generator: &Generator, system: &System) -> anyhow::Result<Mark> {
    let snapshot = system.snapshot().await?;
    Ok(Mark { at: Instant::now(), counts: generator.counts(), snapshot })
}

/// Watches a running load: tells how it goes, holds it back where a broker would swallow it, ends with Ctrl-C.
struct Watch<'r> {
    plan: &'r Plan,
    system: &'r System,
    generator: &'r Generator,
    stop: &'r mut StopSignals,
}

impl Watch<'_> {
    /// Waits; says whether it was interrupted.
    async fn wait(&mut self, until: Until) -> anyhow::Result<bool> {
        let (began, first) = (Instant::now(), self.generator.counts());
        let (mut told, mut before) = (began, first);
        loop {
            tokio::select! {
                biased;
                _ = self.stop.next() => return Ok(true),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if self.generator.has_failed() {
                // Why is said when the load is finished.
                return Ok(true);
            }
            let (now, counts) = (Instant::now(), self.generator.counts());
            let over = match until {
                Until::Elapsed(span) => now - began >= span,
                Until::Acknowledged(count) => counts.acknowledged - first.acknowledged >= count,
            };
            if over {
                return Ok(false);
            }
            if matches!(self.plan.system.front, Front::Mosquitto(_)) {
                self.hold_back(counts).await?;
            }
            if now - told >= TELL_EVERY {
                let per_second = |now_: u64, then: u64| float(now_ - then) / (now - told).as_secs_f64();
                say(&format!(
                    "{}: {:>4} s  published {:>9.0} msg/s  acknowledged {:>9.0} msg/s",
                    self.plan.scenario,
                    (now - began).as_secs(),
                    per_second(counts.published, before.published),
                    per_second(counts.acknowledged, before.acknowledged),
                ));
                (told, before) = (now, counts);
            }
        }
    }

    async fn hold_back(&self, counts: Counts) -> anyhow::Result<()> {
        let backlog = counts.published.saturating_sub(settled(&self.system.metrics().await?));
        self.generator.set(if backlog > BACKLOG_MAX { Phase::Hold } else { Phase::Send });
        Ok(())
    }
}

/// Messages that the system has done with.
fn settled(metrics: &Metrics) -> u64 {
    ["stored", "duplicate", "dead_lettered", "quarantined", "shed"]
        .iter()
        .map(|end| count(metrics, &format!("tidemill_ingest_messages_{end}_total")))
        .sum()
}

fn count(metrics: &Metrics, name: &str) -> u64 {
    Duration::try_from_secs_f64(metrics.get(name)).map_or(0, |count| count.as_secs())
}

/// What became durable between two marks: what was acknowledged, where that means durable.
fn messages(plan: &Plan, before: &Mark, after: &Mark) -> u64 {
    let acknowledged = after.counts.acknowledged - before.counts.acknowledged;
    let stored = settled(&after.snapshot.metrics).saturating_sub(settled(&before.snapshot.metrics));
    if plan.load.qos == Qos::AtLeastOnce && plan.system.front == Front::Listener {
        acknowledged
    } else {
        stored
    }
}

fn processes(before: &Mark, after: &Mark, messages: u64) -> Vec<super::system::ProcessReport> {
    let pairs = before.snapshot.usage.iter().zip(&after.snapshot.usage);
    pairs.map(|((name, before), (_, after))| after.since(before, name, messages)).collect()
}

/// Waits until the system has done with all that was sent, and accounts for it.
async fn settle(system: &System, begun: &Metrics, sent: Counts, qos: Qos) -> anyhow::Result<Account> {
    let mut account = Account {
        published: sent.published,
        acknowledged: sent.acknowledged,
        refused: sent.refused,
        ..Account::default()
    };
    if system.http().is_none() {
        return Ok(account);
    }
    let due = if qos == Qos::AtLeastOnce { sent.acknowledged } else { sent.published };
    let (mut last, mut moved) = (0, Instant::now());
    let metrics = loop {
        let metrics = system.metrics().await.context("the system does not answer any more")?;
        let done = settled(&metrics).saturating_sub(settled(begun));
        if done > last {
            (last, moved) = (done, Instant::now());
        }
        if done >= due || moved.elapsed() > QUIET {
            break metrics;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let grown = |end: &str| {
        let name = format!("tidemill_ingest_messages_{end}_total");
        count(&metrics, &name) - count(begun, &name)
    };
    account.stored = Some(grown("stored") + grown("duplicate"));
    account.rejected = Some(grown("dead_lettered") + grown("quarantined"));
    Ok(account)
}

fn describe(load: &Load) -> BTreeMap<String, String> {
    let rate = match load.rate {
        Rate::Full => "full".to_owned(),
        Rate::Silent => "none".to_owned(),
        Rate::Paced { messages_per_second, burst } => {
            let burst = burst.map_or(String::new(), |burst| format!(" in bursts of {burst}"));
            format!("{messages_per_second:.0} msg/s{burst}")
        }
    };
    let shares = load.shares;
    [
        ("connections", load.connections.to_string()),
        ("devices", load.devices.max(load.connections).to_string()),
        ("window", load.window.to_string()),
        ("QoS", if load.qos == Qos::AtLeastOnce { "1" } else { "0" }.to_owned()),
        ("MQTT", if load.version == super::load::Version::V5 { "5" } else { "3.1.1" }.to_owned()),
        ("payload", format!("{:?}", load.shape).to_lowercase()),
        ("late", format!("{} %", shares.late_percent)),
        ("duplicates", format!("{} %", shares.duplicate_percent)),
        ("rate", rate),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
