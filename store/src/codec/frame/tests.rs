//! The frame as a whole: round trips, parts, refusal of what no encoder writes, size, the golden file.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::Run;
use crate::layout::{Bucket, BucketWidth, Resolution};
use crate::model::{Metric, Timestamp, Value};
use crate::rollup::{Fold, Sum, WindowState, fold_run, fold_run_with_sketches};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;

type Windows = Vec<(u32, WindowState)>;

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos).unwrap()
}

fn hour() -> Resolution {
    Resolution::from_seconds(3600).unwrap()
}

fn day() -> Bucket {
    Bucket::at(Timestamp::EPOCH, BucketWidth::new(Duration::from_hours(24)).unwrap())
}

fn builder(limits: FrameLimits) -> FrameBuilder {
    FrameBuilder::new(Metric::new("temperature").unwrap(), hour(), day(), limits)
}

fn windows(run: &Run, sketches: bool) -> Windows {
    let cuts: Vec<Timestamp> = (0..=24).map(|n| at(n * HOUR)).collect();
    let cells = if sketches { fold_run_with_sketches(run, &cuts) } else { fold_run(run, &cuts) };
    cells.into_iter().map(|(cell, state)| (u32::try_from(cell).unwrap(), state)).collect()
}

fn encode(sources: &[Windows], limits: FrameLimits) -> Vec<FrameBody> {
    let mut builder = builder(limits);
    let mut frames = Vec::new();
    for (windows, id) in sources.iter().zip(1..) {
        let source = SourceId::new(id << 90);
        frames.extend(if windows.is_empty() {
            builder.push_without_windows(source)
        } else {
            builder.push(source, windows).unwrap()
        });
    }
    frames.extend(builder.finish());
    frames
}

/// Everything that a window says, to the bit.
fn shown(state: &WindowState) -> String {
    let Fold {
        known,
        counts,
        ends,
        sum,
        extremes,
        m2,
        resets,
        reset_sum,
        changes,
        integrals,
        states,
        sketch,
    } = &state.interior;
    let sum_of = |sum: &Sum| {
        let parts = sum.parts();
        (parts.high.to_bits(), parts.low.to_bits(), parts.scaled)
    };
    let sums = [&sum.floats, &reset_sum.floats, &integrals.step, &integrals.linear].map(sum_of);
    let integers = (sum.integers, reset_sum.integers, resets, changes);
    format!(
        "{:?}",
        (known, counts, &state.boundary, ends, extremes, m2.to_bits(), integers, sums, states, sketch)
    )
}

fn shown_all(windows: &Windows) -> Vec<(u32, String)> {
    windows.iter().map(|(index, state)| (*index, shown(state))).collect()
}

/// What a window says of `fields` alone.
fn only(windows: &Windows, fields: Fields) -> Vec<(u32, String)> {
    let known = fields.with_needed();
    let forget = |state: &WindowState| {
        let mut fold = Fold { known, counts: state.interior.counts, ..Fold::EMPTY };
        let of = state.interior.clone();
        if known.contains(Fields::SUM) {
            fold.sum = of.sum;
        }
        if known.contains(Fields::MIN_MAX) {
            fold.extremes = of.extremes;
        }
        if known.contains(Fields::FIRST_LAST) {
            fold.ends = of.ends;
        }
        if known.contains(Fields::M2) {
            fold.m2 = of.m2;
        }
        if known.contains(Fields::RESETS) {
            (fold.resets, fold.reset_sum) = (of.resets, of.reset_sum);
        }
        if known.contains(Fields::CHANGES) {
            fold.changes = of.changes;
        }
        if known.contains(Fields::INTEGRALS) {
            fold.integrals = of.integrals;
        }
        if known.contains(Fields::STATES) {
            fold.states = of.states;
        }
        if known.contains(Fields::SKETCH) {
            fold.sketch = of.sketch;
        }
        WindowState { boundary: state.boundary.clone(), interior: fold }
    };
    windows.iter().map(|(index, state)| (*index, shown(&forget(state)))).collect()
}

fn values() -> impl Strategy<Value = (u8, Vec<(i64, i64)>)> {
    (0..9_u8, prop::collection::vec((0..4000_i64, any::<i64>()), 0..200))
}

