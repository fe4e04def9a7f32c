//! Commands that work on the store that configuration names, whichever it is, and end.

use std::sync::Arc;

use anyhow::ensure;
use prometheus::Registry;
use tidemill_store::layout::load_eras;
use tidemill_store::mill::{Mill, MillMetrics};
use tidemill_store::wide::Wide;
use tidemill_store::wide::lsm::OpenError;

use crate::clock::{SystemClock, random_bits};
use crate::config::{Backend, Config};
use crate::storage;

/// A command on any store.
pub(super) trait OnStore {
    /// Does it.
    fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Opens the store, does `command`, and closes the store in order.
pub(super) async fn on_store(config: &Config, command: impl OnStore) -> anyhow::Result<()> {
    let registry = Registry::new();
    match config.backend() {
        Backend::Embedded(options) => {
            let dir = options.dir.display();
            ensure!(options.dir.is_dir(), "there is no store in {dir}; store.embedded.directory names it");
            let store = storage::open_embedded(options.clone(), &registry).await?;
            let done = command.run(storage::decorate(Arc::clone(&store), &registry)?, config).await;
            let closed = store.close().await;
            done?;
            Ok(closed?)
        }
        Backend::Cassandra { options, .. } => {
            let store = storage::connect_cassandra(options, false).await?;
            command.run(storage::decorate(store, &registry)?, config).await
        }
    }
}

/// Whether a store could not be opened because another process works on it.
pub(super) fn is_in_use(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(OpenError::Locked { .. })))
}

/// A mill to work by hand.
pub(super) async fn mill<W: Wide>(wide: Arc<W>, config: &Config) -> anyhow::Result<Mill<W>> {
    let eras = Arc::new(load_eras(&*wide).await?);
    let metrics = MillMetrics::register(&Registry::new())?;
    let name = format!("by-hand-{:016x}", random_bits()?);
    Ok(Mill::new(wide, eras, name, config.mill().clone(), Arc::new(SystemClock), metrics))
}
