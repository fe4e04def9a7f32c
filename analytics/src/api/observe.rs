//! Around every request: what is counted of it, and the limits that hold for any route.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use prometheus::IntGauge;
use tokio::time::Instant;

use super::problem::{Problem, ProblemKind};
use super::{ApiState, Query};
use crate::metrics::{HttpMetrics, Rejection};

/// Counts a request by its route and outcome, times it, and refuses a target that is too long.
pub(super) async fn observe<Q: Query>(
    State(state): State<ApiState<Q>>,
    request: Request,
    next: Next,
) -> Response {
    let metrics = &state.0.metrics;
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut observed = Observed::start(metrics, route);
    let uri_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let mut response = if uri_bytes > state.0.limits.uri_bytes_max {
        metrics.reject(Rejection::Uri);
        too_long(uri_bytes, state.0.limits.uri_bytes_max).into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    observed.status = Some(response.status());
    response
}

fn too_long(bytes: usize, limit: usize) -> Problem {
    let detail = format!(
        "the request's target has {bytes} bytes, the limit is {limit}; name fewer devices or metrics"
    );
    Problem::new(ProblemKind::UriTooLong, detail)
}

/// A request being answered. Counts itself when it ends, also where its future is dropped.
struct Observed<'a> {
    metrics: &'a HttpMetrics,
    in_flight: &'a IntGauge,
    route: Option<MatchedPath>,
    started: Instant,
    status: Option<hyper::StatusCode>,
}

impl<'a> Observed<'a> {
    fn start(metrics: &'a HttpMetrics, route: Option<MatchedPath>) -> Self {
        metrics.in_flight.inc();
        Self { metrics, in_flight: &metrics.in_flight, route, started: Instant::now(), status: None }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        self.in_flight.dec();
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        let status = self.status.as_ref().map_or("dropped", hyper::StatusCode::as_str);
        let elapsed = self.started.elapsed();
        self.metrics.requests.with_label_values(&[route, status]).inc();
        self.metrics.duration.with_label_values(&[route]).observe(elapsed.as_secs_f64());
        tracing::debug!(route, status, ?elapsed, "answered");
    }
}
