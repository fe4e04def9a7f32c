//! The store as PromQL sees it: matchers narrow what is asked of it, numbers and booleans are samples, texts are not.
//!
//! A selector is answered in the cheapest of three ways that give the same (I4): from the newest samples of a
//! bucket, which the store keeps, where one moment behind them is asked for; from rollups where a function's windows lie on them; else
//! from the samples. What comes is checked against all matchers in any case.

use std::sync::Arc;

use hashbrown::HashSet;
use tidemill_store::model::{Device, Metric, SourceId, TimeRange, Timestamp};
use tidemill_store::read::{
    Explain, Explained, Fold, Latest, Selector, SeriesFolds, SeriesRun, Taken, Windowed,
};
use tidemill_store::wide::Order;

use super::super::compute::compute;
use super::super::strides::Strides;
use super::super::{ApiState, Query};
use super::columns::{Columns, Places, number, too_many_samples, too_many_series};
use super::folded::{Layout, Made, NeedsSamples};
use super::labels::{Known, fitting};
use super::moved::{Making, OfSeries, made};
use super::narrow::narrowed;
use super::query::StopOnDrop;
use super::used::{From as Source, Ledger, Used, shown};
use crate::promql::{
    ABSENT, Demand, Matcher, Selected, SeriesSource, SourceError, Steps, Wanted, WindowSeries,
};
use crate::query::QueryError;

/// Samples that are read at once where a range is too large for one read.
const SAMPLES_AT_ONCE: usize = 2_000_000;
/// More devices than this are not named to the store one by one.
const DEVICES_MAX: usize = 1_000;

/// A store for one query.
#[derive(Debug)]
pub(super) struct StoreSource<'a, Q> {
    state: &'a ApiState<Q>,
    ledger: Ledger,
    /// Ends what computes for a query that nobody waits for any more.
    stop: StopOnDrop,
}

impl<'a, Q: Query> StoreSource<'a, Q> {
    pub(super) fn new(state: &'a ApiState<Q>) -> Self {
        Self { state, ledger: Ledger::default(), stop: StopOnDrop::default() }
    }

    /// What the selectors took, in their order.
    pub(super) fn into_used(self) -> Vec<Used> {
        self.ledger.into_used()
    }

