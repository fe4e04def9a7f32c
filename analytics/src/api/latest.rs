//! `GET /v1/latest`: the newest sample of each selected series.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::Uri;
use tidemill_store::read::{Latest, Selector};

use super::compute::compute;
use super::json::{Pushed, Rows, write_series};
use super::params::Params;
use super::problem::Problem;
use super::samples::write_time_and_value;
use super::{ApiState, Query, Route};

pub(super) const ROUTE: Route =
    Route { path: "/v1/latest", parameters: &["tenant", "device", "metric", "limit"] };

pub(super) async fn answer<Q: Query>(
    State(state): State<ApiState<Q>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::of(&uri, ROUTE.parameters)?;
    let (selector, limit) = (params.selector()?, params.limit(state.0.limits.latest)?);
    state.run(latest(&state, selector, limit)).await
}

async fn latest<Q: Query>(state: &ApiState<Q>, selector: Selector, limit: usize) -> Result<Bytes, Problem> {
    let found = state.0.reader.latest(&selector).await?;
    let bytes_max = state.0.limits.response_bytes_max;
    compute(limit.min(found.len()), move || render(&found, limit, bytes_max)).await
}

fn render(found: &[Latest], limit: usize, bytes_max: usize) -> Bytes {
    let mut rows = Rows::new("samples", bytes_max);
    let written = found.iter().take(limit).take_while(|one| {
        let pushed = rows.push(|out| {
            write_series(out, &one.source, &one.metric);
            write_time_and_value(out, &one.sample);
        });
        pushed == Pushed::Kept
    });
    let truncated = written.count() < found.len();
    rows.finish(&[("truncated", truncated.into())])
}