/// A run of a character: decimals, jitter, counters, booleans, texts, mixtures, extremes.
fn run((character, parts): &(u8, Vec<(i64, i64)>)) -> Run {
    let mut time = -SECOND;
    parts
        .iter()
        .map(|&(gap, bits)| {
            time += match character {
                0 => 100 * SECOND,
                1 => (gap + 1) * 1_000_000 * 100,
                _ => (gap + 1) * SECOND,
            };
            let small = i32::try_from(bits % 2000).unwrap();
            let decimal = Value::F64(f64::from(small) / 100.0);
            let value = match character {
                0 | 1 => decimal,
                2 => Value::I64(bits),
                3 => Value::I64(time / SECOND),
                4 => Value::Bool(bits % 3 == 0),
                5 => Value::Text(Arc::from(format!("state {}", bits % 12))),
                6 => Value::F64(f64::from_bits(bits.cast_unsigned())),
                7 => [decimal, Value::I64(bits)][usize::from(small % 3 == 0)].clone(),
                _ => [Value::Bool(small > 0), decimal, Value::Text("?".into())]
                    [usize::from(small.unsigned_abs() % 3 == 0)]
                .clone(),
            };
            (at(time), value)
        })
        .collect()
}

fn field_sets() -> impl Strategy<Value = Fields> {
    let all = [
        Fields::COUNT,
        Fields::SUM,
        Fields::MIN_MAX,
        Fields::FIRST_LAST,
        Fields::M2,
        Fields::RESETS,
        Fields::CHANGES,
        Fields::INTEGRALS,
        Fields::STATES,
        Fields::SKETCH,
    ];
    prop::sample::subsequence(all.to_vec(), 0..=10)
        .prop_map(|fields| fields.into_iter().fold(Fields::NONE, |set, field| set | field))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn frames_give_back_what_was_put_in_by_source_by_range_and_by_field(
        series in prop::collection::vec(values(), 1..8), sketches: bool, fields in field_sets(),
        range in (0..25_u32, 0..25_u32), target_bytes in prop::sample::select(vec![1, 2000, 1 << 20]),
    ) {
        let sources: Vec<Windows> = series.iter().map(|parts| windows(&run(parts), sketches)).collect();
        let frames = encode(&sources, FrameLimits { target_bytes, ..FrameLimits::DEFAULT });
        let mut back: Vec<Windows> = Vec::new();
        for frame in &frames {
            let decoded = Frame::decode(frame.body.clone().into()).unwrap();
            prop_assert_eq!(decoded.sources().first(), Some(&frame.first_source));
            prop_assert_eq!(decoded.sources().last(), Some(&frame.last_source));
            prop_assert_eq!(decoded.len(), usize::try_from(frame.windows).unwrap());
            let before = back.len();
            back.resize(before + decoded.sources().len(), Vec::new());
            decoded.fold_all(Fields::ALL, |source, index, state| back[before + source].push((index, state.clone()))).unwrap();
            for (position, source) in decoded.sources().iter().enumerate() {
                let all = &sources[before + position];
                prop_assert_eq!(decoded.position(*source), Some(position));
                prop_assert_eq!(decoded.is_without_windows(position), all.is_empty());
                let part: Windows = all.iter().filter(|(n, _)| (range.0..range.1).contains(n)).cloned().collect();
                let read = decoded.windows(position, range.0..range.1, fields).unwrap();
                prop_assert_eq!(shown_all(&read), only(&part, fields));
            }
        }
        prop_assert_eq!(back.len(), sources.len());
        for (back, windows) in back.iter().zip(&sources) {
            prop_assert_eq!(shown_all(back), shown_all(windows));
        }
    }

    #[test]
    fn damaged_frames_never_panic_even_under_a_right_checksum(
        series in prop::collection::vec(values(), 1..4), sketches: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let sources: Vec<Windows> = series.iter().map(|parts| windows(&run(parts), sketches)).collect();
        for frame in encode(&sources, FrameLimits::DEFAULT) {
            let mut body = frame.body;
            for (place, byte) in &damage {
                let at = place.index(body.len() - CRC_BYTES);
                body[at] = *byte;
            }
            touch(&seal(body));
        }
    }
}

fn seal(mut body: Vec<u8>) -> Bytes {
    let content = body.len() - CRC_BYTES;
    let crc = crc32fast::hash(&body[..content]);
    body[content..].copy_from_slice(&crc.to_le_bytes());
    body.into()
}

/// Reads all there is, and merges it.
fn touch(body: &Bytes) {
    let Ok(frame) = Frame::decode(body.clone()) else { return };
    let mut merged = WindowState::default();
    let mut last = None;
    let read = frame.fold_all(Fields::ALL, |source, _, state| {
        if last.replace(source) != Some(source) {
            merged = WindowState::default();
        }
        merged.merge(state);
    });
    if read.is_ok() {
        assert!(frame.windows(0, 0..24, Fields::ALL).is_ok());
    }
}

