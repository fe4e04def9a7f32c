//! Series of the store as columns of numbers. Pure.

use std::borrow::Cow;

use hashbrown::HashMap;
use tidemill_store::codec::{self, Piece, Run, Values};
use tidemill_store::model::{Metric, Source, SourceId, Timestamp, Value};
use tidemill_store::read::SeriesRun;

use super::labels::labels_of;
use crate::promql::{Demand, Labels, PromSeries, SourceError, Steps, Times, fit_all};

/// Which series were given a place, by what the store calls them; none where the matchers do not fit one.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<(SourceId, Metric), Option<usize>>);

impl Places {
    /// The place of a series. One that is new and fits gets the place `next`, and its labels are given.
    pub(super) fn of(
        &mut self,
        (source, metric): (&Source, &Metric),
        demand: &Demand,
        next: usize,
    ) -> (Option<usize>, Option<Labels>) {
        let key = (source.id(), metric.clone());
        if let Some(known) = self.0.get(&key) {
            return (*known, None);
        }
        let labels = labels_of(source, metric);
        let place = fit_all(&demand.matchers, &labels).then_some(next);
        self.0.insert(key, place);
        (place, place.map(|_| labels))
    }
}

/// Samples by series.
pub(super) struct Columns<'a> {
    demand: &'a Demand,
    series_max: usize,
    pub(super) series: Vec<PromSeries>,
    places: Places,
    pub(super) samples: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn new(demand: &'a Demand, series_max: usize) -> Self {
        Self { demand, series_max, series: Vec::new(), places: Places::default(), samples: 0 }
    }

    /// Adds parts that come in the order of time.
    pub(super) fn extend(&mut self, parts: Vec<SeriesRun>) -> Result<(), SourceError> {
        for part in parts {
            self.samples = self.samples.saturating_add(part.run.len());
            if self.samples > self.demand.samples_max {
                return Err(too_many_samples(self.demand.samples_max));
            }
            self.add(&part);
            if self.series.len() > self.series_max {
                return Err(too_many_series(self.series_max));
            }
        }
        Ok(())
    }

    fn add(&mut self, part: &SeriesRun) {
        let (place, labels) = self.places.of((&part.source, &part.metric), self.demand, self.series.len());
        if let Some(labels) = labels {
            let (times, values) = numbers(&part.run);
            self.series.push(PromSeries { labels, times, values });
        } else if let Some(series) = place.and_then(|place| self.series.get_mut(place)) {
            let (times, values) = numbers(&part.run);
            series.times.extend(times);
            series.values.extend(values);
        }
    }
}

pub(super) fn too_many_samples(limit: usize) -> SourceError {
    SourceError::TooMuch(format!(
        "query processing would load too many samples into memory in query execution (the limit is {limit})"
    ))
}

pub(super) fn too_many_series(limit: usize) -> SourceError {
    SourceError::TooMuch(format!("more than {limit} series match; ask for fewer"))
}

/// The samples that are numbers, borrowed as far as they are what PromQL knows.
pub(super) struct Numbers<'a> {
    moments: Moments,
    pub(super) values: Cow<'a, [f64]>,
}

enum Moments {
    Even(Steps),
    Listed(Vec<i64>),
}

impl<'a> Numbers<'a> {
    pub(super) fn of(piece: &Piece<'a>) -> Self {
        let values = match piece.values {
            Values::F64(values) => Cow::Borrowed(values.as_slice()),
            Values::I64(values) => values.iter().copied().map(whole).collect(),
            Values::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
            Values::Text(_) => return Self { moments: Moments::Listed(Vec::new()), values: Cow::default() },
            Values::Mixed(values) => {
                let samples = listed(piece.times).zip(values);
                let numbers = samples.filter_map(|(time, value)| Some((time, number(value)?)));
                let (times, values): (Vec<i64>, Vec<f64>) = numbers.unzip();
                return Self { moments: Moments::Listed(times), values: values.into() };
            }
        };
        let moments = match piece.times {
            codec::Times::Even(even) => {
                Moments::Even(Steps { start: even.first(), step: even.step(), count: even.count() })
            }
            times @ codec::Times::Listed(_) => Moments::Listed(listed(times).collect()),
        };
        Self { moments, values }
    }

    /// One for each value.
    pub(super) fn times(&self) -> Times<'_> {
        match &self.moments {
            Moments::Even(steps) => Times::Even(*steps),
            Moments::Listed(times) => Times::Listed(times),
        }
    }
}

fn listed(times: codec::Times<'_>) -> impl Iterator<Item = i64> {
    let (even, listed) = match times {
        codec::Times::Even(even) => (Some(even), &[][..]),
        codec::Times::Listed(times) => (None, times),
    };
    even.into_iter().flat_map(codec::Even::iter).chain(listed.iter().copied()).map(Timestamp::nanos)
}

/// The samples of a run that are numbers.
fn numbers(run: &Run) -> (Vec<i64>, Vec<f64>) {
    let Numbers { moments, values } = Numbers::of(&Piece::from(run));
    let times = match moments {
        Moments::Even(steps) => steps.iter().collect(),
        Moments::Listed(times) => times,
    };
    (times, values.into_owned())
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "PromQL knows doubles alone")]
const fn whole(value: i64) -> f64 {
    value as f64
}

/// A value as PromQL sees it; texts are no samples.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::F64(value) => Some(*value),
        Value::I64(value) => Some(whole(*value)),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Text(_) => None,
    }
}
