//! A store with canned samples and failures, and a client of the router, for the tests of this crate.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::{HeaderMap, Request, StatusCode};
use prometheus::Registry;
use serde_json::Value as Json;
use tidemill_analytics::api::{ApiLimits, ApiState, Readiness, rejects_router, router};
use tidemill_analytics::query::{Query, QueryError};
use tidemill_store::catalog::{MetricSet, SourceEntry};
use tidemill_store::layout::MetricFact;
use tidemill_store::model::{
    Clock, Device, Metric, Source, TagKey, TagValue, Tags, Tenant, TimeRange, Timestamp, Value,
};
use tidemill_store::read::{Explain, Explained, Latest, Sample, Selector, Series};
use tidemill_store::wide::{Memory, Order};
use tower::ServiceExt;

pub const SECOND: i64 = 1_000_000_000;
/// 2025-06-01T12:00:00Z.
pub const NOW: i64 = 1_748_779_200 * SECOND;

pub fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Answers,
    Fails,
    Hangs,
}

/// Samples by series, in slices of one minute.
#[derive(Debug)]
pub struct Canned {
    series: Mutex<Vec<Series>>,
    pub mode: Mutex<Mode>,
    /// Most samples that are given at once.
    pub samples_max: AtomicUsize,
    /// Alive as long as a query that hangs is.
    pub hanging: Arc<()>,
}

impl Default for Canned {
    fn default() -> Self {
        Self {
            series: Mutex::default(),
            mode: Mutex::new(Mode::Answers),
            samples_max: AtomicUsize::new(usize::MAX),
            hanging: Arc::new(()),
        }
    }
}

pub fn source(tenant: &str, device: &str, tags: &[(&str, &str)]) -> Source {
    let tag = |(key, value): &(&str, &str)| (TagKey::new(key).unwrap(), TagValue::new(value).unwrap());
    let tags = Tags::new(tags.iter().map(tag).collect()).unwrap();
    Source::new(Tenant::new(tenant).unwrap(), Device::new(device).unwrap(), tags)
}

impl Canned {
    pub fn add(&self, source: &Source, metric: &str, time: i64, value: Value) {
        let mut all = self.series.lock().unwrap();
        let found = all.iter_mut().find(|s| *s.source == *source && s.metric.as_str() == metric);
        let sample = Sample { time: at(time), value };
        let Some(series) = found else {
            let metric = Metric::new(metric).unwrap();
            all.push(Series { source: Arc::new(source.clone()), metric, samples: vec![sample] });
            return;
        };
        let place = series.samples.partition_point(|s| s.time < sample.time);
        series.samples.insert(place, sample);
    }

    async fn matching(&self, selector: &Selector) -> Result<Vec<Series>, QueryError> {
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Answers => {}
            Mode::Fails => return Err(QueryError::Unavailable("node 10.0.0.7 is away".into())),
            Mode::Hangs => {
                let _alive = Arc::clone(&self.hanging);
                pending::<()>().await;
            }
        }
        let wanted = |s: &&Series| selector.means(&s.source) && selector.means_metric(s.metric.as_str());
        let mut found: Vec<Series> = self.series.lock().unwrap().iter().filter(wanted).cloned().collect();
        found.sort_by_cached_key(|s| {
            (s.source.tenant().clone(), s.source.device().clone(), s.source.tags().clone(), s.metric.clone())
        });
        Ok(found)
    }
}

