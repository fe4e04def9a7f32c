//! The segment as a whole: round trips, order, refusal of what no encoder writes, size, the golden file.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::Metric;

type Row = (u32, i64, Vec<(usize, Value)>);

const NAMES: [&str; 12] = [
    "temperature",
    "humidity",
    "count",
    "open",
    "state",
    "motor/current #1",
    "alarm",
    "online",
    "ratio",
    "label",
    "level",
    "flow",
];

fn build(rows: &[Row]) -> SegmentBuilder {
    let mut builder = SegmentBuilder::new();
    let names: Vec<_> = NAMES.iter().map(|name| Metric::new(name).unwrap()).collect();
    for (source, time, values) in rows {
        let positions: Vec<_> = values.iter().map(|(metric, _)| builder.metric(&names[*metric])).collect();
        let time = Timestamp::from_nanos(*time).unwrap();
        builder.push(CatalogN::new(*source), time, &positions, values.iter().map(|(_, value)| value));
    }
    builder
}

fn encode(rows: &[Row]) -> Bytes {
    let mut out = Vec::new();
    build(rows).encode(&mut out);
    out.into()
}

fn decode(body: Bytes) -> Result<Segment, SegmentError> {
    Segment::decode(body, Limits::DEFAULT)
}

/// What a segment of `rows` must give: stably sorted, flattened.
fn expected(rows: &[Row]) -> Vec<(u32, i64, &'static str, Value)> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|(source, time, _)| (*source, *time));
    rows.into_iter()
        .flat_map(|(source, time, values)| {
            values.iter().map(move |(metric, value)| (*source, *time, NAMES[*metric], value.clone()))
        })
        .collect()
}

fn flatten(segment: &Segment, points: std::ops::Range<usize>) -> Vec<(u32, i64, String, Value)> {
    let name = |at: MetricPosition| segment.metrics()[at.index()].to_string();
    let samples = segment.samples_at(points).unwrap();
    samples.map(|s| (s.source.get(), s.time.nanos(), name(s.metric), s.value)).collect()
}

fn same(a: &[(u32, i64, String, Value)], b: &[(u32, i64, &str, Value)]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| (a.0, a.1, a.2.as_str(), &a.3) == (b.0, b.1, b.2, &b.3))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (-5000..5000_i32).prop_map(|cents| Value::F64(f64::from(cents) / 100.0)),
        1 => any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        1 => any::<i64>().prop_map(Value::I64),
        2 => (0..100_i64).prop_map(Value::I64),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => "[ab]{0,2}|\\PC{0,9}".prop_map(|text| Value::Text(text.into())),
    ]
}

/// Rows of few sources at few times, so that many are equal; of several units of time; few or many shapes.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let source = prop_oneof![9 => 0..4_u32, 1 => any::<u32>()];
    let time = prop_oneof![
        6 => (0..5_i64).prop_map(|n| 1_700_000_000_000_000_000 + n * 250_000_000),
        1 => Timestamp::MIN.nanos()..=Timestamp::MAX.nanos(),
    ];
    let fixed = prop::collection::vec(value(), 3).prop_map(|values| (0..).zip(values).collect());
    let free = prop::collection::vec((0..NAMES.len(), value()), 1..6);
    let values = prop_oneof![3 => fixed, 1 => free];
    prop::collection::vec((source, time, values), 1..80)
}

/// Puts a right checksum on changed bytes, so that what lies behind it is reached.
fn seal(mut body: Vec<u8>) -> Bytes {
    let content = body.len() - CRC_BYTES;
    let crc = crc32fast::hash(&body[..content]);
    body[content..].copy_from_slice(&crc.to_le_bytes());
    body.into()
}

/// Reads all there is; every way to read must end without a panic.
fn exhaust(body: Bytes) {
    let limits = Limits { points_max: 5000, samples_max: 20_000 };
    let Ok(segment) = Segment::decode(body, limits) else { return };
    assert!(segment.points() <= limits.points_max && segment.samples() <= limits.samples_max);
    if let Ok(samples) = segment.samples_at(segment.all()) {
        assert_eq!(samples.count(), segment.samples());
    }
    for (source, points) in segment.sources() {
        assert_eq!(segment.points_of(source), points);
        for at in 0..segment.metrics().len().min(20) {
            let _ = segment.column(MetricPosition(u32::try_from(at).unwrap()), points.clone());
        }
    }
}

