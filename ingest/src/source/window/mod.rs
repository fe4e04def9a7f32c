//! What one connection has in flight: packet identifiers in receive order, and the groups they came in. A group's
//! acknowledgements are due when it and all before it are durable (I1), those of several groups together.
//!
//! The bounds (I6) are kept here, but what happens at them is the connection's choice. It knows no protocol.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use prometheus::IntGauge;

use super::earlier::{Due, Earlier, GroupNumber, Origin, Print};
use super::{Abandoned, Completion, Outcome, Verdict};
use crate::fail;

/// What a message costs besides its bytes: its place in the group, the queues and the completion. Bounds how many
/// tiny messages a connection may have in flight.
const MESSAGE_OVERHEAD_BYTES: usize = 128;
/// Capacity that an idle connection may keep.
const IDLE_CAPACITY: usize = 16;

/// Messages of one read: how much of the window they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Messages of both qualities of service.
    pub(super) messages: usize,
    /// Messages to acknowledge.
    pub(super) acks: usize,
    /// Bytes with the overhead of each message.
    pub(super) bytes: usize,
}

impl Weight {
    pub(super) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.acks += other.acks;
        self.bytes += other.bytes;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.messages -= other.messages;
        self.acks -= other.acks;
        self.bytes -= other.bytes;
    }
}

/// The bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowLimits {
    pub(super) acks_max: usize,
    pub(super) bytes_max: usize,
}

/// Where a window shows what it holds, summed over all connections.
#[derive(Debug, Clone)]
pub(super) struct InFlightGauges {
    pub(super) messages: IntGauge,
    pub(super) bytes: IntGauge,
}

impl InFlightGauges {
    fn moved(&self, before: Weight, after: Weight) {
        let difference = |before: usize, after: usize| {
            i64::try_from(after).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX)
        };
        self.messages.add(difference(before.messages, after.messages));
        self.bytes.add(difference(before.bytes, after.bytes));
    }
}

/// Everything taken from a connection and not yet settled.
#[derive(Debug)]
pub(super) struct Window {
    limits: WindowLimits,
    gauges: InFlightGauges,
    /// What the gauges know of.
    shown: Weight,
    dues: VecDeque<Due>,
    groups: VecDeque<(Completion, Weight)>,
    /// The number of the group at the front, or of the next one.
    first: GroupNumber,
    total: Weight,
    /// The group at the front will never settle.
    abandoned: bool,
    /// The last group that will never settle and that no acknowledgement of its own waited for.
    gone: Option<GroupNumber>,
    earlier: Earlier,
}

/// What waited for its acknowledgement when a connection ended and is in no group of the window yet: in the one that the
/// pipeline is taking, and in the one after it that is being gathered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unpushed {
    pub(super) submitted: Weight,
    pub(super) gathered: Weight,
}

impl Window {
    pub(super) fn new(limits: WindowLimits, gauges: InFlightGauges) -> Self {
        Self {
            limits,
            gauges,
            shown: Weight::default(),
            dues: VecDeque::new(),
            groups: VecDeque::new(),
            first: 0,
            total: Weight::default(),
            abandoned: false,
            gone: None,
            earlier: Earlier::default(),
        }
    }

    /// Whether as many messages wait for their acknowledgement as may.
    pub(super) fn is_full_of_acks(&self) -> bool {
        self.total.acks >= self.limits.acks_max
    }

    /// Whether as many bytes are in flight as may be.
    pub(super) fn is_full_of_bytes(&self) -> bool {
        self.total.bytes >= self.limits.bytes_max
    }

    /// Counts a message that goes into the group being gathered; the caller has asked whether there is room.
    pub(super) fn admit(&mut self, acknowledge: Option<(u16, Print)>, bytes: usize) -> Weight {
        if let Some((packet_id, print)) = acknowledge {
            self.earlier.forget(packet_id);
            self.dues.push_back(Due { packet_id, print, origin: Origin::Here });
        }
        self.count(acknowledge.is_some(), bytes)
    }

    /// Whether the message that its sender marks as sent before was taken and not acknowledged, over this connection or one
    /// before it. Then it is acknowledged in its turn, with the group being gathered, once the group that it came with is
    /// durable, too. `None` where it is not known.
    pub(super) fn admit_again(&mut self, packet_id: u16, print: Print) -> Option<Weight> {
        let waits = || self.dues.iter().any(|due| due.packet_id == packet_id && due.print == print);
        let origin = match self.earlier.take(packet_id, print) {
            Some(group) if group < self.first => Origin::Durable,
            Some(group) => Origin::Earlier(group),
            None if waits() => Origin::Repeated,
            None => return None,
        };
        self.dues.push_back(Due { packet_id, print, origin });
        Some(self.count(true, 0))
    }

    fn count(&mut self, acknowledged: bool, bytes: usize) -> Weight {
        let acks = usize::from(acknowledged);
        let weight = Weight { messages: 1, acks, bytes: bytes + MESSAGE_OVERHEAD_BYTES };
        self.total.add(weight);
        weight
    }

    /// Queues the completion of a group, all of whose messages were admitted.
    pub(super) fn push(&mut self, completion: Completion, weight: Weight) {
        self.groups.push_back((completion, weight));
    }

    /// Takes back all that was admitted and not pushed, and says what it weighed.
    pub(super) fn retract(&mut self) -> Weight {
        let mut retracted = self.total;
        self.groups.iter().for_each(|(_, weight)| retracted.subtract(*weight));
        self.dues.truncate(self.dues.len() - retracted.acks);
        self.total.subtract(retracted);
        retracted
    }

