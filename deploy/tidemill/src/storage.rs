//! Opening the store: the one place that knows which backends there are, and what is wrapped around them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus::Registry;
use tidemill_ingest::metrics::IngestMetrics;
use tidemill_ingest::spool::{Directory, Spool, SpoolMetrics};
use tidemill_store::layout::tables;
use tidemill_store::metrics::{RetryMetrics, WideMetrics};
use tidemill_store::model::Clock;
use tidemill_store::wide::cql::schema::SchemaError;
use tidemill_store::wide::cql::{ConnectError, Cql, CqlOptions, OpenError, schema};
use tidemill_store::wide::lsm::{Lsm, LsmOptions};
use tidemill_store::wide::{Late, Metered, RetryPolicy, Retrying, Wide};
use tokio::task::JoinHandle;

use crate::clock::{SystemClock, random_bits};
use crate::config::SpoolConfig;

/// Opens the embedded store; waits while it replays its journals.
pub(crate) async fn open_embedded(options: LsmOptions, registry: &Registry) -> anyhow::Result<Arc<Lsm>> {
    let registry = registry.clone();
    let directory = options.dir.clone();
    let open = tokio::task::spawn_blocking(move || Lsm::open(options, &tables::ALL, &registry));
    let store = open.await?.with_context(|| format!("the embedded store in {}", directory.display()))?;
    tracing::info!(directory = %directory.display(), "embedded store opened");
    Ok(Arc::new(store))
}

/// How often the embedded store looks for what it can give back to the disk.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// Gives back to the disk what has expired of the embedded store and what its journals take beyond their share, again
/// and again until aborted. Clusters do it by themselves.
pub(crate) fn keep_tidy(store: &Arc<Lsm>) -> JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        loop {
            match store.expire(SystemClock.now()).await {
                Ok(expired) if expired.windows.is_empty() => {}
                Ok(expired) => {
                    tracing::info!(windows = ?expired.windows, bytes = expired.bytes, "expired data was dropped");
                }
                Err(error) => tracing::warn!(%error, "expired data was not dropped; it is tried again"),
            }
            if let Err(error) = store.settle().await {
                tracing::warn!(%error, "the store's journals were not made small; it is tried again");
            }
            tokio::time::sleep(TIDY_EVERY).await;
        }
    })
}

/// Connects to a cluster, after bringing its schema up to date where that is allowed.
pub(crate) async fn connect_cassandra(options: &CqlOptions, apply_schema: bool) -> anyhow::Result<Arc<Cql>> {
    if apply_schema {
        let applied = schema::apply(options).await.context("the schema could not be applied at start")?;
        for difference in &applied.drift {
            tracing::warn!(%difference, "the keyspace differs from configuration");
        }
        tracing::info!(server = %applied.server, before = ?applied.before, "schema is current");
    }
    let store = Cql::connect(options, Arc::new(SystemClock)).await?;
    tracing::info!(keyspace = options.keyspace.as_str(), "connected to the cluster");
    Ok(Arc::new(store))
}

/// How often it is tried to connect to a cluster that is out of reach.
const CONNECT_EVERY: Duration = Duration::from_secs(5);

/// Connects to a cluster. One that is out of reach is connected to later where `may_start` says that there is something to
/// be done meanwhile: until then it is a store that is down.
pub(crate) async fn reach_cassandra(
    options: &CqlOptions,
    apply_schema: bool,
    may_start: impl FnOnce() -> bool,
) -> anyhow::Result<Late<Cql>> {
    match connect_cassandra(options, apply_schema).await {
        Ok(store) => Ok(Late::open(store)),
        Err(error) if is_out_of_reach(&error) && may_start() => {
            let reason = format!("{error:#}");
            tracing::warn!(reason, "the cluster is out of reach: messages go to the spool until it is back");
            let late = Late::default();
            tokio::spawn(keep_connecting(late.clone(), options.clone(), apply_schema));
            Ok(late)
        }
        Err(error) => Err(error),
    }
}

async fn keep_connecting(late: Late<Cql>, options: CqlOptions, apply_schema: bool) {
    loop {
        tokio::time::sleep(CONNECT_EVERY).await;
        match connect_cassandra(&options, apply_schema).await {
            Ok(store) => return late.set(store),
            Err(error) => tracing::warn!(reason = format!("{error:#}"), "the cluster is still out of reach"),
        }
    }
}

/// Whether the cluster may be there later, with nothing changed.
fn is_out_of_reach(error: &anyhow::Error) -> bool {
    // Whatever else goes wrong with a connection may be a node that is on its way up.
    let of_open = |error: &OpenError| {
        matches!(error, OpenError::Unreachable(_) | OpenError::DatacenterDown { .. } | OpenError::Other(_))
    };
    let of_schema = |error: &SchemaError| {
        matches!(error, SchemaError::Statement { .. })
            || matches!(error, SchemaError::Open(error) if of_open(error))
    };
    let of_connecting = |error: &ConnectError| {
        matches!(error, ConnectError::Open(error) if of_open(error))
            || matches!(error, ConnectError::Schema(error) if of_schema(error))
    };
    let mut causes = error.chain();
    causes.any(|cause| {
        cause.downcast_ref().is_some_and(of_schema) || cause.downcast_ref().is_some_and(of_connecting)
    })
}

/// Opens the spool; waits while it reads what an earlier process left.
pub(crate) async fn open_spool(
    config: &SpoolConfig,
    registry: &Registry,
    accounting: &IngestMetrics,
) -> anyhow::Result<Spool> {
    let (config, metrics) = (config.clone(), SpoolMetrics::register(registry)?);
    let accounting = accounting.clone();
    let shown = config.directory.display().to_string();
    let open = tokio::task::spawn_blocking(move || -> anyhow::Result<Spool> {
        let disk = Directory::open(&config.directory)?;
        let clock = Arc::new(SystemClock);
        Ok(Spool::open(disk, config.keys, config.options, clock, (metrics, accounting))?)
    });
    let spool = open.await?.with_context(|| format!("the spool in {shown}"))?;
    let depth = spool.depth();
    tracing::info!(directory = shown, records = depth.records, messages = depth.messages, "spool opened");
    Ok(spool)
}

/// What every backend is wrapped in.
pub(crate) fn decorate<W: Wide>(store: Arc<W>, registry: &Registry) -> anyhow::Result<Arc<Metered<Arc<W>>>> {
    Ok(Arc::new(Metered::new(store, WideMetrics::register(registry)?)))
}

/// How long one read of a query is repeated while the store hiccups: a fair part of a query's usual time limit, so
/// that a node that restarts or a replica that is slow shows as a slow answer and not as an error.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// The store for those that only read. Writers repeat for themselves, for as long as it takes.
pub(crate) fn patient<W: Wide>(store: Arc<W>, registry: &Registry) -> anyhow::Result<Retrying<Arc<W>>> {
    let policy = RetryPolicy { deadline: READ_PATIENCE, ..RetryPolicy::DEFAULT };
    Ok(Retrying::new(store, policy, random_bits()?, RetryMetrics::register(registry)?))
}
