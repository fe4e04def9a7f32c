//! Limits of rejects go on over a restart: once at the start, what is stored of the last day is counted against them.
//!
//! Reads in the background, and until the store answers; messages do not wait for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tidemill_store::model::{TimeRange, WriterId};
use tidemill_store::rejects::each_kept;
use tidemill_store::wide::Wide;
use tokio::sync::watch;
use tokio::time::sleep;

use super::PipelineFailure;
use super::shared::{Shared, stopped};
use crate::reject_gate::KeptBefore;
use crate::rejects::{kept_bytes, waits};

/// What limits are about.
const DAY: Duration = Duration::from_hours(24);
/// How far clocks of those that kept it may have been ahead.
const AHEAD: Duration = Duration::from_hours(1);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Reads once what was kept.
pub(super) struct Recall<W> {
    pub(super) wide: Arc<W>,
    pub(super) shared: Weak<Shared>,
    /// What this process keeps is counted as it comes.
    pub(super) writer: WriterId,
    pub(super) stop: watch::Receiver<bool>,
}

impl<W: Wide> Recall<W> {
    /// Runs until it was read, then until told to stop.
    pub(super) async fn run(self) -> Result<(), PipelineFailure> {
        let recall = async {
            while !self.recall().await {
                sleep(AGAIN).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = stopped(self.stop.clone()) => {}
            () = recall => {}
        }
        Ok(())
    }

    /// Whether there is no more to do.
    async fn recall(&self) -> bool {
        let Some(shared) = self.shared.upgrade() else { return true };
        let now = shared.clock.now();
        let (mut sorter, mut kept) = (shared.sorter(), KeptBefore::default());
        drop(shared);
        let Ok(range) = TimeRange::new(now.saturating_sub(DAY), now.saturating_add(AHEAD)) else {
            return true;
        };
        let read = each_kept(&*self.wide, range, |row| {
            // What waits has limits of its own.
            if row.writer != self.writer && !waits(&row.reason) {
                kept.add(sorter.sender(row.topic.as_bytes()), &row.reason, kept_bytes(row));
            }
        });
        if let Err(error) = read.await {
            tracing::warn!(%error, "what is stored of rejects was not counted; it is tried again");
            return false;
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.rejects.kept_before(&kept, now);
        }
        true
    }
}
