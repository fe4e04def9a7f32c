//! What clients ask about the server itself, and what Tidemill has none of: rules, alerts, exemplars.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use tidemill_store::model::TimeRange;

use super::super::{ApiState, Query};
use super::failure::Failure;
use super::form::Form;
use super::render::success;
use super::store::StoreSource;
use super::times;
use crate::moment::Utc;
use crate::promql::{self, Notes};

/// The version of Prometheus whose API this is: clients choose by it what they may ask.
const API_VERSION: &str = "3.5.0";
/// Most metrics that `status/tsdb` lists where the request does not say.
const TSDB_ENTRIES: usize = 10;

pub(super) fn plain(data: &Json) -> Bytes {
    success(data, &Notes::default())
}

/// Without `features`, by which clients recognise other products.
pub(super) fn build() -> Bytes {
    plain(&json!({
        "version": API_VERSION,
        "revision": concat!("tidemill-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

pub(super) fn flags<Q>(state: &ApiState<Q>) -> Bytes {
    let limits = &state.0.limits;
    plain(&json!({
        "query.lookback-delta": times::shown(limits.promql.lookback_delta),
        "query.max-concurrency": limits.queries_max.to_string(),
        "query.max-samples": limits.promql.samples_max.to_string(),
        "query.timeout": times::shown(limits.query_timeout),
    }))
}

pub(super) fn runtime<Q>(state: &ApiState<Q>) -> Bytes {
    let started = Utc(state.0.started).to_string();
    plain(&json!({
        "startTime": started,
        "CWD": "",
        "reloadConfigSuccess": true,
        "lastConfigTime": started,
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": "",
    }))
}

/// Numbers of series, in all and by metric.
pub(super) async fn tsdb<Q: Query>(state: &ApiState<Q>, form: &Form) -> Result<Bytes, Failure> {
    let mut by_metric: BTreeMap<String, usize> = BTreeMap::new();
    let mut sources = 0;
    for (_, metrics) in StoreSource::new(state).known(&[], TimeRange::ALL).await? {
        sources += 1;
        for metric in metrics {
            *by_metric.entry(metric.metric.as_str().to_owned()).or_default() += 1;
        }
    }
    let series: usize = by_metric.values().sum();
    let metrics = by_metric.len();
    let mut by_count: Vec<(String, usize)> = by_metric.into_iter().collect();
    by_count.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    by_count.truncate(form.limit()?.unwrap_or(TSDB_ENTRIES));
    let listed: Vec<Json> =
        by_count.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    Ok(plain(&json!({
        "headStats": {
            "numSeries": series,
            "numLabelPairs": metrics + sources,
            "chunkCount": 0,
            "minTime": 0,
            "maxTime": state.0.clock.now().millis_floor(),
        },
        "seriesCountByMetricName": listed,
        "labelValueCountByLabelName": [],
        "memoryInBytesByLabelName": [],
        "seriesCountByLabelValuePair": [],
    })))
}

/// `format_query`: the query, laid out.
pub(super) fn format_query(form: &Form) -> Result<Bytes, Failure> {
    let laid_out = promql::format(form.get("query").unwrap_or_default())?;
    Ok(plain(&Json::from(laid_out)))
}

/// `parse_query`: the query's tree.
pub(super) fn parse_query(form: &Form) -> Result<Bytes, Failure> {
    Ok(plain(&promql::tree(form.get("query").unwrap_or_default())?))
}

/// `query_exemplars`: none, of a query that is one.
pub(super) fn exemplars(form: &Form) -> Result<Bytes, Failure> {
    promql::Query::parse(form.get("query").unwrap_or_default())?;
    let (start, end) = (form.time("start")?, form.time("end")?);
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
    }
    Ok(plain(&json!([])))
}

/// `rules`: none.
pub(super) fn rules(form: &Form) -> Result<Bytes, Failure> {
    match form.get("type").map(str::to_ascii_lowercase).as_deref() {
        None | Some("alert" | "record") => Ok(plain(&json!({ "groups": [] }))),
        Some(other) => Err(Failure::parameter("type", format!("not supported value {other:?}"))),
    }
}
