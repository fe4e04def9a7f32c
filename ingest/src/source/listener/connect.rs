//! CONNECT (MQTT 3.1.1 and 5, 3.1): who is there and what it wants.
//!
//! The will is checked and passed over: nothing is delivered from here, so nobody could receive it, and keeping
//! it would cost memory for as long as each connection lasts.

use bytes::Bytes;

use super::properties::{
    AUTH_DATA, AUTH_METHOD, CONTENT_TYPE, CORRELATION_DATA, Identifiers, MAXIMUM_PACKET_SIZE, MESSAGE_EXPIRY,
    PAYLOAD_FORMAT, Property, RECEIVE_MAXIMUM, REQUEST_PROBLEM_INFO, REQUEST_RESPONSE_INFO, RESPONSE_TOPIC,
    SESSION_EXPIRY, TOPIC_ALIAS_MAXIMUM, USER_PROPERTY, WILL_DELAY, take_properties,
};
use super::reply::{Refusal, Version};
use super::violation::Violation;
use super::wire::Wire;

/// Bytes of a client id: it is kept while connected. The standard asks for 23, brokers allow about this much.
pub(super) const CLIENT_ID_BYTES_MAX: usize = 256;

const CONNECT_PROPERTIES: Identifiers = Identifiers::of(&[
    SESSION_EXPIRY,
    AUTH_METHOD,
    AUTH_DATA,
    REQUEST_PROBLEM_INFO,
    REQUEST_RESPONSE_INFO,
    RECEIVE_MAXIMUM,
    TOPIC_ALIAS_MAXIMUM,
    USER_PROPERTY,
    MAXIMUM_PACKET_SIZE,
]);
const WILL_PROPERTIES: Identifiers = Identifiers::of(&[
    PAYLOAD_FORMAT,
    MESSAGE_EXPIRY,
    CONTENT_TYPE,
    RESPONSE_TOPIC,
    CORRELATION_DATA,
    WILL_DELAY,
    USER_PROPERTY,
]);

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_QOS_2: u8 = 0b0001_0000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// A CONNECT that may be accepted, credentials willing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connect {
    pub(super) version: Version,
    /// Empty where the client leaves the choice to the server.
    pub(super) client_id: Bytes,
    /// 0 where the client asks for none.
    pub(super) keep_alive_seconds: u16,
    pub(super) user_name: Option<Bytes>,
    pub(super) password: Option<Bytes>,
    /// Whether the client asked for a session that outlives the connection.
    pub(super) wants_session: bool,
    pub(super) has_will: bool,
}

/// A CONNECT that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectError {
    /// Answered with a CONNACK.
    Refused(Version, Refusal),
    /// No CONNECT, or not to be understood: closed, after a CONNACK with the reason where the version is known
    /// to be 5.
    Violation(Option<Version>, Violation),
}

/// Parses what follows the fixed header of a CONNECT.
pub(super) fn parse(mut body: Bytes) -> Result<Connect, ConnectError> {
    let version = take_version(&mut body)?;
    let violation = |violation| ConnectError::Violation(Some(version), violation);
    let flags = body.take_u8().map_err(violation)?;
    check_flags(version, flags).map_err(violation)?;
    let keep_alive_seconds = body.take_u16().map_err(violation)?;
    let asked = take_connect_properties(version, &mut body).map_err(violation)?;
    let client_id = body.take_text().map_err(violation)?;
    if flags & WILL != 0 {
        take_will(version, &mut body).map_err(violation)?;
    }
    let user_name = optional(flags & USER_NAME, || body.take_text()).map_err(violation)?;
    let password = optional(flags & PASSWORD, || body.take_binary()).map_err(violation)?;
    if !body.is_empty() {
        return Err(violation(Violation::Malformed("bytes after the CONNECT")));
    }
    let clean = flags & CLEAN_START != 0;
    let refusal = if asked.authentication {
        Some(Refusal::AuthMethod)
    } else if client_id.len() > CLIENT_ID_BYTES_MAX
        || (client_id.is_empty() && version == Version::V311 && !clean)
    {
        Some(Refusal::ClientId)
    } else if version == Version::V5 && flags & WILL_QOS == WILL_QOS_2 {
        Some(Refusal::WillQos)
    } else {
        None
    };
    match refusal {
        Some(refusal) => Err(ConnectError::Refused(version, refusal)),
        None => Ok(Connect {
            version,
            client_id,
            keep_alive_seconds,
            user_name,
            password,
            wants_session: asked.session,
            has_will: flags & WILL != 0,
        }),
    }
}

fn optional(flag: u8, take: impl FnOnce() -> Result<Bytes, Violation>) -> Result<Option<Bytes>, Violation> {
    if flag == 0 { Ok(None) } else { take().map(Some) }
}

fn take_version(body: &mut Bytes) -> Result<Version, ConnectError> {
    let unknown = |violation| ConnectError::Violation(None, violation);
    let name = body.take_binary().map_err(unknown)?;
    let level = body.take_u8().map_err(unknown)?;
    match (name.as_ref(), level) {
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        // A later version will understand the CONNACK of 5, an earlier one that of 3.1.1.
        (b"MQTT", 6..) => Err(ConnectError::Refused(Version::V5, Refusal::ProtocolVersion)),
        (b"MQTT" | b"MQIsdp", _) => Err(ConnectError::Refused(Version::V311, Refusal::ProtocolVersion)),
        _ => Err(unknown(Violation::Protocol("not MQTT"))),
    }
}

