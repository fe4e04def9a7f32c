//! The backends, and how each gives a case a store.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use prometheus::Registry;
use tempfile::TempDir;
use tidemill_store::model::{Clock, Timestamp};
use tidemill_store::wide::cql::{self, Cql, CqlOptions, schema};
use tidemill_store::wide::lsm::{Lsm, LsmOptions};
use tidemill_store::wide::{Expiry, Memory, Wide};
use tidemill_tests::cassandra::{self, Keyspace};
use tidemill_tests::process::scratch_directory;
use tidemill_tests::real::Requirement;

use crate::tables;

/// A kind of store.
pub(crate) trait Backend: 'static {
    /// The store.
    type Store: Wide;

    /// Its name in trials.
    const NAME: &'static str;

    /// What it needs on this machine.
    const NEEDS: &'static [Requirement];

    /// A store in which nobody else uses the partitions of this case.
    fn open() -> impl Future<Output = Result<Opened<Self::Store>>> + Send;

    /// Has the store remove what has expired at `now`, or waits until it is so late.
    fn expire(store: &Self::Store, now: Timestamp) -> impl Future<Output = Result<()>> + Send;
}

/// The machine's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let nanos = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default();
        Timestamp::from_nanos(nanos).unwrap_or(Timestamp::EPOCH)
    }
}

/// What expires when, where the backend is told.
pub(crate) fn expiry() -> Expiry {
    Expiry { ground: tables::retention(), rejects: None }
}

/// A store, and what goes when it goes.
pub(crate) struct Opened<W> {
    /// The store.
    pub(crate) store: Arc<W>,
    /// Another way to the same rows.
    pub(crate) other: Arc<W>,
    /// Removed after the store.
    pub(crate) _directory: Option<TempDir>,
}

/// The reference model.
pub(crate) struct InMemory;

impl Backend for InMemory {
    type Store = Memory;

    const NAME: &'static str = "memory";
    const NEEDS: &'static [Requirement] = &[];

    async fn open() -> Result<Opened<Memory>> {
        let store = Memory::new();
        Ok(Opened { other: Arc::new(store.clone()), store: Arc::new(store), _directory: None })
    }

    async fn expire(store: &Memory, now: Timestamp) -> Result<()> {
        store.expire(&tables::ALL, &expiry(), now);
        Ok(())
    }
}

/// The embedded store.
pub(crate) struct Embedded;

impl Backend for Embedded {
    type Store = Lsm;

    const NAME: &'static str = "lsm";
    const NEEDS: &'static [Requirement] = &[];

    async fn open() -> Result<Opened<Lsm>> {
        let directory = scratch_directory("tidemill-contract-")?;
        let mut options = LsmOptions::new(directory.path().join("store"));
        options.expiry = expiry();
        let store = Arc::new(Lsm::open(options, &tables::ALL, &Registry::new())?);
        Ok(Opened { other: Arc::clone(&store), store, _directory: Some(directory) })
    }

    async fn expire(store: &Lsm, now: Timestamp) -> Result<()> {
        store.expire(now).await?;
        Ok(())
    }
}

/// A real node of Apache Cassandra. Creating a keyspace takes long, so all cases share one and differ in their
/// partitions.
pub(crate) struct Cassandra;

/// What the cases share, in the order in which it goes.
struct SharedKeyspace {
    _keyspace: Keyspace,
    _node: Arc<cassandra::Shared>,
    stores: [Arc<Cql>; 2],
}

static KEYSPACE: Mutex<Option<SharedKeyspace>> = Mutex::new(None);

impl Cassandra {
    /// Drops the keyspace, where there is one.
    pub(crate) fn release() {
        drop(KEYSPACE.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Two sessions of their own on the keyspace, which the first caller makes.
    fn stores(runtime: &tokio::runtime::Handle) -> Result<[Arc<Cql>; 2]> {
        let mut shared = KEYSPACE.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            let node = cassandra::shared()?;
            let keyspace = Keyspace::new(node.contact_point(), node.datacenter(), "contract");
            let name = cql::Keyspace::new(keyspace.name())?;
            let mut options =
                CqlOptions::new(vec![keyspace.contact_point().to_owned()], name, node.datacenter(), 1);
            options.retention = tables::retention();
            // What is tested is not how fast a server is that shares two processors with other tests.
            options.connect_timeout = Duration::from_secs(30);
            options.request_timeout = Duration::from_secs(30);
            let stores = runtime.block_on(connect(&options))?;
            *shared = Some(SharedKeyspace { _keyspace: keyspace, _node: node, stores });
        }
        Ok(shared.as_ref().context("just made")?.stores.clone())
    }
}

async fn connect(options: &CqlOptions) -> Result<[Arc<Cql>; 2]> {
    schema::apply(options).await?;
    schema::create(options, &tables::ALL).await?;
    let clock = Arc::new(SystemClock);
    Ok([Arc::new(Cql::connect(options, clock.clone()).await?), Arc::new(Cql::connect(options, clock).await?)])
}

impl Backend for Cassandra {
    type Store = Cql;

    const NAME: &'static str = "cassandra";
    const NEEDS: &'static [Requirement] = &[Requirement::SharedCassandra];

    async fn open() -> Result<Opened<Cql>> {
        let runtime = tokio::runtime::Handle::current();
        let [store, other] = tokio::task::spawn_blocking(move || Self::stores(&runtime)).await??;
        Ok(Opened { store, other, _directory: None })
    }

    async fn expire(_: &Cql, now: Timestamp) -> Result<()> {
        // A server expires whole seconds.
        while SystemClock.now() < now.saturating_add(Duration::from_secs(1)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
