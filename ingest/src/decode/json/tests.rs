//! What JSON payloads mean, by example and against an oracle that builds a tree.

use proptest::prelude::*;
use tidemill_store::model::{Timestamp, Value};

use super::oracle::{Node, oracle, tree, with_whole_times, write_json};
use crate::decode::testing::{Said, at, decode_as, decoder, pairs, payload, reading, said};
use crate::decode::{DecodeError, Fault, Format, Message};

fn decode_bytes(payload: &[u8]) -> Result<Vec<Said>, DecodeError> {
    decode_as(&Format::Json, payload)
}

fn decode(payload: &str) -> Result<Vec<Said>, DecodeError> {
    decode_bytes(payload.as_bytes())
}

fn one(payload: &str) -> Said {
    let mut points = decode(payload).unwrap_or_else(|error| panic!("{payload}: {error}"));
    assert_eq!(points.len(), 1, "{payload}");
    points.remove(0)
}

fn values(payload: &str) -> Vec<(String, Value)> {
    one(payload).values
}

/// The label, the pointer and the text of what is wrong with `payload`.
fn fault(payload: &str) -> (&'static str, String, String) {
    let error = decode(payload).expect_err(payload);
    (error.fault.label(), error.pointer.clone(), error.to_string())
}

#[test]
fn a_flat_object_gives_one_point_with_values_of_every_kind() {
    let point = one(r#" { "ts" : 1700000000123, "t": 21.5, "n": 7, "on": true, "off": false, "s": "ok" } "#);
    assert_eq!(point.time, Some(at(1_700_000_000_123)));
    let expected = [
        ("t", Value::F64(21.5)),
        ("n", Value::I64(7)),
        ("on", Value::Bool(true)),
        ("off", Value::Bool(false)),
        ("s", Value::Text("ok".into())),
    ];
    assert_eq!(point.values, pairs(&expected));
}

#[test]
fn values_may_stand_in_an_object_of_their_own_where_ts_and_tags_are_metrics() {
    let point = one(r#"{"values": {"a": 1, "ts": 2, "tags": {"x": 3}}, "ts": 5, "tags": {"site": "n"}}"#);
    assert_eq!(point.time, Some(at(5)));
    assert_eq!(point.tags, [("site".to_owned(), "n".to_owned())]);
    let expected = [("a", Value::I64(1)), ("ts", Value::I64(2)), ("tags.x", Value::I64(3))];
    assert_eq!(point.values, pairs(&expected));
    assert_eq!(values(r#"{"values": 3}"#), pairs(&[("values", Value::I64(3))]));
    assert_eq!(values(r#"{"values": {"a": 1}, "b": null}"#), pairs(&[("a", Value::I64(1))]));
}

#[test]
fn an_array_gives_a_point_for_each_element_and_skips_those_with_nulls_alone() {
    let points =
        decode(r#"[{"ts": 1, "a": 1}, {"a": null, "tags": {"x": "y"}}, {"ts": 2, "values": {"b": 2}}]"#);
    let points = points.unwrap();
    assert_eq!(points.iter().map(|point| point.time).collect::<Vec<_>>(), [Some(at(1)), Some(at(2))]);
    assert_eq!(points[0].values, pairs(&[("a", Value::I64(1))]));
    assert_eq!(points[1].values, pairs(&[("b", Value::I64(2))]));
    assert_eq!(points[1].tags, []);
}

#[test]
fn nested_objects_flatten_with_dots() {
    let expected = [
        ("m.c", Value::I64(1)),
        ("m.d.e", Value::I64(2)),
        ("m.f", Value::I64(3)),
        ("g", Value::I64(4)),
        ("h.ts", Value::I64(5)),
    ];
    assert_eq!(
        values(r#"{"m": {"c": 1, "d": {"e": 2, "z": null}, "f": 3}, "g": 4, "h": {"ts": 5}}"#),
        pairs(&expected)
    );
}

#[test]
fn strings_are_decoded_with_all_escapes() {
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(
        values(r#"{"a\u00e9": "x\"\\\/\b\f\n\r\t\u0000", "b": "\ud83d\ude00é", "n\u002e": {"\u0061": 1}}"#),
        pairs(&[("aé", text("x\"\\/\u{8}\u{c}\n\r\t\0")), ("b", text("😀é")), ("n..a", Value::I64(1))])
    );
}

#[test]
fn times_are_numbers_text_or_missing() {
    assert_eq!(one(r#"{"ts": 1.5, "a": 1}"#).time, Some(Timestamp::from_nanos(1_500_000).unwrap()));
    assert_eq!(one(r#"{"a": 1, "ts": "1970-01-01T00:00:01+00:00"}"#).time, Some(at(1000)));
    assert_eq!(one(r#"{"a": 1}"#).time, None);
    assert_eq!(one(r#"{"ts": null, "a": 1}"#).time, None);
}

#[test]
fn what_breaks_the_grammar_is_refused_with_the_byte() {
    let cases = [
        ("", 0),
        ("  ", 2),
        ("{", 1),
        (r#"{"a"}"#, 4),
        (r#"{"a":}"#, 5),
        (r#"{"a":1"#, 6),
        (r#"{"a":1,}"#, 7),
        (r#"{"a":1 "b":2}"#, 7),
        (r"{a:1}", 1),
        (r#"{"a":tru}"#, 5),
        (r#"{"a":NaN}"#, 5),
        (r#"{"a":01}"#, 6),
        (r#"{"a":1.}"#, 7),
        (r#"{"a":"x}"#, 8),
        ("{\"a\":\"x\ny\"}", 7),
        (r#"{"a":"\x"}"#, 7),
        (r#"{"a":"\ud800x"}"#, 12),
        (r#"{"a":"\udc00"}"#, 12),
        (r#"{"a":1} x"#, 8),
        (r#"[{"a":1}"#, 8),
        (r#"[{"a":1},]"#, 9),
    ];
    for (payload, offset) in cases {
        let error = decode(payload).expect_err(payload);
        assert!(matches!(error.fault.label(), "syntax" | "shape"), "{payload}: {error}");
        assert_eq!(error.offset, offset, "{payload}: {error}");
    }
    let error = decode_bytes(b"{\"a\":\"\xff\"}").unwrap_err();
    assert_eq!((error.fault, error.offset), (Fault::NotUtf8, 6));
}

#[test]
fn what_is_no_telemetry_is_refused_with_a_pointer() {
    let cases = [
        ("7", "shape", ""),
        ("null", "shape", ""),
        ("[]", "no_samples", ""),
        ("{}", "shape", ""),
        (r#"{"ts": 5}"#, "no_samples", ""),
        (r#"{"a": null}"#, "no_samples", ""),
        (r#"[{"a": 1}, 7]"#, "shape", "/1"),
        (r#"[{"a": 1}, {}]"#, "shape", "/1"),
        (r#"[[{"a": 1}]]"#, "shape", "/0"),
        (r#"{"a": {"b/c": [1]}}"#, "shape", "/a/b~1c"),
        (r#"{"a": {"b~": {}}}"#, "shape", "/a/b~0"),
        (r#"{"values": {}}"#, "shape", "/values"),
        (r#"{"values": {"a": {"b": []}}}"#, "shape", "/values/a/b"),
        (r#"{"": 1}"#, "shape", ""),
        (r#"{"a": 1, "b": {"c": 1, "c": 2}}"#, "duplicate_member", "/b/c"),
        (r#"{"a.b": 1, "a": {"b": 2}}"#, "duplicate_member", "/a/b"),
        (r#"{"ts": 1, "ts": 2, "a": 1}"#, "duplicate_member", "/ts"),
        (r#"{"tags": {}, "tags": {}, "a": 1}"#, "duplicate_member", "/tags"),
        (r#"{"values": {"a": 1}, "values": {"b": 1}}"#, "duplicate_member", "/values"),
        (r#"{"values": {"a": 1}, "b": 2}"#, "shape", "/b"),
        (r#"{"b": 2, "values": {"a": 1}}"#, "shape", "/values"),
        (r#"{"a\nb": 1}"#, "name", "/a\nb"),
        (r#"{"a": 1e999}"#, "number", "/a"),
        (r#"{"a": 18446744073709551615}"#, "number", "/a"),
        (r#"{"ts": true, "a": 1}"#, "time", "/ts"),
        (r#"{"ts": "soon", "a": 1}"#, "time", "/ts"),
        (r#"[{"a": 1}, {"ts": 1e30, "a": 1}]"#, "time", "/1/ts"),
        (r#"{"tags": 5, "a": 1}"#, "tags", "/tags"),
        (r#"{"tags": {"site": 5}, "a": 1}"#, "tags", "/tags/site"),
        (r#"{"tags": {"site": ""}, "a": 1}"#, "name", "/tags/site"),
        (r#"{"tags": {"si\u0000te": "x"}, "a": 1}"#, "name", "/tags/si\0te"),
    ];
    for (payload, label, pointer) in cases {
        let (found, place, text) = fault(payload);
        assert_eq!((found, place.as_str()), (label, pointer), "{payload}: {text}");
    }
    assert_eq!(fault(r#"{"m": {"c": []}}"#).2, "at /m/c (byte 12): an array cannot be the value of a metric");
}

#[test]
fn limits_hold_at_their_edge() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert!(decode(&nested(8)).is_ok());
    assert_eq!(fault(&nested(9)).0, "limit");
    assert!(decode(&format!("[{}]", nested(7))).is_ok());
    assert_eq!(fault(&format!("[{}]", nested(8))).0, "limit");
    assert!(decode(&format!(r#"{{"values":{}}}"#, nested(7))).is_ok());
    assert_eq!(fault(&format!(r#"{{"values":{}}}"#, nested(8))).0, "limit");

    let metrics = |count: usize| {
        let members: Vec<String> = (0..count).map(|i| format!(r#""m{i}":1"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(decode(&metrics(1000)).is_ok());
    assert_eq!(fault(&metrics(1001)).0, "limit");

    let elements = |count: usize| format!("[{}]", vec![r#"{"a":1}"#; count].join(","));
    assert_eq!(decode(&elements(10_000)).unwrap().len(), 10_000);
    assert_eq!(fault(&elements(10_001)).0, "limit");

    let tags = |count: usize| {
        let members: Vec<String> = (0..count).map(|i| format!(r#""t{i}":"v""#)).collect();
        format!(r#"{{"a":1,"tags":{{{}}}}}"#, members.join(","))
    };
    assert_eq!(one(&tags(32)).tags.len(), 32);
    assert_eq!(fault(&tags(33)).0, "limit");

    let text = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes));
    assert!(decode(&text(4096)).is_ok());
    assert_eq!(fault(&text(4097)).0, "limit");
}

#[test]
fn a_refused_message_leaves_no_trace_in_the_next_one() {
    let (mut decoder, mut message, json) = (decoder(), Message::default(), reading(&Format::Json));
    for bad in [r#"{"a":1,"b":{"c":1,"#, r#"[{"a":1},{"tags":{"x":"#, r#"{"values":{"a":{"b":[]}}}"#] {
        assert!(decoder.decode(&json, payload(bad.as_bytes()), &mut message).is_err());
        decoder.decode(&json, payload(br#"{"a":2,"d":{"e":3}}"#), &mut message).unwrap();
        let points = said(&decoder, &message);
        assert_eq!(points.len(), 1, "after {bad}");
        assert_eq!(points[0].values, pairs(&[("a", Value::I64(2)), ("d.e", Value::I64(3))]));
        assert_eq!((points[0].tags.len(), points[0].time), (0, None));
    }
}

#[test]
fn names_in_another_order_and_new_names_keep_their_values() {
    let (mut decoder, mut message, json) = (decoder(), Message::default(), reading(&Format::Json));
    for names in [["a", "b", "c"], ["c", "b", "a"], ["b", "x", "a"], ["a", "b", "c"]] {
        let text = format!(r#"{{"{}":0,"{}":1,"{}":2}}"#, names[0], names[1], names[2]);
        decoder.decode(&json, payload(text.as_bytes()), &mut message).unwrap();
        let expected: Vec<_> = (0..).zip(names).map(|(i, name)| (name.to_owned(), Value::I64(i))).collect();
        assert_eq!(said(&decoder, &message)[0].values, expected);
    }
}

#[test]
fn members_that_come_again_are_held_to_every_rule() {
    let (mut decoder, mut message, json) = (decoder(), Message::default(), reading(&Format::Json));
    let mut decode = |text: &str| {
        let outcome = decoder.decode(&json, payload(text.as_bytes()), &mut message);
        outcome.map(|()| said(&decoder, &message)).map_err(|error| (error.fault.label(), error.offset))
    };
    decode(r#"{"ts":1,"a":1,"b":2.5,"a\"":3}"#).unwrap();
    decode(r#"{"values":{"ts":4,"values":5,"tags":6}}"#).unwrap();
    assert_eq!(decode(r#"{"a":1,"a":2}"#), Err(("duplicate_member", 12)));
    assert_eq!(decode(r#"{"values":{"c":1},"a":2}"#), Err(("shape", 22)));
    assert_eq!(decode(r#"{"a":1,"values":{"b":2}}"#), Err(("shape", 16)));
    assert_eq!(decode(r#"{"a":1,"b":2.}"#), Err(("syntax", 13)));
    assert_eq!(decode(r#"{"a":01}"#), Err(("syntax", 6)));
    assert_eq!(decode(r#"{"a":1,"b":2.5,"a"":3}"#), Err(("syntax", 18)));
    assert_eq!(decode(r#"{"a":1,"b":"x","c":null}"#).unwrap()[0].values.len(), 2);
    assert_eq!(decode(r#"{"a":true, "b": false}"#).unwrap()[0].values[1].1, Value::Bool(false));
    assert_eq!(decode(r#"{"values":{"ts":4},"ts":7}"#).unwrap()[0].time, Some(at(7)));
    let value = decode(r#"{"a":-0,"b":-0.0}"#).unwrap().remove(0).values;
    assert!(value.iter().all(|(_, value)| format!("{value:?}") == "F64(-0.0)"), "{value:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_accepted_and_what_it_means_is_what_a_tree_says(node in tree()) {
        let node = with_whole_times(node);
        let mut payload = String::new();
        write_json(&node, &mut payload);
        prop_assert_eq!(decode(&payload).ok(), oracle(&node), "{}", payload);
    }

    #[test]
    fn a_message_means_the_same_to_one_who_has_decoded_others_before(
        nodes in prop::collection::vec((tree(), 0..4_usize, any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let json = reading(&Format::Json);
        let (mut seasoned, mut message) = (decoder(), Message::default());
        for (node, repeats, at, byte) in nodes {
            let mut text = String::new();
            write_json(&node, &mut text);
            let mut bytes = text.replace(":\t", ":").into_bytes();
            for repeat in 0..=repeats {
                if repeat == 3 {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                let outcome = seasoned.decode(&json, payload(&bytes), &mut message);
                let outcome = outcome.map(|()| said(&seasoned, &message));
                prop_assert_eq!(outcome, decode_bytes(&bytes), "{}", String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn any_text_is_accepted_only_where_a_strict_parser_accepts_it(
        payload in r#"[\[\]{}:, "\\0-9a-ceE+.-]{0,40}|\{"a":[0-9eE+.-]{1,12}\}|\{"a":"[ -~]{0,12}"\}"#
    ) {
        if let Ok(points) = decode(&payload) {
            let node: Node = serde_json::from_str(&payload).map_err(|e| TestCaseError::fail(format!("{payload}: {e}")))?;
            prop_assert_eq!(Some(points), oracle(&node), "{}", payload);
        }
    }

    #[test]
    fn any_bytes_give_points_or_an_error_within_the_payload(payload: Vec<u8>) {
        if let Err(error) = decode_bytes(&payload) {
            prop_assert!(error.offset <= payload.len());
        }
    }

    #[test]
    fn a_damaged_message_never_panics(at in 0_usize..100, byte: u8) {
        let mut payload = br#"[{"ts":1700000000123,"a":{"b":-1.5e3,"c":"\u00e9x"},"tags":{"k":"v"}},{"values":{"d":true}}]"#.to_vec();
        let at = at % payload.len();
        payload[at] = byte;
        let _ = decode_bytes(&payload);
        let _ = decode_bytes(&payload[..at]);
    }
}
