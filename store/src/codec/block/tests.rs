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