proptest! {
    #[test]
    fn a_segment_gives_its_points_stably_sorted(rows in rows()) {
        let body = encode(&rows);
        let segment = decode(body.clone()).unwrap();
        let expected = expected(&rows);
        prop_assert!(same(&flatten(&segment, segment.all()), &expected));
        prop_assert_eq!(segment.samples(), expected.len());
        prop_assert_eq!(segment.points(), rows.len());
        let builder = build(&rows);
        prop_assert!(builder.bytes_estimate() >= body.len(), "{} < {}", builder.bytes_estimate(), body.len());
    }

    #[test]
    fn one_source_and_one_metric_are_read_alone(rows in rows()) {
        let heading = Heading::decode(encode(&rows), Limits::DEFAULT).unwrap();
        let told: Vec<CatalogN> = heading.sources().collect();
        let segment = heading.segment(Limits::DEFAULT).unwrap();
        prop_assert!(segment.sources().map(|(source, _)| source).eq(told));
        let expected = expected(&rows);
        for (source, points) in segment.sources() {
            let of_source: Vec<_> = expected.iter().filter(|s| s.0 == source.get()).cloned().collect();
            prop_assert!(same(&flatten(&segment, points.clone()), &of_source));
            prop_assert_eq!(segment.points_of(source), points.clone());
            for metric in segment.metrics() {
                let position = segment.metric(metric.as_str()).unwrap();
                let column = segment.column(position, points.clone()).unwrap();
                let read: Vec<_> = column.iter().map(|(point, value)| (segment.times()[point].nanos(), value)).collect();
                let wanted: Vec<_> = of_source
                    .iter().filter(|s| s.2 == metric.as_str()).map(|s| (s.1, s.3.clone())).collect();
                prop_assert_eq!(&read, &wanted);
                let whole = segment.column(position, segment.all()).unwrap();
                let of_whole: Vec<_> = whole
                    .of_points(&points)
                    .map(|at| (segment.times()[whole.point(at)].nanos(), whole.values().get(at).unwrap()))
                    .collect();
                prop_assert_eq!(of_whole, wanted);
                prop_assert!(column.points().all(|point| points.contains(&point) && segment.source(point) == source));
            }
        }
    }

    #[test]
    fn a_builder_that_is_used_again_gives_the_same_bytes(first in rows(), second in rows()) {
        let mut builder = build(&first);
        let (mut once, mut again) = (Vec::new(), Vec::new());
        let stats = builder.encode(&mut once);
        prop_assert_eq!(builder.encode(&mut again), stats);
        prop_assert_eq!(&once, &again);
        builder.clear();
        prop_assert!(builder.is_empty() && builder.samples() == 0);
        let names: Vec<_> = NAMES.iter().map(|name| Metric::new(name).unwrap()).collect();
        for (source, time, values) in &second {
            let metrics: Vec<_> = values.iter().map(|(at, _)| builder.metric(&names[*at])).collect();
            let time = Timestamp::from_nanos(*time).unwrap();
            builder.push(CatalogN::new(*source), time, &metrics, values.iter().map(|(_, value)| value));
        }
        again.clear();
        let stats = builder.encode(&mut again);
        prop_assert_eq!(Bytes::from(again), encode(&second));
        let times: Vec<_> = second.iter().map(|row| row.1).collect();
        prop_assert_eq!(stats.min_time.nanos(), *times.iter().min().unwrap());
        prop_assert_eq!(stats.max_time.nanos(), *times.iter().max().unwrap());
    }

    #[test]
    fn damage_is_noticed(rows in rows(), at: prop::sample::Index, bit in 0..8_u32) {
        let body = encode(&rows);
        let mut damaged = body.to_vec();
        damaged[at.index(body.len())] ^= 1 << bit;
        let noticed = matches!(decode(damaged.into()), Err(SegmentError::Checksum { .. }));
        prop_assert!(noticed);
        prop_assert!(decode(body.slice(..at.index(body.len()))).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exhaust(bytes.clone().into());
        let sealed: Vec<_> = [VERSION].into_iter().chain(bytes).chain([0; CRC_BYTES]).collect();
        exhaust(seal(sealed));
    }

    #[test]
    fn damage_under_a_right_checksum_never_panics(
        rows in rows(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = encode(&rows).to_vec();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        if body.len() >= CRC_BYTES {
            exhaust(seal(body));
        }
    }
}

#[test]
fn the_later_of_equal_points_stays_the_later() {
    let rows: Vec<Row> = (0..100).map(|n| (n % 2, 0, vec![(0, Value::I64(n.into()))])).collect();
    let segment = decode(encode(&rows)).unwrap();
    let column =
        segment.column(segment.metric("temperature").unwrap(), segment.points_of(CatalogN::new(1))).unwrap();
    assert_eq!(column.values(), &Values::I64((0..50).map(|n| n * 2 + 1).collect()));
}

use crate::codec::Values;

/// One message of five metrics with two decimals each.
fn message(source: u32, time_millis: i64, n: i32) -> Row {
    let value = |at: i32| Value::F64(f64::from(2000 + at * 311 + n % 97) / 100.0);
    (source, time_millis * 1_000_000, (0..5).map(|at| (usize::try_from(at).unwrap(), value(at))).collect())
}

#[test]
fn one_message_takes_forty_bytes_and_its_names() {
    let names: usize = NAMES[..5].iter().map(|name| name.len() + 1).sum();
    let body = encode(&[message(7, 1_700_000_000_123, 5)]);
    assert!(body.len() <= 40 + names, "{} bytes besides the names", body.len() - names);
}

#[test]
fn a_thousand_messages_take_less_than_four_bytes_a_sample() {
    let rows: Vec<_> = (0..1000)
        .map(|n: i32| message((n * 7919 % 500).unsigned_abs(), 1_700_000_000_000 + i64::from(n), n))
        .collect();
    let body = encode(&rows);
    assert!(body.len() < 4 * 5000, "{} bytes", body.len());
}

#[test]
fn a_small_body_may_not_claim_many_points() {
    let rows: Vec<_> = (0..3000).map(|_| message(1, 0, 0)).collect();
    let body = encode(&rows);
    assert!(body.len() < 150);
    let limits = |points_max, samples_max| Limits { points_max, samples_max };
    assert_eq!(
        Segment::decode(body.clone(), limits(2999, 15_000)).unwrap_err(),
        SegmentError::TooManyPoints { points: 3000, limit: 2999 }
    );
    assert_eq!(
        Segment::decode(body.clone(), limits(3000, 14_999)).unwrap_err(),
        SegmentError::TooManySamples { samples: 15_000, limit: 14_999 }
    );
    assert!(Segment::decode(body, limits(3000, 15_000)).is_ok());
}

#[test]
fn a_later_version_is_refused_by_name() {
    let mut body = encode(&[message(1, 0, 0)]).to_vec();
    body[0] = 2;
    assert_eq!(decode(seal(body)).unwrap_err(), SegmentError::Version(2));
    assert_eq!(decode(Bytes::from_static(b"1234")).unwrap_err(), SegmentError::TooShort(4));
}

#[test]
#[should_panic(expected = "an empty segment")]
fn an_empty_segment_is_never_written() {
    SegmentBuilder::new().encode(&mut Vec::new());
}

/// The format by hand: what the module says, byte for byte.
#[test]
fn two_points_are_the_bytes_that_the_format_gives() {
    let rows: Vec<Row> = vec![
        (3, 2_000_000, vec![(0, Value::F64(21.5)), (3, Value::Bool(true))]),
        (3, 1_000_000, vec![(0, Value::F64(21.0)), (3, Value::Bool(true))]),
    ];
    let content: Vec<u8> = [
        [VERSION].as_slice(),
        b"\x02\x0btemperature\x04open",    // two metrics
        &[2],                              // two points
        &[1, 6],                           // one source: 3
        &[2, 1, 2, 0b10],                  // milliseconds; 1 bit each above 1: 1, 2
        &[1, 2 << 1 | 1, 0],               // one shape: two metrics from 0 on
        &[5, 1],                           // lengths of the columns
        &[0x11, 3, 0xa4, 0x03, 0b10_1000], // decimals by 10; 3 bits each above 210: 210, 215
        &[0x07],                           // true
    ]
    .concat();
    let body = seal([content, vec![0; CRC_BYTES]].concat());
    assert_eq!(encode(&rows), body);
}

/// Few points whose columns have every form, in several runs, shapes and kinds.
fn golden() -> Vec<Row> {
    let text = |text: &str| Value::Text(Arc::from(text));
    let mut rows: Vec<Row> = Vec::new();
    for n in 0..24_u32 {
        let (source, whole, n_index) = (n * 5 % 4 * 3, i64::from(n), usize::try_from(n).unwrap());
        let tenths = f64::from(n * 37 % 100) / 10.0;
        let every = |period, odd: Value, usual: Value| if n % period == 1 { odd } else { usual };
        let mut values = vec![
            (0, Value::F64(f64::from(2150 + n * n % 17) / 100.0)),
            (1, every(4, Value::I64(whole), Value::F64(tenths))),
            (2, Value::I64(whole * 1000 + i64::from(source) * 1_000_000_000)),
            (3, Value::Bool(n % 3 == 0)),
            (4, text(["running", "idle", "running", "fault: no water"][n_index % 4])),
            (6, Value::Bool(false)),
            (7, Value::Bool(true)),
            (8, Value::F64(f64::from(n + 1).sqrt())),
            (9, text(&format!("batch {}", n * n))),
            (10, every(20, Value::F64(f64::NAN), Value::F64(tenths))),
            (11, every(20, Value::I64(i64::MIN), every(3, Value::I64(whole), Value::F64(tenths)))),
        ];
        if n % 6 == 5 {
            let odd = [Value::F64(-0.0), Value::I64(i64::MIN), text("?"), Value::Bool(true)];
            values.push((5, odd[n_index / 6].clone()));
            values.push((5, odd[n_index / 6].clone()));
            values.swap(0, 3);
        }
        rows.push((source, 1_700_000_000_000_000_000 + whole / 2 * 1_000_000, values));
    }
    rows
}

#[test]
fn the_golden_segment_is_written_and_read_as_ever() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/segment_v1.bin");
    let stored = Bytes::from(std::fs::read(path).unwrap());
    let segment = decode(stored.clone()).unwrap();
    assert!(same(&flatten(&segment, segment.all()), &expected(&golden())));
    assert_eq!(encode(&golden()), stored);
    let mut forms: Vec<_> = segment.columns.iter().map(|column| stored[column.bytes.start] & 0x0f).collect();
    forms.sort_unstable();
    assert_eq!(forms, (0..=11).collect::<Vec<_>>(), "every form of column is in it once");
    let counter = &segment.columns[2].bytes;
    assert_eq!(stored[counter.start + 1] & 0x80, 0x80, "a counter goes in steps");
}
