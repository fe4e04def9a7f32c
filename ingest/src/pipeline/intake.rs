//! The pipeline's end towards a connection: makes room, sorts, hands over, and promises to tell.
//!
//! Waits in one place only, for room among the messages in flight (I6); before that nothing is counted and after it
//! everything is, so a caller that gives up while it waits has changed nothing.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::batcher::Part;
use super::budget::Standing;
use super::group::{Group, settle};
use super::reject_writer::Entry;
use super::shared::Shared;
use super::sorter::{Rejection, Sorter};
use super::tray::cost;
use crate::ledger::Share;
use crate::metrics::Arrival;
use crate::source::{Closed, Completion, Intake, Publish, Qos};

/// Takes the messages of one connection; clone one for each.
#[derive(Debug)]
pub struct PipelineIntake {
    shared: Arc<Shared>,
    sorter: Sorter,
    standing: Standing,
}

/// A group that has its room.
struct Admitted {
    group: Vec<Publish>,
    room: OwnedSemaphorePermit,
    arrival: Arrival,
}

impl PipelineIntake {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let sorter = shared.sorter();
        Self { shared, sorter, standing: Standing::Good }
    }

    /// Makes room for `group`; QoS 0 messages go where there is none at once.
    async fn admit(&self, mut group: Vec<Publish>) -> Result<Admitted, Closed> {
        let count = |qos| group.iter().filter(|publish| publish.qos == qos).count();
        let mut arrival = Arrival {
            qos0: number(count(Qos::AtMostOnce)),
            qos1: number(count(Qos::AtLeastOnce)),
            ..Arrival::default()
        };
        let budget = &self.shared.budget;
        let mut bytes = group.iter().map(cost).sum();
        let room = match budget.try_reserve(self.standing, bytes) {
            Ok(room) => room,
            Err(TryAcquireError::Closed) => return Err(Closed),
            Err(TryAcquireError::NoPermits) => {
                group.retain(|publish| publish.qos == Qos::AtLeastOnce);
                arrival.shed = arrival.qos0;
                bytes = group.iter().map(cost).sum();
                budget.reserve(self.standing, bytes).await?
            }
        };
        arrival.bytes = number(bytes);
        Ok(Admitted { group, room, arrival })
    }

    /// Sorts an admitted group and hands it over. Never waits.
    fn take(&mut self, admitted: Admitted, arrived: Instant) -> Completion {
        let Admitted { group, room, mut arrival } = admitted;
        let (shared, messages) = (&self.shared, number(group.len()));
        let received_at = shared.clock.now();
        let sorted = self.sorter.sort(group, received_at);
        self.standing = if sorted.rejects.is_empty() { Standing::Good } else { Standing::Suspect };
        arrival.samples = number(sorted.samples);
        shared.metrics.arrived(&arrival);
        let (settlement, completion) = Completion::pair();
        let opened = Share::open(Group {
            settlement,
            _room: room,
            metrics: shared.metrics.clone(),
            arrived,
            messages,
            samples: arrival.samples,
            bytes: arrival.bytes,
            rejected: Mutex::new(sorted.rejects.iter().map(Rejection::noted).collect()),
        });
        for rejection in sorted.rejects {
            shared.keep(Entry { reject: rejection.reject, share: opened.another() });
        }
        for tray in self.sorter.trays() {
            let part = Part {
                points: std::mem::take(&mut tray.points),
                origins: std::mem::take(&mut tray.origins),
                bytes: tray.bytes,
                received_at,
                share: opened.another(),
            };
            shared.send(tray.shard, part);
        }
        settle(opened);
        completion
    }
}

pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Clone for PipelineIntake {
    /// The clone knows no topics and names yet: it is for another connection.
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Intake for PipelineIntake {
    async fn submit(&mut self, group: Vec<Publish>) -> Result<Completion, Closed> {
        let arrived = Instant::now();
        let admitted = self.admit(group).await?;
        Ok(self.take(admitted, arrived))
    }
}
