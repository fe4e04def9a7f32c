//! `tidemill run`: the service until it is told to stop, or until a part of it fails.

use std::sync::Arc;

use prometheus::Registry;
use tidemill_store::wide::Wide;

use super::Outcome;
use crate::cli::Role;
use crate::config::{Backend, Config};
use crate::service::Service;
use crate::shutdown::StopSignals;
use crate::storage;

/// Opens the store that configuration names, serves on it, and closes it in order.
pub(crate) async fn run(config: &Config, roles: &[Role]) -> anyhow::Result<Outcome> {
    let stop = StopSignals::install()?;
    let registry = Registry::new();
    match config.backend() {
        Backend::Embedded(options) => {
            let store = storage::open_embedded(options.clone(), &registry).await?;
            let tidying = storage::keep_tidy(&store);
            let outcome =
                serve(storage::decorate(Arc::clone(&store), &registry)?, config, roles, registry, stop).await;
            tidying.abort();
            let closed = store.close().await;
            let outcome = outcome?;
            closed?;
            Ok(outcome)
        }
        Backend::Cassandra { options, apply_schema } => {
            let store = storage::reach_cassandra(options, *apply_schema, || {
                roles.contains(&Role::Ingest) && config.eras_file().is_some_and(|file| file.read().is_some())
            });
            let store = Arc::new(store.await?);
            serve(storage::decorate(store, &registry)?, config, roles, registry, stop).await
        }
    }
}

async fn serve<W: Wide>(
    wide: Arc<W>,
    config: &Config,
    roles: &[Role],
    registry: Registry,
    mut stop: StopSignals,
) -> anyhow::Result<Outcome> {
    let service = Service::start(wide, config, roles, registry).await?;
    let failure = tokio::select! {
        biased;
        signal = stop.next() => {
            tracing::info!(signal, timeout = ?config.shutdown_timeout(), "stopping; once more to stop at once");
            None
        }
        failure = service.failed() => Some(failure),
    };
    let outcome = tokio::select! {
        biased;
        signal = stop.next() => anyhow::bail!("stopped at once by a second {signal}; nothing acknowledged is lost"),
        outcome = service.stop() => outcome,
    };
    match failure {
        Some(failure) => Err(failure),
        None => Ok(outcome),
    }
}
