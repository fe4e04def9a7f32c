//! The queue of one shard: messages are laid into an open batch, and what has collected there goes as one plan.
//!
//! A batch takes the points of all connections into one [`Points`], so that its dictionaries are looked up once a
//! plan and not once a message. It is bounded by the limits of a plan; the queue as a whole is bounded by the budget,
//! from which every message in it has its room (I6).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use tidemill_store::model::{Metric, Points, Source, Timestamp, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::group::Group;
use crate::config::{BatchLimits, MemoryLimits};
use crate::ledger::Share;
use crate::source::Publish;

/// What goes to one shard as one plan.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Tells batches of one shard from each other.
    id: u64,
    pub(super) points: Points,
    /// Where metrics stand in `points`, by the address of their text: equal names that are not shared stand twice,
    /// which costs a little and changes nothing.
    metrics: HashMap<usize, u32>,
    /// The messages that the points came in, in order.
    pub(super) messages: Vec<Origin>,
    /// The groups that the messages came in.
    pub(super) parts: Vec<Part>,
    pub(super) bytes: usize,
}

/// What one group has in a batch.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) share: Share<Group>,
}

/// A message of a batch.
#[derive(Debug)]
pub(super) struct Origin {
    /// Where its points end.
    pub(super) points_end: usize,
    /// Position of its part.
    pub(super) part: usize,
    /// Its position in its group.
    pub(super) message: usize,
    /// When it came.
    pub(super) received_at: Timestamp,
    /// Whether some of its points are in other shards.
    pub(super) is_spread: bool,
}

/// What a sorter knows of the batch that it lays groups into.
#[derive(Debug, Default)]
pub(super) struct Entered {
    batch: u64,
    /// Where the metric of each slot stands, or [`ABSENT`].
    positions: Vec<u32>,
}

const ABSENT: u32 = u32::MAX;

impl Entered {
    /// Forgets everything: slots mean something else from now on.
    pub(super) fn forget(&mut self) {
        self.batch = 0;
        self.positions.clear();
    }

    #[inline]
    fn position(&self, slot: u32) -> u32 {
        let known = usize::try_from(slot).ok().and_then(|slot| self.positions.get(slot));
        known.copied().unwrap_or(ABSENT)
    }
}

/// What a message costs while it is in flight, in bytes.
pub(super) fn cost(publish: &Publish) -> usize {
    publish.topic.len() + publish.payload.len() + MemoryLimits::MESSAGE_OVERHEAD
}

impl Batch {
    /// Batches with room for more samples than this are not used again: a burst is not to cost memory for ever.
    const KEPT_SAMPLES_MAX: usize = 20_000;

    /// Empties the batch, keeping its memory.
    fn clear(&mut self) {
        self.points.clear();
        self.metrics.clear();
        self.messages.clear();
        self.parts.clear();
        self.bytes = 0;
    }

    fn is_full(&self, limits: &BatchLimits) -> bool {
        self.messages.len() >= limits.messages_max
            || self.points.samples() >= limits.samples_max
            || self.bytes >= limits.bytes_max
    }

    /// Adds a point of the current message. `name` gives the metric of a slot.
    pub(super) fn add<'n>(
        &mut self,
        source: Arc<Source>,
        time: Timestamp,
        values: &[(u32, Value)],
        entered: &mut Entered,
        name: impl Fn(u32) -> Option<&'n Metric>,
    ) {
        if entered.batch != self.id {
            entered.batch = self.id;
            entered.positions.clear();
        }
        let position = self.points.take_source(source);
        if values.iter().any(|(slot, _)| entered.position(*slot) == ABSENT) {
            self.enter(values, entered, name);
        }
        self.points.values(values.iter().map(|(slot, value)| (entered.position(*slot), value.clone())));
        self.points.finish_point(position, time);
    }

    /// Enters the metrics of `values`.
    #[cold]
    fn enter<'n>(
        &mut self,
        values: &[(u32, Value)],
        entered: &mut Entered,
        name: impl Fn(u32) -> Option<&'n Metric>,
    ) {
        let Self { metrics, points, .. } = self;
        for (slot, _) in values {
            let (Some(metric), Ok(index)) = (name(*slot), usize::try_from(*slot)) else { continue };
            let key = metric.as_str().as_ptr().addr();
            let position = *metrics.entry(key).or_insert_with(|| points.metric(metric.clone()));
            if entered.positions.len() <= index {
                entered.positions.resize(index + 1, ABSENT);
            }
            if let Some(known) = entered.positions.get_mut(index) {
                *known = position;
            }
        }
        let is_entered = |(slot, _): &(u32, Value)| entered.position(*slot) != ABSENT;
        assert!(values.iter().all(is_entered), "a value names a metric that its sorter does not know");
    }

    /// Begins the part of a group; the messages that follow are its own.
    pub(super) fn open_part(&mut self, group: &Share<Group>) {
        self.parts.push(Part { share: group.another() });
    }

    /// Ends a message over the points added since the last one.
    #[inline]
    pub(super) fn close_message(
        &mut self,
        (message, is_spread): (usize, bool),
        received_at: Timestamp,
        bytes: usize,
    ) {
        self.bytes += bytes;
        let (points_end, part) = (self.points.len(), self.parts.len() - 1);
        self.messages.push(Origin { points_end, part, message, received_at, is_spread });
    }
}

/// The queue of a shard.
#[derive(Debug)]
pub(super) struct ShardQueue {
    waiting: Mutex<Waiting>,
    limits: BatchLimits,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The last one is open; none is without messages.
    batches: VecDeque<Batch>,
    batches_ever: u64,
    /// A batch that was written, to be used again.
    spare: Option<Batch>,
    /// When the last group came.
    arrived_at: Option<Instant>,
    is_closed: bool,
}

