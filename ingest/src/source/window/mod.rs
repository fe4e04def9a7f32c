//! What one connection has in flight: packet identifiers in receive order, and the groups they came in. A group's
//! acknowledgements are due when it and all before it are durable (I1), those of several groups together.
//!
//! The bounds (I6) are kept here, but what happens at them is the connection's choice. It knows no protocol.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use prometheus::IntGauge;

use super::{Abandoned, Completion, Verdict};
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
    packet_ids: VecDeque<u16>,
    groups: VecDeque<(Completion, Weight)>,
    total: Weight,
    /// The group at the front will never settle.
    abandoned: bool,
}

impl Window {
    pub(super) fn new(limits: WindowLimits, gauges: InFlightGauges) -> Self {
        Self {
            limits,
            gauges,
            shown: Weight::default(),
            packet_ids: VecDeque::new(),
            groups: VecDeque::new(),
            total: Weight::default(),
            abandoned: false,
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
    pub(super) fn admit(&mut self, packet_id: Option<u16>, bytes: usize) -> Weight {
        self.packet_ids.extend(packet_id);
        let acks = usize::from(packet_id.is_some());
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
        self.packet_ids.truncate(self.packet_ids.len() - retracted.acks);
        self.total.subtract(retracted);
        retracted
    }

    /// Forgets every acknowledgement that is not yet due, because the connection it belongs to has ended; says how
    /// many. Groups keep their place and their bytes until they are settled; an abandoned one leaves.
    pub(super) fn forget_acks(&mut self) -> usize {
        if std::mem::take(&mut self.abandoned)
            && let Some((_, weight)) = self.groups.pop_front()
        {
            self.packet_ids.drain(..weight.acks);
            self.total.subtract(weight);
        }
        self.packet_ids.clear();
        self.groups.iter_mut().for_each(|(_, weight)| weight.acks = 0);
        std::mem::take(&mut self.total.acks)
    }

    /// Gives each packet identifier, and what its sender is told, of every group at the front that is settled to `acknowledge`, and says what
    /// the groups weighed. A group without acknowledgements counts as settled when it was abandoned, too.
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
            match Pin::new(completion).poll(context) {
                Poll::Pending => break,
                Poll::Ready(Err(Abandoned)) if weight.acks > 0 => self.abandoned = true,
                Poll::Ready(outcome) => {
                    let outcome = outcome.unwrap_or_default();
                    settled.add(*weight);
                    fail::reach(fail::Point::AckBefore);
                    let ids = self.packet_ids.drain(..weight.acks).enumerate();
                    ids.for_each(|(position, id)| acknowledge(id, outcome.verdict(position)));
                    fail::reach(fail::Point::AckQueued);
                    self.groups.pop_front();
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
        if self.total.messages == 0 && self.packet_ids.capacity() + self.groups.capacity() > 2 * IDLE_CAPACITY
        {
            self.packet_ids = VecDeque::new();
            self.groups = VecDeque::new();
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.gauges.moved(self.shown, Weight::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Settlement;
    use futures_util::task::noop_waker;

    fn gauges() -> InFlightGauges {
        let gauge = |name| IntGauge::new(name, "help").unwrap();
        InFlightGauges { messages: gauge("messages"), bytes: gauge("bytes") }
    }

    fn window() -> Window {
        Window::new(WindowLimits { acks_max: 3, bytes_max: 10_000 }, gauges())
    }

    fn admit(window: &mut Window, ids: &[u16]) -> Weight {
        let mut weight = Weight::default();
        for id in ids {
            weight.add(window.admit(Some(*id), 10));
        }
        weight
    }

    fn group(window: &mut Window, ids: &[u16]) -> Settlement {
        let (settlement, completion) = Completion::pair();
        let weight = admit(window, ids);
        window.push(completion, weight);
        settlement
    }

    fn settled(window: &mut Window) -> Poll<Result<Vec<u16>, Abandoned>> {
        let mut acks = Vec::new();
        let polled = window.poll_settled(&mut Context::from_waker(&noop_waker()), |id, _| acks.push(id));
        polled.map_ok(|_| acks)
    }

    #[test]
    fn acknowledgements_are_due_in_receive_order_and_together() {
        let mut window = window();
        let first = group(&mut window, &[7, 5]);
        let second = group(&mut window, &[6]);
        second.settle();
        assert!(settled(&mut window).is_pending(), "the second may not overtake the first");
        first.settle();
        assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![7, 5, 6])));
        assert_eq!(window.total(), Weight::default());
    }

    #[test]
    fn what_was_over_a_quota_is_told_apart() {
        let mut window = window();
        group(&mut window, &[7, 5, 6]).settle_with(crate::source::Outcome::over_quota(vec![1]));
        let mut told = Vec::new();
        let polled = window
            .poll_settled(&mut Context::from_waker(&noop_waker()), |id, verdict| told.push((id, verdict)));
        assert!(polled.is_ready());
        assert_eq!(told, [(7, Verdict::Taken), (5, Verdict::OverQuota), (6, Verdict::Taken)]);
    }

    #[test]
    fn an_abandoned_group_stops_all_that_follow_it() {
        let mut window = window();
        let first = group(&mut window, &[1]);
        let second = group(&mut window, &[2]);
        let third = group(&mut window, &[3]);
        first.settle();
        drop(second);
        third.settle();
        assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
        assert_eq!(settled(&mut window), Poll::Ready(Err(Abandoned)));
        assert_eq!(settled(&mut window), Poll::Ready(Err(Abandoned)));
    }

    #[test]
    fn an_abandoned_group_without_acknowledgements_stops_nothing() {
        let mut window = window();
        let (settlement, completion) = Completion::pair();
        let weight = window.admit(None, 10);
        window.push(completion, weight);
        drop(settlement);
        group(&mut window, &[1]).settle();
        assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
    }

    #[test]
    fn what_was_not_pushed_can_be_taken_back() {
        let mut window = window();
        let first = group(&mut window, &[1]);
        let turned_away = admit(&mut window, &[2, 3]);
        assert_eq!(window.retract(), turned_away);
        first.settle();
        assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
        assert_eq!(window.total(), Weight::default());
    }

    #[test]
    fn forgotten_acknowledgements_are_never_due() {
        let mut window = window();
        let first = group(&mut window, &[1, 2]);
        assert_eq!(window.forget_acks(), 2);
        assert_eq!(window.total().messages, 2, "they still take their room");
        let second = group(&mut window, &[1]);
        first.settle();
        assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![])));
        second.settle();
        assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
    }

