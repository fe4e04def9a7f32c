//! The pipeline's end towards a connection: makes room, sorts, hands over, and promises to tell.
//!
//! Waits in one place only, for room among the messages in flight (I6); before that nothing is counted and after it
//! everything is, so a caller that gives up while it waits has changed nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_store::model::{Shard, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::budget::Standing;
use super::group::{Group, Tally, settle};
use super::queue::cost;
use super::shards::Shards;
use super::shared::{Shared, Whose};
use super::sorter::{Checked, Refused, Sorter};
use crate::fail;
use crate::ledger::Share;
use crate::metrics::Arrival;
use crate::rejects::{Reject, waits};
use crate::source::{Closed, Completion, Intake, Publish, Qos};

/// The times that were given away are ahead of the clock by a nanosecond for each point; by more than this where the clock
/// was set back.
const GIVEN_AHEAD_MAX: Duration = Duration::from_secs(1);

/// Takes the messages of one connection; clone one for each.
#[derive(Debug)]
pub struct PipelineIntake {
    shared: Arc<Shared>,
    standing: Standing,
    /// Shards that the current group went to.
    touched: Vec<Shard>,
    /// The times of receipt that were given away: the next is behind them.
    given_until: Timestamp,
}

/// What became of a reject that was taken again.
#[derive(Debug)]
pub enum Replayed {
    /// It was taken.
    Taken {
        /// Resolves when what it says is durable.
        completion: Completion,
        /// Why some of it is still refused.
        in_part: Option<StillRefused>,
    },
    /// It is still refused, and nothing has changed.
    Refused(StillRefused),
}

/// Why a reject is refused again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillRefused {
    /// The reason as a word.
    pub reason: &'static str,
    /// The reason as a sentence.
    pub detail: String,
}

/// When a group came.
#[derive(Debug, Clone, Copy)]
struct Receipt {
    arrived: Instant,
    received_at: Timestamp,
    occasion: Occasion,
}

/// Why a group is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// It has just come.
    Live,
    /// It came before and was kept as a reject; what is still refused of it stays that reject.
    Replay,
    /// The same, and the reject goes: what is still refused of it becomes another one.
    Waited,
}

/// A group that has its room.
struct Admitted {
    group: Vec<Publish>,
    room: OwnedSemaphorePermit,
    arrival: Arrival<'static>,
}

