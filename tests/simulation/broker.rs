//! A broker that delivers at least once: what is not acknowledged when a connection ends is delivered again, on any
//! connection.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidemill_ingest::source::{Completion, Intake, Publish, Qos};
use tidemill_tests::oracle::Plan;
use tidemill_tests::random::Random;
use tokio::time::{sleep, timeout};

/// Messages handed over at once, at most.
const GROUP_MAX: u64 = 12;
/// Groups of one connection that wait for their completion, at most.
const GROUPS_WAITING_MAX: usize = 4;

/// One message of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Message {
    /// Message `n` of the plan.
    Sound(u64),
    /// Something that cannot be decoded, told apart by its number.
    Poison(u64),
}

/// The broker, shared by its connections.
#[derive(Debug, Clone)]
pub(crate) struct Broker(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    plan: Plan,
    queue: VecDeque<Message>,
    acknowledged: BTreeSet<Message>,
    total: usize,
    delivered: u64,
}

impl Broker {
    /// A broker that holds `messages` messages, about one in thirty of them poison.
    pub(crate) fn new(plan: Plan, messages: u64) -> Self {
        let queue: VecDeque<Message> = (0..messages)
            .map(|n| if n % 31 == 30 { Message::Poison(n) } else { Message::Sound(n) })
            .collect();
        let total = queue.len();
        Self(Arc::new(Mutex::new(State { plan, queue, acknowledged: BTreeSet::new(), total, delivered: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every message is acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.state();
        state.acknowledged.len() == state.total
    }

    /// All messages acknowledged so far.
    pub(crate) fn acknowledged(&self) -> BTreeSet<Message> {
        self.state().acknowledged.clone()
    }

    /// Messages that were taken over by an intake, those delivered again counted again.
    pub(crate) fn delivered(&self) -> u64 {
        self.state().delivered
    }

    fn take(&self, count: u64) -> Vec<Message> {
        let mut state = self.state();
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(state.queue.len());
        state.queue.drain(..count).collect()
    }

    fn give_back(&self, messages: Vec<Message>) {
        let mut state = self.state();
        for message in messages.into_iter().rev() {
            state.queue.push_front(message);
        }
    }

    fn publish(&self, message: Message) -> Publish {
        let plan = self.state().plan;
        let (topic, payload) = match message {
            Message::Sound(number) => (plan.topic(number), plan.payload(number)),
            Message::Poison(number) => (plan.topic(number), format!("poison {number}").into_bytes()),
        };
        Publish {
            topic: Bytes::from(topic),
            payload: Bytes::from(payload),
            qos: Qos::AtLeastOnce,
            retained: false,
        }
    }
}

/// One connection: it hands over groups and acknowledges them in order. Dropped at any await, or ended by chance, it
/// gives what it was not acknowledged back to the broker.
pub(crate) struct Connection {
    broker: Broker,
    waiting: VecDeque<(Vec<Message>, Completion)>,
    handing_over: Vec<Message>,
}

impl Connection {
    pub(crate) const fn new(broker: Broker) -> Self {
        Self { broker, waiting: VecDeque::new(), handing_over: Vec::new() }
    }

    /// Runs until the pipeline takes no more, all is acknowledged, or chance breaks it.
    pub(crate) async fn run<I: Intake>(mut self, mut intake: I, mut random: Random) {
        while !self.broker.is_done() {
            match random.below(100) {
                0 => return,
                1..=60 => {
                    if !self.hand_over(&mut intake, &mut random).await {
                        return;
                    }
                }
                _ => self.wait_for_first(&mut random).await,
            }
            sleep(random.span_below(Duration::from_millis(20))).await;
        }
    }

    async fn hand_over<I: Intake>(&mut self, intake: &mut I, random: &mut Random) -> bool {
        if self.waiting.len() >= GROUPS_WAITING_MAX {
            return true;
        }
        self.handing_over = self.broker.take(1 + random.below(GROUP_MAX));
        let group: Vec<Publish> =
            self.handing_over.iter().map(|&message| self.broker.publish(message)).collect();
        let count = u64::try_from(group.len()).unwrap_or(u64::MAX);
        match intake.submit(group).await {
            Ok(completion) => {
                self.broker.state().delivered += count;
                self.waiting.push_back((std::mem::take(&mut self.handing_over), completion));
                true
            }
            Err(_closed) => false,
        }
    }

    /// Waits a while for the group that was handed over first; its acknowledgement is the next to be sent.
    async fn wait_for_first(&mut self, random: &mut Random) {
        let Some((_, completion)) = self.waiting.front_mut() else { return };
        let patience = random.span_below(Duration::from_secs(2));
        let Ok(outcome) = timeout(patience, completion).await else { return };
        if let Some((messages, _)) = self.waiting.pop_front() {
            match outcome {
                Ok(_) => self.broker.state().acknowledged.extend(messages),
                Err(_abandoned) => self.broker.give_back(messages),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let unacknowledged = self.waiting.drain(..).flat_map(|(messages, _)| messages);
        let messages = unacknowledged.chain(std::mem::take(&mut self.handing_over)).collect();
        self.broker.give_back(messages);
    }
}
