//! Formats against each other: CBOR and MessagePack mean what JSON means, and `auto` never takes one for another.

use proptest::prelude::*;
use tidemill_store::model::{Timestamp, Value};

use super::super::json::oracle::{Node, oracle, tree, with_whole_times, write_json};
use super::super::testing::{Said, at, decode_as, decode_with, fault, pairs};
use super::super::{CsvLayout, DecodeError, Format, Reading, TimeUnit};

#[test]
fn a_byte_order_mark_before_text_means_nothing_and_places_count_it() {
    let csv = CsvLayout::new(&[], "ts", ';').unwrap();
    let cases: [(Format, &str); 6] = [
        (Format::Json, r#"{"ts": 1700000000000, "a": 1}"#),
        (Format::SenmlJson, r#"[{"n": "a", "v": 1, "bt": 1700000000}]"#),
        (Format::LineProtocol, "m a=1 1700000000000"),
        (Format::Csv(csv), "ts;a\n1700000000000;1"),
        (Format::Scalar, "1"),
        (Format::Auto, r#"{"ts": 1700000000000, "a": 1}"#),
    ];
    for (format, text) in cases {
        let marked = format!("\u{feff}{text}");
        let plain = decode_as(&format, text.as_bytes()).unwrap();
        assert_eq!(decode_as(&format, marked.as_bytes()).unwrap(), plain, "{}", format.name());
    }
    let error = decode_as(&Format::Json, "\u{feff}{\"a\":x}".as_bytes()).unwrap_err();
    assert_eq!((error.offset, error.pointer.as_str()), (8, "/a"));
    assert_eq!(fault(&Format::Json, "\u{feff}".as_bytes()).0, "syntax");
}

#[test]
fn lines_that_are_told_from_the_payload_have_times_of_their_own_unit() {
    let line = b"m a=1 1700000000000000000";
    let told = decode_as(&Format::Auto, line).unwrap();
    assert_eq!(told.first().and_then(|point| point.time), Some(at(1_700_000_000_000)));
    let seconds = Reading {
        unit_of_lines: Some(TimeUnit::Seconds),
        ..Reading::new(Format::Auto, Some(TimeUnit::Milliseconds))
    };
    let told = decode_with(&seconds, b"m a=1 1700000000").unwrap();
    assert_eq!(told.first().and_then(|point| point.time), Some(at(1_700_000_000_000)));
    assert_eq!(decode_with(&Reading::new(Format::Auto, None), line).unwrap()[0].time, None);
}

fn write_cbor(node: &Node, indefinite: bool, out: &mut minicbor::Encoder<Vec<u8>>) {
    match node {
        Node::Null => out.null().unwrap(),
        Node::Bool(value) => out.bool(*value).unwrap(),
        Node::I64(value) => out.i64(*value).unwrap(),
        Node::F64(value) => out.f64(*value).unwrap(),
        Node::Text(text) if indefinite => {
            out.begin_str().unwrap();
            for character in text.chars() {
                out.str(character.encode_utf8(&mut [0; 4])).unwrap();
            }
            out.end().unwrap()
        }
        Node::Text(text) => out.str(text).unwrap(),
        Node::List(list) => {
            if indefinite { out.begin_array() } else { out.array(list.len().try_into().unwrap()) }.unwrap();
            for node in list {
                write_cbor(node, indefinite, out);
            }
            if indefinite { out.end().unwrap() } else { out }
        }
        Node::Object(members) => {
            if indefinite { out.begin_map() } else { out.map(members.len().try_into().unwrap()) }.unwrap();
            for (key, node) in members {
                out.str(key).unwrap();
                write_cbor(node, indefinite, out);
            }
            if indefinite { out.end().unwrap() } else { out }
        }
    };
}

fn to_cbor(node: &Node, indefinite: bool) -> Vec<u8> {
    let mut out = minicbor::Encoder::new(Vec::new());
    write_cbor(node, indefinite, &mut out);
    out.into_writer()
}

fn to_msgpack(node: &Node, out: &mut Vec<u8>) {
    use rmp::encode as write;
    match node {
        Node::Null => write::write_nil(out).unwrap(),
        Node::Bool(value) => write::write_bool(out, *value).unwrap(),
        Node::I64(value) => drop(write::write_sint(out, *value).unwrap()),
        Node::F64(value) => write::write_f64(out, *value).unwrap(),
        Node::Text(text) => write::write_str(out, text).unwrap(),
        Node::List(list) => {
            write::write_array_len(out, list.len().try_into().unwrap()).unwrap();
            for node in list {
                to_msgpack(node, out);
            }
        }
        Node::Object(members) => {
            write::write_map_len(out, members.len().try_into().unwrap()).unwrap();
            for (key, node) in members {
                write::write_str(out, key).unwrap();
                to_msgpack(node, out);
            }
        }
    }
}

fn msgpack(node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    to_msgpack(node, &mut out);
    out
}

/// Of a metric `a` that `write` writes.
fn cbor_value(write: impl FnOnce(&mut minicbor::Encoder<Vec<u8>>)) -> Result<Said, DecodeError> {
    let mut out = minicbor::Encoder::new(Vec::new());
    out.map(1).unwrap().str("a").unwrap();
    write(&mut out);
    decode_as(&Format::Cbor, &out.into_writer()).map(|mut points| points.remove(0))
}

#[test]
fn cbor_has_numbers_of_every_size() {
    let value = |write: fn(&mut minicbor::Encoder<Vec<u8>>)| cbor_value(write).unwrap().values.remove(0).1;
    assert_eq!(
        value(|out| {
            out.f16(1.5).unwrap();
        }),
        Value::F64(1.5)
    );
    assert_eq!(
        value(|out| {
            out.f32(0.1).unwrap();
        }),
        Value::F64(f64::from(0.1_f32))
    );
    assert_eq!(
        value(|out| {
            out.f64(f64::NAN).unwrap();
        }),
        Value::F64(f64::NAN)
    );
    assert_eq!(
        value(|out| {
            out.i64(i64::MIN).unwrap();
        }),
        Value::I64(i64::MIN)
    );
    assert_eq!(
        value(|out| {
            out.u64(1 << 63).unwrap();
        }),
        Value::F64(9_223_372_036_854_775_808.0)
    );
    let fraction = |out: &mut minicbor::Encoder<Vec<u8>>| {
        out.tag(minicbor::data::Tag::new(4)).unwrap().array(2).unwrap().i8(-2).unwrap().u16(27315).unwrap();
    };
    assert_eq!(cbor_value(fraction).unwrap().values, pairs(&[("a", Value::F64(273.15))]));
    let error = cbor_value(|out| {
        out.u64(u64::MAX).unwrap();
    })
    .unwrap_err();
    assert_eq!((error.fault.label(), error.pointer.as_str()), ("number", "/a"));
}

#[test]
fn cbor_has_integers_beyond_64_bits_where_a_double_holds_them() {
    let tagged = |tag: u64, bytes: &[u8]| {
        let said = cbor_value(|out| {
            out.tag(minicbor::data::Tag::new(tag)).unwrap().bytes(bytes).unwrap();
        });
        said.map(|mut said| said.values.remove(0).1).map_err(|error| error.fault.label())
    };
    let two_to_the_64 = [1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(tagged(2, &two_to_the_64), Ok(Value::F64(18_446_744_073_709_551_616.0)));
    assert_eq!((tagged(2, b"\0\0\x07"), tagged(3, b"\x07")), (Ok(Value::I64(7)), Ok(Value::I64(-8))));
    assert_eq!((tagged(2, b""), tagged(3, &[0; 40])), (Ok(Value::I64(0)), Ok(Value::I64(-1))));
    assert_eq!(tagged(3, &two_to_the_64), Err("number"), "one beyond what a double holds");
    assert_eq!(tagged(3, &[0xff; 8]), Ok(Value::F64(-18_446_744_073_709_551_616.0)));
    assert_eq!((tagged(2, &[1; 15]), tagged(2, &[1; 16])), (Err("number"), Err("number")));
    let no_bytes = cbor_value(|out| {
        out.tag(minicbor::data::Tag::new(2)).unwrap().u8(1).unwrap();
    });
    assert_eq!(no_bytes.unwrap_err().fault.label(), "syntax");
}

#[test]
fn times_may_be_tagged_and_then_have_a_unit_of_their_own() {
    let cbor = |tag: u64, write: fn(&mut minicbor::Encoder<Vec<u8>>)| {
        let mut out = minicbor::Encoder::new(Vec::new());
        out.map(2).unwrap().str("a").unwrap().u8(1).unwrap().str("ts").unwrap();
        write(out.tag(minicbor::data::Tag::new(tag)).unwrap());
        decode_as(&Format::Cbor, &out.into_writer()).map(|points| points[0].time)
    };
    assert_eq!(
        cbor(0, |out| {
            out.str("2023-11-14T22:13:20.25Z").unwrap();
        }),
        Ok(Some(at(1_700_000_000_250)))
    );
    assert_eq!(
        cbor(1, |out| {
            out.f64(1_700_000_000.25).unwrap();
        }),
        Ok(Some(at(1_700_000_000_250)))
    );
    assert_eq!(
        cbor(1, |out| {
            out.u32(1_700_000_000).unwrap();
        }),
        Ok(Some(at(1_700_000_000_000)))
    );
    assert_eq!(
        cbor(9999, |out| {
            out.u64(1_700_000_000_250).unwrap();
        }),
        Ok(Some(at(1_700_000_000_250)))
    );
    assert_eq!(
        cbor(0, |out| {
            out.str("soon").unwrap();
        })
        .unwrap_err()
        .fault
        .label(),
        "time"
    );
    assert_eq!(
        cbor(1, |out| {
            out.str("soon").unwrap();
        })
        .unwrap_err()
        .fault
        .label(),
        "syntax"
    );
    let msgpack = |timestamp: &[u8]| {
        let payload = [b"\x82\xa1a\x01\xa2ts", timestamp].concat();
        decode_as(&Format::MessagePack, &payload).map(|points| points[0].time)
    };
    let nanos = |nanos| Ok(Some(Timestamp::from_nanos(nanos).unwrap()));
    assert_eq!(msgpack(b"\xd6\xff\x65\x53\xf1\x00"), nanos(1_700_000_000_000_000_000));
    let both = (999_u64 << 34) | 0x6553_f100;
    assert_eq!(msgpack(&[b"\xd7\xff", &both.to_be_bytes()[..]].concat()), nanos(1_700_000_000_000_000_999));
    let wide = [b"\xc7\x0c\xff", &7_u32.to_be_bytes()[..], &(-5_i64).to_be_bytes()[..]].concat();
    assert_eq!(msgpack(&wide), nanos(-4_999_999_993));
    assert_eq!(msgpack(b"\xd6\x05\x65\x53\xf1\x00").unwrap_err().fault.label(), "syntax");
    let refused = |nanos: u32, seconds: i64| {
        let parts = [b"\xc7\x0c\xff", &nanos.to_be_bytes()[..], &seconds.to_be_bytes()[..]];
        msgpack(&parts.concat()).unwrap_err().fault.label()
    };
    assert_eq!((refused(0, i64::MAX), refused(999_999_999, 1 << 40)), ("time", "time"));
    assert_eq!(refused(1_000_000_000, 5), "syntax");
}

#[test]
fn what_maps_cannot_hold_is_refused_with_its_place() {
    let text = |payload: &[u8]| fault(&Format::MessagePack, payload).1;
    assert_eq!(text(b""), "at byte 0: the payload is empty");
    assert_eq!(text(b"\x81\xa1a\xc4\x01x"), "at /a (byte 6): a byte string cannot be the value of a metric");
    assert_eq!(text(b"\x81\xa1a\x81\xa1b\x90"), "at /a/b (byte 7): an array cannot be the value of a metric");
    assert_eq!(text(b"\x81\x01\x01"), "at byte 2: the name of a member must be text");
    assert_eq!(text(b"\x81\xa1a\xc1"), "at /a (byte 4): not MessagePack: a reserved byte");
    assert_eq!(text(b"\x82\xa1a\x01"), "at byte 4: not MessagePack: it ends too early");
    assert_eq!(text(b"\x81\xa2a"), "at byte 2: not MessagePack: it ends too early");
    assert_eq!(text(b"\x91\x81\xa6values\x80"), "at /0/values (byte 10): the object is empty");
    assert_eq!(text(b"\xdf\xff\xff\xff\xff"), "at byte 5: not MessagePack: it ends too early");
    let text = |payload: &[u8]| fault(&Format::Cbor, payload).1;
    assert_eq!(text(b"\xa1\x61a\x41x"), "at /a (byte 5): a byte string cannot be the value of a metric");
    assert_eq!(text(b"\xa1\x61a\xc0\x61x").split(':').next(), Some("at /a (byte 6)"));
    assert_eq!(text(b"\xa1\x61a"), "at /a (byte 3): not CBOR: it ends too early");
    assert_eq!(text(b"\xa1\x61a\x01\x01"), "at byte 4: something follows the end of the value");
    assert_eq!(text(b"\xbf\x61a\x01"), "at byte 4: not CBOR: it ends too early");
    assert_eq!(text(&[0xc1; 100]), "at byte 8: not CBOR: too many tags in front of a value");
    assert_eq!(text(&[b"\xbb", &[0xff; 8][..]].concat()), "at byte 9: not CBOR: it ends too early");
    assert_eq!(fault(&Format::Cbor, &[b"\xa1\x61a".repeat(9), b"\x01".to_vec()].concat()).0, "limit");
}

/// Two points of which the first is nested.
fn sample() -> Node {
    let object = |members: &[(&str, Node)]| {
        Node::Object(members.iter().map(|(name, node)| ((*name).to_owned(), node.clone())).collect())
    };
    let first = object(&[
        ("ts", Node::I64(5)),
        ("a", object(&[("b", Node::F64(1.5)), ("c", Node::Text("x".into()))])),
    ]);
    Node::List(vec![first, object(&[("d", Node::Bool(true))])])
}

#[test]
fn times_are_not_read_where_the_receipt_counts() {
    for (format, payload) in [
        (Format::Json, br#"[{"ts":"soon","a":1},{"ts":1e99,"a":1},{"ts":null,"a":1}]"#.to_vec()),
        (Format::MessagePack, b"\x92\x82\xa2ts\xa4soon\xa1a\x01\x81\xa1a\x01".to_vec()),
        (Format::Cbor, b"\x81\xa2\x62ts\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x61a\x01".to_vec()),
        (Format::SenmlJson, br#"[{"n":"a","v":1,"t":1e99}]"#.to_vec()),
    ] {
        let said = decode_with(&Reading::new(format.clone(), None), &payload).unwrap();
        assert!(said.iter().all(|point| point.time.is_none()), "{format:?}");
        let read = decode_with(&Reading::new(format, Some(TimeUnit::Seconds)), &payload);
        assert_eq!(read.unwrap_err().fault.label(), "time");
    }
}

fn auto(payload: &[u8]) -> Result<Vec<Said>, DecodeError> {
    decode_as(&Format::Auto, payload)
}

#[test]
fn auto_takes_what_can_be_only_one_format() {
    let one = |payload: &[u8]| auto(payload).unwrap().remove(0).values;
    let value = |name, value| pairs(&[(name, value)]);
    assert_eq!(one(br#" {"a": 1}"#), value("a", Value::I64(1)));
    assert_eq!(one(br#"[{"a": 1}]"#), value("a", Value::I64(1)));
    assert_eq!(one(b"21.5\n"), value("topic_metric", Value::F64(21.5)));
    assert_eq!(one(b"true"), value("topic_metric", Value::Bool(true)));
    assert_eq!(one(b"m v=1"), value("m.v", Value::F64(1.0)));
    assert_eq!(one(b"\xa1\x61a\x01"), value("a", Value::I64(1)));
    assert_eq!(one(b"\xd9\xd9\xf7\xa1\x61a\x01"), value("a", Value::I64(1)));
    assert_eq!(one(b"\x81\xa1a\x01"), value("a", Value::I64(1)));
    assert_eq!(one(b"\x81\xa1\x61a\x01"), value("a", Value::I64(1)));
    assert_eq!(one(b"\x81\xa2\x00\x61a\x02\x07"), value("a", Value::I64(7)));
}

#[test]
fn auto_refuses_what_could_be_two_formats_or_none() {
    let refused = |payload: &[u8]| fault(&Format::Auto, payload).1;
    let pack = br#"[{"n": "temp", "v": 21.5}]"#;
    assert_eq!(refused(pack), "at byte 0: it reads as json and as senml_json; set the template's format");
    assert_eq!(fault(&Format::Auto, pack).0, "format");
    for payload in [&b"on"[..], b"1,2,3", b"2023-11-14T22:13:20Z,5", b"\x0a\x03abc"] {
        assert!(auto(payload).is_err(), "{payload:?}");
    }
    assert_eq!(
        refused(b"\x08\x01\x12\x02\x0a\x00").split(": ").nth(1),
        Some("no format that can be told from a payload; set the template's format")
    );
    assert_eq!(refused(b""), "at byte 0: the payload is empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn cbor_and_messagepack_mean_what_a_tree_says(node in tree(), indefinite: bool) {
        let node = with_whole_times(node);
        let expected = oracle(&node);
        let cbor = to_cbor(&node, indefinite);
        prop_assert_eq!(decode_as(&Format::Cbor, &cbor).ok(), expected.clone(), "{:02x?}", cbor);
        let packed = msgpack(&node);
        prop_assert_eq!(decode_as(&Format::MessagePack, &packed).ok(), expected, "{:02x?}", packed);
    }

    #[test]
    fn auto_means_what_the_format_means_or_refuses(node in tree(), which in 0..3) {
        let node = with_whole_times(node);
        let (format, payload) = match which {
            0 => {
                let mut text = String::new();
                write_json(&node, &mut text);
                (Format::Json, text.into_bytes())
            }
            1 => (Format::Cbor, to_cbor(&node, false)),
            _ => (Format::MessagePack, msgpack(&node)),
        };
        let (known, told) = (decode_as(&format, &payload), auto(&payload));
        match (known, told) {
            (Ok(known), Ok(told)) => prop_assert_eq!(known, told),
            (_, Err(_)) => {}
            (Err(error), Ok(told)) => prop_assert!(false, "{} but told {:?}", error, told),
        }
    }

    #[test]
    fn any_bytes_give_points_or_an_error_within_the_payload(payload: Vec<u8>) {
        for format in [Format::Cbor, Format::MessagePack, Format::SenmlCbor, Format::SenmlJson, Format::Auto] {
            if let Err(error) = decode_as(&format, &payload) {
                prop_assert!(error.offset <= payload.len());
            }
        }
    }

    #[test]
    fn a_damaged_message_never_panics(at in 0_usize..60, byte: u8) {
        for (format, mut payload) in [
            (Format::Cbor, to_cbor(&sample(), true)),
            (Format::Cbor, to_cbor(&sample(), false)),
            (Format::MessagePack, msgpack(&sample())),
        ] {
            let at = at % payload.len();
            payload[at] = byte;
            for format in [&format, &Format::Auto, &Format::SenmlCbor] {
                let _ = decode_as(format, &payload);
                let _ = decode_as(format, &payload[..at]);
            }
        }
    }
}
