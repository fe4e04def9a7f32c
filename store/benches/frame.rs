//! What rollups cost: nanoseconds to fold a sample, bytes a window, nanoseconds to encode and decode a window.
//!
//! `cargo bench -p tidemill-store --bench frame`. Two hundred devices measure one metric every ten seconds for a day,
//! in hour windows: random walks of two decimals at exact times and with milliseconds of jitter, a counter, a boolean,
//! one of six texts. *fold* is the whole set of fields; *all* decodes every field of a frame through `fold_all`,
//! *sum* count and sum alone, *device* all windows of one device (nanoseconds in all). Best of many short rounds.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a benchmark prints, may panic, and needs no exact figures"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_store::codec::Run;
use tidemill_store::codec::frame::{Fields, Frame, FrameBody, FrameBuilder, FrameLimits};
use tidemill_store::layout::{Bucket, BucketWidth, Resolution};
use tidemill_store::model::{Metric, SourceId, Timestamp, Value};
use tidemill_store::rollup::{WindowState, fold_run, fold_run_with_sketches};

const DEVICES: usize = 200;
const SAMPLES: i64 = 8640;
const DAY_MILLIS: i64 = 86_400_000;
const ROUNDS: usize = 15;

/// A small deterministic source of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(end)).unwrap_or(0)
    }
}

#[derive(Clone, Copy)]
enum Fleet {
    Walk,
    Jitter,
    Counter,
    Boolean,
    Text,
}

fn run(fleet: Fleet, random: &mut Random) -> Run {
    let mut state = i64::from(random.below(9000));
    let phase = i64::from(random.below(10_000));
    // Shared, as a decoded dictionary shares them.
    let texts: Vec<Arc<str>> = (0..6).map(|n| format!("state {n}").into()).collect();
    let sample = |n: i64| {
        let step = i64::from(random.below(101)) - 50;
        let value = match fleet {
            Fleet::Walk | Fleet::Jitter => {
                state += step;
                Value::F64(state as f64 / 100.0)
            }
            Fleet::Counter => {
                state += step.abs() / 10;
                Value::I64(state)
            }
            Fleet::Boolean => {
                state = if random.below(40) == 0 { state + 1 } else { state };
                Value::Bool(state % 2 == 0)
            }
            Fleet::Text => {
                state = if random.below(40) == 0 { state + 1 } else { state };
                let state = usize::try_from(state % 6).unwrap();
                Value::Text(Arc::clone(texts.get(state).unwrap()))
            }
        };
        let jitter = if matches!(fleet, Fleet::Jitter) { phase + i64::from(random.below(200)) } else { 0 };
        (Timestamp::from_millis((n * 10_000 + jitter).min(DAY_MILLIS - 1 - SAMPLES + n)).unwrap(), value)
    };
    (0..SAMPLES).map(sample).collect()
}

/// Nanoseconds of one call, the best of several.
#[expect(clippy::disallowed_methods, reason = "a benchmark is the one place that measures wall time itself")]
fn nanos(mut call: impl FnMut()) -> f64 {
    let round = || {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64() * 1e9
    };
    std::iter::repeat_with(round).take(ROUNDS).fold(f64::INFINITY, f64::min)
}

fn frames(windows: &[Vec<(u32, WindowState)>]) -> Vec<FrameBody> {
    let bucket = Bucket::at(Timestamp::EPOCH, BucketWidth::new(Duration::from_hours(24)).unwrap());
    let hour = Resolution::from_seconds(3600).unwrap();
    let mut builder = FrameBuilder::new(Metric::new("m").unwrap(), hour, bucket, FrameLimits::DEFAULT);
    let mut frames = Vec::new();
    for (windows, n) in windows.iter().zip(1_u128..) {
        // Spread like hashes.
        frames.extend(builder.push(SourceId::new((n << 100) | (n * 7919)), windows).unwrap());
    }
    frames.extend(builder.finish());
    frames
}

fn windows(run: &Run, cuts: &[Timestamp], sketches: bool) -> Vec<(u32, WindowState)> {
    let cells = if sketches { fold_run_with_sketches(run, cuts) } else { fold_run(run, cuts) };
    cells.into_iter().map(|(cell, state)| (u32::try_from(cell).unwrap(), state)).collect()
}

fn line(name: &str, fleet: Fleet, sketches: bool) {
    let mut random = Random(7);
    let runs: Vec<Run> = (0..DEVICES).map(|_| run(fleet, &mut random)).collect();
    let cuts: Vec<Timestamp> = (0..=24).map(|n| Timestamp::from_millis(n * 3_600_000).unwrap()).collect();
    let fold_nanos = nanos(|| {
        for run in runs.iter().take(20) {
            black_box(windows(black_box(run), &cuts, sketches));
        }
    });
    let states: Vec<_> = runs.iter().map(|run| windows(run, &cuts, sketches)).collect();
    let count: usize = states.iter().map(Vec::len).sum();
    let encode_nanos = nanos(|| {
        black_box(frames(black_box(&states)));
    });
    let bodies = frames(&states);
    let bytes: usize = bodies.iter().map(|frame| frame.body.len()).sum();
    let decode = |body: &FrameBody| Frame::decode(body.body.clone().into()).unwrap();
    let decoded = |fields| {
        nanos(|| {
            for body in &bodies {
                let mut samples = 0;
                decode(body).fold_all(fields, |_, _, state| samples += black_box(state).count()).unwrap();
                black_box(samples);
            }
        })
    };
    let (all, sum) = (decoded(Fields::ALL), decoded(Fields::SUM));
    let frame = decode(bodies.first().unwrap());
    let device = nanos(|| {
        black_box(frame.windows(3, 0..24, Fields::ALL).unwrap());
    });
    let merge_nanos = nanos(|| {
        for windows in &states {
            let mut day = WindowState::default();
            for (_, state) in windows {
                day.merge(state);
            }
            black_box(day);
        }
    });
    let each = |nanos: f64| nanos / count as f64;
    println!(
        "{name:<22} {:>6.2} {:>9.1} {:>8} {:>8.0} {:>7.0} {:>7.1} {:>7.1} {device:>8.0}",
        fold_nanos / (20.0 * SAMPLES as f64),
        bytes as f64 / count as f64,
        bodies.len(),
        each(encode_nanos),
        each(merge_nanos),
        each(all),
        each(sum),
    );
}

fn main() {
    println!("ns a sample; bytes a window; frames; ns a window");
    println!("series                   fold  B/window   frames   encode   merge     all     sum   device");
    line("walk", Fleet::Walk, false);
    line("walk with jitter", Fleet::Jitter, false);
    line("walk with sketches", Fleet::Walk, true);
    line("counter", Fleet::Counter, false);
    line("boolean", Fleet::Boolean, false);
    line("text", Fleet::Text, false);
}
