//! The task that keeps births of Sparkplug nodes, and the look-up that brings them back after a restart.
//!
//! One after another and in the order of arrival, so that a death never hides behind the birth before it. A birth settles
//! its share of its group when it is durable, and not before (I1); its queue holds at most as many as there may be
//! messages in flight (I6).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidemill_store::append::PlannedWrite;
use tidemill_store::layout::BirthRow;
use tidemill_store::layout::tables::BIRTHS;
use tidemill_store::wide::{ReadError, Scan, Wide, WriteTime};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::PipelineFailure;
use super::group::{Group, settle};
use super::outlet::SideOutlet;
use super::shared::stopped;
use crate::ledger::Share;

/// How long messages of a node may wait for its births to be looked up. Then they are kept in quarantine.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// A birth or death with its share of the group it came in.
#[derive(Debug)]
pub(super) struct BirthEntry {
    pub(super) row: BirthRow,
    pub(super) share: Share<Group>,
}

/// Writes births.
pub(super) struct BirthWriter<W> {
    pub(super) outlet: SideOutlet<W>,
    pub(super) queue: mpsc::Receiver<BirthEntry>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Gives the births of a node as far as they can be had.
pub(super) type LookUp = Box<dyn Fn(Arc<str>) -> BoxFuture<'static, Vec<BirthRow>> + Send + Sync>;

impl<W: Wide> BirthWriter<W> {
    /// Runs until told to stop or the store fails for good.
    pub(super) async fn run(mut self) -> Result<(), PipelineFailure> {
        let mut stopped = pin!(stopped(self.stop.clone()));
        loop {
            let entry = tokio::select! {
                biased;
                entry = self.queue.recv() => entry,
                () = &mut stopped => None,
            };
            let Some(BirthEntry { row, share }) = entry else { return Ok(()) };
            let at = WriteTime::from_micros(row.received_at.micros_floor());
            let (partition, rows) = (BirthRow::partition(&row.node), vec![row.to_row()]);
            self.outlet.deliver(PlannedWrite { table: &BIRTHS, partition, at, rows }).await?;
            settle(share);
        }
    }
}

/// Looks births up in `wide`.
pub(super) fn look_up_in<W: Wide>(wide: Arc<W>) -> LookUp {
    Box::new(move |node| {
        let wide = Arc::clone(&wide);
        async move {
            match timeout(LOOK_UP_TIMEOUT, load(&*wide, &node)).await {
                Ok(Ok(rows)) => rows,
                Ok(Err(error)) => {
                    tracing::warn!(node = &*node, %error, "births could not be read");
                    Vec::new()
                }
                Err(_) => {
                    tracing::warn!(node = &*node, "births could not be read in time");
                    Vec::new()
                }
            }
        }
        .boxed()
    })
}

async fn load<W: Wide>(wide: &W, node: &str) -> Result<Vec<BirthRow>, ReadError> {
    let scan = Scan::partition(&BIRTHS, BirthRow::partition(node));
    let (mut births, mut from) = (Vec::new(), None);
    loop {
        let page = wide.scan(&scan, from).await?;
        for row in &page.rows {
            births.push(BirthRow::from_row(node, row)?);
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(births),
        }
    }
}