impl PipelineIntake {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, standing: Standing::Good, touched: Vec::new(), given_until: Timestamp::MIN }
    }

    /// The Sparkplug node whose birth `publish` needs.
    pub(super) fn node_to_know(&self, publish: &Publish) -> Option<Arc<str>> {
        self.shared.with_sorter(|sorter| sorter.node_to_know(&publish.topic))
    }

    /// The time of day.
    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Counts messages that had waited.
    pub(super) fn count_taken(&self, messages: u64) {
        self.shared.metrics.waited(messages);
    }

    /// Reads the births back that `group` refers to, where this process has not seen them: all at once, so that a store
    /// which does not answer costs one wait.
    async fn look_up_births(&self, group: &[Publish]) {
        let shared: &Shared = &self.shared;
        if !shared.templates.has_sparkplug() {
            return;
        }
        let now = shared.clock.now();
        let unknown: Vec<Arc<str>> = shared.with_sorter(|sorter| {
            let nodes = group.iter().filter_map(|publish| sorter.node_to_know(&publish.topic));
            nodes.filter(|node| shared.sessions.must_look_up(node, now)).collect()
        });
        let read = unknown.into_iter().map(|node| async move {
            let rows = (shared.look_up)(Arc::clone(&node)).await;
            shared.sessions.restore(&node, &rows, shared.config.decode.metrics_max);
        });
        let read: Vec<_> = read.collect();
        futures_util::future::join_all(read).await;
    }

    /// Takes a message again that was received at `received_at` and kept as a reject. What it says gets the times that it
    /// would have had then, so that doing this twice stores nothing twice (I5); it is not kept as a reject once more. Waits
    /// for room only. Cancel safe: the message may then be stored or not.
    pub async fn replay(&mut self, publish: Publish, received_at: Timestamp) -> Result<Replayed, Closed> {
        self.take_again(publish, received_at, Occasion::Replay).await
    }

    /// The same for a message that waited for what has come by itself since. What of it cannot be taken in any case is kept
    /// as a reject of its own, so that the one that waited may go.
    pub(super) async fn take_waiting(
        &mut self,
        publish: Publish,
        received_at: Timestamp,
    ) -> Result<Replayed, Closed> {
        self.take_again(publish, received_at, Occasion::Waited).await
    }

    async fn take_again(
        &mut self,
        publish: Publish,
        received_at: Timestamp,
        occasion: Occasion,
    ) -> Result<Replayed, Closed> {
        let arrived = Instant::now();
        let group = vec![publish.clone()];
        self.look_up_births(&group).await;
        let admitted = self.admit(group).await?;
        let judged = self.shared.with_sorter(|sorter| {
            sorter.begin_again(received_at);
            sorter.check(&publish).map(|_| sorter.effects().and_then(|effects| effects.in_part))
        });
        let in_part = match judged {
            Ok(in_part) => in_part.map(StillRefused::from),
            Err(refused) => return Ok(Replayed::Refused(refused.into())),
        };
        let completion = self.take(admitted, Receipt { arrived, received_at, occasion });
        Ok(Replayed::Taken { completion, in_part })
    }

    /// The time of receipt of a group: not before any that was given, of which each point without a time of its own took a
    /// nanosecond. So two readings of one topic that come together are two samples. A clock that was set back is followed:
    /// a time that is right again is worth more than one that nobody else was given.
    fn received_at(&mut self) -> Timestamp {
        let now = self.shared.clock.now();
        if self.given_until.saturating_since(now) > GIVEN_AHEAD_MAX { now } else { now.max(self.given_until) }
    }

    /// Makes room for `group`; QoS 0 messages go where there is none at once.
    async fn admit(&mut self, mut group: Vec<Publish>) -> Result<Admitted, Closed> {
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
                let before = group.len();
                self.shared.with_sorter(|sorter| {
                    group.retain(|publish| {
                        publish.qos == Qos::AtLeastOnce || sorter.gives_meaning(&publish.topic)
                    });
                });
                arrival.shed = number(before - group.len());
                bytes = group.iter().map(cost).sum();
                budget.reserve(self.standing, bytes).await?
            }
        };
        arrival.bytes = number(bytes);
        fail::reach(fail::Point::Received);
        Ok(Admitted { group, room, arrival })
    }

    /// Sorts an admitted group and hands it over. Never waits.
    fn take(&mut self, admitted: Admitted, receipt: Receipt) -> Completion {
        let arrived = receipt.arrived;
        let Admitted { group, room, arrival } = admitted;
        let tally = Tally::new(number(group.len()), arrival.bytes);
        let (settlement, completion) = Completion::pair();
        let opened = Share::open(Group {
            settlement,
            messages: group,
            _room: room,
            metrics: self.shared.metrics.clone(),
            arrived,
            tally: Mutex::new(tally),
        });
        let shared = Arc::clone(&self.shared);
        shared.with_sorter(|sorter| {
            let samples = self.sort(sorter, &opened, receipt);
            // Counted before the group can settle: its first share is still ours.
            shared.metrics.arrived(&Arrival { samples, skews: sorter.skews(), ..arrival });
        });
        settle(opened);
        completion
    }

    /// Lays the messages of a group out; gives how many samples they have.
    fn sort(&mut self, sorter: &mut Sorter, opened: &Share<Group>, receipt: Receipt) -> u64 {
        let Self { shared, standing, touched, given_until } = self;
        let Receipt { arrived, mut received_at, occasion } = receipt;
        if occasion == Occasion::Live {
            sorter.begin(received_at);
        } else {
            sorter.begin_again(received_at);
        }
        let (mut shards, mut samples) = (Shards::new(shared, touched, arrived), 0);
        *standing = Standing::Good;
        let mut acks = 0_usize..;
        let messages = opened.owed().map_or(&[][..], |group| &group.messages);
        for (index, publish) in messages.iter().enumerate() {
            let ack = if publish.qos == Qos::AtLeastOnce { acks.next() } else { None };
            let verdict = sorter.check(publish);
            let mut is_kept_in_part = false;
            if let Some(mut effects) = sorter.effects() {
                let in_part =
                    effects.in_part.take().filter(|_| occasion != Occasion::Replay && verdict.is_ok());
                if let Some(in_part) = in_part {
                    is_kept_in_part = true;
                    let whose = Whose {
                        sender: sorter.sender(&publish.topic),
                        message: index,
                        samples: 0,
                        ack: None,
                    };
                    let reject = in_part.reject(publish.clone(), received_at);
                    shared.keep(Reject { is_in_part: true, ..reject }, whose, opened);
                }
                shared.follow(effects, opened);
            }
            let at = received_at;
            received_at = received_at.saturating_add(sorter.span());
            samples += match verdict {
                Ok(samples) => {
                    let checked = Checked { publish, index, received_at: at, group: opened, is_kept_in_part };
                    sorter.place(&checked);
                    samples
                }
                Err(refused) => {
                    *standing = Standing::Suspect;
                    let samples = refused.samples;
                    let sender = sorter.sender(&publish.topic);
                    if waits(refused.reason) {
                        shared.waiting.add(sorter.node_to_know(&publish.topic), at);
                    }
                    let reject = refused.reject(publish.clone(), at);
                    let samples_lost = number(samples);
                    let whose = Whose { sender, message: index, samples: samples_lost, ack };
                    shared.keep(reject, whose, opened);
                    samples
                }
            };
        }
        *given_until = received_at;
        sorter.lay_out(opened, &mut shards);
        shards.announce();
        if let Some(group) = opened.owed() {
            group.understood(number(samples));
        }
        number(samples)
    }
}

impl From<Refused> for StillRefused {
    fn from(Refused { reason, detail, .. }: Refused) -> Self {
        Self { reason, detail }
    }
}

pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Clone for PipelineIntake {
    /// The clone has taken nothing yet: it is for another connection.
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Intake for PipelineIntake {
    async fn submit(&mut self, group: Vec<Publish>) -> Result<Completion, Closed> {
        let arrived = Instant::now();
        self.shared.era_keeper.reach(self.shared.clock.now()).await;
        self.look_up_births(&group).await;
        let admitted = self.admit(group).await?;
        let receipt = Receipt { arrived, received_at: self.received_at(), occasion: Occasion::Live };
        Ok(self.take(admitted, receipt))
    }

    fn count_duplicates(&mut self, messages: usize) {
        if messages > 0 {
            self.shared.metrics.duplicates(number(messages));
        }
    }
}