fn sample_frame() -> Vec<u8> {
    let series = (0..6_u8).map(|n| (n, (0..100).map(|i| (i * 37 % 400, i * 7_919)).collect::<Vec<_>>()));
    let sources: Vec<Windows> = series.map(|parts| windows(&run(&parts), true)).collect();
    encode(&sources, FrameLimits::DEFAULT).remove(0).body
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let body = sample_frame();
    for place in 0..body.len() {
        let mut damaged = body.clone();
        damaged[place] ^= 0x10;
        assert!(matches!(Frame::decode(damaged.into()), Err(FrameError::Checksum { .. })));
        assert!(Frame::decode(body[..place].to_vec().into()).is_err());
    }
}

#[test]
fn a_later_version_is_refused_by_name() {
    let mut body = sample_frame();
    body[0] = VERSION + 1;
    assert_eq!(Frame::decode(seal(body)).map(|_| ()), Err(FrameError::Version(VERSION + 1)));
}

#[test]
fn a_source_too_large_for_a_row_is_refused_and_the_others_stay() {
    let long = |n: i64| Value::Text(format!("{n}{}", "x".repeat(3000)).into());
    let large: Run = (0..24 * 12).map(|n| (at(n * 300 * SECOND), long(n % 14))).collect();
    let small: Run = (0..24).map(|n| (at(n * HOUR), Value::I64(n))).collect();
    let limits = FrameLimits { body_bytes_max: 30_000, ..FrameLimits::DEFAULT };
    let mut builder = builder(limits);
    assert_eq!(builder.push(SourceId::new(1), &windows(&small, false)), Ok(Vec::new()));
    let refused = builder.push(SourceId::new(2), &windows(&large, false));
    assert!(matches!(refused, Err(FrameRefusal::TooLarge { limit: 30_000, .. })), "{refused:?}");
    assert_eq!(builder.push_without_windows(SourceId::new(2)), Vec::new());
    let frames = builder.finish();
    assert_eq!(frames.iter().map(|frame| frame.windows).collect::<Vec<_>>(), [24]);
    assert!(Frame::decode(frames[0].body.clone().into()).unwrap().is_without_windows(1));
}

#[test]
fn frames_stay_near_their_target_and_below_their_limit() {
    let parts: Vec<(i64, i64)> = (0..2000).map(|i| (i * 37 % 400, i * 7_919)).collect();
    let sources: Vec<Windows> = (0..100).map(|_| windows(&run(&(1, parts.clone())), false)).collect();
    let frames = encode(&sources, FrameLimits { target_bytes: 8_000, body_bytes_max: 10_000 });
    assert!(frames.len() > 5);
    assert!(frames.iter().all(|frame| frame.body.len() <= 10_000));
    let usual = &frames[1..frames.len() - 1];
    assert!(usual.iter().all(|frame| frame.body.len() > 5_000), "{:?}", usual[0].body.len());
}

/// Sources of every character, so that every column is there.
fn golden() -> Vec<Windows> {
    let bits = |i: i64| i.wrapping_mul(0x1234_5678_9abc_def1) >> (i % 3 * 20);
    let parts: Vec<(i64, i64)> = (0..40).map(|i| (i * 37 % 900, bits(i))).collect();
    let of = |character: u8| windows(&run(&(character, parts.clone())), character == 0);
    let mut sources: Vec<Windows> = [0, 1, 2, 3, 4, 5, 7, 8].map(of).into();
    let odd = [f64::MAX, f64::MAX, f64::NAN, f64::NEG_INFINITY, -0.0, 1.0 / 3.0, -1e-300].map(Value::F64);
    let large = [i64::MAX, i64::MIN, i64::MAX, 0].map(Value::I64);
    let every = |seconds: i64, values: &[Value]| -> Run {
        (1..40)
            .zip(values.iter().cycle())
            .map(|(n, value)| (at(n * seconds * SECOND), value.clone()))
            .collect()
    };
    let texts: Vec<Value> = (0..39).map(|n| Value::Text(format!("batch {n}").into())).collect();
    sources.push(windows(&every(700, &odd), true));
    sources.push(Windows::new());
    sources.push(windows(&every(600, &large), false));
    sources.push(windows(&every(60, &texts), false));
    sources
}

#[test]
fn the_golden_frame_is_written_and_read_as_ever() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/frame_v2.bin");
    let limits = FrameLimits { target_bytes: 1 << 20, ..FrameLimits::DEFAULT };
    let encoded = encode(&golden(), limits).remove(0).body;
    let stored = Bytes::from(std::fs::read(path).unwrap());
    let frame = Frame::decode(stored.clone()).unwrap();
    for (position, windows) in golden().iter().enumerate() {
        let read = frame.windows(position, 0..24, Fields::ALL).unwrap();
        assert_eq!(shown_all(&read), shown_all(windows));
    }
    let missing: Vec<usize> = (0..COLUMNS).filter(|at| frame.columns[*at].is_empty()).collect();
    assert_eq!(missing, [0; 0], "every column is in it");
    assert_eq!(encoded, stored);
}
