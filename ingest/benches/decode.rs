//! What a JSON message costs to decode, in nanoseconds: alone, and beside `serde_json` building a tree of it.
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

use tidemill_ingest::decode::{DecodeLimits, JsonDecoder, Message, TimeUnit};

const MESSAGES: usize = 100;
const ROUNDS: usize = 2000;

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
        let (ours, samples) = ours(&messages);
        let theirs = best(&messages, |message| {
            black_box(serde_json::from_str::<serde_json::Value>(message).unwrap());
        });
        let bytes = messages.iter().map(String::len).sum::<usize>() / MESSAGES;
        println!("{name:<32} {bytes:>6} {ours:>8.0} {:>10.1} {theirs:>12.0}", ours / samples as f64);
    }
}

/// Nanoseconds a message, and samples of one.
fn ours(messages: &[String]) -> (f64, usize) {
    let mut decoder = JsonDecoder::new(DecodeLimits::default(), TimeUnit::Milliseconds);
    let mut out = Message::default();
    let nanos = best(messages, |message| {
        decoder.decode(message.as_bytes(), &mut out).unwrap();
        black_box(&out);
    });
    (nanos, out.samples())
}

/// Nanoseconds a message, the best of all rounds.
fn best(messages: &[String], mut decode: impl FnMut(&str)) -> f64 {
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

fn flat(i: usize) -> String {
    format!(
        r#"{{"ts":{},"temperature":{}.{},"humidity":{}.5,"pressure":101{}.25,"battery":{},"starts":{}}}"#,
        ts(i),
        15 + i % 20,
        i % 97,
        30 + i % 50,
        i % 10,
        i % 101,
        100_000 + i
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
