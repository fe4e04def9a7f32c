//! Routes that answer no query: health, readiness, metrics, the index, and what is not there.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;

use super::problem::{Problem, ProblemKind};
use super::{ApiState, Query, json_response, paths, suggest};

/// Paths of this file, as [`paths`] lists them.
pub(super) const PATHS: [&str; 9] = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    STATUS_PATH,
    SPOOL_PATH,
    REPLAY_PATH,
    PURGE_PATH,
];

/// Where a process says what waits for the mill; served by whoever has one.
pub const STATUS_PATH: &str = "/v1/status";
/// Where a process says what waits in its spool; served by whoever has one.
pub const SPOOL_PATH: &str = "/v1/spool";
/// Where rejects are taken again.
pub const REPLAY_PATH: &str = "/v1/rejects/replay";
/// Where rejects are deleted.
pub const PURGE_PATH: &str = "/v1/rejects/purge";

/// One thing that is to be well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, such as `store`.
    pub name: String,
    /// Whether it is well.
    pub ready: bool,
    /// More about it, for operators.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// All that is to be well, and whether the process can do its work all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The checks. None at all means ready.
    pub checks: Vec<Check>,
    /// Whether it takes messages and makes them durable although not every check is well.
    pub takes_messages: bool,
}

impl Readiness {
    /// Whether every check is well, or messages are taken all the same.
    pub fn is_ready(&self) -> bool {
        self.takes_messages || !self.is_degraded()
    }

    /// Whether a check is not well.
    pub fn is_degraded(&self) -> bool {
        self.checks.iter().any(|check| !check.ready)
    }
}

/// Where `/readyz` asks; must answer at once, from what is already known.
pub type ReadinessProbe = Arc<dyn Fn() -> Readiness + Send + Sync>;

pub(super) fn index_routes<Q: Query>() -> Router<ApiState<Q>> {
    Router::new().route("/", get(index)).route("/openapi.json", get(openapi))
}

pub(super) fn operator_routes<Q: Query>() -> Router<ApiState<Q>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready::<Q>))
        .route("/metrics", get(metrics::<Q>))
}

const INDEX: &str = "\
Tidemill. Answers are JSON; times are RFC 3339, Unix seconds or relative (-1h, now); ranges are [start, end).

  /v1/devices
  /v1/metrics?device=pump-7
  /v1/latest?device=pump-7&metric=temperature
  /v1/samples?device=pump-7&metric=temperature&start=-1h&limit=100&order=desc
  /v1/windows?device=pump-7&metric=temperature&window=5m&aggregate=avg,max&start=-6h
  /v1/windows?metric=temperature&window=1d&tz=Europe/Berlin&start=-30d&fill=null

  /v1/rejects?start=-1h&reason=syntax
                  what could not be taken, and why; /v1/rejects/{id} shows one of them whole,
                  /v1/rejects/counts how many were not kept because there were too many
  POST /v1/rejects/replay, /v1/rejects/purge
                  takes them again, or deletes them; from this machine only (tidemill rejects)

  /v1/status      per shard, what waits for the mill and how much is stored
  /v1/spool       what waits for the store in the spool of this process

  /api/v1/query?query=avg by (device) (temperature)
                  Prometheus' HTTP API, for Grafana and other clients; also under /prometheus

  /openapi.json   every path and parameter
  /metrics        for Prometheus
  /healthz        200 while the process lives
  /readyz         200 while queries can be answered or messages be taken; what is not well stands in it
";

async fn index() -> &'static str {
    INDEX
}

async fn openapi() -> Response {
    json_response(bytes::Bytes::from_static(include_bytes!("openapi.json")))
}

async fn ready<Q: Query>(State(state): State<ApiState<Q>>) -> Response {
    let readiness = (state.0.readiness)();
    let ready = readiness.is_ready();
    let degraded = readiness.is_degraded();
    let body = serde_json::json!({ "ready": ready, "degraded": degraded, "checks": readiness.checks });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json_response(format!("{body}\n").into())).into_response()
}

