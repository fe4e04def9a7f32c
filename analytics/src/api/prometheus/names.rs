//! `labels`, `label/<name>/values`, `series` and `metadata`: what the catalog knows. It knows no times: `start` and `end`
//! leave out what marks and seals tell to have no samples there, whole shards at a time, and nothing that has some.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tidemill_store::catalog::MetricEntry;
use tidemill_store::model::{TimeRange, ValueKind};
use tidemill_store::read::Label;

use super::super::compute::compute;
use super::super::{ApiState, Query};
use super::escape::unescape;
use super::failure::{ErrorType, Failure};
use super::form::Form;
use super::labels::{Known, labels_of};
use super::narrow::{label_of, names_of, narrowed};
use super::render::{TRUNCATED, object, success};
use super::store::StoreSource;
use crate::promql::{Labels, Matcher, NAME, Notes, SourceError};

/// What a request for names asks for.
struct Asked {
    /// No set at all selects all.
    sets: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: Option<usize>,
}

impl Asked {
    fn of(form: &Form) -> Result<Self, Failure> {
        let mut sets = form.matches()?;
        if sets.is_empty() {
            sets.push(Vec::new());
        }
        Ok(Self { sets, range: form.range()?, limit: form.limit()? })
    }

    /// What fits any of the sets. A source may come more than once.
    async fn known<Q: Query>(&self, state: &ApiState<Q>) -> Result<Vec<Known>, Failure> {
        let mut all = Vec::new();
        for matchers in &self.sets {
            all.extend(StoreSource::new(state).known(matchers, self.range).await?);
        }
        Ok(all)
    }

    /// The values of a label.
    async fn values<Q: Query>(
        &self,
        state: &ApiState<Q>,
        label: &Label,
    ) -> Result<BTreeSet<String>, Failure> {
        let mut all = BTreeSet::new();
        for selector in self.sets.iter().filter_map(|matchers| narrowed(matchers)) {
            let values = state.0.reader.label_values(&selector, label, self.range).await;
            all.extend(values.map_err(SourceError::from)?);
        }
        Ok(all)
    }

    /// The names of labels; `None` where each source must be looked at.
    async fn names<Q: Query>(&self, state: &ApiState<Q>) -> Result<Option<BTreeSet<String>>, Failure> {
        let mut all = BTreeSet::new();
        for selector in self.sets.iter().filter_map(|matchers| narrowed(matchers)) {
            let keys = state.0.reader.tag_keys(&selector, self.range).await.map_err(SourceError::from)?;
            let is_any = || state.0.reader.label_values(&selector, &Label::Tenant, self.range);
            if keys.is_empty() && is_any().await.map_err(SourceError::from)?.is_empty() {
                continue;
            }
            let Some(names) = names_of(&keys) else { return Ok(None) };
            all.extend(names);
        }
        Ok(Some(all))
    }
}

/// The labels of a source, with one of its metrics: but for the name, those of all of them.
fn labels_of_any((entry, metrics): &Known) -> Labels {
    metrics.first().map(|any| labels_of(&entry.source, &any.metric)).unwrap_or_default()
}

/// Cuts a list to the limit, with a warning where that takes something.
fn limited<T>(all: impl Iterator<Item = T>, limit: Option<usize>) -> (Vec<T>, Notes) {
    let mut all: Vec<T> = all.collect();
    let mut notes = Notes::default();
    if let Some(limit) = limit
        && all.len() > limit
    {
        all.truncate(limit);
        notes.warn(TRUNCATED.to_owned());
    }
    (all, notes)
}

fn list(all: BTreeSet<String>, limit: Option<usize>) -> Bytes {
    let (all, notes) = limited(all.into_iter(), limit);
    success(&Json::from(all), &notes)
}

