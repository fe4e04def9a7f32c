//! Prometheus' HTTP API, so that Grafana and other clients of Prometheus work unchanged: under `/api/v1` and, for
//! those that want a path of its own, under `/prometheus/api/v1`.
//!
//! A route reads its form, passes the gate, and has a deadline; a client that leaves drops the future, and with it
//! the reading and, by a flag, the evaluation. The engine is [`promql`](crate::promql); `store` is what it reads.

mod columns;
mod escape;
mod failure;
mod folded;
mod form;
mod labels;
mod moved;
mod names;
mod narrow;
mod query;
mod render;
mod status;
mod store;
mod times;
mod used;

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, on};
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use self::failure::{ErrorType, Failure};
use self::form::Form;
use self::query::Question;
use super::{ApiState, Client, Query, json_response};

/// The prefixes under which the API is.
const PREFIXES: [&str; 2] = ["/api/v1", "/prometheus/api/v1"];

/// Where clients look whether there is a Prometheus, and what they are told.
const PROBES: [(&str, &str); 4] = [
    ("/-/healthy", "Tidemill is Healthy.\n"),
    ("/-/ready", "Tidemill is Ready.\n"),
    ("/prometheus/-/healthy", "Tidemill is Healthy.\n"),
    ("/prometheus/-/ready", "Tidemill is Ready.\n"),
];

/// The routes, under each prefix.
pub(super) fn routes<Q: Query>() -> Router<ApiState<Q>> {
    let mut all = Router::new();
    for prefix in PREFIXES {
        all = all.nest(prefix, under_prefix());
    }
    for (path, told) in PROBES {
        all = all.route(path, get(async move |State(state): State<ApiState<Q>>| probe(&state, path, told)));
    }
    all
}

/// Healthy is what answers; ready as `/readyz` has it.
fn probe<Q>(state: &ApiState<Q>, path: &str, told: &'static str) -> Response {
    if path.ends_with("ready") && !(state.0.readiness)().is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "Tidemill is not ready; /readyz says why\n")
            .into_response();
    }
    told.into_response()
}

fn under_prefix<Q: Query>() -> Router<ApiState<Q>> {
    let both = axum::routing::MethodFilter::GET.or(axum::routing::MethodFilter::POST);
    Router::new()
        .route("/query", on(both, instant::<Q>))
        .route("/query_range", on(both, range::<Q>))
        .route("/query_exemplars", on(both, async |request| told(request, status::exemplars).await))
        .route("/labels", on(both, labels::<Q>))
        .route("/label/{name}/values", get(label_values::<Q>))
        .route("/series", on(both, series::<Q>))
        .route("/metadata", get(metadata::<Q>))
        .route("/rules", get(async |request| told(request, status::rules).await))
        .route("/alerts", get(async || fixed(&json!({ "alerts": [] }))))
        .route("/targets", get(async || fixed(&json!({ "activeTargets": [], "droppedTargets": [] }))))
        .route("/targets/metadata", get(async || fixed(&json!([]))))
        .route("/format_query", on(both, async |request| told(request, status::format_query).await))
        .route("/parse_query", on(both, async |request| told(request, status::parse_query).await))
        .route("/status/buildinfo", get(async || json_response(status::build())))
        .route("/status/config", get(async || fixed(&json!({ "yaml": "" }))))
        .route("/status/flags", get(flags::<Q>))
        .route("/status/runtimeinfo", get(runtime::<Q>))
        .route("/status/tsdb", get(tsdb::<Q>))
}

/// What never changes.
fn fixed(data: &serde_json::Value) -> Response {
    json_response(status::plain(data))
}

/// An answer, or the error as Prometheus answers it.
struct Reply(Result<Response, Failure>);

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        self.0.unwrap_or_else(IntoResponse::into_response)
    }
}

/// Answers when the query's turn comes, within its deadline; `work` is told how long it waited.
async fn run<Q: Query, F: Future<Output = Result<Bytes, Failure>>>(
    state: &ApiState<Q>,
    form: &Form,
    work: impl FnOnce(Duration) -> F,
) -> Result<Response, Failure> {
    let limit = state.0.limits.query_timeout;
    // Less than nothing is no time, too.
    let asked = form.span("timeout")?.map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
    let timeout = asked.map_or(limit, |asked| asked.min(limit));
    let timed_out = || Failure::new(ErrorType::Timeout, "query timed out in query execution");
    if timeout.is_zero() {
        return Err(timed_out());
    }
    let asked_at = Instant::now();
    let gate = &state.0.gate;
    let turn = gate.enter(Client::current()).await.inspect_err(|problem| state.count_refusal(problem));
    let _turn = turn.map_err(Failure::from)?;
    let Ok(done) = tokio::time::timeout(timeout, work(asked_at.elapsed())).await else {
        let problem = super::too_slow(&state.0.limits);
        state.count_refusal(&problem);
        return Err(timed_out());
    };
    Ok(json_response(gate.hold(done?).await?))
}

async fn instant<Q: Query>(State(state): State<ApiState<Q>>, request: Request) -> Reply {
    Reply(asked(&state, request, Question::instant).await)
}

async fn range<Q: Query>(State(state): State<ApiState<Q>>, request: Request) -> Reply {
    Reply(asked(&state, request, Question::range).await)
}

async fn asked<Q: Query>(
    state: &ApiState<Q>,
    request: Request,
    question: impl FnOnce(&Form, &ApiState<Q>) -> Result<Question, Failure>,
) -> Result<Response, Failure> {
    let form = Form::of(request).await?;
    let question = question(&form, state)?;
    run(state, &form, |queued| question.answer(state, queued)).await
}

async fn labels<Q: Query>(State(state): State<ApiState<Q>>, request: Request) -> Reply {
    Reply(with_form(&state, request, async |form| names::labels(&state, form).await).await)
}

async fn label_values<Q: Query>(
    State(state): State<ApiState<Q>>,
    Path(name): Path<String>,
    request: Request,
) -> Reply {
    Reply(with_form(&state, request, async |form| names::values(&state, form, &name).await).await)
}

async fn series<Q: Query>(State(state): State<ApiState<Q>>, request: Request) -> Reply {
    Reply(with_form(&state, request, async |form| names::series(&state, form).await).await)
}

async fn metadata<Q: Query>(State(state): State<ApiState<Q>>, request: Request) -> Reply {
    Reply(with_form(&state, request, async |form| names::metadata(&state, form).await).await)
}

async fn tsdb<Q: Query>(State(state): State<ApiState<Q>>, request: Request) -> Reply {
    Reply(with_form(&state, request, async |form| status::tsdb(&state, form).await).await)
}

async fn with_form<Q: Query>(
    state: &ApiState<Q>,
    request: Request,
    work: impl AsyncFnOnce(&Form) -> Result<Bytes, Failure>,
) -> Result<Response, Failure> {
    let form = Form::of(request).await?;
    run(state, &form, |_| work(&form)).await
}

/// Answers from the form alone.
async fn told(request: Request, answer: impl FnOnce(&Form) -> Result<Bytes, Failure>) -> Reply {
    let answered = async { answer(&Form::of(request).await?) };
    Reply(answered.await.map(json_response))
}

async fn flags<Q: Query>(State(state): State<ApiState<Q>>) -> Response {
    json_response(status::flags(&state))
}

async fn runtime<Q: Query>(State(state): State<ApiState<Q>>) -> Response {
    json_response(status::runtime(&state))
}
