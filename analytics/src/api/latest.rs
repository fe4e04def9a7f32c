//! `GET /v1/latest`: the newest sample of each selected series.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::Uri;
use serde_json::Value as Json;
use tidemill_store::read::{Explained, Latest, Selector};

use super::compute::compute;
use super::explain;
use super::json::{Pushed, Rows, write_series};
use super::params::Params;
use super::problem::Problem;
use super::samples::write_time_and_value;
use super::{ApiState, Query, Route};

pub(super) const ROUTE: Route =
    Route { path: "/v1/latest", parameters: &["tenant", "device", "metric", "limit", "explain"] };

pub(super) async fn answer<Q: Query>(
    State(state): State<ApiState<Q>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::of(&uri, ROUTE.parameters)?;
    let (selector, limit) = (params.selector()?, params.limit(state.0.limits.latest)?);
    let explained = explain::wanted(&params)?;
    state.run(latest(&state, selector, limit, explained)).await
}

async fn latest<Q: Query>(
    state: &ApiState<Q>,
    selector: Selector,
    limit: usize,
    explained: bool,
) -> Result<Bytes, Problem> {
    let Explained { answer: found, explain } = state.0.reader.latest(&selector).await?;
    let bytes_max = state.0.limits.response_bytes_max;
    let more = explain::fields(&explain, explained);
    compute(limit.min(found.len()), move || render(&found, limit, bytes_max, more)).await
}

fn render(found: &[Latest], limit: usize, bytes_max: usize, more: Vec<(&'static str, Json)>) -> Bytes {
    let mut rows = Rows::new("samples", bytes_max);
    let written = found.iter().take(limit).take_while(|one| {
        let pushed = rows.push(|out| {
            write_series(out, &one.source, &one.metric);
            write_time_and_value(out, &one.sample);
        });
        pushed == Pushed::Kept
    });
    let truncated = written.count() < found.len();
    let mut fields = vec![("truncated", Json::from(truncated))];
    fields.extend(more);
    rows.finish(&fields)
}
