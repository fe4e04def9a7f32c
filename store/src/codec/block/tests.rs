//! Packs as a whole: round trips, partial reads, limits, refusal of what no encoder writes.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::Run;
use crate::model::{Metric, TimeRange, Value};

type Source = (u128, Vec<(Metric, Run)>);

const NAMES: [&str; 6] = ["temperature", "humidity", "count", "open", "state", "motor/current #1"];

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos).unwrap()
}

fn pack_all(limits: PackLimits, sources: &[Source]) -> Vec<PackBody> {
    let mut builder = PackBuilder::new(limits);
    let mut packs = Vec::new();
    for (source, series) in sources {
        packs.extend(builder.push(SourceId::new(*source), series));
    }
    packs.extend(builder.finish());
    packs
}

fn decode(body: &[u8]) -> Result<Pack, BlockError> {
    Pack::decode(Bytes::copy_from_slice(body), Limits::DEFAULT)
}

type Sample = (u128, String, Timestamp, Value);

fn expected(sources: &[Source], range: TimeRange) -> Vec<Sample> {
    let mut all = Vec::new();
    for (source, series) in sources {
        for (metric, run) in series {
            let samples = run.iter().filter(|(time, _)| range.contains(*time));
            all.extend(samples.map(|(time, value)| (*source, metric.to_string(), time, value)));
        }
    }
    all.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
    all
}

fn read(packs: &[PackBody], range: TimeRange) -> Vec<Sample> {
    let mut all = Vec::new();
    for pack in packs {
        let pack = decode(&pack.body).unwrap();
        for (position, source) in pack.sources().iter().enumerate() {
            for metric in pack.metrics(position) {
                let Some(run) = pack.run(position, metric, range).unwrap() else { continue };
                assert!(!run.is_empty());
                all.extend(run.iter().map(|(time, value)| (source.get(), metric.to_string(), time, value)));
            }
        }
    }
    all.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
    all
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

/// Values of one kind most often.
fn values(n: usize) -> impl Strategy<Value = Vec<Value>> {
    let many = |value: BoxedStrategy<Value>| prop::collection::vec(value, n).boxed();
    let cents = (-5000..5000_i32).prop_map(|cents| Value::F64(f64::from(cents) / 100.0)).boxed();
    prop_oneof![
        3 => many(cents),
        1 => many(any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))).boxed()),
        1 => many(prop_oneof![any::<i64>(), 0..9_i64].prop_map(Value::I64).boxed()),
        1 => many(any::<bool>().prop_map(Value::Bool).boxed()),
        1 => many("[ab]{0,2}|\\PC{0,9}".prop_map(|text| Value::Text(text.into())).boxed()),
        1 => many((0..30_i32).prop_map(|n| match n % 10 {
            0 => Value::I64((n / 10).into()),
            _ => Value::F64(f64::from(n) / 10.0),
        }).boxed()),
        1 => many(value().boxed()),
        1 => value().prop_map(move |value| vec![value; n]),
    ]
}

fn times(n: usize) -> impl Strategy<Value = Vec<i64>> {
    let start = 1_700_000_000_000_000_000_i64;
    let sorted =
        |times: Vec<i64>| times.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    prop_oneof![
        Just((0..n).map(|at| start + i64::try_from(at).unwrap() * 10_000_000_000).collect::<Vec<_>>()),
        prop::collection::vec(0..200_i64, n).prop_map(move |jitter| {
            jitter
                .into_iter()
                .zip(0_i64..)
                .map(|(jitter, at)| start + at * 10_000_000_000 + jitter * 1_000_000)
                .collect()
        }),
        prop::collection::vec(start..start + 1_000_000, n).prop_map(sorted),
        prop::collection::vec(Timestamp::MIN.nanos()..Timestamp::MAX.nanos(), n).prop_map(sorted),
    ]
}

fn run(times: &[i64], values: Vec<Value>) -> Run {
    times.iter().map(|&time| at(time)).zip(values).collect()
}