/// The open batch of a queue, held against everybody else.
pub(super) struct OpenBatch<'q>(MutexGuard<'q, Waiting>);

/// The end of a queue that takes batches out. Dropped, it closes the queue and drops what is left in it.
#[derive(Debug)]
pub(super) struct Taker(Arc<ShardQueue>);

impl ShardQueue {
    /// An empty queue and its end.
    pub(super) fn new(limits: BatchLimits) -> (Arc<Self>, Taker) {
        let queue = Arc::new(Self { waiting: Mutex::default(), limits, arrived: Notify::new() });
        (Arc::clone(&queue), Taker(queue))
    }

    /// The batch that what came at `arrived_at` goes to; `None` where nobody takes batches out any more.
    pub(super) fn open(&self, arrived_at: Instant) -> Option<OpenBatch<'_>> {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return None;
        }
        waiting.arrived_at = Some(arrived_at);
        if waiting.batches.back().is_none_or(|batch| batch.is_full(&self.limits)) {
            waiting.batches_ever += 1;
            let id = waiting.batches_ever;
            let spare = waiting.spare.take().unwrap_or_default();
            waiting.batches.push_back(Batch { id, ..spare });
        }
        Some(OpenBatch(waiting))
    }

    /// Tells the taker that something has come. Laying in does not: a group is to come together.
    pub(super) fn announce(&self) {
        self.arrived.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenBatch<'_> {
    /// Lays something into the batch.
    pub(super) fn with<T>(&mut self, lay: impl FnOnce(&mut Batch) -> T) -> Option<T> {
        self.0.batches.back_mut().map(lay)
    }
}

impl Taker {
    /// The oldest batch, as soon as there is one. Cancel safe.
    pub(super) async fn next(&mut self) -> Batch {
        loop {
            let arrived = self.0.arrived.notified();
            if let Some(batch) = self.0.waiting().batches.pop_front() {
                return batch;
            }
            arrived.await;
        }
    }

    /// When the group came of which something was laid in last.
    pub(super) fn arrived_at(&self) -> Option<Instant> {
        self.0.waiting().arrived_at
    }

    /// Gives a batch back that was written.
    pub(super) fn give_back(&mut self, mut batch: Batch) {
        if batch.points.samples() <= Batch::KEPT_SAMPLES_MAX {
            batch.clear();
            self.0.waiting().spare = Some(batch);
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.is_closed = true;
        let left = std::mem::take(&mut waiting.batches);
        drop(waiting);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tidemill_store::model::{Device, Tags, Tenant};

    use super::*;

    fn limits() -> BatchLimits {
        BatchLimits { messages_max: 100, samples_max: 4, bytes_max: 1_000_000 }
    }

    /// Lays a point of two metrics in, as a sorter that knows `names` would.
    fn lay(queue: &ShardQueue, names: &[Metric; 2], entered: &mut Entered) {
        let device = Device::new("d").unwrap();
        let source = Arc::new(Source::new(Tenant::new("t").unwrap(), device, Tags::default()));
        let values = [(0, Value::I64(1)), (1, Value::Bool(true))];
        let name = |slot: u32| names.get(usize::try_from(slot).unwrap());
        let mut open = queue.open(Instant::now()).expect("somebody takes");
        open.with(|batch| batch.add(source, Timestamp::EPOCH, &values, entered, name));
    }

    fn names() -> [Metric; 2] {
        ["a", "b"].map(|name| Metric::new(name).unwrap())
    }

    fn taken(taker: &mut Taker) -> Option<Batch> {
        taker.next().now_or_never()
    }

    #[test]
    fn a_batch_that_is_full_is_followed_by_another_and_shared_names_stand_once() {
        let (queue, mut taker) = ShardQueue::new(limits());
        let (names, mut first, mut second) = (names(), Entered::default(), Entered::default());
        lay(&queue, &names, &mut first);
        lay(&queue, &names, &mut second);
        lay(&queue, &names, &mut first);
        let full = taken(&mut taker).unwrap();
        assert_eq!((full.points.samples(), full.points.metrics()), (4, &names[..]));
        let next = taken(&mut taker).unwrap();
        assert_eq!((next.points.samples(), next.points.metrics()), (2, &names[..]));
        assert!(taken(&mut taker).is_none());
    }

    #[test]
    fn names_that_are_not_shared_stand_twice_and_mean_the_same() {
        let (queue, mut taker) = ShardQueue::new(limits());
        lay(&queue, &names(), &mut Entered::default());
        lay(&queue, &names(), &mut Entered::default());
        let batch = taken(&mut taker).unwrap();
        let said: Vec<_> = batch.points.iter().flat_map(|point| point.values.to_vec()).collect();
        let said: Vec<&str> = said
            .iter()
            .map(|(metric, _)| batch.points.metrics()[usize::try_from(*metric).unwrap()].as_str())
            .collect();
        assert_eq!(said, ["a", "b", "a", "b"]);
    }

    #[test]
    fn a_batch_used_again_holds_nothing_of_before() {
        let (queue, mut taker) = ShardQueue::new(limits());
        let (names, mut entered) = (names(), Entered::default());
        lay(&queue, &names, &mut entered);
        let batch = taken(&mut taker).unwrap();
        taker.give_back(batch);
        lay(&queue, &names, &mut entered);
        let again = taken(&mut taker).unwrap();
        assert_eq!((again.points.len(), again.points.metrics(), again.bytes), (1, &names[..], 0));
    }

    #[test]
    fn a_queue_without_taker_is_closed() {
        let (queue, taker) = ShardQueue::new(limits());
        drop(taker);
        assert!(queue.open(Instant::now()).is_none());
    }
}
