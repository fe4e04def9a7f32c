//! Queries beside the load: a few that dashboards ask, each again and again at its own pace, whatever the others take,
//! and of another device each time. They begin with the load and count once it is measured: a dashboard that has just
//! been opened waits longer, once.
//!
//! The time of asking is the client's: with HTTP over a connection that stays, on a machine that is busy.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::load::{Latencies, LatencySummary};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Devices are asked for in steps of so many: a prime, so that all of them come.
const STEP: u32 = 7_919;

/// Something that is asked.
#[derive(Debug, Clone, Copy)]
struct Question {
    name: &'static str,
    /// With `{}` where the device stands.
    path: &'static str,
    /// How often, at most; often enough for a 99th percentile.
    every: Duration,
}

const QUESTIONS: [Question; 5] = [
    Question { name: "latest of a device", path: "/v1/latest?device={}", every: Duration::from_millis(40) },
    Question {
        name: "latest of all devices",
        path: "/v1/latest?metric=temperature&limit=10000",
        every: Duration::from_millis(100),
    },
    Question {
        name: "a device, last minute",
        path: "/v1/samples?device={}&metric=temperature&start=-1m&limit=1000",
        every: Duration::from_millis(100),
    },
    Question {
        name: "a device, 1 h by 1 m",
        path: "/v1/windows?device={}&metric=temperature&window=1m&start=-1h",
        every: Duration::from_millis(60),
    },
    Question {
        name: "all devices, 24 h by 1 h",
        path: "/v1/windows?metric=temperature&aggregate=avg&window=1h&start=-24h&limit=100000",
        every: Duration::from_millis(150),
    },
];

/// Queries that run until they are told to stop.
pub(super) struct Queries {
    phase: watch::Sender<Phase>,
    tasks: Vec<JoinHandle<anyhow::Result<QueryReport>>>,
}

/// What becomes of queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measure,
    Stop,
}

/// How one query did.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct QueryReport {
    pub(super) name: String,
    pub(super) failed: u64,
    pub(super) latency: LatencySummary,
}

impl Queries {
    /// Asks for so many devices.
    pub(super) fn start(http: SocketAddr, devices: u32) -> Self {
        let (phase, watched) = watch::channel(Phase::WarmUp);
        let ask = |question| tokio::spawn(ask_again(http, question, devices.max(1), watched.clone()));
        Self { tasks: QUESTIONS.map(ask).into_iter().collect(), phase }
    }

    /// From now on answers count.
    pub(super) fn begin_measuring(&self) {
        self.phase.send_replace(Phase::Measure);
    }

    pub(super) async fn finish(self) -> anyhow::Result<Vec<QueryReport>> {
        self.phase.send_replace(Phase::Stop);
        let mut reports = Vec::with_capacity(self.tasks.len());
        for task in self.tasks {
            reports.push(task.await??);
        }
        Ok(reports)
    }
}

async fn ask_again(
    http: SocketAddr,
    question: Question,
    devices: u32,
    mut phase: watch::Receiver<Phase>,
) -> anyhow::Result<QueryReport> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
    let (mut latencies, mut failed) = (Latencies::new()?, 0);
    let mut ticks = interval(question.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0_u32.. {
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Stop) => break,
            _ = ticks.tick() => {}
        }
        let device = format!("sensor-{:05}", n.wrapping_mul(STEP) % devices);
        let url = format!("http://{http}{}", question.path.replace("{}", &device));
        let (agent, counts) = (agent.clone(), *phase.borrow() == Phase::Measure);
        let asked = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let answered = agent.get(&url).call().and_then(|mut answer| answer.body_mut().read_to_vec());
            (answered.with_context(|| format!("GET {url}")), began.elapsed())
        });
        match asked.await? {
            _ if !counts => {}
            (Ok(_), took) => latencies.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), 1),
            (Err(error), _) => {
                tracing::debug!(query = question.name, error = format!("{error:#}"), "a query failed");
                failed += 1;
            }
        }
    }
    Ok(QueryReport { name: question.name.to_owned(), failed, latency: latencies.summary() })
}
