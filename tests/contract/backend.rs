//! The backends, and how each gives a case a store.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use prometheus::Registry;
use tempfile::TempDir;
use tidemill_store::wide::cql::{self, Cql, CqlOptions, schema};
use tidemill_store::wide::lsm::{Lsm, LsmOptions};
use tidemill_store::wide::{Memory, Wide};
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
}

/// The embedded store.
pub(crate) struct Embedded;

impl Backend for Embedded {
    type Store = Lsm;

    const NAME: &'static str = "lsm";
    const NEEDS: &'static [Requirement] = &[];

    async fn open() -> Result<Opened<Lsm>> {
        let directory = scratch_directory("tidemill-contract-")?;
        let options = LsmOptions::new(directory.path().join("store"));
        let store = Arc::new(Lsm::open(options, &tables::ALL, &Registry::new())?);
        Ok(Opened { other: Arc::clone(&store), store, _directory: Some(directory) })
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
            let options =
                CqlOptions::new(vec![keyspace.contact_point().to_owned()], name, node.datacenter(), 1);
            let stores = runtime.block_on(connect(&options))?;
            *shared = Some(SharedKeyspace { _keyspace: keyspace, _node: node, stores });
        }
        Ok(shared.as_ref().context("just made")?.stores.clone())
    }
}

async fn connect(options: &CqlOptions) -> Result<[Arc<Cql>; 2]> {
    schema::apply(options).await?;
    schema::create(options, &tables::ALL).await?;
    Ok([Arc::new(Cql::connect(options).await?), Arc::new(Cql::connect(options).await?)])
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
}