    #[test]
    fn a_connection_goes_on_without_the_group_that_ended_the_one_before() {
        let mut window = window();
        drop(group(&mut window, &[1]));
        assert_eq!(settled(&mut window), Poll::Ready(Err(Abandoned)));
        window.forget_acks();
        assert_eq!(window.total(), Weight::default());
        group(&mut window, &[2]).settle();
        assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![2])));
    }

    #[test]
    fn gauges_show_what_is_in_flight_and_nothing_of_a_window_that_is_gone() {
        let gauges = gauges();
        let mut window = Window::new(WindowLimits { acks_max: 3, bytes_max: 10_000 }, gauges.clone());
        admit(&mut window, &[1, 2]);
        window.show();
        window.show();
        assert_eq!(gauges.messages.get(), 2);
        drop(window);
        assert_eq!((gauges.messages.get(), gauges.bytes.get()), (0, 0));
    }

    #[test]
    fn acknowledgements_and_bytes_fill_it_separately() {
        let mut full = window();
        admit(&mut full, &[1, 2, 3]);
        assert!(full.is_full_of_acks() && !full.is_full_of_bytes());
        let mut full = window();
        let mut admitted = 0;
        while !full.is_full_of_bytes() {
            full.admit(None, 0);
            admitted += 1;
        }
        assert_eq!(
            admitted,
            10_000usize.div_ceil(MESSAGE_OVERHEAD_BYTES),
            "tiny messages count with their overhead"
        );
        assert!(!full.is_full_of_acks());
    }
}
