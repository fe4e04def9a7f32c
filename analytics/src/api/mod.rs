//! The HTTP API: `/v1/…`, `/metrics`, health, and an index.
//!
//! A route is a file: it reads its parameters into a question, and answers it. Every query passes the gate (so many
//! at once, so many waiting) and has a deadline; a client that leaves drops the future and with it the work. Every
//! answer is bounded in rows and bytes and says where it was cut (I6). Nothing here knows sockets.

mod compute;
mod cursor;
mod devices;
mod explain;
mod gate;
mod json;
mod latest;
mod limits;
mod merge;
mod meta;
mod metric_names;
mod observe;
mod params;
mod problem;
mod prometheus;
mod rejects;
mod samples;
mod strides;
mod suggest;
mod turns;
mod windows;

use std::future::Future;
use std::sync::{Arc, OnceLock};

use ::prometheus::Registry;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tidemill_store::model::{Clock, Source, Timestamp};
use tidemill_store::read::{Explain, Explained, Selector, Series};

use self::gate::Gate;
pub use self::limits::{ApiLimits, PromqlLimits, RowLimit};
pub use self::meta::{Check, PURGE_PATH, REPLAY_PATH, Readiness, ReadinessProbe, SPOOL_PATH, STATUS_PATH};
pub use self::params::without_parameters;
pub use self::problem::{PROBLEM_JSON, Problem, ProblemKind};
pub use self::rejects::rejects_router;
use self::strides::Strides;
pub use self::turns::is_asked_from_this_machine;
pub(crate) use self::turns::{CURRENT, Client};
use crate::metrics::{HttpMetrics, Rejection};
use crate::promql::RecentQueries;
use crate::query::{Query, QueryError};

/// What the routes share. Cheap to clone.
#[derive(Debug)]
pub struct ApiState<Q>(Arc<Shared<Q>>);

struct Shared<Q> {
    reader: Arc<Q>,
    clock: Arc<dyn Clock>,
    /// When this state was made, which is about when the process began.
    started: Timestamp,
    limits: ApiLimits,
    gate: Gate,
    queries: RecentQueries,
    registry: Registry,
    metrics: Arc<HttpMetrics>,
    readiness: ReadinessProbe,
    skews: OnceLock<SkewProbe>,
}

/// How many seconds the last message of the device of a source lay behind its receipt, where this process knows.
pub type SkewProbe = Arc<dyn Fn(&Source) -> Option<f64> + Send + Sync>;

impl<Q> std::fmt::Debug for Shared<Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<Q> Clone for ApiState<Q> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Q> ApiState<Q> {
    /// What the routes share. Enters this crate's metrics in `registry`, which `/metrics` shows; so there can be
    /// one state for a registry.
    pub fn new(
        reader: Arc<Q>,
        clock: Arc<dyn Clock>,
        limits: ApiLimits,
        registry: &Registry,
        readiness: ReadinessProbe,
    ) -> Result<Self, ::prometheus::Error> {
        let metrics = Arc::new(HttpMetrics::register(registry)?);
        let (gate, registry) = (Gate::new(&limits), registry.clone());
        let started = clock.now();
        let skews = OnceLock::new();
        let queries = RecentQueries::default();
        let shared =
            Shared { reader, clock, started, limits, gate, queries, registry, metrics, readiness, skews };
        Ok(Self(Arc::new(shared)))
    }

    /// Lists of devices say how far their clocks are off, as `probe` knows. Holds from the first time on.
    pub fn tell_skews(&self, probe: SkewProbe) {
        // Told again, the first one stays.
        let _ = self.0.skews.set(probe);
    }

    /// The metrics, which the server counts into as well.
    pub fn metrics(&self) -> Arc<HttpMetrics> {
        Arc::clone(&self.0.metrics)
    }
}

impl<Q: Query> ApiState<Q> {
    /// Answers a query when its turn comes, within its deadline.
    async fn run(&self, query: impl Future<Output = Result<Bytes, Problem>>) -> Result<Response, Problem> {
        let shared = &self.0;
        let answer = async {
            let _turn = shared.gate.enter(Client::current()).await?;
            let answer = tokio::time::timeout(shared.limits.query_timeout, query).await;
            shared.gate.hold(answer.map_err(|_| too_slow(&shared.limits))??).await
        };
        let answer = answer.await.inspect_err(|problem| self.count_refusal(problem))?;
        Ok(json_response(answer))
    }

