//! What packs of blocks cost: bytes a sample, nanoseconds a sample to encode and decode, and what one read takes.
//!
//! `cargo bench -p tidemill-store --bench block`. Each line is a fleet: *sources* of *samples* each in one bucket.
//! `walks` are those of the simulated fleet (three walks of two decimals, a counter, a boolean), `gauss` five walks
//! with normal steps. Times are at exact steps or late by 0–199 ms. `slow` sends one or five metrics of two decimals
//! each hour. `nab` are the files of real sensors in the directory `TIDEMILL_SHARED`, cut into days; left out where
//! there is none. *encode* is all of [`PackBuilder`], *decode* every run of every source, *read* an hour of
//! one metric of one source of a pack, its head and checksum included, in microseconds. CPU time, the best of several rounds.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a benchmark prints, may panic, and needs no exact figures"
)]

use std::hint::black_box;

use bytes::Bytes;
use tidemill_store::codec::block::{Limits, Pack, PackBody, PackBuilder, PackLimits};
use tidemill_store::codec::{Run, Values};
use tidemill_store::model::{Metric, SourceId, TimeRange, Timestamp, Value};

type Source = (SourceId, Vec<(Metric, Run)>);

const NAMES: [&str; 5] = ["temperature", "humidity", "pressure", "pulses", "door_open"];
/// 2023-11-15T00:00:00Z.
const DAY_MILLIS: i64 = 1_700_006_400_000;
const HOUR_MILLIS: i64 = 3_600_000;
const ROUNDS: usize = 5;
/// Samples that a round goes through at least: the clock of CPU time ticks every few milliseconds.
const ROUND_SAMPLES: usize = 4_000_000;

/// A small deterministic source of numbers (xorshift64), as the simulated fleet has it.
struct Random(u64);

