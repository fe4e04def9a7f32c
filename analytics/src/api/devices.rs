//! `GET /v1/devices`: the devices that have sent something, in order of tenant and name, a page at a time.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::Uri;
use tidemill_store::catalog::SourceEntry;
use tidemill_store::model::Source;
use tidemill_store::read::Selector;

use super::compute::compute;
use super::cursor::Fingerprint;
use super::json::{Pushed, Rows, write_json, write_tags};
use super::params::Params;
use super::problem::Problem;
use super::{ApiState, Query, Route};

pub(super) const ROUTE: Route =
    Route { path: "/v1/devices", parameters: &["tenant", "device", "metric", "limit", "cursor"] };

pub(super) async fn answer<Q: Query>(
    State(state): State<ApiState<Q>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::of(&uri, ROUTE.parameters)?;
    let (selector, limit) = (params.selector()?, params.limit(state.0.limits.entries)?);
    let query = Fingerprint::of(ROUTE.path, &selector);
    let after = params.cursor(query)?;
    state.run(devices(&state, selector, limit, Page { query, after })).await
}

/// Where a page starts.
struct Page {
    query: Fingerprint,
    after: Option<Vec<u8>>,
}

async fn devices<Q: Query>(
    state: &ApiState<Q>,
    selector: Selector,
    limit: usize,
    page: Page,
) -> Result<Bytes, Problem> {
    let entries = state.0.reader.sources(&selector).await?;
    let bytes_max = state.0.limits.response_bytes_max;
    let skews = state.0.skews.get().cloned();
    let skew = move |source: &Source| skews.as_ref().and_then(|skews| skews(source));
    compute(entries.len(), move || render(&entries, limit, &page, (bytes_max, skew))).await
}

fn render(
    entries: &[Arc<SourceEntry>],
    limit: usize,
    page: &Page,
    (bytes_max, skew): (usize, impl Fn(&Source) -> Option<f64>),
) -> Bytes {
    let same = |a: &Arc<SourceEntry>, b: &Arc<SourceEntry>| place(&a.source) == place(&b.source);
    let mut rows = Rows::new("devices", bytes_max);
    let (mut last, mut more) = (None, false);
    for sources in entries.chunk_by(same) {
        let Some(here) = sources.first().map(|first| place(&first.source)) else { continue };
        if page.after.as_ref().is_some_and(|after| here <= *after) {
            continue;
        }
        if rows.count() >= limit || rows.push(|out| write_device(out, sources, &skew)) == Pushed::Full {
            more = true;
            break;
        }
        last = Some(here);
    }
    let next = last.filter(|_| more).map(|last| page.query.seal(&last));
    rows.finish(&[("next", next.into())])
}

/// Tenant and device as bytes in the same order: names hold no NUL.
fn place(source: &Source) -> Vec<u8> {
    [source.tenant().as_str(), source.device().as_str()].join("\0").into_bytes()
}

fn write_device(out: &mut Vec<u8>, sources: &[Arc<SourceEntry>], skew: impl Fn(&Source) -> Option<f64>) {
    let Some(first) = sources.first() else { return };
    out.extend_from_slice(b"{\"tenant\":");
    write_json(out, first.source.tenant().as_str());
    out.extend_from_slice(b",\"device\":");
    write_json(out, first.source.device().as_str());
    out.extend_from_slice(b",\"skew_seconds\":");
    write_json(out, &skew(&first.source));
    out.extend_from_slice(b",\"sources\":[");
    for (n, entry) in sources.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"{\"tags\":" } else { b",{\"tags\":" });
        write_tags(out, entry.source.tags());
        let metrics: Vec<&str> = entry.metrics.iter().map(|metric| metric.metric.as_str()).collect();
        out.extend_from_slice(b",\"metrics\":");
        write_json(out, &metrics);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}