async fn metrics<Q: Query>(State(state): State<ApiState<Q>>) -> Result<Response, Problem> {
    let (encoder, mut text) = (TextEncoder::new(), Vec::new());
    encoder.encode(&state.0.registry.gather(), &mut text).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be encoded");
        Problem::new(ProblemKind::Internal, "the metrics cannot be shown; the server's log says why")
    })?;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(128).collect();
    let hint = suggest::hint(&shown, paths());
    Problem::new(
        ProblemKind::NotFound,
        format!("there is nothing at `{shown}`.{hint} `/` lists what there is"),
    )
}

pub(super) async fn no_queries(uri: Uri) -> Problem {
    let shown: String = uri.path().chars().take(128).collect();
    let detail = format!(
        "there is nothing at `{shown}`: this process answers no queries, only /healthz, /readyz and /metrics"
    );
    Problem::new(ProblemKind::NotFound, detail)
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{}` does not answer {method}; the header `allow` says what it does", uri.path());
    Problem::new(ProblemKind::MethodNotAllowed, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    #[test]
    fn a_process_that_takes_messages_is_ready_and_degraded_where_a_check_is_not_well() {
        let of = |checks: &[bool], takes_messages| {
            let check = |&ready: &bool| Check { name: "store".to_owned(), ready, detail: String::new() };
            let readiness = Readiness { checks: checks.iter().map(check).collect(), takes_messages };
            (readiness.is_ready(), readiness.is_degraded())
        };
        assert_eq!([of(&[], false), of(&[true], true)], [(true, false); 2]);
        assert_eq!((of(&[true, false], false), of(&[true, false], true)), ((false, true), (true, true)));
    }

    use super::super::{ApiLimits, ROUTES, rejects};
    use super::*;
    use crate::window::{Aggregate, Fill};

    fn document() -> Json {
        serde_json::from_str(include_str!("openapi.json")).unwrap()
    }

    fn resolved<'a>(document: &'a Json, parameter: &'a Json) -> &'a Json {
        let reference = parameter["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
        reference.map_or(parameter, |pointer| document.pointer(pointer).unwrap())
    }

    #[test]
    fn the_openapi_document_names_the_paths_and_parameters_that_are_served() {
        let document = document();
        let mut documented: Vec<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut served: Vec<&str> = paths().collect();
        documented.sort_unstable();
        served.sort_unstable();
        assert_eq!(documented, served);
        for route in ROUTES.iter().chain([&rejects::ROUTE, &rejects::COUNTS]) {
            let parameters = document["paths"][route.path]["get"]["parameters"].as_array().unwrap();
            let names: Vec<&str> = parameters
                .iter()
                .map(|parameter| resolved(&document, parameter)["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, route.parameters, "{}", route.path);
        }
    }

    #[test]
    fn the_openapi_document_names_the_words_and_limits_that_hold() {
        let document = document();
        let parameters = &document["components"]["parameters"];
        assert_eq!(
            parameters["aggregate"]["schema"]["items"]["enum"],
            Json::from(Aggregate::ALL.map(Aggregate::name).to_vec())
        );
        assert_eq!(parameters["fill"]["schema"]["enum"], Json::from(Fill::ALL.map(Fill::name).to_vec()));
        let limits = ApiLimits::default();
        for (path, limit) in [
            ("/v1/devices", limits.entries),
            ("/v1/metrics", limits.entries),
            ("/v1/latest", limits.latest),
            ("/v1/samples", limits.samples),
            ("/v1/windows", limits.windows),
            ("/v1/rejects", limits.entries),
            ("/v1/rejects/counts", limits.entries),
        ] {
            let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
            let schema = &parameters.iter().find(|parameter| parameter["name"] == "limit").unwrap()["schema"];
            assert_eq!(
                (&schema["default"], &schema["maximum"]),
                (&limit.default.into(), &limit.max.into()),
                "{path}"
            );
        }
    }
}
