//! Which sources share a pack, and into which parts a large one is cut. Decides by size alone.

use crate::codec::Run;
use crate::codec::run::positions;
use crate::model::{Metric, SourceId, TimeRange, Timestamp};

use super::encode::Encoder;
use super::{PackBody, PackLimits};

/// What one source measured.
type Series = Vec<(Metric, Run)>;

/// Collects sources, ascending, into packs.
#[derive(Debug)]
pub struct PackBuilder {
    limits: PackLimits,
    encoder: Encoder,
    last: Option<SourceId>,
}

impl PackBuilder {
    /// An empty builder.
    pub fn new(limits: PackLimits) -> Self {
        Self { limits, encoder: Encoder::default(), last: None }
    }

    /// Adds a source with its series; runs without samples do not count, and a source without samples is not kept.
    /// Gives the packs that are full, in order.
    ///
    /// Panics where sources do not ascend strictly or a metric comes twice.
    pub fn push(&mut self, source: SourceId, series: &[(Metric, Run)]) -> Vec<PackBody> {
        assert!(self.last.is_none_or(|last| last < source), "sources of packs ascend strictly");
        assert!(
            series
                .iter()
                .enumerate()
                .all(|(at, (metric, _))| series.iter().take(at).all(|(m, _)| m != metric)),
            "a metric of a source comes once"
        );
        self.last = Some(source);
        let mut packs = Vec::new();
        let samples = samples(series);
        if samples == 0 {
            return packs;
        }
        if self.encoder.samples() + samples > self.limits.samples_max {
            packs.extend(self.close());
        }
        let before = self.encoder.mark();
        self.encoder.push(source, series);
        let shared_max = (self.limits.target_bytes / 4 * 5).min(self.limits.body_bytes_max);
        if before.samples() > 0 && self.encoder.bytes() > shared_max {
            self.encoder.reset(&before);
            packs.extend(self.close());
            self.encoder.push(source, series);
        }
        if self.encoder.bytes() > self.limits.body_bytes_max || samples > self.limits.samples_max {
            self.encoder.clear();
            self.put_parts(source, series, &mut packs);
        } else if self.encoder.bytes() >= self.limits.target_bytes {
            packs.extend(self.close());
        }
        packs
    }

    /// Gives the last pack, if there is one.
    pub fn finish(mut self) -> Vec<PackBody> {
        self.close().into_iter().collect()
    }

    fn close(&mut self) -> Option<PackBody> {
        let body = self.encoder.finish(0);
        self.encoder.clear();
        body
    }

    /// A source alone, in as many parts as it needs.
    fn put_parts(&mut self, source: SourceId, series: &[(Metric, Run)], packs: &mut Vec<PackBody>) {
        let mut rest = vec![series.to_vec()];
        let mut part = 0;
        while let Some(series) = rest.pop() {
            self.encoder.push(source, &series);
            let fits = self.encoder.bytes() <= self.limits.body_bytes_max
                && self.encoder.samples() <= self.limits.samples_max;
            match middle(&series) {
                Some(middle) if !fits => {
                    let (earlier, later) = cut(&series, middle);
                    rest.extend([later, earlier]);
                }
                _ => {
                    packs.extend(self.encoder.finish(part));
                    part += 1;
                }
            }
            self.encoder.clear();
        }
    }
}

fn samples(series: &[(Metric, Run)]) -> usize {
    series.iter().map(|(_, run)| run.len()).sum()
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