impl Random {
    fn new(number: u64) -> Self {
        Self(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn within(&mut self, bound: u32) -> i64 {
        i64::try_from((self.next() >> 16) % u64::from(bound.max(1))).unwrap()
    }

    fn step(&mut self, reach: u32) -> i64 {
        self.within(2 * reach + 1) - i64::from(reach)
    }

    /// About normal, of this deviation.
    fn normal(&mut self, deviation: i64) -> i64 {
        let sum: i64 = (0..12).map(|_| self.within(10_001)).sum::<i64>() - 60_000;
        sum * deviation / 10_000
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Walks,
    Gauss,
}

fn hundredths(values: Vec<i64>) -> Values {
    Values::F64(values.into_iter().map(|value| value as f64 / 100.0).collect())
}

fn columns(kind: Kind, samples: usize, random: &mut Random) -> Vec<Values> {
    let walk = |start: i64, mut step: Box<dyn FnMut() -> i64 + '_>| -> Vec<i64> {
        let mut at = start;
        std::iter::repeat_with(|| {
            at += step();
            at
        })
        .take(samples)
        .collect()
    };
    match kind {
        Kind::Walks => {
            let starts =
                [1_500 + random.within(1_500), 3_000 + random.within(4_000), 98_000 + random.within(4_000)];
            let mut all: Vec<_> = starts
                .into_iter()
                .zip([8, 20, 3])
                .map(|(start, reach)| hundredths(walk(start, Box::new(|| random.step(reach)))))
                .collect();
            let start = random.within(100_000);
            all.push(Values::I64(walk(start, Box::new(|| random.within(4)))));
            all.push(Values::Bool((0..samples).map(|_| random.within(50) == 0).collect()));
            all
        }
        Kind::Gauss => (0..5)
            .map(|_| {
                let start = 2_000 + random.within(5_000);
                hundredths(walk(start, Box::new(|| random.normal(15))))
            })
            .collect(),
    }
}

/// How a fleet measures.
#[derive(Clone, Copy)]
struct Fleet {
    sources: usize,
    samples: usize,
    metrics: usize,
    step_millis: i64,
    late_millis: u32,
    kind: Kind,
}

impl Fleet {
    fn build(self) -> Vec<Source> {
        let mut sources: Vec<_> = (0..self.sources)
            .map(|number| {
                let mut random = Random::new(number as u64 + 1);
                let phase = random.within(u32::try_from(self.step_millis).unwrap());
                let times: Vec<_> = (0_i64..)
                    .take(self.samples)
                    .map(|n| DAY_MILLIS + phase + n * self.step_millis + random.within(self.late_millis))
                    .map(|millis| Timestamp::from_millis(millis).unwrap())
                    .collect();
                let columns = columns(self.kind, self.samples, &mut random).into_iter().take(self.metrics);
                let series = NAMES
                    .iter()
                    .zip(columns)
                    .map(|(name, values)| (Metric::new(name).unwrap(), Run::new(times.clone(), values)));
                let id = u128::from(random.next()) << 64 | u128::from(random.next());
                (SourceId::new(id), series.collect())
            })
            .collect();
        sources.sort_by_key(|(id, _): &Source| *id);
        sources
    }
}

fn pack(sources: &[Source], limits: PackLimits) -> Vec<PackBody> {
    let mut builder = PackBuilder::new(limits);
    let mut packs: Vec<_> =
        sources.iter().flat_map(|(source, series)| builder.push(*source, series)).collect();
    packs.extend(builder.finish());
    packs
}

fn decode(packs: &[Bytes]) -> usize {
    let mut samples = 0;
    for body in packs {
        let pack = Pack::decode(body.clone(), Limits::DEFAULT).unwrap();
        for source in 0..pack.sources().len() {
            for metric in 0..pack.metrics(source).count() {
                let run = pack.run_at(source, metric, TimeRange::ALL).unwrap();
                samples += black_box(run).map_or(0, |run| run.len());
            }
        }
    }
    samples
}

fn read_hour(body: &Bytes) {
    let pack = Pack::decode(body.clone(), Limits::DEFAULT).unwrap();
    let start = Timestamp::from_millis(DAY_MILLIS + 13 * HOUR_MILLIS).unwrap();
    let end = Timestamp::from_millis(DAY_MILLIS + 14 * HOUR_MILLIS).unwrap();
    black_box(pack.run_at(pack.sources().len() / 2, 0, TimeRange::new(start, end).unwrap()).unwrap());
}

/// CPU seconds of one call, the best of several rounds. A busy machine takes turns away, not the time they took.
fn seconds(calls: usize, mut call: impl FnMut()) -> f64 {
    let round = || {
        let start = cpu_nanos();
        (0..calls).for_each(|_| call());
        (cpu_nanos() - start) as f64 / 1e9 / calls as f64
    };
    std::iter::repeat_with(round).take(ROUNDS).fold(f64::INFINITY, f64::min)
}

/// What this thread has used, as Linux tells it.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn line(name: &str, sources: &[Source], limits: PackLimits) {
    let samples: usize = sources.iter().flat_map(|(_, series)| series).map(|(_, run)| run.len()).sum();
    let packs = pack(sources, limits);
    let bytes: usize = packs.iter().map(|pack| pack.body.len()).sum();
    let calls = (ROUND_SAMPLES / samples).max(1);
    let encode = seconds(calls, || {
        black_box(pack(black_box(sources), limits));
    });
    let count = packs.len();
    let bodies: Vec<_> = packs.into_iter().map(|pack| Bytes::from(pack.body)).collect();
    let decoded = seconds(calls, || assert_eq!(decode(black_box(&bodies)), samples));
    let read = seconds(4000, || read_hour(bodies.get(count / 2).unwrap()));
    let nanos = |seconds: f64| seconds * 1e9 / samples as f64;
    println!(
        "{name:<34} {samples:>9} {count:>6} {:>9} {:>8.3} {:>8.1} {:>8.1} {:>8.1}",
        bytes / count,
        bytes as f64 / samples as f64,
        nanos(encode),
        nanos(decoded),
        read * 1e6,
    );
}

/// The days of one file of `timestamp,value`.
fn days(path: &std::path::Path) -> Option<Vec<Run>> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut samples = std::collections::BTreeMap::new();
    for row in text.lines().skip(1) {
        let (time, value) = row.split_once(',')?;
        let parts: Vec<i64> = time.split(['-', ' ', ':']).map(|part| part.parse().unwrap()).collect();
        let [year, month, day, hour, minute, _] = <[i64; 6]>::try_from(parts).ok()?;
        // Good enough to tell days apart and keep the distances within one.
        let seconds = (((year - 2010) * 12 + month) * 31 + day) * 86_400 + hour * 3_600 + minute * 60;
        samples.insert(seconds, value.parse::<f64>().unwrap());
    }
    let samples: Vec<_> = samples.into_iter().collect();
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000).unwrap();
    let run = |day: &[(i64, f64)]| day.iter().map(|&(time, value)| (at(time), Value::F64(value))).collect();
    Some(samples.chunk_by(|a, b| a.0 / 86_400 == b.0 / 86_400).map(run).collect())
}

