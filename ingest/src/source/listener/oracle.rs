//! The hand-written parsers against `rmqtt-codec`: they accept the same packets with the same fields, and refuse
//! the same ones, except where a named rule of the standard makes ours stricter.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use rmqtt_codec::types::QoS;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;

use super::connect;
use super::publish::{self, Published};
use super::reply::Version;
use super::violation::Violation;

/// What the oracle makes of a PUBLISH.
fn oracle_publish(version: Version, flags: u8, body: &[u8]) -> Option<Box<rmqtt_codec::types::Publish>> {
    let mut bytes = packet(0x30 | flags, body);
    match version {
        Version::V311 => match v3::Codec::new(0).decode(&mut bytes) {
            Ok(Some((v3::Packet::Publish(publish), _))) => Some(publish),
            _ => None,
        },
        Version::V5 => match v5::Codec::new(0, 0).decode(&mut bytes) {
            Ok(Some((v5::Packet::Publish(publish), _))) => Some(publish),
            _ => None,
        },
    }
}

fn packet(first: u8, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u8(first);
    let mut length = body.len();
    while length > 0x7F {
        bytes.put_u8(u8::try_from(length & 0x7F).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.put_u8(u8::try_from(length).unwrap());
    bytes.put_slice(body);
    bytes
}

/// Whether refusing what the oracle accepts is right: it leaves these rules to its caller.
fn is_stricter_rule(violation: Violation, flags: u8, oracle: &rmqtt_codec::types::Publish) -> bool {
    let topic: &str = &oracle.topic;
    let properties = oracle.properties.as_ref();
    let text_with_nul = || {
        let user = |pair: &(_, _)| format!("{}{}", pair.0, pair.1).contains('\0');
        properties.is_some_and(|properties| {
            let texts = [&properties.content_type, &properties.response_topic];
            texts.into_iter().flatten().any(|text| text.contains('\0'))
                || properties.user_properties.iter().any(user)
        })
    };
    match violation {
        Violation::QosNotSupported => oracle.qos == QoS::ExactlyOnce,
        Violation::TopicName => topic.contains(['+', '#', '\0']),
        Violation::Protocol(_) => {
            let unnamed = properties.is_some_and(|properties| properties.topic_alias.is_none());
            (topic.is_empty() && unnamed)
                || properties.is_some_and(|properties| !properties.subscription_ids.is_empty())
        }
        Violation::Malformed(_) => flags & 0b1110 == 0b1000 || text_with_nul(),
        Violation::PacketTooLarge { .. } | Violation::TopicAlias(_) | Violation::ReceiveMaximum => false,
    }
}

fn same_fields(ours: &Published, oracle: &rmqtt_codec::types::Publish) -> bool {
    let alias = oracle.properties.as_ref().and_then(|properties| properties.topic_alias);
    ours.topic == oracle.topic.as_bytes()
        && ours.payload == oracle.payload
        && ours.packet_id == oracle.packet_id.map(std::num::NonZeroU16::get)
        && ours.alias == alias.map(std::num::NonZeroU16::get)
}

/// The oracle refuses a message expiry or a topic alias of 0 while parsing; the first is allowed, and the second
/// is the session's to refuse, with a code of its own.
fn holds_zero(ours: &Published, body: &[u8]) -> bool {
    ours.alias == Some(0) || body.windows(5).any(|window| window == [0x02, 0, 0, 0, 0])
}

fn compare(version: Version, flags: u8, body: &[u8]) -> Result<(), TestCaseError> {
    let ours = publish::parse(version, flags, Bytes::copy_from_slice(body));
    match (ours, oracle_publish(version, flags, body)) {
        (Ok(ours), Some(oracle)) => prop_assert!(same_fields(&ours, &oracle), "{ours:?} {oracle:?}"),
        (Ok(ours), None) => {
            prop_assert!(version == Version::V5 && holds_zero(&ours, body), "only we accept {ours:?}");
        }
        (Err(violation), Some(oracle)) => {
            prop_assert!(is_stricter_rule(violation, flags, &oracle), "{violation:?} {oracle:?}");
        }
        (Err(_), None) => {}
    }
    Ok(())
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[a-z/é]{1,12}".prop_map(String::into_bytes),
        1 => Just(Vec::new()),
        1 => prop::collection::vec(prop::sample::select(b"a/+#\0\xC3".to_vec()), 1..4),
    ]
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    all
}

fn property() -> impl Strategy<Value = Vec<u8>> {
    let number = |identifier: u8, bytes: Vec<u8>| [vec![identifier], bytes].concat();
    prop_oneof![
        4 => (0..4_u16).prop_map(move |alias| number(0x23, alias.to_be_bytes().to_vec())),
        2 => (0..3_u32).prop_map(move |seconds| number(0x02, seconds.to_be_bytes().to_vec())),
        2 => (0..3_u8).prop_map(move |flag| number(0x01, vec![flag])),
        2 => (text(), text()).prop_map(move |(key, value)| {
            number(0x26, [prefixed(&key), prefixed(&value)].concat())
        }),
        2 => text().prop_map(move |value| number(0x03, prefixed(&value))),
        1 => text().prop_map(move |value| number(0x08, prefixed(&value))),
        1 => text().prop_map(move |value| number(0x09, prefixed(&value))),
        1 => (0..200_u8).prop_map(move |id| number(0x0B, vec![id])),
        1 => (any::<u8>(), any::<u8>()).prop_map(move |(identifier, byte)| number(identifier, vec![byte])),
    ]
}

prop_compose! {
    fn plausible(version: Version)(
        flags in 0_u8..16,
        topic in text(),
        id in 0_u16..3,
        properties in prop::collection::vec(property(), 0..4),
        payload in prop::collection::vec(any::<u8>(), 0..40),
        cut in prop::option::weighted(0.2, 0_usize..60),
    ) -> (u8, Vec<u8>) {
        let mut body = prefixed(&topic);
        if flags & 0b0110 != 0 {
            body.extend_from_slice(&id.to_be_bytes());
        }
        if version == Version::V5 {
            let properties = properties.concat();
            body.push(u8::try_from(properties.len().min(127)).unwrap());
            body.extend_from_slice(&properties);
        }
        body.extend_from_slice(&payload);
        body.truncate(cut.unwrap_or(body.len()));
        (flags, body)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn publishes_of_mqtt_3_are_parsed_as_by_the_oracle((flags, body) in plausible(Version::V311)) {
        compare(Version::V311, flags, &body)?;
    }

    #[test]
    fn publishes_of_mqtt_5_are_parsed_as_by_the_oracle((flags, body) in plausible(Version::V5)) {
        compare(Version::V5, flags, &body)?;
    }

    #[test]
    fn hostile_publishes_are_parsed_as_by_the_oracle(
        flags in 0_u8..16,
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        compare(Version::V311, flags, &body)?;
        compare(Version::V5, flags, &body)?;
    }

    #[test]
    fn hostile_connects_are_parsed_or_refused(
        new in any::<bool>(),
        body in prop::collection::vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 0..60),
    ) {
        let mut connect = b"\x00\x04MQTT".to_vec();
        connect.push(if new { 5 } else { 4 });
        connect.extend_from_slice(&body);
        let _ = connect::parse(Bytes::from(connect));
    }

    #[test]
    fn connects_are_parsed_as_by_the_oracle(
        connect_flags in prop::sample::select(vec![0x00, 0x02, 0xC2, 0x82, 0x06, 0x0E, 0x2E, 0x26, 0x16, 0x42]),
        keep_alive in any::<u16>(),
        texts in prop::collection::vec(text(), 5),
        new in any::<bool>(),
    ) {
        let mut body = b"\x00\x04MQTT".to_vec();
        body.extend_from_slice(&[if new { 5 } else { 4 }, connect_flags]);
        body.extend_from_slice(&keep_alive.to_be_bytes());
        let empty: &[u8] = if new { &[0] } else { &[] };
        body.extend_from_slice(empty);
        body.extend_from_slice(&prefixed(&texts[0]));
        if connect_flags & 0x04 != 0 {
            body.extend_from_slice(empty);
            body.extend_from_slice(&prefixed(&texts[1]));
            body.extend_from_slice(&prefixed(&texts[2]));
        }
        for (flag, value) in [(0x80, &texts[3]), (0x40, &texts[4])] {
            if connect_flags & flag != 0 {
                body.extend_from_slice(&prefixed(value));
            }
        }
        compare_connect(new, &body)?;
    }
}

/// Client id, keep-alive, user name, password and whether there is a will.
type Fields = (Vec<u8>, u16, Option<Vec<u8>>, Option<Vec<u8>>, bool);

fn oracle_connect(new: bool, body: &[u8]) -> Option<Fields> {
    let mut bytes = packet(0x10, body);
    let fields = |id: &str, keep_alive, user: Option<&str>, password: Option<&Bytes>, will| {
        let user = user.map(|user| user.as_bytes().to_vec());
        (id.as_bytes().to_vec(), keep_alive, user, password.map(|password| password.to_vec()), will)
    };
    if new {
        let Ok(Some((v5::Packet::Connect(connect), _))) = v5::Codec::new(0, 0).decode(&mut bytes) else {
            return None;
        };
        let user = connect.username.as_deref();
        let will = connect.last_will.is_some();
        Some(fields(&connect.client_id, connect.keep_alive, user, connect.password.as_ref(), will))
    } else {
        let Ok(Some((v3::Packet::Connect(connect), _))) = v3::Codec::new(0).decode(&mut bytes) else {
            return None;
        };
        let user = connect.username.as_deref();
        let will = connect.last_will.is_some();
        Some(fields(&connect.client_id, connect.keep_alive, user, connect.password.as_ref(), will))
    }
}

fn compare_connect(new: bool, body: &[u8]) -> Result<(), TestCaseError> {
    let ours = connect::parse(Bytes::copy_from_slice(body));
    match (ours, oracle_connect(new, body)) {
        (Ok(ours), Some(oracle)) => {
            let user = ours.user_name.as_deref().map(<[u8]>::to_vec);
            let password = ours.password.as_deref().map(<[u8]>::to_vec);
            let fields = (ours.client_id.to_vec(), ours.keep_alive_seconds, user, password, ours.has_will);
            prop_assert_eq!(fields, oracle);
        }
        // In MQTT 5 the server may assign a client id whatever the flags; the oracle refuses it.
        (Ok(ours), None) => prop_assert!(new && ours.client_id.is_empty(), "only we accept {ours:?}"),
        // The oracle passes over NUL in text, a password without a user name and a will of QoS 2.
        (Err(_), Some((id, _, user, _, _))) => {
            let nul = body.contains(&0) && (id.contains(&0) || user.iter().flatten().any(|byte| *byte == 0));
            let flags = body[7];
            prop_assert!(
                nul || flags & 0xC0 == 0x40 || flags & 0x18 == 0x10 || flags & 0x04 != 0,
                "{body:?}"
            );
        }
        (Err(_), None) => {}
    }
    Ok(())
}
