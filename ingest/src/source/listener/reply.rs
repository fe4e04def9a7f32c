//! What the listener says: the packets it sends, written by hand into a buffer. All are short.

use bytes::{BufMut, BytesMut};

use super::properties::{
    ASSIGNED_CLIENT_ID, MAXIMUM_PACKET_SIZE, MAXIMUM_QOS, RECEIVE_MAXIMUM, SERVER_KEEP_ALIVE, SESSION_EXPIRY,
    SHARED_AVAILABLE, SUBSCRIPTION_ID_AVAILABLE, TOPIC_ALIAS_MAXIMUM, WILDCARD_AVAILABLE,
};
use super::violation::Violation;
use crate::source::Verdict;

/// The protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5, protocol level 5.
    V5,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Neither level 4 nor 5.
    ProtocolVersion,
    /// Empty where it may not be, or too long.
    ClientId,
    /// Wrong user name or password.
    BadCredentials,
    /// Known, but not allowed.
    NotAuthorized,
    /// An authentication exchange was asked for.
    AuthMethod,
    /// The will is of QoS 2.
    WillQos,
}

impl Refusal {
    /// The return code of MQTT 3.1.1 (3.2.2.3) and the reason code of MQTT 5 (3.2.2.2).
    const fn code(self, version: Version) -> u8 {
        match (self, version) {
            (Self::ProtocolVersion, Version::V311) => 0x01,
            (Self::ProtocolVersion, Version::V5) => 0x84,
            (Self::ClientId, Version::V311) => 0x02,
            (Self::ClientId, Version::V5) => 0x85,
            (Self::BadCredentials, Version::V311) => 0x04,
            (Self::BadCredentials, Version::V5) => 0x86,
            (Self::NotAuthorized | Self::AuthMethod | Self::WillQos, Version::V311) => 0x05,
            (Self::NotAuthorized, Version::V5) => 0x87,
            (Self::AuthMethod, Version::V5) => 0x8C,
            (Self::WillQos, Version::V5) => 0x9B,
        }
    }

    /// The bounded word for it in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::ProtocolVersion => "protocol_version",
            Self::ClientId => "client_id",
            Self::BadCredentials => "bad_credentials",
            Self::NotAuthorized => "not_authorized",
            Self::AuthMethod => "auth_method",
            Self::WillQos => "will_qos",
        }
    }
}

/// What a CONNACK of MQTT 5 announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced<'a> {
    pub(super) receive_maximum: u16,
    pub(super) topic_alias_maximum: u16,
    pub(super) packet_bytes_max: u32,
    /// Only where the client left it empty.
    pub(super) assigned_client_id: Option<&'a str>,
    /// Only where it differs from what the client asked for.
    pub(super) keep_alive_seconds: Option<u16>,
    /// Says that no session is kept where the client asked for one.
    pub(super) no_session: bool,
}

/// CONNACK for a client that may stay. No session is ever present.
pub(super) fn accept_connect(version: Version, announced: Announced<'_>, out: &mut BytesMut) {
    if version == Version::V311 {
        out.put_slice(&[0x20, 2, 0, 0]);
        return;
    }
    let mut properties = BytesMut::with_capacity(64);
    put_u16(&mut properties, RECEIVE_MAXIMUM, announced.receive_maximum);
    put_u16(&mut properties, TOPIC_ALIAS_MAXIMUM, announced.topic_alias_maximum);
    properties.put_u8(MAXIMUM_PACKET_SIZE);
    properties.put_u32(announced.packet_bytes_max);
    for (identifier, value) in
        [(MAXIMUM_QOS, 1), (WILDCARD_AVAILABLE, 0), (SUBSCRIPTION_ID_AVAILABLE, 0), (SHARED_AVAILABLE, 0)]
    {
        properties.put_slice(&[identifier, value]);
    }
    if announced.no_session {
        properties.put_u8(SESSION_EXPIRY);
        properties.put_u32(0);
    }
    if let Some(seconds) = announced.keep_alive_seconds {
        put_u16(&mut properties, SERVER_KEEP_ALIVE, seconds);
    }
    if let Some(id) = announced.assigned_client_id {
        put_u16(&mut properties, ASSIGNED_CLIENT_ID, u16::try_from(id.len()).unwrap_or(0));
        properties.put_slice(id.as_bytes());
    }
    let length = u8::try_from(properties.len()).unwrap_or(0);
    assert!((1..=124).contains(&length), "the properties of a CONNACK fit one length byte");
    out.put_slice(&[0x20, length + 3, 0, 0, length]);
    out.put_slice(&properties);
}