fn check_flags(version: Version, flags: u8) -> Result<(), Violation> {
    if flags & 1 != 0 {
        return Err(Violation::Malformed("reserved CONNECT flag is set"));
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(Violation::Malformed("will flags without a will"));
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(Violation::Malformed("will of QoS 3"));
    }
    if version == Version::V311 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(Violation::Malformed("password without user name"));
    }
    Ok(())
}

#[derive(Default)]
struct Asked {
    authentication: bool,
    session: bool,
}

fn take_connect_properties(version: Version, body: &mut Bytes) -> Result<Asked, Violation> {
    let mut asked = Asked::default();
    let mut data_without_method = false;
    if version == Version::V5 {
        take_properties(body, CONNECT_PROPERTIES, |Property { identifier, number }| {
            match identifier {
                RECEIVE_MAXIMUM | MAXIMUM_PACKET_SIZE if number == 0 => {
                    return Err(Violation::Protocol("a limit of 0"));
                }
                SESSION_EXPIRY => asked.session = number > 0,
                AUTH_METHOD => asked.authentication = true,
                AUTH_DATA => data_without_method = true,
                _ => {}
            }
            Ok(())
        })?;
    }
    if data_without_method && !asked.authentication {
        return Err(Violation::Protocol("authentication data without a method"));
    }
    Ok(asked)
}

fn take_will(version: Version, body: &mut Bytes) -> Result<(), Violation> {
    if version == Version::V5 {
        take_properties(body, WILL_PROPERTIES, |_| Ok(()))?;
    }
    body.take_text()?;
    body.take_binary()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &'static [u8]) -> Result<Connect, ConnectError> {
        parse(Bytes::from_static(body))
    }

    #[test]
    fn both_versions_are_told_apart() {
        let old = check(b"\x00\x04MQTT\x04\xC2\x00\x3C\x00\x02d1\x00\x01u\x00\x01p").unwrap();
        assert_eq!((old.version, old.keep_alive_seconds), (Version::V311, 60));
        assert_eq!((old.user_name.as_deref(), old.password.as_deref()), (Some(&b"u"[..]), Some(&b"p"[..])));
        let new = check(b"\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x00\x09\x00\x02d1").unwrap();
        assert_eq!((new.version, new.wants_session), (Version::V5, true));
    }

    #[test]
    fn other_versions_are_refused_in_words_they_know() {
        let refused = |version| Err(ConnectError::Refused(version, Refusal::ProtocolVersion));
        assert_eq!(check(b"\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01d"), refused(Version::V311));
        assert_eq!(check(b"\x00\x04MQTT\x06\x02\x00\x00\x00\x01d"), refused(Version::V5));
        assert!(matches!(check(b"\x00\x04HTTP\x04"), Err(ConnectError::Violation(None, _))));
    }

    #[test]
    fn an_empty_client_id_needs_a_clean_session_in_mqtt_3_only() {
        assert!(check(b"\x00\x04MQTT\x04\x02\x00\x00\x00\x00").unwrap().client_id.is_empty());
        assert_eq!(
            check(b"\x00\x04MQTT\x04\x00\x00\x00\x00\x00"),
            Err(ConnectError::Refused(Version::V311, Refusal::ClientId))
        );
        assert!(check(b"\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x00").unwrap().client_id.is_empty());
    }

    #[test]
    fn a_will_is_checked_and_passed_over() {
        let will = check(b"\x00\x04MQTT\x04\x2E\x00\x00\x00\x01d\x00\x01t\x00\x03off").unwrap();
        assert!(will.has_will);
        assert!(matches!(
            check(b"\x00\x04MQTT\x04\x06\x00\x00\x00\x01d\x00\x01t\x00\x09off"),
            Err(ConnectError::Violation(Some(Version::V311), Violation::Malformed(_)))
        ));
        assert_eq!(
            check(b"\x00\x04MQTT\x05\x16\x00\x00\x00\x00\x01d\x00\x00\x01t\x00\x03off"),
            Err(ConnectError::Refused(Version::V5, Refusal::WillQos))
        );
    }

    #[test]
    fn flags_that_contradict_are_malformed() {
        for flags in [0x03, 0x08, 0x20, 0x1E, 0x42] {
            let mut body = b"\x00\x04MQTT\x04\x00\x00\x00\x00\x01d\x00\x01t\x00\x01w".to_vec();
            body[7] = flags;
            assert!(
                matches!(
                    parse(Bytes::from(body)),
                    Err(ConnectError::Violation(Some(Version::V311), Violation::Malformed(_)))
                ),
                "{flags:#x}"
            );
        }
    }

    #[test]
    fn an_authentication_exchange_is_refused() {
        assert_eq!(
            check(b"\x00\x04MQTT\x05\x02\x00\x00\x04\x15\x00\x01m\x00\x01d"),
            Err(ConnectError::Refused(Version::V5, Refusal::AuthMethod))
        );
    }
}
