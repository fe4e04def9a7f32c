//! Payloads that other people's encoders wrote (`tests/golden/formats`), and what each of them means.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use tidemill_ingest::decode::{
    CsvLayout, DecodeLimits, Decoder, Format, Message, Payload, Reading, TimeUnit,
};
use tidemill_store::model::{Timestamp, Value};

/// Milliseconds, tags, values.
type Said = (Option<i64>, Vec<(String, String)>, Vec<(String, Value)>);

const RECEIVED_MILLIS: i64 = 1_800_000_000_000;

fn decode(format: Format, unit: TimeUnit, bytes: &[u8]) -> Vec<Said> {
    let (mut decoder, mut message) = (Decoder::new(DecodeLimits::default()), Message::default());
    let received_at = Timestamp::from_millis(RECEIVED_MILLIS).unwrap();
    let reading = Reading::new(format, Some(unit));
    decoder.decode(&reading, Payload { bytes, metric: None, received_at }, &mut message).unwrap();
    let name = |slot: u32| decoder.names().metric(slot).unwrap().to_string();
    let said = message.points().map(|point| {
        let parts: Vec<&str> = point.tags.split_terminator('\0').collect();
        let tags = parts.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
        let mut values: Vec<_> =
            point.values.iter().map(|(slot, value)| (name(*slot), value.clone())).collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        (point.time.map(Timestamp::millis_floor), tags, values)
    });
    said.collect()
}

fn expected(millis: Option<i64>, tags: &[(&str, &str)], values: &[(&str, Value)]) -> Said {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    (millis, tags, values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// The point that the encoders of maps were given.
fn point(millis: i64, tags: &[(&str, &str)]) -> Said {
    let values = [
        ("count", Value::I64(1_700_000_000_123)),
        ("low", Value::I64(i64::MIN)),
        ("motor.current", Value::I64(3)),
        ("motor.phase.a", Value::F64(-1.25)),
        ("open", Value::Bool(true)),
        ("ratio", Value::F64(0.1)),
        ("state", Value::Text("läuft".into())),
        ("temperature", Value::F64(21.5)),
    ];
    expected(Some(millis), tags, &values)
}

const TAGS: &[(&str, &str)] = &[("site", "north"), ("line", "ü")];
const TAGS_SORTED: &[(&str, &str)] = &[("line", "ü"), ("site", "north")];

#[test]
fn maps_of_cbor2_and_of_msgpack_python_are_read() {
    let cbor = include_bytes!("../../../tests/golden/formats/points.cbor");
    let packed = include_bytes!("../../../tests/golden/formats/points.msgpack");
    for (format, bytes) in [(Format::Cbor, &cbor[..]), (Format::MessagePack, &packed[..])] {
        for format in [format, Format::Auto] {
            let said = decode(format.clone(), TimeUnit::Milliseconds, bytes);
            assert_eq!(said, [point(1_700_000_000_250, TAGS)], "{format:?}");
        }
    }
}

#[test]
fn times_that_the_encodings_know_are_read() {
    let cbor = include_bytes!("../../../tests/golden/formats/points_tagged_time.cbor");
    let sorted = [point(1_700_000_000_250, TAGS_SORTED), point(1_700_000_000_251, TAGS_SORTED)];
    assert_eq!(decode(Format::Cbor, TimeUnit::Milliseconds, cbor), sorted);
    assert_eq!(decode(Format::Auto, TimeUnit::Milliseconds, cbor), sorted);
    let packed = include_bytes!("../../../tests/golden/formats/points_timestamp.msgpack");
    let both = [point(1_700_000_000_250, TAGS), point(1_700_000_000_251, TAGS)];
    assert_eq!(decode(Format::MessagePack, TimeUnit::Milliseconds, packed), both);
    assert_eq!(decode(Format::Auto, TimeUnit::Milliseconds, packed), both);
}

#[test]
fn senml_of_three_encoders_is_read() {
    let mac = &[("bn", "urn:dev:mac:0024befffe804ff1/")][..];
    let text = include_bytes!("../../../tests/golden/formats/senml.json");
    let at_base = [
        ("energy:sum", Value::F64(123.25)),
        ("humidity", Value::I64(40)),
        ("open", Value::Bool(false)),
        ("state", Value::Text("on".into())),
    ];
    let wanted = [
        expected(Some(1_699_999_995_000), mac, &[("temp", Value::F64(21.5))]),
        expected(Some(1_700_000_000_000), mac, &at_base),
    ];
    assert_eq!(decode(Format::SenmlJson, TimeUnit::Milliseconds, text), wanted);
    let binary = include_bytes!("../../../tests/golden/formats/senml.cbor");
    let wanted = [
        expected(Some(1_699_999_995_000), mac, &[("temp", Value::F64(21.5))]),
        expected(Some(1_700_000_000_000), mac, &at_base[1..]),
    ];
    assert_eq!(decode(Format::SenmlCbor, TimeUnit::Milliseconds, binary), wanted);
    assert_eq!(decode(Format::Auto, TimeUnit::Milliseconds, binary), wanted);
    let draft = include_bytes!("../../../tests/golden/formats/senml_draft.json");
    let values = [("on", Value::Bool(true)), ("voltage", Value::F64(120.1))];
    let tag = &[("bn", "urn:dev:ow:10e2073a01080063:")][..];
    let wanted = [expected(Some(1_700_000_000_250), tag, &values)];
    assert_eq!(decode(Format::SenmlJson, TimeUnit::Milliseconds, draft), wanted);
}

#[test]
fn line_protocol_of_influxdb_client_is_read() {
    let text = include_bytes!("../../../tests/golden/formats/line_protocol.txt");
    let values = [
        ("weather station.count", Value::I64(7)),
        ("weather station.open", Value::Bool(true)),
        ("weather station.say \"so\"", Value::Text(r#"quotes " and \ backslash"#.into())),
        ("weather station.temperature", Value::F64(21.5)),
    ];
    let wanted = [
        expected(Some(1_700_000_000_250), &[("k=v", "a b"), ("site", "north, hall 2")], &values),
        expected(None, &[], &[("plain.v", Value::F64(-1e-9))]),
    ];
    assert_eq!(decode(Format::LineProtocol, TimeUnit::Nanoseconds, text), wanted);
    assert_eq!(decode(Format::Auto, TimeUnit::Nanoseconds, text), wanted);
}

#[test]
fn lines_of_pythons_csv_are_read() {
    let text = include_bytes!("../../../tests/golden/formats/lines.csv");
    let layout = CsvLayout::new(&[], "ts", ',').unwrap();
    let first = [
        ("count", Value::I64(7)),
        ("state", Value::Text("on, \"really\"".into())),
        ("temperature", Value::F64(21.5)),
    ];
    let second = [("count", Value::I64(-8)), ("state", Value::Text("two\nlines".into()))];
    let wanted = [
        expected(Some(1_700_000_000_250), &[("site", "north")], &first),
        expected(Some(1_700_000_000_250), &[("site", "south")], &second),
    ];
    assert_eq!(decode(Format::Csv(layout), TimeUnit::Milliseconds, text), wanted);
}
