//! MQTT 5 properties (MQTT 5, 2.2.2): a length, then (identifier, value) pairs whose type the identifier fixes.
//!
//! An identifier that does not exist is malformed; one that does not belong to the packet, or comes twice, is a
//! protocol error. User properties may repeat.

use bytes::Bytes;

use super::violation::Violation;
use super::wire::Wire;

pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
pub(super) const CONTENT_TYPE: u8 = 0x03;
pub(super) const RESPONSE_TOPIC: u8 = 0x08;
pub(super) const CORRELATION_DATA: u8 = 0x09;
pub(super) const SUBSCRIPTION_ID: u8 = 0x0B;
pub(super) const SESSION_EXPIRY: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTH_METHOD: u8 = 0x15;
pub(super) const AUTH_DATA: u8 = 0x16;
pub(super) const REQUEST_PROBLEM_INFO: u8 = 0x17;
pub(super) const WILL_DELAY: u8 = 0x18;
pub(super) const REQUEST_RESPONSE_INFO: u8 = 0x19;
pub(super) const SERVER_REFERENCE: u8 = 0x1C;
pub(super) const REASON_STRING: u8 = 0x1F;
pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(super) const TOPIC_ALIAS: u8 = 0x23;
pub(super) const MAXIMUM_QOS: u8 = 0x24;
pub(super) const USER_PROPERTY: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
pub(super) const WILDCARD_AVAILABLE: u8 = 0x28;
pub(super) const SUBSCRIPTION_ID_AVAILABLE: u8 = 0x29;
pub(super) const SHARED_AVAILABLE: u8 = 0x2A;

/// A set of property identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identifiers(u64);

impl Identifiers {
    /// The set of those given; all identifiers are below 64.
    pub(super) const fn of(mut identifiers: &[u8]) -> Self {
        let mut set = 0;
        while let Some((first, rest)) = identifiers.split_first() {
            set |= 1 << *first;
            identifiers = rest;
        }
        Self(set)
    }

    const fn contains(self, identifier: u8) -> bool {
        identifier < 64 && self.0 & (1 << identifier) != 0
    }

    const fn with(self, identifier: u8) -> Self {
        Self(self.0 | (1 << identifier))
    }
}

/// A value that matters here; all others are checked and passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Property {
    /// Which one.
    pub(super) identifier: u8,
    /// Its number; 0 for text and binary values.
    pub(super) number: u32,
}

/// Checks the properties at the front and gives each to `each`.
///
/// # Errors
/// See the module; also what `each` returns.
pub(super) fn take_properties(
    packet: &mut Bytes,
    allowed: Identifiers,
    mut each: impl FnMut(Property) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let length = packet.take_varint()?;
    if length == 0 {
        return Ok(());
    }
    let mut block = packet.take_bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
    let mut seen = Identifiers(0);
    while !block.is_empty() {
        // Identifiers are variable byte integers, but all that exist take one byte.
        let identifier = block.take_u8()?;
        let number = take_value(&mut block, identifier)?;
        if !allowed.contains(identifier) {
            return Err(Violation::Protocol("property does not belong to the packet"));
        }
        if seen.contains(identifier) && identifier != USER_PROPERTY {
            return Err(Violation::Protocol("property given twice"));
        }
        seen = seen.with(identifier);
        each(Property { identifier, number })?;
    }
    Ok(())
}

fn take_value(block: &mut Bytes, identifier: u8) -> Result<u32, Violation> {
    match identifier {
        PAYLOAD_FORMAT | REQUEST_PROBLEM_INFO | REQUEST_RESPONSE_INFO => match block.take_u8()? {
            flag @ (0 | 1) => Ok(u32::from(flag)),
            _ => Err(Violation::Protocol("flag property is neither 0 nor 1")),
        },
        MAXIMUM_QOS | 0x25 | WILDCARD_AVAILABLE | SUBSCRIPTION_ID_AVAILABLE | SHARED_AVAILABLE => {
            block.take_u8().map(u32::from)
        }
        SERVER_KEEP_ALIVE | RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS => {
            block.take_u16().map(u32::from)
        }
        MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | MAXIMUM_PACKET_SIZE => block.take_u32(),
        SUBSCRIPTION_ID => block.take_varint(),
        CORRELATION_DATA | AUTH_DATA => block.take_binary().map(|_| 0),
        CONTENT_TYPE | RESPONSE_TOPIC | ASSIGNED_CLIENT_ID | AUTH_METHOD | 0x1A | SERVER_REFERENCE
        | REASON_STRING => block.take_text().map(|_| 0),
        USER_PROPERTY => block.take_text().and_then(|_| block.take_text()).map(|_| 0),
        _ => Err(Violation::Malformed("unknown property")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Identifiers = Identifiers::of(&[TOPIC_ALIAS, USER_PROPERTY]);

    fn check(bytes: &'static [u8]) -> Result<Vec<Property>, Violation> {
        let mut found = Vec::new();
        let mut packet = Bytes::from_static(bytes);
        take_properties(&mut packet, ALLOWED, |property| {
            found.push(property);
            Ok(())
        })?;
        assert!(packet.is_empty());
        Ok(found)
    }

    #[test]
    fn values_are_read_and_user_properties_may_repeat() {
        let found = check(&[
            17,
            USER_PROPERTY,
            0,
            1,
            b'a',
            0,
            1,
            b'b',
            TOPIC_ALIAS,
            0,
            7,
            USER_PROPERTY,
            0,
            1,
            b'a',
            0,
            1,
            b'b',
        ]);
        assert_eq!(found.unwrap()[1], Property { identifier: TOPIC_ALIAS, number: 7 });
    }

    #[test]
    fn twice_foreign_unknown_and_cut_properties_are_refused() {
        assert!(matches!(check(&[6, TOPIC_ALIAS, 0, 1, TOPIC_ALIAS, 0, 1]), Err(Violation::Protocol(_))));
        assert!(matches!(check(&[3, RECEIVE_MAXIMUM, 0, 1]), Err(Violation::Protocol(_))));
        assert!(matches!(check(&[2, 0x7F, 0]), Err(Violation::Malformed(_))));
        assert!(matches!(check(&[2, TOPIC_ALIAS, 0]), Err(Violation::Malformed(_))));
        assert!(matches!(check(&[9, TOPIC_ALIAS, 0]), Err(Violation::Malformed(_))));
    }
}
