//! Which sources share a pack, and into which parts a large one is cut. Decides by estimates, which packs that were
//! encoded put right; a pack that becomes too large all the same is cut again.

use crate::codec::run::positions;
use crate::codec::{Run, Values};
use crate::model::{Metric, SourceId, TimeRange, Timestamp, Value};

use super::collect::Collected;
use super::encode::Encoder;
use super::{Limits, Pack, PackBody, PackLimits};

/// What one source measured.
type Series = Vec<(Metric, Run)>;

/// Collects sources, ascending, into packs.
#[derive(Debug)]
pub struct PackBuilder {
    limits: PackLimits,
    collected: Collected,
    encoder: Encoder,
    samples: usize,
    /// About how many bytes take what is collected.
    bytes: usize,
    /// How many sixteenths of what was estimated packs take.
    correction: usize,
    last: Option<SourceId>,
}

impl PackBuilder {
    /// An empty builder.
    pub fn new(limits: PackLimits) -> Self {
        Self {
            limits,
            collected: Collected::default(),
            encoder: Encoder::default(),
            samples: 0,
            bytes: 0,
            correction: 16,
            last: None,
        }
    }

    /// Adds a source with its series; runs without samples do not count, and a source without samples is not kept.
    /// Gives the packs that are full, in order.
    ///
    /// Panics where sources do not ascend strictly or a metric comes twice.
    pub fn push(&mut self, source: SourceId, series: &[(Metric, Run)]) -> Vec<PackBody> {
        assert!(self.last.is_none_or(|last| last < source), "sources of packs ascend strictly");
        let is_repeated = |at, metric| series.iter().take(at).any(|(before, _)| before == metric);
        assert!(
            !series.iter().enumerate().any(|(at, (metric, _))| is_repeated(at, metric)),
            "a metric of a source comes once"
        );
        self.last = Some(source);
        let mut packs = Vec::new();
        let samples = samples(series);
        if samples == 0 {
            return packs;
        }
        let bytes = bytes(series);
        let is_alone =
            samples > self.limits.samples_max || self.corrected(bytes) > self.limits.body_bytes_max;
        let is_full = self.samples + samples > self.limits.samples_max
            || self.corrected(self.bytes + bytes) > self.limits.target_bytes / 4 * 5;
        if is_alone || is_full {
            self.close(&mut packs);
        }
        if is_alone {
            self.put_parts(source, series, &mut packs);
            return packs;
        }
        self.collected.push(source, series);
        self.samples += samples;
        self.bytes += bytes;
        if self.corrected(self.bytes) >= self.limits.target_bytes {
            self.close(&mut packs);
        }
        packs
    }

    /// Gives the last pack, if there is one.
    pub fn finish(mut self) -> Vec<PackBody> {
        let mut packs = Vec::new();
        self.close(&mut packs);
        packs
    }

    fn corrected(&self, bytes: usize) -> usize {
        bytes * self.correction / 16
    }

    /// What is collected as a pack, or where that is too large after all, as several.
    fn close(&mut self, packs: &mut Vec<PackBody>) {
        let collected = std::mem::take(&mut self.collected);
        let whole = 0..collected.sources.len();
        let mut rest = Vec::from([whole]);
        let mut bytes = 0;
        while let Some(sources) = rest.pop() {
            let Some(pack) = self.encoder.encode(&collected, sources.clone(), 0) else { continue };
            bytes += pack.body.len();
            if pack.body.len() <= self.limits.body_bytes_max {
                packs.push(pack);
            } else if sources.len() > 1 {
                let middle = sources.start + sources.len() / 2;
                rest.extend([middle..sources.end, sources.start..middle]);
            } else {
                self.put_parts(pack.first_source, &series_of(pack.body), packs);
            }
        }
        if let Some(correction) = (bytes * 16).checked_div(self.bytes) {
            self.correction = correction.clamp(4, 64);
        }
        self.samples = 0;
        self.bytes = 0;
        self.collected = collected;
        self.collected.clear();
    }

    /// A source alone, in as many parts as it needs.
    fn put_parts(&mut self, source: SourceId, series: &[(Metric, Run)], packs: &mut Vec<PackBody>) {
        let mut rest = vec![series.to_vec()];
        let mut part = 0;
        while let Some(series) = rest.pop() {
            let middle = middle(&series);
            if samples(&series) <= self.limits.samples_max || middle.is_none() {
                let mut collected = Collected::default();
                collected.push(source, &series);
                let pack = self.encoder.encode(&collected, 0..1, part);
                let fits = |pack: &PackBody| pack.body.len() <= self.limits.body_bytes_max;
                if let Some(pack) = pack.filter(|pack| middle.is_none() || fits(pack)) {
                    packs.push(pack);
                    part += 1;
                    continue;
                }
            }
            if let Some(middle) = middle {
                let (earlier, later) = cut(&series, middle);
                rest.extend([later, earlier]);
            }
        }
    }
}

