//! `query` and `query_range`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::super::compute::compute;
use super::super::{ApiState, Query as Store};
use super::failure::Failure;
use super::form::Form;
use super::render::{self, Shape};
use super::store::StoreSource;
use super::used::{self, Used};
use crate::promql::{Gathered, Lookback, Mode, Outcome, Query, Settings, Steps, Stop, gather};

/// A query and how it is to be answered.
pub(super) struct Question {
    query: Arc<Query>,
    settings: Settings,
    limit: Option<usize>,
    stats: bool,
}

/// Stops an evaluation when its client leaves or its time is over: when this is dropped.
#[derive(Debug, Default)]
pub(super) struct StopOnDrop(pub(super) Arc<Stop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Question {
    /// `query`, at a moment.
    pub(super) fn instant<Q>(form: &Form, state: &ApiState<Q>) -> Result<Self, Failure> {
        let at = form.time("time")?.unwrap_or_else(|| state.0.clock.now().nanos());
        Self::of(form, state, Mode::Instant, (Steps::one(at), at))
    }

    /// `query_range`, over steps.
    pub(super) fn range<Q>(form: &Form, state: &ApiState<Q>) -> Result<Self, Failure> {
        let wanted = |name: &str| {
            let missing = || Failure::parameter(name, "cannot parse \"\" to a valid timestamp");
            form.time(name)?.ok_or_else(missing)
        };
        let (start, end) = (wanted("start")?, wanted("end")?);
        if end < start {
            return Err(Failure::parameter("end", "end timestamp must not be before start time"));
        }
        let step = form.span("step")?;
        let step = step.ok_or_else(|| Failure::parameter("step", "cannot parse \"\" to a valid duration"))?;
        if step <= 0 {
            let why =
                "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(Failure::parameter("step", why));
        }
        let points_max = state.0.limits.promql.points_max;
        let steps = Steps { step, ..Steps::between(start, end, step) };
        // As Prometheus counts: by the spaces between the points.
        if steps.count.saturating_sub(1) > points_max {
            return Err(Failure::bad_data(format!(
                "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
                thousands(points_max)
            )));
        }
        let question = Self::of(form, state, Mode::Range, (steps, end))?;
        if let Some(kind) = question.query.kind_without_range() {
            let why =
                format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector");
            return Err(Failure::parameter("query", why));
        }
        Ok(question)
    }

    fn of<Q>(
        form: &Form,
        state: &ApiState<Q>,
        mode: Mode,
        (steps, end): (Steps, i64),
    ) -> Result<Self, Failure> {
        let limits = &state.0.limits.promql;
        let query = state.0.queries.parse(form.get("query").unwrap_or_default())?;
        let lookback = match form.span("lookback_delta")? {
            Some(nanos) if nanos > 0 => Lookback::new(Duration::from_nanos(nanos.unsigned_abs()), &[]),
            Some(nanos) if nanos < 0 => {
                return Err(Failure::parameter("lookback_delta", "it must not be negative"));
            }
            // None at all means what is configured, as Prometheus has it.
            Some(_) | None => Lookback::new(limits.lookback_delta, &limits.intervals),
        };
        Ok(Self {
            query,
            settings: Settings { mode, steps, end, lookback, samples_max: limits.samples_max },
            limit: form.limit()?,
            stats: form.get("stats").is_some(),
        })
    }

    /// Reads, evaluates and writes. Dropping the future ends all of it.
    pub(super) async fn answer<Q: Store>(
        self,
        state: &ApiState<Q>,
        queued: Duration,
    ) -> Result<Bytes, Failure> {
        let started = Instant::now();
        let source = StoreSource::new(state);
        let gathered = gather(&self.query, &self.settings, &source).await?;
        let used = source.into_used();
        let read = started.elapsed();
        let samples = gathered.samples();
        let bytes_max = state.0.limits.response_bytes_max;
        let stop = StopOnDrop::default();
        let told = Arc::clone(&stop.0);
        let size = samples.saturating_add(self.settings.steps.count);
        let timings = Timings { queued, read, started, used };
        compute(size, move || self.evaluate(gathered, &told, &timings, bytes_max)).await?
    }

    fn evaluate(
        &self,
        gathered: Gathered,
        stop: &Stop,
        timings: &Timings,
        bytes_max: usize,
    ) -> Result<Bytes, Failure> {
        let samples = gathered.samples();
        let Outcome { answer, mut notes } = self.query.evaluate(&self.settings, gathered, stop)?;
        if let Some(warning) = used::expired(&timings.used) {
            notes.warn(warning);
        }
        let stats = self.stats.then(|| timings.stats(samples));
        let shape =
            Shape { mode: self.settings.mode, steps: self.settings.steps, limit: self.limit, bytes_max };
        render::query(&answer, notes, &shape, stats.as_ref())
    }
}

/// What a query has spent so far.
struct Timings {
    queued: Duration,
    read: Duration,
    started: Instant,
    used: Vec<Used>,
}

impl Timings {
    fn stats(&self, in_memory: usize) -> Json {
        let total = self.started.elapsed();
        let queued = self.queued.as_secs_f64();
        json!({
            "timings": {
                "evalTotalTime": total.as_secs_f64(),
                "resultSortTime": 0.0,
                "queryPreparationTime": self.read.as_secs_f64(),
                "innerEvalTime": total.saturating_sub(self.read).as_secs_f64(),
                "execQueueTime": queued,
                "execTotalTime": queued + total.as_secs_f64(),
            },
            "samples": {
                "totalQueryableSamples": self.used.iter().map(Used::samples).sum::<u64>(),
                "peakSamples": in_memory,
            },
            "selectors": self.used.iter().map(Used::to_json).collect::<Vec<_>>(),
        })
    }
}

/// `11,000`.
fn thousands(number: usize) -> String {
    let (high, low) = (number / 1000, number % 1000);
    if high == 0 { low.to_string() } else { format!("{},{low:03}", thousands(high)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 11_000, 1_234_567].map(thousands), ["0", "999", "11,000", "1,234,567"]);
    }

    #[test]
    fn an_evaluation_is_stopped_when_nobody_waits_for_it() {
        let stop = Arc::new(Stop::default());
        drop(StopOnDrop(Arc::clone(&stop)));
        assert!(stop.is_stopped());
    }
}