    /// Forgets every acknowledgement that is not yet due, because the connection it belongs to has ended; says how
    /// many. Groups keep their place and their bytes until they are settled; an abandoned one leaves. The messages are
    /// remembered, for when they are sent again.
    pub(super) fn forget_acks(&mut self, unpushed: Unpushed) -> usize {
        if std::mem::take(&mut self.abandoned)
            && let Some((_, weight)) = self.groups.pop_front()
        {
            self.dues.drain(..weight.acks);
            self.total.subtract(weight);
            self.earlier.forget_group(self.first);
            self.gone = Some(self.first);
            self.first += 1;
        }
        self.remember(unpushed);
        self.groups.iter_mut().for_each(|(_, weight)| weight.acks = 0);
        std::mem::take(&mut self.total.acks)
    }

    fn remember(&mut self, unpushed: Unpushed) {
        let Unpushed { submitted, gathered } = unpushed;
        let pushed = self.groups.iter().map(|(_, weight)| weight.acks);
        // Where nothing is being submitted, what is gathered comes next.
        let next = [Some(submitted).filter(|weight| weight.messages > 0), Some(gathered)];
        let acks = pushed.chain(next.into_iter().flatten().map(|weight| weight.acks));
        let groups = (self.first..).zip(acks).flat_map(|(group, acks)| std::iter::repeat_n(group, acks));
        for (group, due) in groups.zip(&self.dues) {
            match due.origin {
                Origin::Here => self.earlier.note(*due, group),
                Origin::Earlier(group) => self.earlier.note(*due, group),
                // Any group behind us.
                Origin::Durable => self.earlier.note(*due, 0),
                // The first of them is noted.
                Origin::Repeated => {}
            }
        }
        self.dues.clear();
    }

    /// What is left of it once its connection has ended, for the next one of the same client: the groups that are not
    /// settled and the messages that may be sent again. `None` where there are none.
    pub(super) fn leave(mut self) -> Option<Self> {
        let acks = |(_, weight): &(Completion, Weight)| weight.acks;
        // Nobody will say what became of a group that the pipeline had not yet taken.
        self.dues.truncate(self.groups.iter().map(acks).sum());
        self.forget_acks(Unpushed::default());
        let pushed = self.groups.iter().fold(Weight::default(), |mut total, (_, weight)| {
            total.add(*weight);
            total
        });
        self.total = pushed;
        self.gauges.moved(std::mem::take(&mut self.shown), Weight::default());
        (self.earlier.len() > 0).then_some(self)
    }

    /// Nothing that was sent before is sent again: there is another session now.
    pub(super) fn forget_earlier(&mut self) {
        self.earlier = Earlier::default();
    }

    /// How many messages it remembers of connections that have ended.
    pub(super) fn remembered(&self) -> usize {
        self.earlier.len()
    }

    /// Gives each packet identifier, and what its sender is told, of every group at the front that is settled to
    /// `acknowledge`, and says what the groups weighed. A group without acknowledgements counts as settled when it was abandoned, too.
    ///
    /// # Errors
    /// The group at the front was abandoned; it and what follows stays unacknowledged.
    pub(super) fn poll_settled(
        &mut self,
        context: &mut Context<'_>,
        mut acknowledge: impl FnMut(u16, Verdict),
    ) -> Poll<Result<Weight, Abandoned>> {
        let mut settled = Weight::default();
        while let Some((completion, weight)) = self.groups.front_mut().filter(|_| !self.abandoned) {
            let weight = *weight;
            match Pin::new(completion).poll(context) {
                Poll::Pending => break,
                Poll::Ready(Err(Abandoned)) if weight.acks > 0 => self.abandoned = true,
                Poll::Ready(_) if self.relies_on_what_is_gone(weight.acks) => self.abandoned = true,
                Poll::Ready(outcome) => {
                    if outcome.is_err() {
                        self.gone = Some(self.first);
                    }
                    if outcome.as_ref().map_or(true, Outcome::leaves_some_out) {
                        // What is not kept is no known message when it comes again.
                        self.earlier.forget_group(self.first);
                    }
                    let outcome = outcome.unwrap_or_default();
                    settled.add(weight);
                    fail::reach(fail::Point::AckBefore);
                    let mut position = 0;
                    for due in self.dues.drain(..weight.acks) {
                        let is_here = due.origin == Origin::Here;
                        let verdict = if is_here { outcome.verdict(position) } else { Verdict::Taken };
                        position += usize::from(is_here);
                        acknowledge(due.packet_id, verdict);
                    }
                    fail::reach(fail::Point::AckQueued);
                    self.groups.pop_front();
                    self.first += 1;
                }
            }
        }
        self.total.subtract(settled);
        match (settled.messages, self.abandoned) {
            (0, true) => Poll::Ready(Err(Abandoned)),
            (0, false) => Poll::Pending,
            _ => Poll::Ready(Ok(settled)),
        }
    }

    /// Whether one of the next acknowledgements is of a message that came with a group which nobody will settle.
    fn relies_on_what_is_gone(&self, acks: usize) -> bool {
        let Some(gone) = self.gone else { return false };
        self.dues.iter().take(acks).any(|due| matches!(due.origin, Origin::Earlier(group) if group <= gone))
    }

    /// Brings the gauges up to date: once for each group rather than for each message, as all connections share
    /// them.
    pub(super) fn show(&mut self) {
        if self.shown != self.total {
            self.gauges.moved(self.shown, self.total);
            self.shown = self.total;
        }
    }

    /// What is in flight, the group being gathered or submitted included.
    pub(super) fn total(&self) -> Weight {
        self.total
    }

    /// Gives memory back when nothing is in flight.
    pub(super) fn release(&mut self) {
        if self.total.messages == 0 && self.dues.capacity() + self.groups.capacity() > 2 * IDLE_CAPACITY {
            self.dues = VecDeque::new();
            self.groups = VecDeque::new();
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.gauges.moved(self.shown, Weight::default());
    }
}
