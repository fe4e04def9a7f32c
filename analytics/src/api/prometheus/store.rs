//! The store as PromQL sees it: matchers narrow what is asked of it, numbers and booleans are samples, texts are not.
//!
//! What the store cannot select by itself (tags, expressions) is looked up in the catalog first, and what comes is
//! checked against all matchers in any case.

use hashbrown::HashMap;
use tidemill_store::model::{Device, Metric, SourceId, Tenant, TimeRange, Timestamp, Value};
use tidemill_store::read::{Selector, Series};
use tidemill_store::wide::Order;

use super::super::compute::compute;
use super::super::strides::Strides;
use super::super::{ApiState, Query};
use super::labels::{Known, fitting, labels_of};
use crate::promql::{Demand, Matcher, NAME, PromSeries, Selected, SeriesSource, SourceError, fit_all};
use crate::query::QueryError;

/// Samples that are read at once where a range is too large for one read.
const SAMPLES_AT_ONCE: usize = 500_000;
/// More devices than this are not named to the store one by one.
const DEVICES_MAX: usize = 1_000;

/// A store for one query.
#[derive(Debug)]
pub(super) struct StoreSource<'a, Q>(pub(super) &'a ApiState<Q>);

/// What the matchers leave of the store, as far as it can select by itself; `None` where nothing can match.
fn narrowed(matchers: &[Matcher]) -> Option<Selector> {
    let mut selector = Selector::default();
    for matcher in matchers {
        let Some(values) = matcher.values() else { continue };
        match matcher.name.as_str() {
            NAME => narrow(&mut selector.metrics, &values, |value| Metric::new(value).ok())?,
            "device" => narrow(&mut selector.devices, &values, |value| Device::new(value).ok())?,
            "tenant" => {
                let mut tenants: Vec<Tenant> = selector.tenant.iter().cloned().collect();
                narrow(&mut tenants, &values, |value| Tenant::new(value).ok())?;
                selector.tenant = tenants.pop().filter(|_| tenants.is_empty());
            }
            _ => {}
        }
    }
    Some(selector)
}

/// The values that were allowed and still are; `None` where that is none. An empty list allows all.
fn narrow<T: PartialEq>(allowed: &mut Vec<T>, values: &[&str], of: impl Fn(&str) -> Option<T>) -> Option<()> {
    let mut now: Vec<T> = Vec::new();
    for value in values.iter().filter_map(|value| of(value)) {
        if (allowed.is_empty() || allowed.contains(&value)) && !now.contains(&value) {
            now.push(value);
        }
    }
    *allowed = now;
    (!allowed.is_empty()).then_some(())
}

/// Whether the store selects exactly what the matchers do.
fn is_exact(matchers: &[Matcher], selector: &Selector) -> bool {
    matchers.iter().all(|matcher| {
        matcher.values().is_some()
            && match matcher.name.as_str() {
                NAME | "device" => true,
                "tenant" => selector.tenant.is_some(),
                _ => false,
            }
    })
}

impl<Q: Query> StoreSource<'_, Q> {
    /// The series that are known and fit, whenever they had samples: sources with their metrics.
    pub(super) async fn known(&self, matchers: &[Matcher]) -> Result<Vec<Known>, SourceError> {
        let Some(selector) = narrowed(matchers) else { return Ok(Vec::new()) };
        let entries = self.0.0.reader.sources(&selector).await?;
        let matchers = matchers.to_vec();
        let known = compute(entries.len(), move || fitting(entries, &matchers)).await;
        known.map_err(|problem| SourceError::Unavailable(problem.detail().to_owned()))
    }

    /// What to ask the store for; `None` for nothing.
    async fn selector(&self, matchers: &[Matcher]) -> Result<Option<Selector>, SourceError> {
        let Some(mut selector) = narrowed(matchers) else { return Ok(None) };
        if is_exact(matchers, &selector) {
            return Ok(Some(selector));
        }
        let known = self.known(matchers).await?;
        let mut devices: Vec<Device> = known.iter().map(|(entry, _)| entry.source.device().clone()).collect();
        devices.sort_unstable();
        devices.dedup();
        let mut metrics: Vec<Metric> =
            known.iter().flat_map(|(_, metrics)| metrics.iter().map(|entry| entry.metric.clone())).collect();
        metrics.sort_unstable();
        metrics.dedup();
        if devices.is_empty() {
            return Ok(None);
        }
        selector.metrics = metrics;
        if devices.len() <= DEVICES_MAX {
            selector.devices = devices;
        }
        Ok(Some(selector))
    }

    async fn read<'d>(
        &self,
        selector: &Selector,
        demand: &'d Demand,
        range: TimeRange,
    ) -> Result<Columns<'d>, SourceError> {
        let state = self.0;
        let mut columns = Columns::new(demand, state.0.limits.series_max);
        match state.0.reader.samples(selector, range).await {
            Ok(series) => {
                let samples: usize = series.iter().map(|series| series.samples.len()).sum();
                state.0.metrics.samples_read.inc_by(u64::try_from(samples).unwrap_or(u64::MAX));
                columns.extend(series)?;
            }
            Err(QueryError::TooLarge { halves_may_do: true, .. }) => {
                let slices = state.0.reader.slices(selector, range, Order::Ascending).await?;
                let mut strides = Strides::new(slices, Order::Ascending, SAMPLES_AT_ONCE);
                while let Some(part) = state.read(selector, &mut strides).await? {
                    columns.extend(part.series)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(columns)
    }
}

impl<Q: Query> SeriesSource for StoreSource<'_, Q> {
    async fn select(&self, demand: &Demand) -> Result<Selected, SourceError> {
        let nothing = Selected::Samples(Vec::new());
        let Some(range) = range_of(demand) else { return Ok(nothing) };
        let Some(selector) = self.selector(&demand.matchers).await? else { return Ok(nothing) };
        let columns = self.read(&selector, demand, range).await?;
        Ok(Selected::Samples(columns.series))
    }
}

