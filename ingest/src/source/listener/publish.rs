//! PUBLISH (MQTT 3.1.1 and 5, 3.3), the one packet worth parsing by hand for speed: topic and payload are slices
//! of what was read, nothing is allocated.
//!
//! Variable header: topic (16-bit length, UTF-8), packet identifier (QoS 1), properties (MQTT 5). Then the payload.

use bytes::Bytes;

use super::properties::{
    CONTENT_TYPE, CORRELATION_DATA, Identifiers, MESSAGE_EXPIRY, PAYLOAD_FORMAT, RESPONSE_TOPIC, TOPIC_ALIAS,
    USER_PROPERTY, take_properties,
};
use super::reply::Version;
use super::violation::Violation;
use super::wire::{Wire, is_text};

/// Payload format, expiry, content type, response topic, correlation data and user properties are checked and
/// passed over: they say nothing that telemetry is stored with. A client may send no subscription identifier.
const ALLOWED: Identifiers = Identifiers::of(&[
    PAYLOAD_FORMAT,
    MESSAGE_EXPIRY,
    CONTENT_TYPE,
    RESPONSE_TOPIC,
    CORRELATION_DATA,
    TOPIC_ALIAS,
    USER_PROPERTY,
]);

/// A PUBLISH of QoS 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    /// A valid topic name, or empty where only the alias names it.
    pub(super) topic: Bytes,
    /// The topic alias; not yet compared with what was announced.
    pub(super) alias: Option<u16>,
    /// Present with QoS 1, never 0.
    pub(super) packet_id: Option<u16>,
    /// The payload.
    pub(super) payload: Bytes,
}

/// Parses a PUBLISH from its flags and what follows the fixed header.
pub(super) fn parse(version: Version, flags: u8, mut body: Bytes) -> Result<Published, Violation> {
    let at_least_once = match flags & 0b0110 {
        0b0000 if flags & 0b1000 != 0 => return Err(Violation::Malformed("DUP with QoS 0")),
        0b0000 => false,
        0b0010 => true,
        0b0100 => return Err(Violation::QosNotSupported),
        _ => return Err(Violation::Malformed("QoS 3")),
    };
    let topic = body.take_binary()?;
    if !is_topic_name(&topic) {
        return Err(Violation::TopicName);
    }
    let packet_id = if at_least_once { Some(body.take_packet_id()?) } else { None };
    let mut alias = None;
    if version == Version::V5 {
        take_properties(&mut body, ALLOWED, |property| {
            if property.identifier == TOPIC_ALIAS {
                alias = u16::try_from(property.number).ok();
            }
            Ok(())
        })?;
    }
    match (topic.is_empty(), alias, version) {
        (false, _, _) | (true, Some(_), _) => Ok(Published { topic, alias, packet_id, payload: body }),
        (true, None, Version::V5) => Err(Violation::Protocol("neither topic nor topic alias")),
        (true, None, Version::V311) => Err(Violation::TopicName),
    }
}

/// The exact rules cost two passes more: only where one without branches finds a byte that devices seldom use.
fn is_topic_name(topic: &[u8]) -> bool {
    is_plain(topic) || (is_text(topic) && !topic.iter().any(|byte| matches!(byte, b'+' | b'#')))
}

/// Whether it is ASCII and holds nothing that a topic name must not: NUL, `#`, `+`. Looks at eight bytes at once.
fn is_plain(topic: &[u8]) -> bool {
    let (words, rest) = topic.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(last, byte)| *last = *byte);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let odd = |word: u64| word | zeros(word) | zeros(word ^ (EVERY * 0x23)) | zeros(word ^ (EVERY * 0x2B));
    words.fold(0, |all, word| all | odd(word)) & (EVERY * 0x80) == 0
}

/// Every byte 1.
const EVERY: u64 = u64::MAX / 0xFF;

/// Has the high bit of a byte set where a byte of `word` is 0; may have it set where one is 1 or above 0x7F.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(EVERY) & !word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v311(flags: u8, body: &'static [u8]) -> Result<Published, Violation> {
        parse(Version::V311, flags, Bytes::from_static(body))
    }

    fn v5(flags: u8, body: &'static [u8]) -> Result<Published, Violation> {
        parse(Version::V5, flags, Bytes::from_static(body))
    }

    #[test]
    fn dup_and_retain_change_nothing() {
        let plain = v311(0b0010, b"\x00\x01t\x00\x07x").unwrap();
        assert_eq!(plain.packet_id, Some(7));
        assert_eq!(v311(0b1011, b"\x00\x01t\x00\x07x").unwrap(), plain);
    }

    #[test]
    fn bad_topics_are_told_apart_from_broken_packets() {
        for body in [
            &b"\x00\x02a+\x00\x01"[..],
            b"\x00\x01#\x00\x01",
            b"\x00\x01\x00\x00\x01",
            b"\x00\x01\xFF\x00\x01",
        ] {
            assert_eq!(v311(0b0010, body), Err(Violation::TopicName));
        }
        assert!(v311(0, b"\x00\x03a\xC3\xA9x").is_ok(), "text beyond ASCII is a name as well");
        assert_eq!(v311(0, b"\x00\x00x"), Err(Violation::TopicName));
        assert!(matches!(v311(0b0010, b"\x00\x01t\x00"), Err(Violation::Malformed(_))));
        assert!(matches!(v311(0b0010, b"\x00\x01t\x00\x00"), Err(Violation::Protocol(_))));
    }

    #[test]
    fn what_is_plain_is_a_topic_name_wherever_a_byte_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut topic = *b"devices/d/telemetry_";
                topic[at] = byte;
                let is_name = byte.is_ascii() && !b"\0#+".contains(&byte);
                assert!(!is_plain(&topic) || is_name, "{byte} at {at}");
                assert!(is_plain(&topic) || !(0x2D..=0x7E).contains(&byte), "{byte} at {at} is seldom");
                assert_eq!(is_topic_name(&topic), is_name, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn quality_of_service_above_one_is_refused() {
        assert_eq!(v311(0b0100, b"\x00\x01t\x00\x01"), Err(Violation::QosNotSupported));
        assert!(matches!(v311(0b0110, b"\x00\x01t\x00\x01"), Err(Violation::Malformed(_))));
        assert!(matches!(v311(0b1000, b"\x00\x01t"), Err(Violation::Malformed(_))));
    }

    #[test]
    fn an_empty_topic_needs_an_alias() {
        assert_eq!(v5(0, b"\x00\x00\x03\x23\x00\x05x").unwrap().alias, Some(5));
        assert!(matches!(v5(0, b"\x00\x00\x00x"), Err(Violation::Protocol(_))));
    }
}
