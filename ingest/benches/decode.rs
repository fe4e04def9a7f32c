//! What a message costs to decode, in nanoseconds: JSON in several shapes, beside `serde_json` building a tree of it, and
//! the same five metrics in every format.
//!
//! `cargo bench -p tidemill-ingest --bench decode`. Each line is the best of many short rounds, which a busy machine
//! disturbs least. Numbers in the messages change from one to the next; names do not, as with real devices.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, takes the time, may panic, and needs no exact figures"
)]

use std::hint::black_box;
use std::time::Instant;

use tidemill_ingest::decode::sparkplug::{BirthCertificate, Kind, Session};
use tidemill_ingest::decode::{
    CsvLayout, DecodeLimits, Decoder, Format, Message, Payload, Reading, TimeUnit,
};
use tidemill_store::model::Timestamp;

const MESSAGES: usize = 100;
const ROUNDS: usize = 2000;

/// A format with its messages by number.
type FormatCase = (Format, fn(usize) -> Vec<u8>);

/// A kind of message: its name, and its text by number.
type Case = (&'static str, fn(usize) -> String);

fn main() {
    let cases: [Case; 7] = [
        ("flat, 5 metrics", flat),
        ("flat, 5 metrics, text and bool", mixed),
        ("flat, 1 metric, no ts", tiny),
        ("values, 5 metrics", wrapped),
        ("tags and nesting", tagged),
        ("RFC 3339 ts", text_time),
        ("array of 20", array),
    ];
    println!("{:<32} {:>6} {:>8} {:>10} {:>12}", "message", "bytes", "ns", "ns/sample", "serde tree");
    for (name, make) in cases {
        let messages: Vec<String> = (0..MESSAGES).map(make).collect();
        let theirs = best(&messages, |message| {
            black_box(serde_json::from_str::<serde_json::Value>(message).unwrap());
        });
        report(name, &Format::Json, &messages, Some(theirs));
    }
    formats();
}

/// The same point in every format.
fn formats() {
    println!();
    let csv = Format::Csv(
        CsvLayout::new(&["ts".into(), "a".into(), "b".into(), "c".into(), "d".into(), "e".into()], "ts", ',')
            .unwrap(),
    );
    let cases: [FormatCase; 8] = [
        (Format::Json, |i| flat(i).into_bytes()),
        (Format::Cbor, cbor),
        (Format::MessagePack, msgpack),
        (Format::SenmlJson, senml),
        (Format::SenmlCbor, senml_cbor),
        (Format::LineProtocol, line),
        (csv, |i| figures(i).join(",").into_bytes()),
        (Format::Scalar, |i| format!("{}.{}", 15 + i % 20, i % 97).into_bytes()),
    ];
    for (format, make) in cases {
        let messages: Vec<Vec<u8>> = (0..MESSAGES).map(make).collect();
        report(format.name(), &format, &messages, None);
        if !matches!(format, Format::Csv(_) | Format::SenmlJson) {
            report(&format!("{}, told", format.name()), &Format::Auto, &messages, None);
        }
    }
    sparkplug();
}

/// Three values by their aliases, as another encoder wrote them.
fn sparkplug() {
    let birth = include_bytes!("../../tests/golden/formats/sparkplug_nbirth.bin");
    let birth = BirthCertificate::read(birth, 1_000).unwrap();
    let messages = vec![&include_bytes!("../../tests/golden/formats/sparkplug_ndata.bin")[..]; MESSAGES];
    let (mut decoder, mut out) = (Decoder::new(DecodeLimits::default()), Message::default());
    let ours = best(&messages, |message| {
        let session = Session { kind: Kind::Data, birth: Some(&birth), online: None, reads_times: true };
        decoder.decode_sparkplug(session, message, &mut out).unwrap();
        black_box(&out);
    });
    let bytes = messages.first().map_or(0, |message| message.len());
    println!("{:<32} {bytes:>6} {ours:>8.0} {:>10.1}", "sparkplug, 3 metrics", ours / out.samples() as f64);
}

const NAMES: [&str; 5] = ["temperature", "humidity", "pressure", "battery", "starts"];

fn numbers(i: usize) -> ([f64; 3], [i64; 2]) {
    let i = i64::try_from(i).unwrap();
    let double = |value: i64| value as f64 / 4.0;
    ([double(60 + i % 80), double(130 + i % 200), double(4052 + i % 40)], [i % 101, 100_000 + i])
}

fn cbor(i: usize) -> Vec<u8> {
    let (doubles, integers) = numbers(i);
    let mut out = minicbor::Encoder::new(Vec::new());
    out.map(6).unwrap().str("ts").unwrap().u64(ts(i) as u64).unwrap();
    for (name, value) in NAMES.iter().zip(doubles) {
        out.str(name).unwrap().f64(value).unwrap();
    }
    for (name, value) in NAMES.iter().skip(3).zip(integers) {
        out.str(name).unwrap().i64(value).unwrap();
    }
    out.into_writer()
}

fn msgpack(i: usize) -> Vec<u8> {
    let (doubles, integers) = numbers(i);
    let mut out = Vec::new();
    rmp::encode::write_map_len(&mut out, 6).unwrap();
    rmp::encode::write_str(&mut out, "ts").unwrap();
    rmp::encode::write_uint(&mut out, ts(i) as u64).unwrap();
    for (name, value) in NAMES.iter().zip(doubles) {
        rmp::encode::write_str(&mut out, name).unwrap();
        rmp::encode::write_f64(&mut out, value).unwrap();
    }
    for (name, value) in NAMES.iter().skip(3).zip(integers) {
        rmp::encode::write_str(&mut out, name).unwrap();
        rmp::encode::write_sint(&mut out, value).unwrap();
    }
    out
}

fn senml(i: usize) -> Vec<u8> {
    let (doubles, integers) = numbers(i);
    let values = doubles.iter().map(ToString::to_string).chain(integers.iter().map(ToString::to_string));
    let records: Vec<String> =
        NAMES.iter().zip(values).map(|(name, value)| format!(r#""n":"{name}","v":{value}}}"#)).collect();
    let bases = format!(r#"{{"bn":"urn:dev:mac:0024befffe804ff1/","bt":{}.5,"#, 1_700_000_000 + i);
    format!("[{bases}{}]", records.join(",{")).into_bytes()
}

fn senml_cbor(i: usize) -> Vec<u8> {
    let (doubles, integers) = numbers(i);
    let mut out = minicbor::Encoder::new(Vec::new());
    out.array(5).unwrap();
    for (position, name) in NAMES.iter().enumerate() {
        out.map(if position == 0 { 4 } else { 2 }).unwrap();
        if position == 0 {
            out.i8(-2).unwrap().str("urn:dev:mac:0024befffe804ff1/").unwrap();
            out.i8(-3).unwrap().u64(1_700_000_000 + i as u64).unwrap();
        }
        out.u8(0).unwrap().str(name).unwrap().u8(2).unwrap();
        match doubles.get(position) {
            Some(double) => out.f64(*double).unwrap(),
            None => out.i64(integers.get(position - 3).copied().unwrap()).unwrap(),
        };
    }
    out.into_writer()
}

fn line(i: usize) -> Vec<u8> {
    let (doubles, integers) = numbers(i);
    let values =
        doubles.iter().map(ToString::to_string).chain(integers.iter().map(|value| format!("{value}i")));
    let fields: Vec<String> =
        NAMES.iter().zip(values).map(|(name, value)| format!("{name}={value}")).collect();
    format!("weather,site=north {} {}000000", fields.join(","), ts(i)).into_bytes()
}

fn report<M: AsRef<[u8]>>(name: &str, format: &Format, messages: &[M], theirs: Option<f64>) {
    let mut decoder = Decoder::new(DecodeLimits::default());
    let unit = if *format == Format::LineProtocol { TimeUnit::Nanoseconds } else { TimeUnit::Magnitude };
    let unit = if *format == Format::Json { TimeUnit::Milliseconds } else { unit };
    let reading = Reading::new(format.clone(), Some(unit));
    let mut out = Message::default();
    let ours = best(messages, |message| {
        let payload =
            Payload { bytes: message.as_ref(), metric: Some("metric"), received_at: Timestamp::EPOCH };
        decoder.decode(&reading, payload, &mut out).unwrap();
        black_box(&out);
    });
    let bytes = messages.iter().map(|message| message.as_ref().len()).sum::<usize>() / messages.len();
    let theirs = theirs.map_or(String::new(), |theirs| format!("{theirs:.0}"));
    println!("{name:<32} {bytes:>6} {ours:>8.0} {:>10.1} {theirs:>12}", ours / out.samples() as f64);
}

/// Nanoseconds a message, the best of all rounds.
fn best<M>(messages: &[M], mut decode: impl FnMut(&M)) -> f64 {
    let round = |_| {
        let started = Instant::now();
        for message in messages {
            decode(black_box(message));
        }
        started.elapsed().as_nanos() as f64 / messages.len() as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn ts(i: usize) -> usize {
    1_700_000_000_000 + i * 977
}

/// The time and the five values of a point, as text.
fn figures(i: usize) -> [String; 6] {
    [
        ts(i).to_string(),
        format!("{}.{}", 15 + i % 20, i % 97),
        format!("{}.5", 30 + i % 50),
        format!("101{}.25", i % 10),
        (i % 101).to_string(),
        (100_000 + i).to_string(),
    ]
}

fn flat(i: usize) -> String {
    let [ts, temperature, humidity, pressure, battery, starts] = figures(i);
    format!(
        r#"{{"ts":{ts},"temperature":{temperature},"humidity":{humidity},"pressure":{pressure},"battery":{battery},"starts":{starts}}}"#,
    )
}

fn mixed(i: usize) -> String {
    format!(
        r#"{{"ts":{},"temperature":{}.{},"humidity":{}.5,"state":"running","open":{},"starts":{}}}"#,
        ts(i),
        15 + i % 20,
        i % 97,
        30 + i % 50,
        i.is_multiple_of(2),
        100_000 + i
    )
}

fn tiny(i: usize) -> String {
    format!(r#"{{"temperature": {}.{}}}"#, 15 + i % 20, i % 97)
}

fn wrapped(i: usize) -> String {
    format!(r#"{{"values":{},"ts":{}}}"#, flat(i), ts(i))
}

fn tagged(i: usize) -> String {
    format!(
        r#"{{"ts":{},"tags":{{"site":"north","line":"l2"}},"motor":{{"current":{}.{},"speed":{}}},"on":true}}"#,
        ts(i),
        3 + i % 5,
        i % 89,
        1000 + i % 500
    )
}

fn text_time(i: usize) -> String {
    format!(r#"{{"ts":"2024-05-01T12:{:02}:{:02}.{:03}Z","temperature":21.5}}"#, i % 60, i % 59, i % 1000)
}

fn array(i: usize) -> String {
    let elements: Vec<String> = (0..20).map(|k| flat(i * 20 + k)).collect();
    format!("[{}]", elements.join(","))
}
