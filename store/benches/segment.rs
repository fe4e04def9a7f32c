//! What a segment costs: nanoseconds a sample to build, encode and decode, and bytes a sample.
//!
//! `cargo bench -p tidemill-store --bench segment [-- MESSAGES…]`. 500 devices send messages of five metrics with
//! times in milliseconds, in turn. Three fleets: five random walks of two decimals; three such walks, a counter and
//! a boolean; devices of four types, each with five of eight metrics. Columns: *push* interns metrics and collects points, *encode* sorts and encodes them, *decode* makes
//! a segment of the bytes, *rows* also goes through every sample, *columns* instead unpacks every metric, *device*
//! unpacks all metrics of one device of a decoded segment (nanoseconds in all, not a sample). Figures are the best
//! of many short rounds, which a busy machine disturbs least.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a benchmark prints, may panic, and needs no exact figures"
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use tidemill_store::codec::segment::{Limits, Segment, SegmentBuilder};
use tidemill_store::model::{CatalogN, Metric, Timestamp, Value};

const DEVICES: usize = 500;
/// Metrics of a message.
const METRICS: usize = 5;
const NAMES: [&str; 8] =
    ["temperature", "humidity", "pressure", "starts", "open", "level", "flow", "battery"];
const ROUNDS: usize = 60;
/// Samples that a round goes through at least.
const ROUND_SAMPLES: usize = 50_000;

/// A small deterministic source of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `end`.
    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap_or(0)
    }
}

struct Message {
    source: CatalogN,
    time: Timestamp,
    /// Of its first metric; the others follow.
    first_metric: usize,
    values: Vec<Value>,
}

#[derive(Clone, Copy)]
enum Fleet {
    Walks,
    Mixed,
    Types,
}

/// What a device measures next: in hundredths, but for the last two of a mixed fleet.
fn measure(fleet: Fleet, metric: usize, state: &mut i32, random: &mut Random) -> Value {
    let step = i32::try_from(random.below(101)).unwrap_or(0) - 50;
    match (fleet, metric) {
        (Fleet::Mixed, 3) => {
            *state += step.abs() / 10;
            Value::I64(i64::from(*state))
        }
        (Fleet::Mixed, 4) => Value::Bool(random.below(10) == 0),
        _ => {
            *state += step;
            Value::F64(f64::from(*state) / 100.0)
        }
    }
}

fn messages(fleet: Fleet, count: usize) -> Vec<Message> {
    let mut random = Random(count as u64);
    let mut states: Vec<i32> =
        (0..DEVICES * METRICS).map(|_| i32::try_from(random.below(9000)).unwrap_or(0)).collect();
    let mut millis = 1_700_000_000_000;
    (0..count)
        .map(|n| {
            let device = n * 7919 % DEVICES;
            millis += i64::from(random.below(4));
            let states = &mut states[device * METRICS..][..METRICS];
            let values = states
                .iter_mut()
                .enumerate()
                .map(|(metric, state)| measure(fleet, metric, state, &mut random));
            Message {
                source: CatalogN::new(u32::try_from(device).unwrap()),
                time: Timestamp::from_millis(millis).unwrap(),
                first_metric: if matches!(fleet, Fleet::Types) { device % 4 } else { 0 },
                values: values.collect(),
            }
        })
        .collect()
}

fn push(builder: &mut SegmentBuilder, metrics: &[Metric], messages: &[Message]) {
    builder.clear();
    for message in messages {
        let positions: [_; METRICS] =
            std::array::from_fn(|at| builder.metric(&metrics[message.first_metric + at]));
        builder.push(message.source, message.time, &positions, message.values.iter());
    }
}

/// Nanoseconds of one call, the best of several rounds.
#[expect(clippy::disallowed_methods, reason = "a benchmark is the one place that measures wall time itself")]
fn nanos(samples: usize, mut call: impl FnMut()) -> f64 {
    let calls = (ROUND_SAMPLES / samples).max(1);
    let round = || {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_secs_f64() * 1e9 / calls as f64
    };
    std::iter::repeat_with(round).take(ROUNDS).fold(f64::INFINITY, f64::min)
}

fn line(fleet: Fleet, count: usize, metrics: &[Metric]) {
    let messages = messages(fleet, count);
    let samples = count * METRICS;
    let mut builder = SegmentBuilder::new();
    let mut body = Vec::new();
    let push_nanos = nanos(samples, || push(&mut builder, metrics, black_box(&messages)));
    let encode_nanos = nanos(samples, || {
        body.clear();
        black_box(builder.encode(&mut body));
    });
    let body = Bytes::from(body);
    let decode = || Segment::decode(black_box(body.clone()), Limits::DEFAULT).unwrap();
    let decode_nanos = nanos(samples, || {
        black_box(decode());
    });
    let rows_nanos = nanos(samples, || {
        let segment = decode();
        segment.samples_at(segment.all()).unwrap().for_each(|sample| {
            black_box(sample);
        });
    });
    let columns_nanos = nanos(samples, || {
        let segment = decode();
        for metric in segment.metrics() {
            black_box(segment.column(segment.metric(metric.as_str()).unwrap(), segment.all()).unwrap());
        }
    });
    let segment = decode();
    let device_nanos = nanos(samples, || {
        black_box(segment.samples_at(segment.points_of(CatalogN::new(0))).unwrap().count());
    });
    let each = |nanos: f64| nanos / samples as f64;
    println!(
        "{count:>8}  {:>6.1} {:>7.1} {:>7.1} {:>6.1} {:>8.1} {device_nanos:>8.0}  {:>7} {:>7.2}",
        each(push_nanos),
        each(encode_nanos),
        each(decode_nanos),
        each(rows_nanos),
        each(columns_nanos),
        body.len(),
        body.len() as f64 / samples as f64,
    );
}

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let counts = if asked.is_empty() { vec![1, 20, 100, 1000, 10_000] } else { asked };
    let metrics: Vec<_> = NAMES.iter().map(|name| Metric::new(name).unwrap()).collect();
    let fleets = [
        (Fleet::Walks, "five walks"),
        (Fleet::Mixed, "three walks, counter, boolean"),
        (Fleet::Types, "five of eight metrics"),
    ];
    for (fleet, what) in fleets {
        println!("{what}: ns a sample, bytes");
        println!("messages    push  encode  decode   rows  columns   device    bytes  /sample");
        for &count in &counts {
            line(fleet, count, &metrics);
        }
    }
}
