//! Whether the service can do its work: asked of the store every few seconds, told to `/readyz`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_analytics::api::{Check, Readiness, ReadinessProbe};
use tidemill_ingest::spool::Spool;
use tidemill_store::layout::{EraRow, tables};
use tidemill_store::wide::{Scan, Wide};
use tokio::task::JoinHandle;

/// How often the store is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What was last heard of the store.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Mutex<Result<(), String>>>);

/// What is known of the spool of a process that takes messages.
#[derive(Debug, Clone, Copy)]
struct SpoolHealth {
    /// It has room, and its disk takes what is written.
    takes: bool,
    /// It takes every message, not only what the store does not.
    comes_first: bool,
    messages: u64,
}

/// A process with a spool is ready as long as what it takes becomes durable; without one it needs the store.
fn readiness(store: Result<(), String>, spool: Option<SpoolHealth>) -> Readiness {
    let stores = store.is_ok();
    let detail = store.err().unwrap_or_else(|| "answers".to_owned());
    let mut checks = vec![Check { name: "store".to_owned(), ready: stores, detail }];
    let Some(SpoolHealth { takes, comes_first, messages }) = spool else {
        return Readiness { checks, takes_messages: false };
    };
    let detail = if takes {
        format!("takes messages; {messages} wait in it")
    } else {
        format!("takes no more, or its disk does not; {messages} messages wait in it")
    };
    checks.push(Check { name: "spool".to_owned(), ready: takes, detail });
    Readiness { checks, takes_messages: takes || (stores && !comes_first) }
}

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

    /// How `/readyz` learns of it, in a process that takes messages into `spool` if there is one.
    pub(crate) fn probe(&self, spool: Option<Spool>) -> ReadinessProbe {
        let health = self.clone();
        Arc::new(move || {
            let store = health.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let spool = spool.as_ref().map(|spool| SpoolHealth {
                takes: !spool.refuses(),
                comes_first: spool.options().always,
                messages: spool.depth().messages,
            });
            readiness(store, spool)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_as_long_as_what_it_takes_becomes_durable() {
        let of = |stores: bool, spool: Option<(bool, bool)>| {
            let store = if stores { Ok(()) } else { Err("no".to_owned()) };
            let spool = spool.map(|(takes, comes_first)| SpoolHealth { takes, comes_first, messages: 3 });
            let readiness = readiness(store, spool);
            (readiness.is_ready(), readiness.is_degraded())
        };
        assert_eq!((of(true, None), of(false, None)), ((true, false), (false, true)));
        assert_eq!(of(false, Some((true, false))), (true, true), "the spool takes over");
        assert_eq!(of(false, Some((false, false))), (false, true), "and is full");
        assert_eq!(of(true, Some((false, false))), (true, true), "the store takes them");
        assert_eq!(of(true, Some((false, true))), (false, true), "nothing goes past the spool");
        assert_eq!(of(true, Some((true, true))), (true, false));
    }
}