fn put_u16(out: &mut BytesMut, identifier: u8, value: u16) {
    out.put_u8(identifier);
    out.put_u16(value);
}

/// CONNACK for a client that may not.
pub(super) fn refuse_connect(version: Version, refusal: Refusal, out: &mut BytesMut) {
    let code = refusal.code(version);
    match version {
        Version::V311 => out.put_slice(&[0x20, 2, 0, code]),
        Version::V5 => out.put_slice(&[0x20, 3, 0, code, 0]),
    }
}

/// CONNACK of MQTT 5 for a CONNECT that could not be understood.
pub(super) fn refuse_malformed_connect(violation: Violation, out: &mut BytesMut) {
    out.put_slice(&[0x20, 3, 0, violation.reason_code(), 0]);
}

/// The reason code "quota exceeded" of MQTT 5 (3.4.2.1).
const QUOTA_EXCEEDED: u8 = 0x97;

/// PUBACK; success has the same four bytes in both versions, and MQTT 3.1.1 has nothing else.
pub(super) fn acknowledge(version: Version, packet_id: u16, verdict: Verdict, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    match (version, verdict) {
        (Version::V5, Verdict::OverQuota) => out.put_slice(&[0x40, 3, high, low, QUOTA_EXCEEDED]),
        (Version::V311 | Version::V5, _) => out.put_slice(&[0x40, 2, high, low]),
    }
}

/// SUBACK that refuses every filter: nothing is ever delivered here. MQTT 5 has a code that says so
/// ("valid but the Server does not accept it"), 3.1.1 only a failure.
pub(super) fn refuse_subscriptions(version: Version, packet_id: u16, filters: usize, out: &mut BytesMut) {
    const FAILURE: u8 = 0x80;
    const IMPLEMENTATION_SPECIFIC: u8 = 0x83;
    let code = if version == Version::V5 { IMPLEMENTATION_SPECIFIC } else { FAILURE };
    put_codes(version, 0x90, packet_id, Codes { code, count: filters }, out);
}

/// UNSUBACK: no subscription existed. That of 3.1.1 holds no codes.
pub(super) fn refuse_unsubscriptions(version: Version, packet_id: u16, filters: usize, out: &mut BytesMut) {
    const NO_SUBSCRIPTION: u8 = 0x11;
    let count = if version == Version::V5 { filters } else { 0 };
    put_codes(version, 0xB0, packet_id, Codes { code: NO_SUBSCRIPTION, count }, out);
}

#[derive(Clone, Copy)]
struct Codes {
    code: u8,
    count: usize,
}

fn put_codes(version: Version, first: u8, packet_id: u16, codes: Codes, out: &mut BytesMut) {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    out.put_u8(first);
    put_length(2 + properties.len() + codes.count, out);
    out.put_u16(packet_id);
    out.put_slice(properties);
    out.put_bytes(codes.code, codes.count);
}