#[expect(clippy::disallowed_methods, reason = "only benchmarks of real data need to be told where it is")]
fn nab() {
    let Ok(shared) = std::env::var("TIDEMILL_SHARED") else { return };
    for name in ["machine_temperature_system_failure", "ambient_temperature_system_failure"] {
        let path = std::path::Path::new(&shared).join("data/sensors").join(name).with_extension("csv");
        let Some(days) = days(&path) else { continue };
        let metric = Metric::new("temperature").unwrap();
        let of_days = |day: Run| vec![(metric.clone(), day)];
        let source = |(number, day)| (SourceId::new(number), of_days(day));
        let alone: Vec<_> = (0_u128..).zip(days.clone()).map(source).collect();
        let label = name.split('_').next().unwrap();
        line(&format!("nab {label}, days share packs"), &alone, PackLimits::DEFAULT);
        line(
            &format!("nab {label}, a pack a day"),
            &alone,
            PackLimits { target_bytes: 0, ..PackLimits::DEFAULT },
        );
    }
}

fn main() {
    println!(
        "{:<34} {:>9} {:>6} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "fleet", "samples", "packs", "bytes each", "B/sample", "encode", "decode", "read µs"
    );
    let day = Fleet {
        sources: 20,
        samples: 8640,
        metrics: 5,
        step_millis: 10_000,
        late_millis: 1,
        kind: Kind::Walks,
    };
    let fleets = [
        ("walks, 10 s, day", day),
        ("walks, 10 s late, day", Fleet { late_millis: 200, ..day }),
        ("gauss, 10 s, day", Fleet { kind: Kind::Gauss, ..day }),
        ("walks, 10 s, hour", Fleet { sources: 480, samples: 360, ..day }),
        ("walks, 10 s late, hour", Fleet { sources: 480, samples: 360, late_millis: 200, ..day }),
        (
            "walks, 60 s late, hour",
            Fleet { sources: 2000, samples: 60, step_millis: 60_000, late_millis: 200, ..day },
        ),
        ("walks, 60 s, day", Fleet { sources: 100, samples: 1440, step_millis: 60_000, ..day }),
    ];
    for (name, fleet) in fleets {
        line(name, &fleet.build(), PackLimits::DEFAULT);
    }
    for (metrics, late_millis) in [(1, 1), (1, 200), (5, 1), (5, 200)] {
        let step_millis = HOUR_MILLIS;
        let slow = Fleet { sources: 2000, samples: 24, metrics, step_millis, late_millis, kind: Kind::Gauss };
        let name = format!("slow, {metrics} metric(s){}", if late_millis > 1 { " late" } else { "" });
        line(&name, &slow.build(), PackLimits::DEFAULT);
    }
    let hours = Fleet { sources: 480, samples: 360, late_millis: 200, ..day }.build();
    for target_kib in [4, 8, 32, 64] {
        let limits = PackLimits { target_bytes: target_kib << 10, ..PackLimits::DEFAULT };
        line(&format!("walks, 10 s late, hour, {target_kib} KiB"), &hours, limits);
    }
    nab();
}
