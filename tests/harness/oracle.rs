//! What must come back: messages whose samples anybody can compute from their number, and a
//! checker that compares what was read with what was issued and acknowledged.
//!
//! Verdicts are apart: *lost* (acknowledged and not read; breaks I1), *invented* (read and never
//! issued, or with another value) and *doubled* (read twice; breaks I5). A message that was issued
//! and not acknowledged may be there or not.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// How many findings of a kind a verdict shows.
const SHOWN: usize = 5;

/// The metrics of every message, one for each kind of value.
pub const METRICS: [&str; 4] = ["temperature", "energy", "open", "state"];

/// A family of messages: message `number` is from device `number % devices`, its
/// `number / devices`-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many devices take turns. At least 1.
    pub devices: u32,
    /// The time of each device's first message, milliseconds since the epoch.
    pub start_ms: i64,
    /// From one message of a device to its next. At least 1.
    pub step_ms: i64,
    /// Makes values differ between plans.
    pub seed: u64,
}

/// One value of a series, as issued or as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The device's name.
    pub device: String,
    /// The metric's name.
    pub metric: String,
    /// Nanoseconds since the epoch.
    pub time_ns: i128,
    /// The value.
    pub value: Value,
}

impl Plan {
    /// The name of message `number`'s device.
    pub fn device(&self, number: u64) -> String {
        format!("device-{}", number % u64::from(self.devices))
    }

    /// The topic of message `number`, of the default template.
    pub fn topic(&self, number: u64) -> String {
        format!("devices/{}/telemetry", self.device(number))
    }

    /// The time of message `number`, milliseconds since the epoch.
    pub fn time_ms(&self, number: u64) -> i64 {
        let sequence = i64::try_from(number / u64::from(self.devices)).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(self.step_ms.saturating_mul(sequence))
    }

    /// The payload of message `number`: a flat JSON object.
    pub fn payload(&self, number: u64) -> Vec<u8> {
        let mut object = Map::new();
        object.insert("ts".to_owned(), json!(self.time_ms(number)));
        for metric in METRICS {
            object.insert(metric.to_owned(), self.value(number, metric));
        }
        Value::Object(object).to_string().into_bytes()
    }

    /// The value of `metric` in message `number`; null for a metric that messages do not have.
    pub fn value(&self, number: u64, metric: &str) -> Value {
        let bits = mix(self.seed ^ mix(number));
        match metric {
            "temperature" => {
                let hundredths = i32::try_from(bits % 10_000).unwrap_or_default() - 5_000;
                json!(f64::from(hundredths) / 100.0)
            }
            // Beyond 2^53: an integer that goes through a float anywhere is caught.
            "energy" => json!((1_u64 << 60) + (bits >> 8)),
            "open" => json!(bits.is_multiple_of(2)),
            "state" => json!(format!("state-{}", bits % 7)),
            _ => Value::Null,
        }
    }

    /// The samples of message `number`.
    pub fn samples(&self, number: u64) -> Vec<Sample> {
        let sample = |metric: &str| Sample {
            device: self.device(number),
            metric: metric.to_owned(),
            time_ns: i128::from(self.time_ms(number)) * 1_000_000,
            value: self.value(number, metric),
        };
        METRICS.into_iter().map(sample).collect()
    }

    /// The message that has this sample, if one has and the value is right.
    fn find(&self, sample: &Sample) -> Option<(u64, &'static str)> {
        let metric = METRICS.into_iter().find(|&metric| metric == sample.metric)?;
        let device: u64 = sample.device.strip_prefix("device-")?.parse().ok()?;
        let since_start = sample.time_ns - i128::from(self.start_ms) * 1_000_000;
        let step = i128::from(self.step_ms) * 1_000_000;
        let sequence = u64::try_from(since_start / step).ok().filter(|_| since_start % step == 0)?;
        let number = sequence.checked_mul(u64::from(self.devices))?.checked_add(device)?;
        let right = device < u64::from(self.devices)
            && equal(&self.value(number, metric), &sample.value)
            && sample.device == self.device(number);
        right.then_some((number, metric))
    }
}

impl Sample {
    /// A sample as the native API writes it: `device`, `metric`, `time` in RFC 3339, `value`.
    pub fn from_json(json: &Value) -> Result<Self> {
        let text = |key: &str| {
            let value = json.get(key).and_then(Value::as_str);
            value.with_context(|| format!("no {key} in sample {json}"))
        };
        let time: Timestamp = text("time")?.parse()?;
        Ok(Self {
            device: text("device")?.to_owned(),
            metric: text("metric")?.to_owned(),
            time_ns: time.as_nanosecond(),
            value: json.get("value").with_context(|| format!("no value in {json}"))?.clone(),
        })
    }
}