/// The half-open range of what is after one moment up to and with another.
fn range_of(demand: &Demand) -> Option<TimeRange> {
    let bound = |nanos: i64| {
        let nanos = nanos.saturating_add(1);
        Timestamp::from_nanos(nanos.clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos())).ok()
    };
    TimeRange::new(bound(demand.after)?, bound(demand.through)?).ok().filter(|range| !range.is_empty())
}

/// Series of the store as columns.
struct Columns<'a> {
    demand: &'a Demand,
    series_max: usize,
    series: Vec<PromSeries>,
    places: HashMap<(SourceId, Metric), Option<usize>>,
    samples: usize,
}

impl<'a> Columns<'a> {
    fn new(demand: &'a Demand, series_max: usize) -> Self {
        Self { demand, series_max, series: Vec::new(), places: HashMap::new(), samples: 0 }
    }

    /// Adds parts that come in the order of time.
    fn extend(&mut self, parts: Vec<Series>) -> Result<(), SourceError> {
        for part in parts {
            self.samples = self.samples.saturating_add(part.samples.len());
            if self.samples > self.demand.samples_max {
                return Err(SourceError::TooMuch(format!(
                    "query processing would load too many samples into memory in query execution (the limit is {})",
                    self.demand.samples_max
                )));
            }
            self.add(&part);
            if self.series.len() > self.series_max {
                let why = format!("more than {} series match; ask for fewer", self.series_max);
                return Err(SourceError::TooMuch(why));
            }
        }
        Ok(())
    }

    fn add(&mut self, part: &Series) {
        let Some(place) = self.place(part) else { return };
        let Some(series) = self.series.get_mut(place) else { return };
        series.times.reserve(part.samples.len());
        series.values.reserve(part.samples.len());
        for sample in &part.samples {
            if let Some(value) = number(&sample.value) {
                series.times.push(sample.time.nanos());
                series.values.push(value);
            }
        }
    }

    /// Where the series of a part is; `None` where the matchers do not fit it.
    fn place(&mut self, part: &Series) -> Option<usize> {
        let key = (part.source.id(), part.metric.clone());
        if let Some(known) = self.places.get(&key) {
            return *known;
        }
        let labels = labels_of(&part.source, &part.metric);
        let place = fit_all(&self.demand.matchers, &labels).then_some(self.series.len());
        if place.is_some() {
            self.series.push(PromSeries { labels, times: Vec::new(), values: Vec::new() });
        }
        self.places.insert(key, place);
        place
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "PromQL knows doubles alone")]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::F64(value) => Some(*value),
        Value::I64(value) => Some(*value as f64),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Text(_) => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{MatchOp, whole_value};

    #[test]
    fn matchers_narrow_what_is_asked_of_the_store() {
        let regex = |name: &str, value: &str| Matcher {
            name: name.into(),
            op: MatchOp::Matches(whole_value(value).unwrap()),
            value: value.into(),
        };
        let matchers = [Matcher::equal(NAME, "m"), regex("device", "a|b"), Matcher::equal("tenant", "t")];
        let selector = narrowed(&matchers).unwrap();
        assert!(is_exact(&matchers, &selector));
        assert_eq!((selector.devices.len(), selector.metrics.len()), (2, 1));
        let both = [regex("device", "a|b"), regex("device", "b|c")];
        assert_eq!(narrowed(&both).unwrap().devices, [Device::new("b").unwrap()]);
        assert!(narrowed(&[regex("device", "a"), regex("device", "b")]).is_none());
        assert!(narrowed(&[Matcher::equal("device", "")]).is_none());
        assert!(!is_exact(&[Matcher::equal("site", "x")], &Selector::default()));
        assert!(!is_exact(&[regex("device", ".*")], &Selector::default()));
    }
}
