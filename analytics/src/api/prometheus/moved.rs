//! Windows made as samples come out of the store, series by series, so that no query holds all samples of its range.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidemill_store::codec::Piece;
use tidemill_store::model::{Metric, Source};
use tidemill_store::read::{Excess, Taken, Taker, Takers};

use super::columns::Numbers;
use super::labels::labels_of;
use crate::promql::{Demand, Labels, Moving, Stop, Wanted, WindowSeries, fit_all, metric_of};

/// What a demand wants of the windows of each series.
#[derive(Debug)]
pub(super) struct Making {
    demand: Demand,
    moving: Moving,
    stop: Arc<Stop>,
    series: AtomicUsize,
    /// So that the windows of all of them are not too many.
    series_most: usize,
}

impl Making {
    /// What is made, where that goes series by series; it ends with `stop`.
    pub(super) fn of(demand: &Demand, series_max: usize, stop: &Arc<Stop>) -> Option<Self> {
        // Without a metric's name the lookback differs from series to series.
        let is_known = demand.hint.wanted != Wanted::Latest || metric_of(&demand.matchers).is_some();
        let moving = Moving::of(&demand.hint).filter(|_| is_known)?;
        let series_most = series_max.min(demand.samples_max / demand.hint.ends.count.max(1));
        let (demand, stop) = (demand.clone(), Arc::clone(stop));
        Some(Self { demand, moving, stop, series: AtomicUsize::new(0), series_most })
    }
}

impl Takers for Making {
    type Taker = OfSeries;

    fn begin(&self, source: &Source, metric: &Metric) -> Result<Option<OfSeries>, (Excess, usize)> {
        let labels = labels_of(source, metric);
        if !fit_all(&self.demand.matchers, &labels) {
            return Ok(None);
        }
        let series = self.series.fetch_add(1, Ordering::Relaxed) + 1;
        if series > self.series_most {
            return Err((Excess::Series, self.series_most));
        }
        let (moving, stop) = (self.moving.clone(), Arc::clone(&self.stop));
        Ok(Some(OfSeries { labels, moving, stop, samples: 0 }))
    }
}

/// The windows of one series.
#[derive(Debug)]
pub(super) struct OfSeries {
    labels: Labels,
    moving: Moving,
    stop: Arc<Stop>,
    samples: usize,
}

impl Taker for OfSeries {
    fn take(&mut self, piece: &Piece<'_>) {
        let numbers = Numbers::of(piece);
        self.samples += numbers.values.len();
        self.moving.push(numbers.times(), &numbers.values, &self.stop);
    }
}

/// The values of all windows, and how many samples they were made of.
pub(super) fn made(taken: Vec<Taken<OfSeries>>) -> (Vec<WindowSeries>, usize) {
    let samples = taken.iter().map(|series| series.taker.samples).sum();
    let series = taken.into_iter().map(|Taken { taker, .. }| WindowSeries {
        values: taker.moving.finish(&taker.stop),
        labels: taker.labels,
    });
    (series.collect(), samples)
}