/// Integers exactly; floats by value, however many digits they were written with.
fn equal(expected: &Value, read: &Value) -> bool {
    match (expected.is_f64(), expected.as_f64(), read.as_f64()) {
        (true, Some(expected), Some(read)) => expected.to_bits() == read.to_bits(),
        _ => expected == read,
    }
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of the input.
pub(crate) fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Compares samples that were read with the messages of a plan.
#[derive(Debug)]
pub struct Checker {
    plan: Plan,
    issued: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    seen: BTreeSet<(u64, &'static str)>,
    invented: Vec<Sample>,
    doubled: Vec<Sample>,
}

impl Checker {
    /// A checker for messages `issued`, of which `acknowledged` were acknowledged.
    pub fn new(
        plan: Plan,
        issued: impl IntoIterator<Item = u64>,
        acknowledged: impl IntoIterator<Item = u64>,
    ) -> Self {
        Self {
            plan,
            issued: issued.into_iter().collect(),
            acknowledged: acknowledged.into_iter().collect(),
            seen: BTreeSet::new(),
            invented: Vec::new(),
            doubled: Vec::new(),
        }
    }

    /// Takes a sample that was read.
    pub fn see(&mut self, sample: Sample) {
        match self.plan.find(&sample).filter(|(number, _)| self.issued.contains(number)) {
            None => self.invented.push(sample),
            Some(found) if self.seen.insert(found) => {}
            Some(_) => self.doubled.push(sample),
        }
    }

    /// What is wrong with all that was read, if anything.
    pub fn verdict(self) -> Verdict {
        let of_message = |&number: &u64| METRICS.into_iter().map(move |metric| (number, metric));
        let wanted = self.acknowledged.iter().flat_map(of_message);
        let lost = wanted.filter(|sample| !self.seen.contains(sample)).collect();
        Verdict { seen: self.seen.len(), lost, invented: self.invented, doubled: self.doubled }
    }
}

/// What a [`Checker`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// How many different samples were read and right.
    pub seen: usize,
    /// Acknowledged and not read: message and metric.
    pub lost: Vec<(u64, &'static str)>,
    /// Read and never issued, or not with this value or time.
    pub invented: Vec<Sample>,
    /// Read again after having been read.
    pub doubled: Vec<Sample>,
}

impl Verdict {
    /// An error that shows the first findings, unless there are none.
    pub fn ensure_clean(&self) -> Result<()> {
        let clean = self.lost.is_empty() && self.invented.is_empty() && self.doubled.is_empty();
        ensure!(clean, "{self}");
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, invented, doubled) = (self.lost.len(), self.invented.len(), self.doubled.len());
        write!(f, "{} seen, {lost} lost, {invented} invented, {doubled} doubled", self.seen)?;
        for (number, metric) in self.lost.iter().take(SHOWN) {
            write!(f, "\n  lost: {metric} of message {number}")?;
        }
        for sample in self.invented.iter().take(SHOWN) {
            write!(f, "\n  invented: {sample:?}")?;
        }
        for sample in self.doubled.iter().take(SHOWN) {
            write!(f, "\n  doubled: {sample:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { devices: 3, start_ms: 1_700_000_000_000, step_ms: 500, seed: 7 };

    /// Messages 0..10 issued, 0..8 acknowledged, and `read` of them read.
    fn verdict(read: impl IntoIterator<Item = Sample>) -> Verdict {
        let mut checker = Checker::new(PLAN, 0..10, 0..8);
        read.into_iter().for_each(|sample| checker.see(sample));
        checker.verdict()
    }

    fn samples(numbers: std::ops::Range<u64>) -> Vec<Sample> {
        numbers.flat_map(|number| PLAN.samples(number)).collect()
    }

    #[test]
    fn a_message_without_acknowledgement_may_be_there_or_not() {
        for read in 8..=10 {
            verdict(samples(0..read)).ensure_clean().unwrap();
        }
    }

    #[test]
    fn a_missing_sample_of_an_acknowledged_message_is_lost() {
        let mut read = samples(0..10);
        let taken = read.remove(5);
        let verdict = verdict(read);
        assert_eq!(verdict.lost, [(1, METRICS[1])]);
        assert_eq!(taken, PLAN.samples(1)[1]);
        assert!(verdict.invented.is_empty() && verdict.doubled.is_empty());
    }

    #[test]
    fn a_sample_read_twice_is_doubled() {
        let mut read = samples(0..10);
        read.push(read[0].clone());
        let verdict = verdict(read);
        assert_eq!(verdict.doubled, [PLAN.samples(0)[0].clone()]);
        assert!(verdict.ensure_clean().is_err());
    }

    #[test]
    fn another_value_time_device_or_number_is_invented() {
        let good = PLAN.samples(4)[1].clone();
        let wrong = [
            Sample { value: json!(1), ..good.clone() },
            Sample { time_ns: good.time_ns + 1, ..good.clone() },
            Sample { time_ns: good.time_ns - 60_000_000_000, ..good.clone() },
            Sample { device: "device-9".to_owned(), ..good.clone() },
            Sample { metric: "other".to_owned(), ..good },
            PLAN.samples(10)[0].clone(),
        ];
        let verdict = verdict(samples(0..10).into_iter().chain(wrong.clone()));
        assert_eq!(verdict.invented, wrong);
        assert!(verdict.lost.is_empty() && verdict.doubled.is_empty());
    }

    #[test]
    fn an_integer_that_went_through_a_float_is_invented() {
        let exact = PLAN.samples(0)[1].clone();
        let rounded = Sample { value: json!(exact.value.as_f64().unwrap()), ..exact };
        assert_eq!(verdict([rounded]).invented.len(), 1);
    }

    #[test]
    fn payloads_and_samples_agree() {
        let payload: Value = serde_json::from_slice(&PLAN.payload(4)).unwrap();
        assert_eq!(payload["ts"], json!(1_700_000_000_500_i64));
        for sample in PLAN.samples(4) {
            assert_eq!(payload[&sample.metric], sample.value);
            assert_eq!(sample.time_ns, 1_700_000_000_500_000_000);
            assert_eq!(PLAN.topic(4), format!("devices/{}/telemetry", sample.device));
        }
    }

    #[test]
    fn samples_are_read_from_the_native_api() {
        let json = json!({"device": "device-1", "metric": "open", "tags": {}, "value": true,
                          "time": "2023-11-14T22:13:20.5Z"});
        let sample = Sample::from_json(&json).unwrap();
        assert_eq!(sample.time_ns, 1_700_000_000_500_000_000);
        assert!(Sample::from_json(&json!({"device": "d"})).is_err());
    }
}
