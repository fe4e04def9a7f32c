//! A small fleet's six hours, for two readers: as messages of devices, and as an `OpenMetrics` file. Pure.
//!
//! Counters do not come near zero: how far 2.42 reaches back to where one began is its own. No sample lies on a whole second or on half of one, so that it does not matter whether a range includes its start.
//! Fractions are those that a binary float has exactly, because the file has its times in seconds.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tidemill_tests::random::Random;

/// 2023-11-15T00:00:00Z, the start of a bucket of any width.
pub(crate) const START_MS: u64 = 1_700_006_400_000;
/// How long devices send.
pub(crate) const LENGTH_MS: u64 = 6 * 3_600_000;
const FRACTIONS_MS: [u64; 6] = [125, 250, 375, 625, 750, 875];
/// Points in a message.
const POINTS: usize = 200;
/// Upper bounds of a histogram.
const BOUNDS: [&str; 5] = ["0.1", "0.5", "1", "5", "+Inf"];

/// What is sent: topics with payloads, and the same samples as `OpenMetrics`.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    pub(crate) open_metrics: String,
    pub(crate) samples: usize,
}

/// A device with its habits.
struct Machine {
    device: String,
    tags: Vec<(&'static str, String)>,
    every_ms: u64,
    from_ms: u64,
    until_ms: u64,
    /// Of these many points one opens a gap.
    gap_one_in: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauges,
    Pressured,
    Histogram(u64),
}

impl Fleet {
    /// The same for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::of(seed);
        let mut fleet = Self { messages: Vec::new(), open_metrics: String::new(), samples: 0 };
        let mut lines: Vec<(String, String)> = Vec::new();
        for machine in machines() {
            let points = machine.points(&mut random);
            for (metric, labels, line) in points.iter().flat_map(|point| machine.lines(point)) {
                lines.push((format!("{metric}{labels}"), format!("{metric}{labels} {line}\n")));
                fleet.samples += 1;
            }
            for chunk in points.chunks(POINTS) {
                let payload = Value::Array(chunk.iter().map(|point| machine.json(point)).collect());
                let topic = format!("devices/{}/telemetry", machine.device);
                fleet.messages.push((topic, payload.to_string().into_bytes()));
            }
        }
        // Series by series; the order of time within each stays.
        lines.sort_by(|(left, _), (right, _)| left.cmp(right));
        fleet.open_metrics.extend(lines.into_iter().map(|(_, line)| line));
        fleet.open_metrics.push_str("# EOF\n");
        fleet
    }
}

fn machines() -> Vec<Machine> {
    let mut machines: Vec<Machine> = (0..14_u64)
        .map(|number| {
            let site =
                ["north", "south", "east"].into_iter().cycle().nth(usize::try_from(number).unwrap_or(0));
            let mut tags = vec![("site", site.unwrap_or("north").to_owned())];
            if number.is_multiple_of(4) {
                tags.push(("line", format!("line-{}", number / 4)));
            }
            Machine {
                device: format!("machine-{number}"),
                tags,
                every_ms: [15_000, 15_000, 10_000, 60_000]
                    .into_iter()
                    .cycle()
                    .nth(usize::try_from(number).unwrap_or(0))
                    .unwrap_or(15_000),
                from_ms: if number == 5 { 2 * 3_600_000 } else { 0 },
                until_ms: if number == 6 { 4 * 3_600_000 } else { LENGTH_MS },
                gap_one_in: if number < 4 { u64::MAX } else { 300 },
                kind: if number.is_multiple_of(2) { Kind::Pressured } else { Kind::Gauges },
            }
        })
        .collect();
    for device in 0..2_u64 {
        machines.extend((1..).zip(BOUNDS).map(|(rank, bound)| Machine {
            device: format!("gate-{device}"),
            tags: vec![("site", "north".to_owned()), ("le", bound.to_owned())],
            every_ms: 30_000,
            from_ms: 0,
            until_ms: LENGTH_MS,
            gap_one_in: u64::MAX,
            kind: Kind::Histogram(rank),
        }));
    }
    machines
}

