//! Whether the service can do its work: asked of the store every few seconds, told to `/readyz`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_analytics::api::{Check, Readiness, ReadinessProbe};
use tidemill_store::layout::{EraRow, tables};
use tidemill_store::wide::{Scan, Wide};
use tokio::task::JoinHandle;

/// How often the store is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What was last heard of the store.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Mutex<Result<(), String>>>);

impl Health {
    /// Begins with what was heard of the store just now.
    pub(crate) fn new(store: Result<(), String>) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// Asks the store again and again until aborted.
    pub(crate) fn watch<W: Wide>(&self, wide: Arc<W>) -> JoinHandle<()> {
        let health = self.clone();
        tokio::spawn(async move {
            let scan = Scan::partition(&tables::ERAS, EraRow::partition());
            loop {
                tokio::time::sleep(ASK_EVERY).await;
                health.set(wide.scan(&scan, None).await.map(drop).map_err(|error| error.to_string()));
            }
        })
    }

    /// How `/readyz` learns of it.
    pub(crate) fn probe(&self) -> ReadinessProbe {
        let health = self.clone();
        Arc::new(move || {
            let store = health.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let ready = store.is_ok();
            let detail = store.err().unwrap_or_else(|| "answers".to_owned());
            Readiness { checks: vec![Check { name: "store".to_owned(), ready, detail }] }
        })
    }

    fn set(&self, store: Result<(), String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_ok() != store.is_ok() {
            match &store {
                Ok(()) => tracing::info!("the store answers again"),
                Err(reason) => tracing::warn!(%reason, "the store does not answer"),
            }
        }
        *known = store;
    }
}
