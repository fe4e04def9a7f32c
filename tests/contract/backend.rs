//! The backends, and how each gives a case a store.

use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use prometheus::Registry;
use tempfile::TempDir;
use tidemill_store::wide::lsm::{Lsm, LsmOptions};
use tidemill_store::wide::{Memory, Wide};
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
