//! SUBSCRIBE, UNSUBSCRIBE and DISCONNECT (MQTT 3.1.1 and 5: 3.8, 3.10, 3.14): checked only as far as an honest
//! answer needs, because nothing is delivered from here.

use bytes::Bytes;

use super::properties::{
    Identifiers, REASON_STRING, SERVER_REFERENCE, SESSION_EXPIRY, SUBSCRIPTION_ID, USER_PROPERTY,
    take_properties,
};
use super::reply::Version;
use super::violation::Violation;
use super::wire::Wire;

const SUBSCRIBE_PROPERTIES: Identifiers = Identifiers::of(&[SUBSCRIPTION_ID, USER_PROPERTY]);
const UNSUBSCRIBE_PROPERTIES: Identifiers = Identifiers::of(&[USER_PROPERTY]);
const DISCONNECT_PROPERTIES: Identifiers =
    Identifiers::of(&[SESSION_EXPIRY, REASON_STRING, USER_PROPERTY, SERVER_REFERENCE]);

/// What an answer needs to know of a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filters {
    /// The packet identifier.
    pub(super) packet_id: u16,
    /// How many filters, at least one.
    pub(super) count: usize,
}

/// How a client says goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// Normally: the will is void.
    Normal,
    /// With a reason, which asks for the will to be published (MQTT 5).
    WithReason,
}

/// Parses what follows the fixed header of a SUBSCRIBE.
pub(super) fn parse_subscribe(version: Version, body: Bytes) -> Result<Filters, Violation> {
    let options_max = if version == Version::V5 { 0x3F } else { 0x03 };
    take_filters(version, SUBSCRIBE_PROPERTIES, body, |body| {
        let options = body.take_u8()?;
        if options > options_max || options & 0b11 == 0b11 || options & 0x30 == 0x30 {
            return Err(Violation::Malformed("subscription options"));
        }
        Ok(())
    })
}

/// Parses what follows the fixed header of an UNSUBSCRIBE.
pub(super) fn parse_unsubscribe(version: Version, body: Bytes) -> Result<Filters, Violation> {
    take_filters(version, UNSUBSCRIBE_PROPERTIES, body, |_| Ok(()))
}

fn take_filters(
    version: Version,
    allowed: Identifiers,
    mut body: Bytes,
    take_options: impl Fn(&mut Bytes) -> Result<(), Violation>,
) -> Result<Filters, Violation> {
    let packet_id = body.take_packet_id()?;
    if version == Version::V5 {
        take_properties(&mut body, allowed, |_| Ok(()))?;
    }
    let mut count = 0;
    while !body.is_empty() {
        if body.take_text()?.is_empty() {
            return Err(Violation::Malformed("empty topic filter"));
        }
        take_options(&mut body)?;
        count += 1;
    }
    if count == 0 { Err(Violation::Protocol("no topic filter")) } else { Ok(Filters { packet_id, count }) }
}

/// Parses what follows the fixed header of a DISCONNECT.
pub(super) fn parse_disconnect(version: Version, mut body: Bytes) -> Result<Goodbye, Violation> {
    if body.is_empty() {
        return Ok(Goodbye::Normal);
    }
    if version == Version::V311 {
        return Err(Violation::Malformed("DISCONNECT with a body"));
    }
    let reason = body.take_u8()?;
    if !body.is_empty() {
        take_properties(&mut body, DISCONNECT_PROPERTIES, |_| Ok(()))?;
    }
    Ok(if reason == 0 { Goodbye::Normal } else { Goodbye::WithReason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_counted() {
        let old = parse_subscribe(Version::V311, Bytes::from_static(b"\x00\x05\x00\x01a\x01\x00\x02b#\x00"));
        assert_eq!(old, Ok(Filters { packet_id: 5, count: 2 }));
        let new = parse_subscribe(Version::V5, Bytes::from_static(b"\x00\x05\x02\x0B\x07\x00\x01a\x2D"));
        assert_eq!(new, Ok(Filters { packet_id: 5, count: 1 }));
        let off = parse_unsubscribe(Version::V311, Bytes::from_static(b"\x00\x05\x00\x01a"));
        assert_eq!(off, Ok(Filters { packet_id: 5, count: 1 }));
    }

    #[test]
    fn broken_subscriptions_are_refused() {
        for body in [
            &b"\x00\x05"[..],
            b"\x00\x00\x00\x01a\x01",
            b"\x00\x05\x00\x00\x01",
            b"\x00\x05\x00\x01a\x04",
            b"\x00\x05\x00\x01a",
        ] {
            assert!(parse_subscribe(Version::V311, Bytes::from_static(body)).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_disconnect_may_carry_a_reason_in_mqtt_5() {
        assert_eq!(parse_disconnect(Version::V311, Bytes::new()), Ok(Goodbye::Normal));
        assert_eq!(parse_disconnect(Version::V5, Bytes::from_static(&[4])), Ok(Goodbye::WithReason));
        assert_eq!(parse_disconnect(Version::V5, Bytes::from_static(&[0, 0])), Ok(Goodbye::Normal));
        assert!(parse_disconnect(Version::V311, Bytes::from_static(&[0])).is_err());
    }
}