/// A moment of a machine: its time, and what it measured.
struct Point {
    time_ms: u64,
    values: Vec<(&'static str, Value)>,
}

/// What a machine remembers between two points.
struct Memory {
    temperature: f64,
    energy: f64,
    starts: i64,
    open: bool,
    bucket: i64,
}

impl Machine {
    fn points(&self, random: &mut Random) -> Vec<Point> {
        let mut memory =
            Memory { temperature: 20.0, energy: 1_000.0, starts: 50, open: false, bucket: 100_000 };
        let fraction = FRACTIONS_MS.into_iter().cycle().nth(usize::try_from(random.below(6)).unwrap_or(0));
        let mut points = Vec::new();
        let mut at = self.from_ms + 1_000 * random.below(10);
        while at + 1_000 < self.until_ms {
            let values = self.values(&mut memory, random);
            points.push(Point { time_ms: START_MS + at + fraction.unwrap_or(125), values });
            // A second early or late, as devices are.
            at += self.every_ms + 1_000 * random.below(3) - 1_000;
            if random.below(self.gap_one_in) == 0 {
                at += 60_000 * (1 + random.below(25));
            }
        }
        points
    }

    fn values(&self, memory: &mut Memory, random: &mut Random) -> Vec<(&'static str, Value)> {
        if let Kind::Histogram(rank) = self.kind {
            // Buckets of one histogram need not be of one moment; each counts more than the one below.
            memory.bucket += i64::try_from(5 * rank + random.below(4)).unwrap_or(0);
            return vec![("latency_seconds_bucket", json!(memory.bucket))];
        }
        memory.temperature += uniform(random) - 0.5;
        memory.energy = if random.below(400) == 0 { 500.0 } else { memory.energy + uniform(random) };
        memory.starts =
            if random.below(500) == 0 { 20 } else { memory.starts + i64::from(random.below(5) == 0) };
        memory.open ^= random.below(10) == 0;
        let mut values = vec![
            ("temperature", json!(memory.temperature)),
            ("energy_total", json!(memory.energy)),
            ("starts_total", json!(memory.starts)),
            ("open", json!(memory.open)),
            ("level", json!(random.below(4))),
        ];
        if self.kind == Kind::Pressured {
            values.push(("pressure", json!(1_000.0 + 30.0 * uniform(random))));
        }
        values
    }

    fn json(&self, point: &Point) -> Value {
        let object = |pairs: &mut dyn Iterator<Item = (String, Value)>| Value::Object(pairs.collect());
        let mut tags = self.tags.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
        let mut values = point.values.iter().map(|(metric, value)| ((*metric).to_owned(), value.clone()));
        json!({"ts": point.time_ms, "values": object(&mut values), "tags": object(&mut tags)})
    }

    /// Name, labels, and value with time, as `OpenMetrics` has them.
    fn lines(&self, point: &Point) -> Vec<(&'static str, String, String)> {
        let mut labels = format!("{{device=\"{}\",tenant=\"default\"", self.device);
        for (key, value) in &self.tags {
            // Writing to a string does not fail.
            let _ = write!(labels, ",{key}=\"{value}\"");
        }
        labels.push('}');
        let time = format!("{}.{:03}", point.time_ms / 1_000, point.time_ms % 1_000);
        let line = |(metric, value): &(&'static str, Value)| {
            let value =
                value.as_bool().map_or_else(|| value.to_string(), |value| u8::from(value).to_string());
            (*metric, labels.clone(), format!("{value} {time}"))
        };
        point.values.iter().map(line).collect()
    }
}

/// From 0 to below 1.
fn uniform(random: &mut Random) -> f64 {
    f64::from(u32::try_from(random.below(1 << 30)).unwrap_or(0)) / f64::from(1 << 30)
}
