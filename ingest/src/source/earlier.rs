//! What a sender may send again: the messages that were not yet acknowledged when its connection ended.
//!
//! MQTT lets a packet identifier stand for another message only once its acknowledgement has arrived. So a message that
//! comes marked as sent before (DUP), with an identifier that was not acknowledged when the connection ended, is that
//! message; what it says is compared all the same. A message whose acknowledgement was written is not remembered: whether
//! it arrived nobody knows here, and to take a new message for an old one would lose it. Pure; knows no protocol.

use hashbrown::HashMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Publish;

/// A group's number: groups of a window are numbered as they are handed over.
pub(super) type GroupNumber = u64;

/// What tells messages apart that share an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print(u64);

impl Print {
    /// Of topic and payload.
    pub(super) fn of(publish: &Publish) -> Self {
        Self(xxh3_64_with_seed(&publish.payload, xxh3_64(&publish.topic)))
    }
}

/// A message that waits for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) packet_id: u16,
    pub(super) print: Print,
    pub(super) origin: Origin,
}

/// When a message that waits for its acknowledgement was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// With the group that its acknowledgement belongs to.
    Here,
    /// With another one, over a connection before this.
    Earlier(GroupNumber),
    /// It is durable since a connection before this.
    Durable,
    /// Before, over this connection, and it still waits.
    Repeated,
}

/// The messages that were not acknowledged over the connections before this one, each with its group.
#[derive(Debug, Default)]
pub(super) struct Earlier(HashMap<u16, (Print, GroupNumber)>);

impl Earlier {
    /// Notes what was not acknowledged. An identifier means the last message that had it.
    pub(super) fn note(&mut self, due: Due, group: GroupNumber) {
        self.0.insert(due.packet_id, (due.print, group));
    }

    /// The group of a message that was sent before; it is not looked for again.
    pub(super) fn take(&mut self, packet_id: u16, print: Print) -> Option<GroupNumber> {
        let (_, group) = self.0.get(&packet_id).copied().filter(|(known, _)| *known == print)?;
        self.0.remove(&packet_id);
        Some(group)
    }

    /// The identifier stands for a new message now.
    pub(super) fn forget(&mut self, packet_id: u16) {
        if !self.0.is_empty() {
            self.0.remove(&packet_id);
        }
    }

    /// Nobody will settle this group.
    pub(super) fn forget_group(&mut self, group: GroupNumber) {
        self.0.retain(|_, (_, of)| *of != group);
    }

    /// How many messages it remembers.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Qos;

    fn print(topic: &'static str, payload: &'static str) -> Print {
        Print::of(&Publish {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retained: false,
        })
    }

    fn due(packet_id: u16, payload: &'static str) -> Due {
        Due { packet_id, print: print("t", payload), origin: Origin::Here }
    }

    #[test]
    fn a_message_is_known_once_by_its_identifier_and_what_it_says() {
        let mut earlier = Earlier::default();
        earlier.note(due(1, "a"), 7);
        assert_eq!(earlier.take(1, print("t", "b")), None, "another payload");
        assert_eq!(earlier.take(1, print("u", "a")), None, "another topic");
        assert_eq!(earlier.take(2, print("t", "a")), None, "another identifier");
        assert_eq!(earlier.take(1, print("t", "a")), Some(7));
        assert_eq!(earlier.take(1, print("t", "a")), None);
    }

    #[test]
    fn identifiers_that_mean_something_new_and_groups_that_are_gone_are_forgotten() {
        let mut earlier = Earlier::default();
        for (id, group) in [(1, 7), (2, 7), (3, 8)] {
            earlier.note(due(id, "a"), group);
        }
        earlier.forget(1);
        earlier.forget_group(8);
        assert_eq!(earlier.len(), 1);
        assert_eq!(earlier.take(2, print("t", "a")), Some(7));
        earlier.note(due(4, "a"), 9);
        earlier.note(due(4, "b"), 10);
        assert_eq!(earlier.take(4, print("t", "a")), None, "the last message counts");
        assert_eq!(earlier.take(4, print("t", "b")), Some(10));
    }
}
