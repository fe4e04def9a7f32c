//! Keeps the eras known for as long as a pipeline runs: read again now and then, and at once where the clock has gone past
//! what is known, as it does when somebody sets it. Until they are read, messages of now could not be placed, and would
//! have to wait.
//!
//! Those who wait do so for a bounded time, and not again right after it was in vain.

use std::sync::Arc;
use std::time::Duration;

use tidemill_store::layout::EraWatch;
use tidemill_store::model::{Clock, Timestamp};
use tidemill_store::wide::Wide;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// How far beyond the clock eras are to be known at least; while all is well it is two hours.
const AHEAD: Duration = Duration::from_mins(10);
/// How long a message waits for them.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// After an attempt that was in vain, nobody waits for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Reads the eras of one pipeline.
#[derive(Debug)]
pub(super) struct EraKeeper {
    eras: Arc<EraWatch>,
    asked: Notify,
    /// When they were read, or tried to be, because somebody asked.
    tried: watch::Sender<Option<Instant>>,
}

impl EraKeeper {
    /// Keeps `eras` known.
    pub(super) fn new(eras: Arc<EraWatch>) -> Self {
        Self { eras, asked: Notify::new(), tried: watch::Sender::new(None) }
    }

    /// Waits until the eras around `now` are known, or for as long as waiting makes sense. Cancel safe.
    pub(super) async fn reach(&self, now: Timestamp) {
        if now.saturating_add(AHEAD) <= self.eras.current().complete_until {
            return;
        }
        let mut tried = self.tried.subscribe();
        let is_in_vain = |at: Instant| at.elapsed() < AGAIN_AFTER;
        if tried.borrow_and_update().is_some_and(is_in_vain) {
            return;
        }
        self.asked.notify_one();
        // Whatever comes of it, the message goes on with what is known then.
        let _ = timeout(WAIT_MAX, tried.changed()).await;
    }

    /// Reads them again and again, for ever.
    pub(super) async fn keep<W: Wide>(&self, wide: &W, clock: &dyn Clock) {
        loop {
            tokio::select! {
                biased;
                () = self.asked.notified() => {
                    tracing::warn!("the clock has gone past the eras that are known: they are read now");
                    // No longer than those wait who asked: then it was in vain, and they know.
                    match timeout(WAIT_MAX, self.eras.refresh(wide, clock)).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => {
                            tracing::warn!(%error, "the eras were not read; what is later than known waits");
                        }
                        Err(_) => tracing::warn!("the store does not give the eras in time"),
                    }
                    self.tried.send_replace(Some(Instant::now()));
                }
                () = self.eras.keep(wide, clock) => {}
            }
        }
    }
}