fn put_length(mut length: usize, out: &mut BytesMut) {
    while length > 0x7F {
        out.put_u8(u8::try_from(length & 0x7F).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    out.put_u8(u8::try_from(length).unwrap_or(0));
}

/// PINGRESP.
pub(super) fn answer_ping(out: &mut BytesMut) {
    out.put_slice(&[0xD0, 0]);
}

/// DISCONNECT with a reason; MQTT 5 only, 3.1.1 knows none from the server.
pub(super) fn disconnect(reason_code: u8, out: &mut BytesMut) {
    out.put_slice(&[0xE0, 1, reason_code]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rmqtt_codec::{v3, v5};
    use tokio_util::codec::Decoder;

    fn as_v5(mut bytes: BytesMut) -> v5::Packet {
        let packet = v5::Codec::new(0, 0).decode(&mut bytes).unwrap().unwrap().0;
        assert!(bytes.is_empty());
        packet
    }

    fn as_v3(mut bytes: BytesMut) -> v3::Packet {
        let packet = v3::Codec::new(0).decode(&mut bytes).unwrap().unwrap().0;
        assert!(bytes.is_empty());
        packet
    }

    #[test]
    fn a_connack_of_mqtt_5_announces_every_limit() {
        let announced = Announced {
            receive_maximum: 1_000,
            topic_alias_maximum: 16,
            packet_bytes_max: 262_144,
            assigned_client_id: Some("tidemill-1"),
            keep_alive_seconds: Some(60),
            no_session: true,
        };
        let mut out = BytesMut::new();
        accept_connect(Version::V5, announced, &mut out);
        let v5::Packet::ConnectAck(ack) = as_v5(out) else { panic!("not a CONNACK") };
        assert_eq!(ack.reason_code, v5::ConnectAckReason::Success);
        assert!(!ack.session_present);
        assert_eq!(ack.receive_max.get(), 1_000);
        assert_eq!(ack.topic_alias_max, 16);
        assert_eq!(ack.max_packet_size, Some(262_144));
        assert_eq!(ack.assigned_client_id.as_ref().map(ToString::to_string), Some("tidemill-1".to_owned()));
        assert_eq!(ack.server_keepalive_sec, Some(60));
        assert_eq!(ack.session_expiry_interval_secs, Some(0));
        assert_eq!(u8::from(ack.max_qos), 1);
        assert!(!ack.wildcard_subscription_available && !ack.shared_subscription_available);
    }

    #[test]
    fn refusals_carry_the_code_of_their_version() {
        let mut out = BytesMut::new();
        refuse_connect(Version::V5, Refusal::ProtocolVersion, &mut out);
        let v5::Packet::ConnectAck(ack) = as_v5(out) else { panic!("not a CONNACK") };
        assert_eq!(ack.reason_code, v5::ConnectAckReason::UnsupportedProtocolVersion);
        let mut out = BytesMut::new();
        refuse_connect(Version::V311, Refusal::ClientId, &mut out);
        let v3::Packet::ConnectAck(ack) = as_v3(out) else { panic!("not a CONNACK") };
        assert_eq!(ack.return_code, v3::ConnectAckReason::IdentifierRejected);
    }

    #[test]
    fn subscriptions_are_refused_filter_by_filter() {
        let mut out = BytesMut::new();
        refuse_subscriptions(Version::V5, 7, 300, &mut out);
        let v5::Packet::SubscribeAck(ack) = as_v5(out) else { panic!("not a SUBACK") };
        assert_eq!(ack.packet_id.get(), 7);
        assert_eq!(ack.status, vec![v5::SubscribeAckReason::ImplementationSpecificError; 300]);
        let mut out = BytesMut::new();
        refuse_subscriptions(Version::V311, 7, 2, &mut out);
        let v3::Packet::SubscribeAck { packet_id, status } = as_v3(out) else { panic!("not a SUBACK") };
        assert_eq!((packet_id.get(), status), (7, vec![v3::SubscribeReturnCode::Failure; 2]));
    }

    #[test]
    fn a_message_over_a_quota_is_told_so_where_the_protocol_can() {
        let acknowledged = |version, verdict| {
            let mut out = BytesMut::new();
            acknowledge(version, 9, verdict, &mut out);
            out.to_vec()
        };
        let told = acknowledged(Version::V5, Verdict::OverQuota);
        let v5::Packet::PublishAck(ack) = as_v5(told.as_slice().into()) else { panic!("not a PUBACK") };
        assert_eq!((ack.packet_id.get(), ack.reason_code), (9, v5::PublishAckReason::QuotaExceeded));
        assert_eq!(acknowledged(Version::V311, Verdict::OverQuota), [0x40, 2, 0, 9]);
    }

    #[test]
    fn short_replies_are_as_the_standard_says() {
        let mut out = BytesMut::new();
        acknowledge(Version::V5, 0x1234, Verdict::Taken, &mut out);
        refuse_unsubscriptions(Version::V311, 2, 3, &mut out);
        answer_ping(&mut out);
        disconnect(0x8E, &mut out);
        let expected = b"\x40\x02\x12\x34\xB0\x02\x00\x02\xD0\x00\xE0\x01\x8E";
        assert_eq!(out.freeze(), Bytes::from_static(expected));
        let mut out = BytesMut::new();
        refuse_unsubscriptions(Version::V5, 2, 1, &mut out);
        assert_eq!(&out[..], b"\xB0\x04\x00\x02\x00\x11");
    }
}
