//! What was sent and acknowledged, and what any reader must therefore answer: a fold in the order that the design
//! states, (`received_at`, writer, seq, position), without shards, buckets, segments or catalogs.

use std::collections::BTreeMap;

use tidemill_store::model::{TimeRange, Timestamp, Value, WriterId};
use tidemill_store::read::{Latest, Sample, Selector, Series};

/// Tenant, device, tags as text, metric.
pub(crate) type SeriesName = (String, String, String, String);

/// When a sample was received, by whom, in which of the writer's plans, and where in that plan. Within one plan
/// and bucket segments are cut in the order of arrival, so plan and place stand for seq and position.
pub(crate) type OrderKey = (Timestamp, WriterId, u64, usize);

#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) series: SeriesName,
    pub(crate) time: Timestamp,
    pub(crate) value: Value,
    pub(crate) order: OrderKey,
    pub(crate) is_acked: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) sent: Vec<Sent>,
}

/// The winning value of each (series, time), with its place in the order.
pub(crate) type Fold = BTreeMap<(SeriesName, Timestamp), (OrderKey, Value)>;

impl Model {
    pub(crate) fn acknowledge(&mut self, sent: std::ops::Range<usize>) {
        for sent in &mut self.sent[sent] {
            sent.is_acked = true;
        }
    }

    pub(crate) fn acked(&self) -> Fold {
        let mut fold = Fold::new();
        for sent in self.sent.iter().filter(|sent| sent.is_acked) {
            let new = (sent.order, sent.value.clone());
            let entry = fold.entry((sent.series.clone(), sent.time)).or_insert_with(|| new.clone());
            if entry.0 <= new.0 {
                *entry = new;
            }
        }
        fold
    }

    /// Whether a sample of this value, not before `least` in the order, was ever sent.
    pub(crate) fn was_sent(&self, series: &SeriesName, sample: &Sample, least: Option<OrderKey>) -> bool {
        self.sent.iter().any(|sent| {
            &sent.series == series
                && sent.time == sample.time
                && sent.value == sample.value
                && least.is_none_or(|least| least <= sent.order)
        })
    }

    /// What an answer that was asked for when `acked` was acknowledged does wrong.
    pub(crate) fn mistakes(
        &self,
        acked: &Fold,
        answer: &[Series],
        selector: &Selector,
        range: TimeRange,
    ) -> Vec<String> {
        let mut mistakes = shape_mistakes(answer, selector, range);
        let mut answered = BTreeMap::new();
        for series in answer {
            for sample in &series.samples {
                answered.insert((name(series), sample.time), sample.clone());
            }
        }
        for ((series, time), (order, _)) in acked {
            if selects(selector, series) && range.contains(*time) {
                match answered.get(&(series.clone(), *time)) {
                    None => mistakes.push(format!("lost: {series:?} at {time:?}")),
                    Some(sample) if !self.was_sent(series, sample, Some(*order)) => {
                        mistakes.push(format!("older than what was acknowledged: {series:?} {sample:?}"));
                    }
                    Some(_) => {}
                }
            }
        }
        for ((series, _), sample) in &answered {
            if !self.was_sent(series, sample, None) {
                mistakes.push(format!("invented: {series:?} {sample:?}"));
            }
        }
        mistakes
    }
}

impl Model {
    /// What an answer with the latest samples does wrong, asked for when `acked` was acknowledged.
    pub(crate) fn latest_mistakes(
        &self,
        acked: &Fold,
        answer: &[Latest],
        selector: &Selector,
    ) -> Vec<String> {
        let answered: BTreeMap<SeriesName, Sample> =
            named_latest(answer).into_iter().map(|(name, samples)| (name, samples[0].clone())).collect();
        let mut mistakes = Vec::new();
        for ((series, time), (order, _)) in acked {
            match answered.get(series) {
                _ if !selects(selector, series) => {}
                None => mistakes.push(format!("lost: {series:?}")),
                Some(sample) if sample.time < *time => {
                    mistakes.push(format!("older than {time:?}: {series:?} {sample:?}"));
                }
                Some(sample) => {
                    let least = (sample.time == *time).then_some(*order);
                    if !self.was_sent(series, sample, least) {
                        mistakes.push(format!("not the last: {series:?} {sample:?}"));
                    }
                }
            }
        }
        mistakes
    }
}

/// What a reader that knows everything answers.
pub(crate) fn expected(fold: &Fold, selector: &Selector, range: TimeRange) -> Vec<(SeriesName, Vec<Sample>)> {
    let mut series: BTreeMap<SeriesName, Vec<Sample>> = BTreeMap::new();
    for ((name, time), (_, value)) in fold {
        if selects(selector, name) && range.contains(*time) {
            let sample = Sample { time: *time, value: value.clone() };
            series.entry(name.clone()).or_default().push(sample);
        }
    }
    series.into_iter().collect()
}

pub(crate) fn named(answer: &[Series]) -> Vec<(SeriesName, Vec<Sample>)> {
    answer.iter().map(|series| (name(series), series.samples.clone())).collect()
}

pub(crate) fn named_latest(answer: &[Latest]) -> Vec<(SeriesName, Vec<Sample>)> {
    let series = |latest: &Latest| Series {
        source: latest.source.clone(),
        metric: latest.metric.clone(),
        samples: vec![latest.sample.clone()],
    };
    named(&answer.iter().map(series).collect::<Vec<_>>())
}

pub(crate) fn name(series: &Series) -> SeriesName {
    let source = &series.source;
    let tags: Vec<String> = source.tags().iter().map(|(k, v)| format!("{k}={v}")).collect();
    (source.tenant().to_string(), source.device().to_string(), tags.join(","), series.metric.to_string())
}

fn selects(selector: &Selector, (tenant, device, _, metric): &SeriesName) -> bool {
    selector.tenant.as_ref().is_none_or(|wanted| wanted.as_str() == tenant)
        && (selector.devices.is_empty() || selector.devices.iter().any(|wanted| wanted.as_str() == device))
        && (selector.metrics.is_empty() || selector.metrics.iter().any(|wanted| wanted.as_str() == metric))
}

fn shape_mistakes(answer: &[Series], selector: &Selector, range: TimeRange) -> Vec<String> {
    let names: Vec<SeriesName> = answer.iter().map(name).collect();
    let mut mistakes = Vec::new();
    if !names.is_sorted_by(|a, b| a < b) {
        mistakes.push(format!("series out of order: {names:?}"));
    }
    for (series, name) in answer.iter().zip(&names) {
        let times: Vec<Timestamp> = series.samples.iter().map(|sample| sample.time).collect();
        if times.is_empty() || !times.is_sorted_by(|a, b| a < b) {
            mistakes.push(format!("times out of order: {name:?} {times:?}"));
        }
        if !selects(selector, name) || !times.iter().all(|time| range.contains(*time)) {
            mistakes.push(format!("not asked for: {name:?} {times:?}"));
        }
    }
    mistakes
}
