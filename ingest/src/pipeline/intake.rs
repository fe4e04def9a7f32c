//! The pipeline's end towards a connection: makes room, sorts, hands over, and promises to tell.
//!
//! Waits in one place only, for room among the messages in flight (I6); before that nothing is counted and after it
//! everything is, so a caller that gives up while it waits has changed nothing.

use std::sync::{Arc, Mutex};

use tidemill_store::model::{Shard, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::budget::Standing;
use super::group::{Group, Tally, settle};
use super::queue::cost;
use super::reject_writer::Entry;
use super::shards::Shards;
use super::shared::Shared;
use super::sorter::{Checked, Refused, Sorter};
use crate::ledger::Share;
use crate::metrics::{Arrival, Rejected};
use crate::rejects::Reject;
use crate::source::{Closed, Completion, Intake, Publish, Qos};

/// Takes the messages of one connection; clone one for each.
#[derive(Debug)]
pub struct PipelineIntake {
    shared: Arc<Shared>,
    sorter: Sorter,
    standing: Standing,
    /// Shards that the current group went to.
    touched: Vec<Shard>,
}

/// A group that has its room.
struct Admitted {
    group: Vec<Publish>,
    room: OwnedSemaphorePermit,
    arrival: Arrival<'static>,
}

impl PipelineIntake {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let sorter = shared.sorter();
        Self { shared, sorter, standing: Standing::Good, touched: Vec::new() }
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
        let Admitted { group, room, arrival } = admitted;
        let (settlement, completion) = Completion::pair();
        let opened = Share::open(Group {
            settlement,
            _room: room,
            metrics: self.shared.metrics.clone(),
            arrived,
            tally: Mutex::new(Tally::new(number(group.len()), arrival.bytes)),
        });
        let samples = self.sort(group, &opened);
        // Counted before the group can settle: its first share is still ours.
        let skews = self.sorter.skews();
        self.shared.metrics.arrived(&Arrival { samples, skews, ..arrival });
        settle(opened);
        completion
    }

    /// Lays the messages of a group out; gives how many samples they have.
    fn sort(&mut self, group: Vec<Publish>, opened: &Share<Group>) -> u64 {
        let Self { shared, sorter, standing, touched } = self;
        let received_at = shared.clock.now();
        sorter.begin(received_at);
        let (mut shards, mut samples) = (Shards::new(shared, touched), 0);
        *standing = Standing::Good;
        for (index, publish) in group.into_iter().enumerate() {
            samples += match sorter.check(&publish) {
                Ok(samples) => {
                    let checked = Checked { publish, index, received_at, group: opened };
                    sorter.lay_out(checked, &mut shards);
                    samples
                }
                Err(refused) => {
                    *standing = Standing::Suspect;
                    let samples = refused.samples;
                    shared.keep(entry(refused, publish, index, received_at, opened));
                    samples
                }
            };
        }
        shards.announce();
        if let Some(group) = opened.owed() {
            group.understood(number(samples));
        }
        number(samples)
    }
}

/// A refused message as it goes to the rejects, noted with its group.
fn entry(
    refused: Refused,
    publish: Publish,
    index: usize,
    received_at: Timestamp,
    group: &Share<Group>,
) -> Entry {
    let Refused { kind, reason, detail, samples } = refused;
    if let Some(group) = group.owed() {
        group.note(Rejected { message: index, kind, reason, samples: number(samples) });
    }
    let Publish { topic, payload, .. } = publish;
    Entry { reject: Reject { kind, reason, detail, received_at, topic, payload }, share: group.another() }
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
