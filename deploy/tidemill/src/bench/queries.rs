//! Queries beside the load: a few that dashboards ask, one after another, each timed from its start.
//!
//! The time of asking is the client's: with HTTP, on a machine that is busy.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::load::{Latencies, LatencySummary};
use super::system::get;

/// What is asked: a name and a path.
const QUERIES: [(&str, &str); 5] = [
    ("latest of a device", "/v1/latest?device=sensor-00007"),
    ("latest of all devices", "/v1/latest?metric=temperature&limit=10000"),
    ("a device, last minute", "/v1/samples?device=sensor-00007&metric=temperature&start=-1m&limit=1000"),
    ("a device, 1 h by 1 m", "/v1/windows?device=sensor-00007&metric=temperature&window=1m&start=-1h"),
    (
        "all devices, 24 h by 1 h",
        "/v1/windows?metric=temperature&aggregate=avg&window=1h&start=-24h&limit=100000",
    ),
];

/// Latencies and failures of each query.
type Asked = BTreeMap<&'static str, (Latencies, u64)>;

/// Queries that run until they are told to stop.
pub(super) struct Queries {
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<Asked>>,
}

/// How one query did.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct QueryReport {
    pub(super) name: String,
    pub(super) failed: u64,
    pub(super) latency: LatencySummary,
}

impl Queries {
    pub(super) fn start(http: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(ask_all(http, stopped)) }
    }

    pub(super) async fn finish(self) -> anyhow::Result<Vec<QueryReport>> {
        self.stop.send_replace(true);
        let asked = self.task.await??;
        let report = |(name, (latencies, failed)): (&str, (Latencies, u64))| QueryReport {
            name: name.to_owned(),
            failed,
            latency: latencies.summary(),
        };
        Ok(asked.into_iter().map(report).collect())
    }
}

async fn ask_all(http: SocketAddr, stopped: watch::Receiver<bool>) -> anyhow::Result<Asked> {
    let mut asked = Asked::new();
    for (name, path) in QUERIES.iter().cycle() {
        if *stopped.borrow() {
            break;
        }
        let began = Instant::now();
        let answer = get(http, path).await;
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if !asked.contains_key(name) {
            asked.insert(name, (Latencies::new()?, 0));
        }
        match (asked.get_mut(name), answer) {
            (Some((latencies, _)), Ok(_)) => latencies.record(nanos, 1),
            (Some((_, failed)), Err(error)) => {
                tracing::debug!(query = name, error = format!("{error:#}"), "a query failed");
                *failed += 1;
            }
            (None, _) => {}
        }
    }
    Ok(asked)
}