/// `labels`.
pub(super) async fn labels<Q: Query>(state: &ApiState<Q>, form: &Form) -> Result<Bytes, Failure> {
    let asked = Asked::of(form)?;
    let limit = asked.limit;
    if let Some(names) = asked.names(state).await? {
        return Ok(list(names, limit));
    }
    let known = asked.known(state).await?;
    let names = move || {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for one in &known {
            for label in &labels_of_any(one) {
                if !names.contains(&*label.name) {
                    names.insert(label.name.to_string());
                }
            }
        }
        list(names, limit)
    };
    Ok(compute(usize::MAX, names).await?)
}

/// `label/<name>/values`.
pub(super) async fn values<Q: Query>(state: &ApiState<Q>, form: &Form, name: &str) -> Result<Bytes, Failure> {
    let name = unescape(name);
    if name.is_empty() {
        return Err(Failure::bad_data("invalid label name: \"\""));
    }
    let asked = Asked::of(form)?;
    let limit = asked.limit;
    if let Some(label) = label_of(&name) {
        return Ok(list(asked.values(state, &label).await?, limit));
    }
    let known = asked.known(state).await?;
    let values = move || {
        let mut values: BTreeSet<String> = BTreeSet::new();
        let mut enter = |value: &str| {
            if !value.is_empty() && !values.contains(value) {
                values.insert(value.to_owned());
            }
        };
        for one in &known {
            enter(labels_of_any(one).get(&name));
        }
        list(values, limit)
    };
    Ok(compute(usize::MAX, values).await?)
}

/// `series`.
pub(super) async fn series<Q: Query>(state: &ApiState<Q>, form: &Form) -> Result<Bytes, Failure> {
    if form.matches()?.is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let asked = Asked::of(form)?;
    let (known, limit) = (asked.known(state).await?, asked.limit);
    let series_max = state.0.limits.series_max;
    if known.iter().map(|(_, metrics)| metrics.len()).sum::<usize>() > series_max {
        let why = format!("more than {series_max} series match; ask for fewer");
        return Err(Failure::new(ErrorType::Execution, why));
    }
    let all = move || {
        let of_source = |(entry, metrics): &Known| {
            metrics.iter().map(|metric| labels_of(&entry.source, &metric.metric)).collect::<Vec<_>>()
        };
        let found: BTreeSet<Labels> = known.iter().flat_map(of_source).collect();
        let (found, notes) = limited(found.iter().map(object), limit);
        success(&Json::from(found), &notes)
    };
    Ok(compute(usize::MAX, all).await?)
}

/// `metadata`: type and unit of each metric.
pub(super) async fn metadata<Q: Query>(state: &ApiState<Q>, form: &Form) -> Result<Bytes, Failure> {
    let matchers: Vec<Matcher> =
        form.get("metric").map(|name| Matcher::equal(NAME, name)).into_iter().collect();
    let per_metric = form.most("limit_per_metric")?;
    let mut metrics: BTreeMap<String, BTreeSet<(&'static str, String)>> = BTreeMap::new();
    for (_, entries) in StoreSource::new(state).known(&matchers, TimeRange::ALL).await? {
        for entry in entries {
            let unit = entry.unit.as_ref().map_or("", |unit| unit.as_str()).to_owned();
            metrics.entry(entry.metric.as_str().to_owned()).or_default().insert((kind(&entry), unit));
        }
    }
    let (metrics, notes) = limited(metrics.into_iter(), form.limit()?);
    let object: serde_json::Map<String, Json> = metrics
        .into_iter()
        .map(|(metric, facts)| {
            let facts = facts.into_iter().take(per_metric.unwrap_or(usize::MAX));
            let facts = facts.map(|(kind, unit)| json!({ "type": kind, "help": "", "unit": unit }));
            (metric, Json::from(facts.collect::<Vec<_>>()))
        })
        .collect();
    Ok(success(&Json::Object(object), &notes))
}

/// A metric's type as Prometheus names it. Devices do not say, so that a name that is a counter's makes one.
fn kind(entry: &MetricEntry) -> &'static str {
    let name = entry.metric.as_str();
    let counter = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
    let boolean = entry.kinds.iter().all(|kind| kind == ValueKind::Bool);
    if counter && !boolean { "counter" } else { "gauge" }
}
