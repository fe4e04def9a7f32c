//! Where messages come from. A source turns a protocol into groups of [`Publish`] for an [`Intake`], and turns
//! the [`Completion`] of a group into acknowledgements, in receive order (I1).
//!
//! A source knows nothing of shards or stores; the pipeline behind [`Intake`] knows nothing of connections.

mod earlier;
pub mod listener;
pub mod mqtt;
mod window;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;

/// What the sender is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// QoS 0: may be shed where there is no room.
    AtMostOnce,
    /// QoS 1: acknowledged when durable.
    AtLeastOnce,
}

/// One message as received. Topic and payload are slices of the bytes read from the socket: no copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The topic; not yet checked to be UTF-8 or a valid topic name.
    pub topic: Bytes,
    /// The payload.
    pub payload: Bytes,
    /// What the sender is promised.
    pub qos: Qos,
    /// Whether the broker kept it and sends it because of our subscription.
    pub retained: bool,
}

/// A message to be published to devices at QoS 0, through a source that can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Takes groups of messages from one connection. Clone one for each connection.
pub trait Intake: Clone + Send + Sync + 'static {
    /// Decodes and routes a group: the messages of one read, in receive order. Waits while there is no room for
    /// its QoS 1 messages (back-pressure, I6); sheds its QoS 0 messages instead of waiting. What cannot be
    /// decoded is kept as a reject and needs no care of the caller (I7).
    fn submit(&mut self, group: Vec<Publish>) -> impl Future<Output = Result<Completion, Closed>> + Send;

    /// Counts QoS 1 messages that came again and are not submitted, because they were before.
    fn count_duplicates(&mut self, _messages: usize) {}
}

/// The pipeline takes no more messages: it is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline is shutting down and takes no more messages")]
pub struct Closed;

/// Nobody will settle the group: its messages may not be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the group was abandoned before it became durable")]
pub struct Abandoned;

/// Resolves when every message of a group is settled: stored, a duplicate, kept as a reject, or shed.
#[derive(Debug)]
pub struct Completion(oneshot::Receiver<Outcome>);

/// The other end of a [`Completion`]; dropped without [`Settlement::settle`], the group counts as abandoned.
#[derive(Debug)]
pub struct Settlement(oneshot::Sender<Outcome>);

/// What became of a settled group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    over_quota: Vec<usize>,
}

/// What the sender of a message is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is durable, if only as a reject.
    Taken,
    /// It could not be taken, and is counted and not kept: its sender had too many of these.
    OverQuota,
}

impl Outcome {
    /// Of a group of which these messages were over the quota of their senders: positions among its QoS 1 messages,
    /// ascending.
    pub const fn over_quota(messages: Vec<usize>) -> Self {
        Self { over_quota: messages }
    }

    /// Whether some of it is not kept.
    pub(crate) const fn leaves_some_out(&self) -> bool {
        !self.over_quota.is_empty()
    }

    /// What is told about its QoS 1 message at `position`.
    pub fn verdict(&self, position: usize) -> Verdict {
        match self.over_quota.binary_search(&position) {
            Ok(_) => Verdict::OverQuota,
            Err(_) => Verdict::Taken,
        }
    }
}

impl Completion {
    /// A completion and what settles it.
    pub fn pair() -> (Settlement, Self) {
        let (sender, receiver) = oneshot::channel();
        (Settlement(sender), Self(receiver))
    }

    /// That of a group of which nothing is submitted.
    pub(crate) fn settled() -> Self {
        let (settlement, completion) = Self::pair();
        settlement.settle();
        completion
    }
}

impl Settlement {
    /// Says that the whole group is durable.
    pub fn settle(self) {
        self.settle_with(Outcome::default());
    }

    /// Says that the group is durable but for what `outcome` says.
    pub fn settle_with(self, outcome: Outcome) {
        // The connection may be gone: then the sender will repeat the message, which is harmless (I5).
        let _ = self.0.send(outcome);
    }
}

impl Future for Completion {
    type Output = Result<Outcome, Abandoned>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(context)).map_err(|_| Abandoned))
    }
}
