//! What SenML packs mean, by the examples and rules of RFC 8428.

use proptest::prelude::*;
use serde_json::json;
use tidemill_store::model::Value;

use super::super::Format;
use super::super::testing::{RECEIVED_MILLIS, Said, at, decode_as, fault, pairs, tags};

fn decoded(pack: &serde_json::Value) -> Vec<Said> {
    let text = pack.to_string();
    decode_as(&Format::SenmlJson, text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(pack: &serde_json::Value) -> (&'static str, String) {
    fault(&Format::SenmlJson, pack.to_string().as_bytes())
}

/// The same pack in CBOR, with numbers for labels.
fn to_cbor(pack: &serde_json::Value) -> Vec<u8> {
    let mut out = minicbor::Encoder::new(Vec::new());
    let records = pack.as_array().unwrap();
    out.array(records.len().try_into().unwrap()).unwrap();
    for record in records {
        out.begin_map().unwrap();
        for (label, value) in record.as_object().unwrap() {
            match super::LABELS.iter().find(|(_, name, _)| name == label) {
                Some((_, _, number)) => out.i64(*number).unwrap(),
                None => out.str(label).unwrap(),
            };
            match value {
                serde_json::Value::Bool(value) => out.bool(*value).unwrap(),
                serde_json::Value::String(text) => out.str(text).unwrap(),
                serde_json::Value::Number(number) => match number.as_i64() {
                    Some(integer) => out.i64(integer).unwrap(),
                    None => out.f64(number.as_f64().unwrap()).unwrap(),
                },
                serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                    out.null().unwrap()
                }
            };
        }
        out.end().unwrap();
    }
    out.into_writer()
}

#[test]
fn base_fields_hold_for_all_records_that_follow() {
    let pack = json!([
        {"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1.276_020_076_001e9, "bu": "A", "bver": 10,
         "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "t": -5, "v": 1.2},
        {"n": "current", "t": -4, "v": 1},
        {"bn": "urn:dev:b:", "n": "on", "t": -4, "vb": true},
    ]);
    let device = tags(&[("bn", "urn:dev:ow:10e2073a0108006:")]);
    let point = |millis, tags: &[(String, String)], values: &[(&str, Value)]| Said {
        time: Some(at(millis)),
        tags: tags.to_vec(),
        values: pairs(values),
    };
    let expected = [
        point(1_276_020_076_001, &device, &[("voltage", Value::F64(120.1))]),
        point(1_276_020_071_001, &device, &[("current", Value::F64(1.2))]),
        point(1_276_020_072_001, &device, &[("current", Value::I64(1))]),
        point(1_276_020_072_001, &tags(&[("bn", "urn:dev:b:")]), &[("on", Value::Bool(true))]),
    ];
    assert_eq!(decoded(&pack), expected);
    assert_eq!(decode_as(&Format::SenmlCbor, &to_cbor(&pack)).unwrap(), expected);
}

#[test]
fn records_of_one_time_and_source_make_one_point() {
    let pack = json!([{"bn": "a:", "bt": 1_700_000_000, "n": "x", "v": 1}, {"n": "y", "vs": "on"}, {"n": "z", "s": 2}]);
    let values = pairs(&[("x", Value::I64(1)), ("y", Value::Text("on".into())), ("z:sum", Value::I64(2))]);
    let said = decoded(&pack);
    assert_eq!((said.len(), &said[0].values), (1, &values));
}

#[test]
fn times_below_two_to_the_28_are_relative_to_the_receipt() {
    let time = |pack: serde_json::Value| decoded(&pack)[0].time;
    assert_eq!(time(json!([{"n": "a", "v": 1}])), None);
    assert_eq!(time(json!([{"n": "a", "v": 1, "t": 0}])), Some(at(RECEIVED_MILLIS)));
    assert_eq!(time(json!([{"n": "a", "v": 1, "t": -2.5}])), Some(at(RECEIVED_MILLIS - 2500)));
    assert_eq!(time(json!([{"bt": -60, "n": "a", "v": 1, "t": 10}])), Some(at(RECEIVED_MILLIS - 50_000)));
    assert_eq!(time(json!([{"n": "a", "v": 1, "t": 268_435_456}])), Some(at(268_435_456_000)));
    let just_below = at(RECEIVED_MILLIS + 268_435_455_000);
    assert_eq!(time(json!([{"n": "a", "v": 1, "t": 268_435_455}])), Some(just_below));
}

#[test]
fn bases_are_added_and_integers_stay_exact() {
    let values = |pack: serde_json::Value| decoded(&pack).remove(0).values;
    let big = 9_007_199_254_740_993_i64;
    assert_eq!(values(json!([{"bv": big, "n": "a", "v": 1}])), pairs(&[("a", Value::I64(big + 1))]));
    assert_eq!(values(json!([{"bv": 0.5, "n": "a", "v": 1}])), pairs(&[("a", Value::F64(1.5))]));
    assert_eq!(values(json!([{"bs": 10, "n": "a", "s": 1}])), pairs(&[("a:sum", Value::I64(11))]));
    let both = json!([{"bv": 5, "bs": 10, "n": "a", "v": 1, "s": 2}]);
    assert_eq!(values(both), pairs(&[("a", Value::I64(6)), ("a:sum", Value::I64(12))]));
    assert_eq!(values(json!([{"bv": 5, "bs": 10, "n": "a", "s": 2}])), pairs(&[("a:sum", Value::I64(12))]));
    assert_eq!(values(json!([{"bv": 5}, {"n": "a"}])), pairs(&[("a", Value::I64(5))]));
    assert_eq!(refused(&json!([{"bv": i64::MAX, "n": "a", "v": 1}])).0, "number");
}

#[test]
fn a_name_is_cut_behind_its_last_separator_however_it_is_spelled() {
    let cut = |base: &str, name: &str| {
        let said = decoded(&json!([{"bn": base, "n": name, "v": 1}])).remove(0);
        let front = said.tags.first().map(|(key, value)| (key.clone(), value.clone()));
        (front.map_or(String::new(), |(_, value)| value), said.values[0].0.clone())
    };
    let whole = ("urn:dev:a/".to_owned(), "temp".to_owned());
    assert_eq!((cut("urn:dev:a/", "temp"), cut("", "urn:dev:a/temp")), (whole.clone(), whole));
    assert_eq!(cut("", "temp"), (String::new(), "temp".to_owned()));
    assert_eq!(cut("urn:dev:a:", ""), ("urn:dev:".to_owned(), "a:".to_owned()));
}

#[test]
fn what_rfc_8428_does_not_allow_is_refused_with_its_place() {
    let text = |pack: serde_json::Value| refused(&pack).1;
    assert!(text(json!({"n": "a", "v": 1})).ends_with("not SenML: a pack is an array of records"));
    assert!(text(json!([{"n": "a", "v": 1}, {"n": "a"}])).contains("at /1 "));
    assert!(text(json!([{"n": "a", "vd": "aGk"}])).contains("at /0/vd "));
    assert!(text(json!([{"n": "a", "vd": "aGk"}])).ends_with("binary data (\"vd\") cannot be stored"));
    assert!(text(json!([{"n": "a", "v": 1, "vs": "x"}])).ends_with("a record has two values"));
    assert!(text(json!([{"n": "a", "v": "1"}])).ends_with("of the wrong type"));
    assert!(text(json!([{"n": "a", "v": 1, "must_": 0}])).contains("\"must_\" must be understood"));
    assert!(text(json!([{"n": "a", "v": 1, "bver": 11}])).ends_with("features that are not known"));
    let mixed = json!([{"n": "a", "v": 1, "bver": 10}, {"n": "b", "v": 1, "bver": 5}]);
    assert!(text(mixed).ends_with("the records of a pack have different versions"));
    assert!(text(json!([{"n": "a", "v": 1, "bver": 10.5}])).ends_with("a version is an integer"));
    assert!(text(json!([{"v": 1}])).ends_with("a record has neither a name nor a base name"));
    assert_eq!(refused(&json!([])).0, "no_samples");
    assert_eq!(refused(&json!([{"bn": "a:"}])).0, "no_samples");
    assert_eq!(refused(&json!([{"n": "a", "v": 1, "x": [[[[[[[[[[1]]]]]]]]]]}])).0, "limit");
    assert_eq!(fault(&Format::SenmlJson, br#"[{"n":"a","n":"b","v":1}]"#).0, "duplicate_member");
    assert_eq!(fault(&Format::SenmlJson, br#"[{"n":"a","v":1},]"#).0, "syntax");
    assert_eq!(fault(&Format::SenmlJson, br#"[{"n":"a","v":1}] x"#).0, "syntax");
    assert_eq!(fault(&Format::SenmlCbor, b"").0, "syntax");
}

#[test]
fn names_are_as_rfc_8428_has_them() {
    let refused = |base: &str, name: &str| {
        let (label, text) =
            refused(&json!([{"bn": "ok", "n": "a", "v": 1}, {"bn": base, "n": name, "v": 1}]));
        assert!(label == "name" && text.starts_with("at /1 "), "{text}");
        text
    };
    for (base, name) in [("", "-a"), (":", "a"), ("", "_"), ("", ".a"), ("/", "")] {
        assert!(refused(base, name).contains("must begin with"), "{base} {name}");
    }
    for (base, name) in [("", "a b"), ("ä", "b"), ("a", "é"), ("a", "\u{0}"), ("a(", "b"), ("a", "b=")] {
        let text = refused(base, name);
        assert!(
            text.contains("must begin with") || text.contains("other characters"),
            "{base} {name}: {text}"
        );
    }
    // Only both together count.
    let said = decoded(&json!([{"bn": "", "n": "0", "v": 1}, {"bn": "a", "n": "-:._/b", "v": 1}]));
    assert_eq!(said.len(), 2);
}

#[test]
fn labels_that_are_not_known_are_passed_over() {
    let said =
        decoded(&json!([{"n": "a", "v": 1, "x": {"y": [1, {"z": null}]}, "bver": 26, "ut": 5, "u": "m"}]));
    assert_eq!(said[0].values, pairs(&[("a", Value::I64(1))]));
    // In CBOR the labels of RFC 8428 are numbers: the same names in text are labels of somebody else.
    let mut out = minicbor::Encoder::new(Vec::new());
    out.array(1)
        .unwrap()
        .map(2)
        .unwrap()
        .str("n")
        .unwrap()
        .str("a")
        .unwrap()
        .str("v")
        .unwrap()
        .u8(1)
        .unwrap();
    assert_eq!(fault(&Format::SenmlCbor, &out.into_writer()).0, "no_samples");
}

#[test]
fn what_two_records_say_of_one_time_and_metric_is_refused() {
    assert_eq!(refused(&json!([{"n": "a", "v": 1}, {"n": "a", "v": 2}])).0, "duplicate_member");
}

fn record() -> impl Strategy<Value = serde_json::Value> {
    let number = prop_oneof![(-1000_i64..1000).prop_map(|v| json!(v)), (-1e3..1e3).prop_map(|v| json!(v))];
    let value = prop_oneof![
        number.clone().prop_map(|v| ("v", v)),
        number.clone().prop_map(|v| ("s", v)),
        any::<bool>().prop_map(|v| ("vb", json!(v))),
        "[a-z]{0,5}".prop_map(|v| ("vs", json!(v))),
    ];
    let base = prop::option::of(prop_oneof![
        "[a-z:/]{1,6}".prop_map(|v| ("bn", json!(v))),
        number.clone().prop_map(|v| ("bv", v)),
        number.prop_map(|v| ("bs", v)),
        (1_600_000_000_i64..1_700_000_000).prop_map(|v| ("bt", json!(v))),
    ]);
    ("[a-z]{0,3}[:/]?[a-z]{1,3}", value, base, prop::option::of(-10_000_i64..0)).prop_map(
        |(name, (of, value), base, time)| {
            let mut record = json!({"n": name, of: value});
            for (label, value) in base.into_iter().chain(time.map(|time| ("t", json!(time)))) {
                record[label] = value;
            }
            record
        },
    )
}

proptest! {
    #[test]
    fn json_and_cbor_mean_the_same(records in prop::collection::vec(record(), 1..8)) {
        let pack = serde_json::Value::Array(records);
        let text = decode_as(&Format::SenmlJson, pack.to_string().as_bytes());
        let binary = decode_as(&Format::SenmlCbor, &to_cbor(&pack));
        match (text, binary) {
            (Ok(text), Ok(binary)) => prop_assert_eq!(text, binary),
            (Err(text), Err(binary)) => prop_assert_eq!(text.fault, binary.fault),
            (text, binary) => prop_assert!(false, "{:?} and {:?}", text, binary),
        }
    }

    #[test]
    fn every_record_is_found_resolved(records in prop::collection::vec(record(), 1..8)) {
        let pack = serde_json::Value::Array(records.clone());
        if let Ok(said) = decode_as(&Format::SenmlJson, pack.to_string().as_bytes()) {
            prop_assert_eq!(said.iter().map(|point| point.values.len()).sum::<usize>(), records.len());
        }
    }
}