    /// The series that are known and fit and may have samples in `range`: sources with their metrics.
    pub(super) async fn known(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Known>, SourceError> {
        let Some(selector) = narrowed(matchers) else { return Ok(Vec::new()) };
        let entries = self.state.0.reader.sources_within(&selector, range).await?;
        let matchers = matchers.to_vec();
        let known = compute(entries.len(), move || fitting(entries, &matchers)).await;
        known.map_err(|problem| SourceError::Unavailable(problem.detail().to_owned()))
    }

    /// The samples, in as many reads as it takes.
    async fn samples(&self, selector: &Selector, demand: &Demand) -> Result<Selected, SourceError> {
        let Some(range) = range_of(demand) else { return Ok(Selected::Samples(Vec::new())) };
        match self.state.0.reader.runs(selector, range).await {
            Ok(Explained { answer, explain }) => self.of_runs(demand, answer, explain).await,
            Err(QueryError::TooLarge { halves_may_do: true, .. }) => {
                self.samples_in_parts(selector, demand, range).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn samples_in_parts(
        &self,
        selector: &Selector,
        demand: &Demand,
        range: TimeRange,
    ) -> Result<Selected, SourceError> {
        let reader = &self.state.0.reader;
        let mut columns = Columns::new(demand, self.state.0.limits.series_max);
        let slices = reader.slices(selector, range, Order::Ascending).await?;
        let mut strides = Strides::new(slices, Order::Ascending, SAMPLES_AT_ONCE);
        let mut explained = Explain::default();
        while let Some(range) = strides.next() {
            // Lets others run first: a store in memory never waits.
            tokio::task::yield_now().await;
            match reader.runs(selector, range).await {
                Err(QueryError::TooLarge { halves_may_do: true, .. }) if strides.halve(range) => {}
                Err(error) => return Err(error.into()),
                Ok(Explained { answer, explain }) => {
                    let before = columns.samples;
                    columns.extend(answer)?;
                    strides.took(columns.samples - before);
                    explained.add(&explain);
                }
            }
        }
        Ok(self.of_columns(demand, columns, explained))
    }

    async fn of_runs(
        &self,
        demand: &Demand,
        runs: Vec<SeriesRun>,
        explain: Explain,
    ) -> Result<Selected, SourceError> {
        let series_max = self.state.0.limits.series_max;
        let samples = runs.iter().map(|series| series.run.len()).sum();
        let asked = demand.clone();
        let columns = compute(samples, move || {
            let mut columns = Columns::new(&asked, series_max);
            columns.extend(runs).map(|()| (columns.series, columns.samples))
        });
        let done = columns.await.map_err(|problem| SourceError::Unavailable(problem.detail().to_owned()))?;
        let (series, samples) = done?;
        self.enter(demand, Source::Samples, explain, (samples, 0, series.len()));
        Ok(Selected::Samples(series))
    }

    fn of_columns(&self, demand: &Demand, columns: Columns<'_>, explain: Explain) -> Selected {
        self.enter(demand, Source::Samples, explain, (columns.samples, 0, columns.series.len()));
        Selected::Samples(columns.series)
    }

    fn enter(
        &self,
        demand: &Demand,
        from: Source,
        explain: Explain,
        (samples_read, samples_folded, series): (usize, u64, usize),
    ) {
        let read = u64::try_from(samples_read).unwrap_or(u64::MAX).saturating_add(samples_folded);
        self.state.0.metrics.samples_read.inc_by(read);
        let selector = shown(&demand.matchers);
        self.ledger.enter(demand, Used { selector, from, explain, samples_read, samples_folded, series });
    }

    fn making(&self, demand: &Demand) -> Option<Making> {
        Making::of(demand, self.state.0.limits.series_max, &self.stop.0)
    }

    /// The values of windows, made as samples come; where that cannot be, the samples.
    async fn moved(&self, selector: &Selector, demand: &Demand) -> Result<Selected, SourceError> {
        let Some(making) = self.making(demand) else { return self.samples(selector, demand).await };
        let Some(range) = range_of(demand) else { return Ok(Selected::Samples(Vec::new())) };
        match self.state.0.reader.taken(selector, range, Arc::new(making)).await {
            Ok(Explained { answer, explain }) => self.of_taken(demand, answer, explain).await,
            Err(QueryError::TooLarge { halves_may_do: true, .. }) => self.samples(selector, demand).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn of_taken(
        &self,
        demand: &Demand,
        taken: Vec<Taken<OfSeries>>,
        explain: Explain,
    ) -> Result<Selected, SourceError> {
        let windows = taken.len().saturating_mul(demand.hint.ends.count);
        let made = compute(windows, move || made(taken)).await;
        let (series, samples) =
            made.map_err(|problem| SourceError::Unavailable(problem.detail().to_owned()))?;
        self.enter(demand, Source::Samples, explain, (samples, 0, series.len()));
        Ok(Selected::Windows(series))
    }

    /// The values of windows, from rollups where that is cheaper; from the samples where it is not, or where only
    /// they can tell.
    async fn windows(
        &self,
        selector: &Selector,
        demand: &Demand,
        made: Made,
    ) -> Result<Selected, SourceError> {
        let ends = demand.hint.ends;
        let mut folded = Folded::new(demand, self.state.0.limits.series_max);
        let mut parts = vec![(0, ends)];
        let mut fold = Fold::WhereCheaper;
        let Some(making) = self.making(demand) else { return self.samples(selector, demand).await };
        let making = Arc::new(making);
        while let Some((from, part)) = parts.pop() {
            let Some(layout) = Layout::of(made, part, demand.hint.window) else {
                return self.moved(selector, demand).await;
            };
            let (wanted, takers) = ((made.fields(), fold), Arc::clone(&making));
            match self.state.0.reader.windows(selector, &layout.cuts, wanted, takers).await {
                Ok(Explained { answer: Windowed::Taken(taken), explain }) if part == ends => {
                    return self.of_taken(demand, taken, explain).await;
                }
                Ok(Explained { answer: Windowed::Folds(series), explain }) => {
                    fold = Fold::Always;
                    folded.explain.add(&explain);
                    let cells = series.iter().map(|series| series.cells.len()).sum::<usize>();
                    let made = compute(cells, move || made_of(&layout, made, series));
                    let made = made
                        .await
                        .map_err(|problem| SourceError::Unavailable(problem.detail().to_owned()))?;
                    let Ok(made) = made else { return self.moved(selector, demand).await };
                    folded.extend(from, made)?;
                }
                Err(QueryError::TooLarge { halves_may_do: true, .. }) if part.count > 1 => {
                    let (early, late) = halves(part);
                    parts.extend([(from + early.count, late), (from, early)]);
                }
                Ok(Explained { answer: Windowed::Taken(_), .. })
                | Err(QueryError::TooLarge { halves_may_do: true, .. }) => {
                    return self.moved(selector, demand).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let Folded { series, explain, samples, .. } = folded;
        self.enter(demand, Source::Rollups, explain, (0, samples, series.len()));
        Ok(Selected::Windows(series))
    }

    /// The newest samples, as far as they are the newest at the moment that is asked for; of other series what they
    /// had before.
    async fn newest(&self, selector: &Selector, demand: &Demand) -> Result<Selected, SourceError> {
        let Some(range) = range_of(demand) else { return Ok(Selected::Samples(Vec::new())) };
        let reader = &self.state.0.reader;
        let Explained { answer, explain } = reader.latest_within(selector, range).await?;
        let is_later = |latest: &Latest| {
            latest.sample.time.nanos() > demand.through || number(&latest.sample.value).is_none()
        };
        let (later, current): (Vec<Latest>, Vec<Latest>) = answer.into_iter().partition(is_later);
        let mut columns = Columns::new(demand, self.state.0.limits.series_max);
        let is_recent = |latest: &Latest| latest.sample.time.nanos() > demand.after;
        columns.extend(current.into_iter().filter(is_recent).map(run_of).collect())?;
        if later.is_empty() {
            let counts = (columns.samples, 0, columns.series.len());
            self.enter(demand, Source::Latest, explain, counts);
            return Ok(Selected::Samples(columns.series));
        }
        let mut devices: Vec<Device> = later.iter().map(|latest| latest.source.device().clone()).collect();
        devices.sort_unstable();
        devices.dedup();
        if devices.len() > DEVICES_MAX {
            return self.moved(selector, demand).await;
        }
        let wanted: HashSet<(SourceId, Metric)> =
            later.iter().map(|latest| (latest.source.id(), latest.metric.clone())).collect();
        let before = Selector { devices, ..selector.clone() };
        let Explained { answer, explain: more } = match reader.runs(&before, range).await {
            Err(QueryError::TooLarge { halves_may_do: true, .. }) => {
                return self.moved(selector, demand).await;
            }
            read => read?,
        };
        let is_wanted = |series: &SeriesRun| wanted.contains(&(series.source.id(), series.metric.clone()));
        columns.extend(answer.into_iter().filter(is_wanted).collect())?;
        let mut explained = explain;
        explained.add(&more);
        let counts = (columns.samples, 0, columns.series.len());
        self.enter(demand, Source::Latest, explained, counts);
        Ok(Selected::Samples(columns.series))
    }
}

impl<Q: Query> SeriesSource for StoreSource<'_, Q> {
    async fn select(&self, demand: &Demand) -> Result<Selected, SourceError> {
        let nothing = Selected::Samples(Vec::new());
        if range_of(demand).is_none() {
            return Ok(nothing);
        }
        let Some(selector) = narrowed(&demand.matchers) else { return Ok(nothing) };
        if demand.hint.wanted == Wanted::Latest && demand.hint.ends.count == 1 {
            return self.newest(&selector, demand).await;
        }
        match Made::of(demand) {
            Some(made) => self.windows(&selector, demand, made).await,
            None => self.moved(&selector, demand).await,
        }
    }
}

fn run_of(Latest { source, metric, sample }: Latest) -> SeriesRun {
    SeriesRun { source, metric, run: [(sample.time, sample.value)].into_iter().collect() }
}

/// The half-open range of what is after one moment up to and with another.
fn range_of(demand: &Demand) -> Option<TimeRange> {
    let bound = |nanos: i64| {
        let nanos = nanos.saturating_add(1);
        Timestamp::from_nanos(nanos.clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos())).ok()
    };
    TimeRange::new(bound(demand.after)?, bound(demand.through)?).ok().filter(|range| !range.is_empty())
}

/// The first and the second half of more than one step.
fn halves(steps: Steps) -> (Steps, Steps) {
    let early = steps.count / 2;
    let first = Steps { count: early, ..steps };
    let start = first.last().saturating_add(steps.step);
    (first, Steps { start, count: steps.count - early, ..steps })
}

/// The values of series over some of the windows.
struct MadeSeries {
    series: SeriesFolds,
    values: Vec<f64>,
    samples: u64,
}

fn made_of(layout: &Layout, made: Made, series: Vec<SeriesFolds>) -> Result<Vec<MadeSeries>, NeedsSamples> {
    let one = |mut series: SeriesFolds| {
        let samples = series.cells.iter().map(|(_, state)| state.count()).sum();
        let cells = std::mem::take(&mut series.cells);
        let whole = SeriesFolds { cells, ..series.clone() };
        Ok(MadeSeries { values: layout.values(made, whole)?, series, samples })
    };
    series.into_iter().map(one).collect()
}

/// Series with values for all windows, put together part by part.
struct Folded<'a> {
    demand: &'a Demand,
    series_max: usize,
    series: Vec<WindowSeries>,
    places: Places,
    explain: Explain,
    samples: u64,
}

impl<'a> Folded<'a> {
    fn new(demand: &'a Demand, series_max: usize) -> Self {
        let (places, explain) = (Places::default(), Explain::default());
        Self { demand, series_max, series: Vec::new(), places, explain, samples: 0 }
    }

    /// Takes in the values of windows from number `from` on.
    fn extend(&mut self, from: usize, made: Vec<MadeSeries>) -> Result<(), SourceError> {
        let count = self.demand.hint.ends.count;
        for MadeSeries { series, values, samples } in made {
            self.samples = self.samples.saturating_add(samples);
            let next = self.series.len();
            let (place, labels) = self.places.of((&series.source, &series.metric), self.demand, next);
            if let Some(labels) = labels {
                self.series.push(WindowSeries { labels, values: vec![ABSENT; count] });
            }
            let Some(known) = place.and_then(|place| self.series.get_mut(place)) else { continue };
            for (slot, value) in known.values.iter_mut().skip(from).zip(values) {
                *slot = value;
            }
            if self.series.len() > self.series_max {
                return Err(too_many_series(self.series_max));
            }
            if self.series.len().saturating_mul(count) > self.demand.samples_max {
                return Err(too_many_samples(self.demand.samples_max));
            }
        }
        Ok(())
    }
}

impl From<QueryError> for SourceError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::TooLarge { why, .. } | QueryError::Expired(why) => Self::TooMuch(why),
            QueryError::Unavailable(why) => Self::Unavailable(why),
            QueryError::Broken(why) => Self::Broken(why),
        }
    }
}