impl Query for Canned {
    async fn sources(&self, selector: &Selector) -> Result<Vec<Arc<SourceEntry>>, QueryError> {
        let mut entries: Vec<SourceEntry> = Vec::new();
        for series in self.matching(selector).await? {
            let fact = |sample: &Sample| MetricFact {
                metric: series.metric.clone(),
                kind: sample.value.kind(),
                unit: None,
            };
            let facts: Vec<MetricFact> = series.samples.iter().map(fact).collect();
            match entries.iter_mut().find(|entry| entry.source == series.source) {
                Some(entry) => entry.metrics = entry.metrics.with(&facts).unwrap(),
                None => {
                    entries.push(SourceEntry { source: series.source, metrics: MetricSet::from_iter(facts) });
                }
            }
        }
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    async fn samples(&self, selector: &Selector, range: TimeRange) -> Result<Vec<Series>, QueryError> {
        let mut series = self.matching(selector).await?;
        for series in &mut series {
            series.samples.retain(|sample| range.contains(sample.time));
        }
        let limit = self.samples_max.load(Relaxed);
        if series.iter().map(|series| series.samples.len()).sum::<usize>() > limit {
            let why = format!("the query needs more than {limit} samples; ask for fewer devices");
            return Err(QueryError::TooLarge { why, halves_may_do: true });
        }
        Ok(series)
    }

    async fn latest(&self, selector: &Selector) -> Result<Explained<Vec<Latest>>, QueryError> {
        let newest = |series: Series| {
            let sample = series.samples.last()?.clone();
            Some(Latest { source: series.source, metric: series.metric, sample })
        };
        let answer = self.matching(selector).await?.into_iter().filter_map(newest).collect();
        Ok(Explained { answer, explain: Explain::default() })
    }

    async fn slices(
        &self,
        selector: &Selector,
        range: TimeRange,
        order: Order,
    ) -> Result<Vec<TimeRange>, QueryError> {
        const WIDTH: i64 = 60 * SECOND;
        let series = self.matching(selector).await?;
        let times = series.iter().flat_map(|s| &s.samples).map(|s| s.time).filter(|t| range.contains(*t));
        let mut buckets: Vec<i64> = times.map(|time| time.nanos().div_euclid(WIDTH)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        if order == Order::Descending {
            buckets.reverse();
        }
        let slice = |bucket: &i64| TimeRange::new(at(bucket * WIDTH), at((bucket + 1) * WIDTH)).unwrap();
        Ok(buckets.iter().filter_map(|bucket| slice(bucket).intersection(&range)).collect())
    }
}

pub struct Fixed(pub Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// The API over a store.
pub struct Api<Q = Canned> {
    pub store: Arc<Q>,
    pub registry: Registry,
    pub readiness: Arc<Mutex<Readiness>>,
    pub state: ApiState<Q>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Api {
    pub fn new() -> Self {
        Self::with(ApiLimits { queue_wait_max: Duration::from_secs(2), ..ApiLimits::default() })
    }

    pub fn with(limits: ApiLimits) -> Self {
        Self::over(Canned::default(), limits)
    }
}

impl<Q: Query> Api<Q> {
    pub fn over(store: Q, limits: ApiLimits) -> Self {
        let (store, registry) = (Arc::new(store), Registry::new());
        let readiness = Arc::new(Mutex::new(Readiness::default()));
        let probe = Arc::clone(&readiness);
        let probe = Arc::new(move || probe.lock().unwrap().clone());
        let clock = Arc::new(Fixed(at(NOW)));
        let state = ApiState::new(Arc::clone(&store), clock, limits, &registry, probe).unwrap();
        Self { store, registry, readiness, state }
    }

    pub fn router(&self) -> Router {
        let rejects = rejects_router(self.state.clone(), Arc::new(Memory::new()));
        router(self.state.clone()).merge(rejects)
    }

    pub async fn ask(&self, method: &str, target: &str) -> Answer {
        let request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A GET that answers 200 with JSON.
    pub async fn get(&self, target: &str) -> Json {
        let answer = self.ask("GET", target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text);
        answer.json()
    }

    /// A GET that is refused: status, code and detail.
    pub async fn refused(&self, target: &str) -> (u16, String, String) {
        let answer = self.ask("GET", target).await;
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", answer.text);
        let problem = answer.json();
        let code = problem["type"].as_str().unwrap().trim_start_matches("urn:tidemill:problem:").to_owned();
        assert_eq!(problem["status"], answer.status.as_u16());
        (answer.status.as_u16(), code, problem["detail"].as_str().unwrap().to_owned())
    }

    /// How much a counter shows in the text of `/metrics`.
    pub async fn counted(&self, series: &str) -> u64 {
        let text = self.ask("GET", "/metrics").await.text;
        let line =
            text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}