/// What the only source of a pack measured: it is seldom needed again, and is not kept for that.
fn series_of(body: Vec<u8>) -> Series {
    let pack = Pack::decode(body.into(), Limits { samples_max: usize::MAX });
    let runs = pack.and_then(|pack| pack.runs(0, TimeRange::ALL));
    assert!(runs.is_ok(), "a pack that was just encoded cannot be read: {:?}", runs.err());
    runs.unwrap_or_default()
}

fn samples(series: &[(Metric, Run)]) -> usize {
    series.iter().map(|(_, run)| run.len()).sum()
}

/// About how many bytes a source takes.
fn bytes(series: &[(Metric, Run)]) -> usize {
    let first = series.first().map_or(0, |(_, run)| run.len());
    let of_series = |(at, (_, run)): (usize, &(Metric, Run))| {
        let bits = if at > 0 && run.len() == first { 0 } else { time_bits(&run.times) };
        (run.len() * (bits + step_bits(&run.values))).div_ceil(8) + text_bytes(&run.values) / 16 + 1
    };
    16 + series.iter().enumerate().map(of_series).sum::<usize>()
}

fn text_bytes(values: &Values) -> usize {
    let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
    match values {
        Values::Text(texts) => texts.iter().map(|text| text.len()).sum(),
        Values::Mixed(values) => values.iter().map(text).sum(),
        Values::I64(_) | Values::F64(_) | Values::Bool(_) => 0,
    }
}

/// Steps that are looked at to estimate what a series takes.
const SAMPLE: usize = 16;

/// About how many bits a value takes.
fn step_bits(values: &Values) -> usize {
    match values {
        Values::I64(values) => mean_bits(values, |value| *value),
        // As if they had two decimals; whether they have is not worth the search here.
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            reason = "an estimate may be wrong"
        )]
        Values::F64(values) => mean_bits(values, |value| (value * 100.0) as i64),
        Values::Bool(_) => 1,
        Values::Text(_) => 2,
        Values::Mixed(_) => 16,
    }
}

/// About how many bits a time takes.
fn time_bits(times: &[Timestamp]) -> usize {
    let steps =
        times.iter().zip(times.iter().skip(1)).map(|(a, b)| b.nanos().wrapping_sub(a.nanos()) / 1_000_000);
    let steps: Vec<_> = steps.take(SAMPLE).collect();
    mean_bits(&steps, |step| *step)
}

fn mean_bits<T>(values: &[T], integer: impl Fn(&T) -> i64) -> usize {
    let middle = values.get(values.len() / 2..).unwrap_or_default();
    let steps = middle.iter().zip(middle.iter().skip(1)).take(SAMPLE);
    let bits = |step: i64| usize::try_from(u64::BITS - step.unsigned_abs().leading_zeros()).unwrap_or(64);
    let all: usize = steps.clone().map(|(a, b)| bits(integer(b).wrapping_sub(integer(a)))).sum();
    all / steps.len().max(1)
}

/// A time that leaves something on both sides; `None` where there is one instant alone.
fn middle(series: &[(Metric, Run)]) -> Option<Timestamp> {
    let (_, longest) = series.iter().max_by_key(|(_, run)| run.len())?;
    let first = series.iter().filter_map(|(_, run)| run.first_time()).min()?;
    let last = series.iter().filter_map(|(_, run)| run.last_time()).max()?;
    let middle = longest.times.get(longest.len() / 2).copied().filter(|&time| time > first);
    middle.or(Some(last)).filter(|&time| time > first)
}

/// What lies before a time, and the rest.
fn cut(series: &[(Metric, Run)], time: Timestamp) -> (Series, Series) {
    let before = TimeRange::new(Timestamp::MIN, time).unwrap_or(TimeRange::ALL);
    series
        .iter()
        .map(|(metric, run)| {
            let end = positions(&run.times, before).end;
            ((metric.clone(), run.slice_at(0..end)), (metric.clone(), run.slice_at(end..run.len())))
        })
        .unzip()
}
