//! What one connection has in flight: packet identifiers in receive order, and the groups they came in. A group's
//! acknowledgements are written when it and all before it are durable (I1), those of several groups together.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::reply::{self, Version};
use super::violation::Violation;
use crate::source::{Abandoned, Completion};

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

    fn subtract(&mut self, other: Self) {
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

/// Everything taken from a connection and not yet settled.
#[derive(Debug)]
pub(super) struct Window {
    limits: WindowLimits,
    packet_ids: VecDeque<u16>,
    groups: VecDeque<(Completion, Weight)>,
    total: Weight,
    /// The group at the front will never settle.
    abandoned: bool,
}

impl Window {
    pub(super) fn new(limits: WindowLimits) -> Self {
        Self {
            limits,
            packet_ids: VecDeque::new(),
            groups: VecDeque::new(),
            total: Weight::default(),
            abandoned: false,
        }
    }

    /// Whether reading has to wait. An MQTT 5 client knows how many messages it may have in flight, so there the
    /// count does not pause reading: more of them is a violation.
    pub(super) fn is_full(&self, version: Version) -> bool {
        self.total.bytes >= self.limits.bytes_max
            || (version == Version::V311 && self.total.acks >= self.limits.acks_max)
    }

    /// Counts a message that goes into the group being gathered.
    pub(super) fn admit(&mut self, packet_id: Option<u16>, bytes: usize) -> Result<Weight, Violation> {
        if let Some(id) = packet_id {
            if self.total.acks >= self.limits.acks_max {
                return Err(Violation::ReceiveMaximum);
            }
            self.packet_ids.push_back(id);
        }
        let weight = Weight {
            messages: 1,
            acks: usize::from(packet_id.is_some()),
            bytes: bytes + MESSAGE_OVERHEAD_BYTES,
        };
        self.total.add(weight);
        Ok(weight)
    }

    /// Queues the completion of a group, all of whose messages were admitted.
    pub(super) fn push(&mut self, completion: Completion, weight: Weight) {
        self.groups.push_back((completion, weight));
    }

    /// Takes back the group that was admitted last and not pushed.
    pub(super) fn retract(&mut self, weight: Weight) {
        self.packet_ids.truncate(self.packet_ids.len() - weight.acks);
        self.total.subtract(weight);
    }

    /// Writes the acknowledgements of every group at the front that is settled, and says what they weighed.
    ///
    /// # Errors
    /// The group at the front was abandoned; it and what follows stays unacknowledged.
    pub(super) fn poll_settled(
        &mut self,
        context: &mut Context<'_>,
        out: &mut BytesMut,
    ) -> Poll<Result<Weight, Abandoned>> {
        let mut settled = Weight::default();
        while let Some((completion, weight)) = self.groups.front_mut().filter(|_| !self.abandoned) {
            match Pin::new(completion).poll(context) {
                Poll::Pending => break,
                Poll::Ready(Err(Abandoned)) => self.abandoned = true,
                Poll::Ready(Ok(())) => {
                    settled.add(*weight);
                    for id in self.packet_ids.drain(..weight.acks) {
                        reply::acknowledge(id, out);
                    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Settlement;
    use futures_util::task::noop_waker;

    fn window() -> Window {
        Window::new(WindowLimits { acks_max: 3, bytes_max: 10_000 })
    }

    fn group(window: &mut Window, ids: &[u16]) -> Settlement {
        let (settlement, completion) = Completion::pair();
        let mut weight = Weight::default();
        for id in ids {
            weight.add(window.admit(Some(*id), 10).unwrap());
        }
        window.push(completion, weight);
        settlement
    }

    fn settled(window: &mut Window) -> Poll<Result<Vec<u16>, Abandoned>> {
        let mut out = BytesMut::new();
        let polled = window.poll_settled(&mut Context::from_waker(&noop_waker()), &mut out);
        polled.map_ok(|_| out.chunks(4).map(|ack| u16::from_be_bytes([ack[2], ack[3]])).collect())
    }

    #[test]
    fn acknowledgements_leave_in_receive_order_and_together() {
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
    fn the_count_pauses_mqtt_3_and_is_a_violation_in_mqtt_5() {
        let mut window = window();
        let _group = group(&mut window, &[1, 2, 3]);
        assert!(window.is_full(Version::V311));
        assert!(!window.is_full(Version::V5));
        assert_eq!(window.admit(Some(4), 1), Err(Violation::ReceiveMaximum));
        assert!(window.admit(None, 1).is_ok(), "QoS 0 is not counted");
    }

    #[test]
    fn tiny_messages_fill_the_window_by_their_overhead() {
        let mut window = window();
        let mut admitted = 0;
        while !window.is_full(Version::V5) {
            window.admit(None, 0).unwrap();
            admitted += 1;
        }
        assert_eq!(admitted, 10_000usize.div_ceil(MESSAGE_OVERHEAD_BYTES));
    }
}
