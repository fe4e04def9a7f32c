//! What a packet means once a client is accepted: messages, answers, the end. Pure: no socket, no clock.
//!
//! There is no session state beyond topic aliases: nothing is delivered, so nothing has to be kept for a client
//! that comes back.

use bytes::{Bytes, BytesMut};

use super::control::{self, Goodbye};
use super::frame::Frame;
use super::publish::{self, Published};
use super::reply::{self, Version};
use super::violation::Violation;
use crate::source::{Publish, Qos};

/// Bytes of a topic that an alias may stand for: it is kept while connected.
const ALIASED_TOPIC_BYTES_MAX: usize = 1_024;

/// An accepted client.
#[derive(Debug)]
pub(super) struct Session {
    version: Version,
    aliases: Vec<Bytes>,
    aliases_max: u16,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A message to take, with its packet identifier where it is to be acknowledged.
    Message(Publish, Option<u16>),
    /// An answer was written, or none is needed.
    Done,
    /// The client leaves.
    Goodbye(Goodbye),
}

impl Session {
    /// A client that has just been accepted; `aliases_max` is what was announced.
    pub(super) fn new(version: Version, aliases_max: u16) -> Self {
        Self { version, aliases: Vec::new(), aliases_max }
    }

    /// The protocol it speaks.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Takes one packet; answers go to `out`.
    pub(super) fn take(&mut self, frame: Frame, out: &mut BytesMut) -> Result<Step, Violation> {
        let flags = frame.first & 0x0F;
        match (frame.first >> 4, flags) {
            (3, _) => self.take_publish(flags, frame.body),
            (8, 0b0010) => {
                let filters = control::parse_subscribe(self.version, frame.body)?;
                reply::refuse_subscriptions(self.version, filters.packet_id, filters.count, out);
                Ok(Step::Done)
            }
            (10, 0b0010) => {
                let filters = control::parse_unsubscribe(self.version, frame.body)?;
                reply::refuse_unsubscriptions(self.version, filters.packet_id, filters.count, out);
                Ok(Step::Done)
            }
            (12, 0) if frame.body.is_empty() => {
                reply::answer_ping(out);
                Ok(Step::Done)
            }
            (14, 0) => control::parse_disconnect(self.version, frame.body).map(Step::Goodbye),
            (1, 0) => Err(Violation::Protocol("second CONNECT")),
            (4..=7 | 15, _) => Err(Violation::Protocol("answer to a packet that was never sent")),
            (2 | 9 | 11 | 13, _) => Err(Violation::Protocol("packet that only a server sends")),
            _ => Err(Violation::Malformed("packet type or flags")),
        }
    }

    fn take_publish(&mut self, flags: u8, body: Bytes) -> Result<Step, Violation> {
        let Published { topic, alias, packet_id, payload } = publish::parse(self.version, flags, body)?;
        let topic = match alias {
            None => topic,
            Some(alias) => self.resolve(alias, topic)?,
        };
        let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        // RETAIN only concerns subscribers to come, and there are none.
        Ok(Step::Message(Publish { topic, payload, qos, retained: false }, packet_id))
    }

    fn resolve(&mut self, alias: u16, topic: Bytes) -> Result<Bytes, Violation> {
        if alias == 0 || alias > self.aliases_max {
            return Err(Violation::TopicAlias(alias));
        }
        let slot = usize::from(alias - 1);
        if topic.is_empty() {
            let known = self.aliases.get(slot).filter(|known| !known.is_empty());
            return known.cloned().ok_or(Violation::Protocol("unknown topic alias"));
        }
        if topic.len() > ALIASED_TOPIC_BYTES_MAX {
            return Err(Violation::TopicName);
        }
        if self.aliases.len() <= slot {
            self.aliases.resize(slot + 1, Bytes::new());
        }
        if let Some(known) = self.aliases.get_mut(slot) {
            // A copy of its own, so that the alias does not keep a whole read alive.
            *known = Bytes::copy_from_slice(&topic);
        }
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALIASES_MAX: u16 = 4;

    fn take(session: &mut Session, first: u8, body: &'static [u8]) -> Result<Step, Violation> {
        session.take(Frame { first, body: Bytes::from_static(body) }, &mut BytesMut::new())
    }

    fn topic_of(step: Result<Step, Violation>) -> Bytes {
        match step {
            Ok(Step::Message(publish, _)) => publish.topic,
            other => panic!("no message: {other:?}"),
        }
    }

    #[test]
    fn an_alias_stands_for_the_topic_it_came_with_last() {
        let mut session = Session::new(Version::V5, ALIASES_MAX);
        assert_eq!(topic_of(take(&mut session, 0x30, b"\x00\x01a\x03\x23\x00\x04x")), "a");
        assert_eq!(topic_of(take(&mut session, 0x30, b"\x00\x00\x03\x23\x00\x04x")), "a");
        assert_eq!(topic_of(take(&mut session, 0x30, b"\x00\x01b\x03\x23\x00\x04x")), "b");
        assert_eq!(topic_of(take(&mut session, 0x30, b"\x00\x00\x03\x23\x00\x04x")), "b");
    }

    #[test]
    fn aliases_out_of_range_or_unknown_are_refused() {
        let mut session = Session::new(Version::V5, ALIASES_MAX);
        assert_eq!(take(&mut session, 0x30, b"\x00\x01a\x03\x23\x00\x00"), Err(Violation::TopicAlias(0)));
        assert_eq!(take(&mut session, 0x30, b"\x00\x01a\x03\x23\x00\x05"), Err(Violation::TopicAlias(5)));
        assert!(matches!(take(&mut session, 0x30, b"\x00\x00\x03\x23\x00\x02"), Err(Violation::Protocol(_))));
        assert_eq!(topic_of(take(&mut session, 0x30, b"\x00\x01a\x03\x23\x00\x03x")), "a");
        assert!(matches!(take(&mut session, 0x30, b"\x00\x00\x03\x23\x00\x02"), Err(Violation::Protocol(_))));
    }

    #[test]
    fn a_second_connect_and_packets_of_a_server_are_protocol_errors() {
        let mut session = Session::new(Version::V311, 0);
        for first in [0x10, 0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0] {
            assert!(
                matches!(take(&mut session, first, b"\x00\x01"), Err(Violation::Protocol(_))),
                "{first:#x}"
            );
        }
    }

    #[test]
    fn reserved_flags_and_types_are_malformed() {
        let mut session = Session::new(Version::V5, 0);
        for first in [0x00, 0x80, 0x83, 0xA0, 0xC1, 0xE2] {
            assert!(
                matches!(take(&mut session, first, b"\x00\x01"), Err(Violation::Malformed(_))),
                "{first:#x}"
            );
        }
    }

    proptest! {
        #[test]
        fn hostile_packets_are_taken_or_refused_and_answers_stay_short(
            new in any::<bool>(),
            packets in prop::collection::vec(
                (any::<u8>(), prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..60)),
                0..30,
            ),
        ) {
            let version = if new { Version::V5 } else { Version::V311 };
            let mut session = Session::new(version, ALIASES_MAX);
            for (first, body) in packets {
                let (length, mut out) = (body.len(), BytesMut::new());
                let taken = session.take(Frame { first, body: Bytes::from(body) }, &mut out);
                prop_assert!(out.len() <= length + 4, "{taken:?} is answered with {} bytes", out.len());
            }
            prop_assert!(session.aliases.len() <= usize::from(ALIASES_MAX));
        }
    }
}