/// A source of some metrics, of which some share their times.
fn series() -> impl Strategy<Value = Vec<(Metric, Run)>> {
    let shared = (0..40_usize).prop_flat_map(|n| (times(n), prop::collection::vec(values(n), 0..4)));
    let own = (0..40_usize).prop_flat_map(|n| (times(n), values(n)));
    (shared, prop::collection::vec(own, 0..3)).prop_map(|((times, columns), own)| {
        let shared = columns.into_iter().map(|values| run(&times, values));
        let all = shared.chain(own.into_iter().map(|(times, values)| run(&times, values)));
        NAMES.iter().map(|name| Metric::new(name).unwrap()).zip(all).collect()
    })
}

fn sources() -> impl Strategy<Value = Vec<Source>> {
    prop::collection::btree_map(any::<u128>(), series(), 0..6).prop_map(|map| map.into_iter().collect())
}

fn limits() -> impl Strategy<Value = PackLimits> {
    (0..3000_usize, 600..4000_usize, 50..2000_usize).prop_map(
        |(target_bytes, body_bytes_max, samples_max)| PackLimits {
            target_bytes,
            body_bytes_max,
            samples_max,
        },
    )
}

proptest! {
    #[test]
    fn packs_give_back_every_sample_bit_for_bit(sources in sources(), limits in limits()) {
        for limits in [limits, PackLimits::DEFAULT] {
            let packs = pack_all(limits, &sources);
            prop_assert_eq!(read(&packs, TimeRange::ALL), expected(&sources, TimeRange::ALL));
            for pack in &packs {
                let decoded = decode(&pack.body).unwrap();
                prop_assert_eq!(decoded.samples(), pack.samples);
                prop_assert_eq!(decoded.sources().first(), Some(&pack.first_source));
                prop_assert_eq!(decoded.sources().last(), Some(&pack.last_source));
                prop_assert!(pack.body.len() <= limits.body_bytes_max && pack.samples <= limits.samples_max);
            }
        }
    }

    #[test]
    fn a_range_of_time_gives_what_a_filter_of_the_whole_gives(
        sources in sources(), limits in limits(), bounds in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let all = expected(&sources, TimeRange::ALL);
        if !all.is_empty() {
            let (a, b) = (all[bounds.0.index(all.len())].2, all[bounds.1.index(all.len())].2);
            let range = TimeRange::new(a.min(b), a.max(b)).unwrap();
            prop_assert_eq!(read(&pack_all(limits, &sources), range), expected(&sources, range));
        }
    }

    #[test]
    fn damage_is_noticed(sources in sources(), place: prop::sample::Index, bit in 0..8_u32) {
        for pack in pack_all(PackLimits::DEFAULT, &sources) {
            let mut damaged = pack.body.clone();
            damaged[place.index(pack.body.len())] ^= 1 << bit;
            let noticed = matches!(decode(&damaged), Err(BlockError::Checksum { .. }));
            prop_assert!(noticed);
            prop_assert!(decode(&pack.body[..place.index(pack.body.len())]).is_err());
        }
    }
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
    let limits = Limits { samples_max: 20_000 };
    let Ok(pack) = Pack::decode(body, limits) else { return };
    assert!(pack.samples() <= limits.samples_max && !pack.sources().is_empty());
    for source in 0..pack.sources().len() {
        for series in 0..pack.metrics(source).count() {
            let Ok(Some(run)) = pack.run_at(source, series, TimeRange::ALL) else { continue };
            let (first, last) = (run.first_time().unwrap(), run.last_time().unwrap());
            let part = pack.run_at(source, series, TimeRange::new(first, last).unwrap()).unwrap();
            assert_eq!(part.map_or(0, |part| part.len()), run.len() - 1);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exhaust(bytes.clone().into());
        let sealed: Vec<_> = [VERSION].into_iter().chain(bytes).chain([0; CRC_BYTES]).collect();
        exhaust(seal(sealed));
    }

    #[test]
    fn damage_under_a_right_checksum_never_panics(
        sources in sources(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for pack in pack_all(PackLimits::DEFAULT, &sources) {
            let mut body = pack.body;
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            if body.len() >= CRC_BYTES {
                exhaust(seal(body));
            }
        }
    }
}

#[test]
fn a_part_of_a_long_run_is_read_from_the_pages_that_hold_it() {
    let time = |n: i64| at(n * 1_000_000_000 + n * n % 7 * 1_000_000);
    let run: Run = (0..10_000).map(|n| (time(n), Value::I64(n * n % 1000))).collect();
    let metric = Metric::new("count").unwrap();
    let packs = pack_all(PackLimits::DEFAULT, &[(1, vec![(metric.clone(), run.clone())])]);
    let mut body = packs[0].body.clone();
    for (start, end) in [(0, 1), (1023, 1025), (5000, 5360), (9_999, 10_000), (2047, 7000)] {
        let range = TimeRange::new(time(start), time(end)).unwrap();
        let pack = decode(&packs[0].body).unwrap();
        assert_eq!(pack.run(0, &metric, range).unwrap(), Some(run.slice(range)), "{start}..{end}");
    }
    // The last byte of the last page: only who reads that page notices.
    let at = body.len() - CRC_BYTES - 1;
    body[at] = 0xff;
    body[at - 1] = 0xff;
    let pack = Pack::decode(seal(body), Limits::DEFAULT).unwrap();
    let early = TimeRange::new(time(100), time(8000)).unwrap();
    assert_eq!(pack.run(0, &metric, early).unwrap(), Some(run.slice(early)));
    assert_ne!(pack.run(0, &metric, TimeRange::ALL), Ok(Some(run)));
}

#[test]
fn a_small_body_may_not_claim_many_samples() {
    let run: Run = (0..100_000).map(|n| (at(n * 1_000_000_000), Value::Bool(true))).collect();
    let packs = pack_all(PackLimits::DEFAULT, &[(1, vec![(Metric::new("open").unwrap(), run)])]);
    assert!(packs[0].body.len() < 1200, "{}", packs[0].body.len());
    let decode = |samples_max| Pack::decode(packs[0].body.clone().into(), Limits { samples_max });
    assert_eq!(decode(99_999).unwrap_err(), BlockError::TooManySamples { samples: 100_000, limit: 99_999 });
    assert!(decode(100_000).is_ok());
}

#[test]
fn a_later_version_is_refused_by_name() {
    let run: Run = [(at(0), Value::Bool(true))].into_iter().collect();
    let packs = pack_all(PackLimits::DEFAULT, &[(1, vec![(Metric::new("open").unwrap(), run)])]);
    let mut body = packs[0].body.clone();
    body[0] = 2;
    assert_eq!(Pack::decode(seal(body), Limits::DEFAULT).unwrap_err(), BlockError::Version(2));
    assert_eq!(decode(b"123").unwrap_err(), BlockError::TooShort(3));
}

#[test]
fn integers_among_decimals_cost_nothing_more() {
    let size = |value: fn(i64) -> Value| {
        let run: Run = (0..2000).map(|n| (at(n * 1_000_000_000), value(200 + n * n % 37))).collect();
        pack_all(PackLimits::DEFAULT, &[(1, vec![(Metric::new("level").unwrap(), run)])])[0].body.len()
    };
    let tenths = |n: i64| Value::F64(f64::from(i32::try_from(n).unwrap()) / 10.0);
    let as_json = |n: i64| {
        if n % 10 == 0 { Value::I64(n / 10) } else { Value::F64(f64::from(i32::try_from(n).unwrap()) / 10.0) }
    };
    assert_eq!(size(as_json), size(tenths));
}

/// Few samples in every form of column, on one page and on several, with odd values, of sources of two shapes.
fn golden() -> Vec<Source> {
    let text = |text: &str| Value::Text(text.into());
    let metric = |at: usize| {
        Metric::new(["walk", "rate", "noise", "mixed", "open", "state", "number", "odd"][at]).unwrap()
    };
    let cents = |n: i64| f64::from(i32::try_from(n).unwrap()) / 100.0;
    let mut sources = Vec::new();
    for source in 0..4_i64 {
        let late = |n: i64| (n * n * 31 + source * 7) % 200;
        let long = if source == 2 { 1500 } else { 24 };
        let time = |n: i64| at(1_700_000_000_000_000_000 + (n * 10_000 + late(n)) * 1_000_000);
        let run = |value: &dyn Fn(i64) -> Value| (0..long).map(|n| (time(n), value(n))).collect::<Run>();
        let runs = [
            run(&|n| Value::F64(cents(2150 + n * n % 17 + n))),
            run(&|n| Value::I64(n * 3 + n % 2)),
            run(&|n| Value::F64((cents(n) + 1.0).sqrt())),
            run(&|n| {
                [Value::I64(n), text("?"), Value::Bool(true), Value::F64(cents(n))]
                    [usize::try_from(n % 4).unwrap()]
                .clone()
            }),
            run(&|n| Value::Bool(n % 30 == 3)),
            run(&|n| text(["running", "idle", "fault: no water"][usize::try_from(n / 10 % 3).unwrap()])),
            run(&|n| {
                if n % 10 == 0 {
                    Value::I64(n / 10)
                } else {
                    Value::F64(f64::from(i32::try_from(n).unwrap()) / 10.0)
                }
            }),
            run(&|n| if n == 11 { Value::F64(f64::NAN) } else { Value::F64(cents(n * 37 % 100)) }),
        ];
        let mut series: Vec<_> = runs.into_iter().enumerate().map(|(at, run)| (metric(at), run)).collect();
        if source == 3 {
            series.truncate(2);
            series[1].1 = (0..5).map(|n| (at(n * n), Value::I64(i64::MIN + n))).collect();
        }
        sources.push((u128::from(source.cast_unsigned()) << 100 | 7, series));
    }
    sources
}

#[test]
fn the_golden_pack_is_written_and_read_as_ever() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/block_v1.bin");
    let packs = pack_all(PackLimits::DEFAULT, &golden());
    let stored = std::fs::read(path).unwrap();
    let all = PackBody { body: stored, ..packs[0].clone() };
    assert_eq!(read(std::slice::from_ref(&all), TimeRange::ALL), expected(&golden(), TimeRange::ALL));
    assert_eq!(packs, std::slice::from_ref(&all));
    let forms: Vec<_> =
        decode(&all.body).unwrap().columns.iter().map(|column| column.form.byte() & 0x0f).collect();
    assert!((0..=6).all(|form| forms.contains(&form)), "every form of column is in it: {forms:?}");
}

#[test]
fn a_source_too_large_for_a_body_continues_in_parts_of_later_times() {
    let noise = |n: i64| n.wrapping_mul(n).wrapping_mul(n).wrapping_mul(0x1e37_79b9_7f4a_7c15);
    let run: Run = (0..20_000_i64).map(|n| (at(n * 1_000_000), Value::I64(noise(n)))).collect();
    let sources = vec![(7, vec![(Metric::new("noise").unwrap(), run.clone())])];
    let limits = PackLimits { body_bytes_max: 50_000, ..PackLimits::DEFAULT };
    let packs = pack_all(limits, &sources);
    assert_eq!(packs.iter().map(|pack| pack.part).collect::<Vec<_>>(), (0..4).collect::<Vec<_>>());
    assert!(packs.iter().all(|pack| pack.body.len() <= 50_000 && pack.first_source == pack.last_source));
    assert!(packs.iter().zip(packs.iter().skip(1)).all(|(a, b)| a.max_time < b.min_time));
    assert_eq!(read(&packs, TimeRange::ALL), expected(&sources, TimeRange::ALL));
}

#[test]
fn slow_sources_share_a_pack() {
    let series: Vec<_> = (0..24)
        .map(|n| (at(n * 3_600_000_000_000), Value::F64(20.0 + f64::from(u8::try_from(n).unwrap()) / 4.0)))
        .collect();
    let run: Run = series.into_iter().collect();
    let sources: Vec<_> = (0..50).map(|n| (n, vec![(Metric::new("level").unwrap(), run.clone())])).collect();
    let packs = pack_all(PackLimits::DEFAULT, &sources);
    assert_eq!(packs.len(), 1);
    assert_eq!((packs[0].first_source, packs[0].last_source), (SourceId::new(0), SourceId::new(49)));
}