    fn count_refusal(&self, problem: &Problem) {
        let reason = REFUSALS.iter().find(|(kind, _)| *kind == problem.kind()).map(|(_, reason)| *reason);
        if let Some(reason) = reason {
            self.0.metrics.reject(reason);
        }
    }

    /// Reads the next stride, counted; halves it where it is too large. `None` at the end.
    async fn read(&self, selector: &Selector, strides: &mut Strides) -> Result<Option<Part>, QueryError> {
        while let Some(range) = strides.next() {
            // Lets others run first: a store in memory never waits.
            tokio::task::yield_now().await;
            match self.0.reader.explained_samples(selector, range).await {
                Err(QueryError::TooLarge { halves_may_do: true, .. }) if strides.halve(range) => {}
                Err(error) => return Err(error),
                Ok(Explained { answer: series, explain }) => {
                    let samples: usize = series.iter().map(|series| series.samples.len()).sum();
                    strides.took(samples);
                    self.0.metrics.samples_read.inc_by(u64::try_from(samples).unwrap_or(u64::MAX));
                    return Ok(Some(Part { series, samples, explain }));
                }
            }
        }
        Ok(None)
    }
}

/// Problems that are a limit's doing.
const REFUSALS: [(ProblemKind, Rejection); 3] = [
    (ProblemKind::Overloaded, Rejection::Queue),
    (ProblemKind::QueryTimeout, Rejection::QueryTimeout),
    (ProblemKind::TooLarge, Rejection::TooLarge),
];

/// All samples of a part of a range.
struct Part {
    series: Vec<Series>,
    samples: usize,
    explain: Explain,
}

fn too_slow(limits: &ApiLimits) -> Problem {
    let detail = format!(
        "the query ran for more than {} s; ask for fewer devices or metrics, or a shorter range of time",
        limits.query_timeout.as_secs_f64()
    );
    Problem::new(ProblemKind::QueryTimeout, detail)
}

fn json_response(body: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}

/// A path that takes parameters, and which.
struct Route {
    path: &'static str,
    parameters: &'static [&'static str],
}

/// The paths that answer queries.
const ROUTES: [Route; 5] =
    [devices::ROUTE, metric_names::ROUTE, latest::ROUTE, samples::ROUTE, windows::ROUTE];

/// Every path that is served, for "did you mean".
fn paths() -> impl Iterator<Item = &'static str> {
    ROUTES
        .iter()
        .chain([&rejects::ROUTE, &rejects::COUNTS, &rejects::ONE])
        .map(|route| route.path)
        .chain(meta::PATHS)
}

/// What every process serves, whatever else it does: health, readiness and metrics.
pub fn operator_router<Q: Query>(state: ApiState<Q>) -> Router {
    finish(meta::operator_routes().fallback(meta::no_queries), state)
}

/// All routes, for a process that answers queries.
pub fn router<Q: Query>(state: ApiState<Q>) -> Router {
    let queries = Router::new()
        .route(devices::ROUTE.path, get(devices::answer::<Q>))
        .route(metric_names::ROUTE.path, get(metric_names::answer::<Q>))
        .route(latest::ROUTE.path, get(latest::answer::<Q>))
        .route(samples::ROUTE.path, get(samples::answer::<Q>))
        .route(windows::ROUTE.path, get(windows::answer::<Q>))
        .merge(prometheus::routes())
        .merge(meta::index_routes())
        .merge(meta::operator_routes())
        .fallback(meta::not_found);
    finish(queries, state)
}

fn finish<Q: Query>(routes: Router<ApiState<Q>>, state: ApiState<Q>) -> Router {
    routes
        .method_not_allowed_fallback(meta::method_not_allowed)
        .layer(from_fn_with_state(state.clone(), observe::observe::<Q>))
        .with_state(state)
}
