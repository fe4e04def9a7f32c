//! `GET /v1/metrics`: which metrics the selected devices have sent, of what kind and unit, a page at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::Uri;
use tidemill_store::catalog::SourceEntry;
use tidemill_store::model::{Metric, Unit, ValueKind};
use tidemill_store::read::Selector;

use super::compute::compute;
use super::cursor::Fingerprint;
use super::json::{Pushed, Rows, kind_name, write_json};
use super::params::Params;
use super::problem::Problem;
use super::{ApiState, Query, Route};

pub(super) const ROUTE: Route =
    Route { path: "/v1/metrics", parameters: &["tenant", "device", "metric", "limit", "cursor"] };

pub(super) async fn answer<Q: Query>(
    State(state): State<ApiState<Q>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::of(&uri, ROUTE.parameters)?;
    let (selector, limit) = (params.selector()?, params.limit(state.0.limits.entries)?);
    let query = Fingerprint::of(ROUTE.path, &selector);
    let after = params.cursor(query)?;
    let page = Page { limit, query, after, bytes_max: state.0.limits.response_bytes_max };
    let list = async {
        let sources = state.0.reader.sources(&selector).await?;
        compute(sources.len(), move || page.render(gathered(&sources, &selector))).await
    };
    state.run(list).await
}

/// Which part of the list is asked for.
struct Page {
    limit: usize,
    query: Fingerprint,
    after: Option<Vec<u8>>,
    bytes_max: usize,
}

impl Page {
    fn render(&self, found: BTreeMap<Metric, About>) -> Bytes {
        let mut rows = Rows::new("metrics", self.bytes_max);
        let (mut last, mut more) = (None, false);
        let behind = |metric: &Metric| {
            self.after.as_ref().is_none_or(|after| metric.as_str().as_bytes() > after.as_slice())
        };
        for (metric, about) in found.into_iter().filter(|(metric, _)| behind(metric)) {
            if rows.count() >= self.limit
                || rows.push(|out| write_json(out, &about.row(&metric))) == Pushed::Full
            {
                more = true;
                break;
            }
            last = Some(metric);
        }
        let next = last.filter(|_| more).map(|last| self.query.seal(last.as_str().as_bytes()));
        rows.finish(&[("next", next.into())])
    }
}

/// What is known of a metric over all selected sources.
#[derive(Debug, Default)]
struct About {
    kinds: BTreeSet<ValueKind>,
    units: BTreeSet<Unit>,
    series: u64,
}

/// A metric as it is answered.
#[derive(serde::Serialize)]
struct Row<'a> {
    metric: &'a str,
    kinds: Vec<&'static str>,
    units: Vec<&'a str>,
    series: u64,
}

impl About {
    fn row<'a>(&'a self, metric: &'a Metric) -> Row<'a> {
        let kinds = self.kinds.iter().map(|kind| kind_name(*kind)).collect();
        let units = self.units.iter().map(Unit::as_str).collect();
        Row { metric: metric.as_str(), kinds, units, series: self.series }
    }
}

fn gathered(sources: &[Arc<SourceEntry>], selector: &Selector) -> BTreeMap<Metric, About> {
    let mut found: BTreeMap<Metric, About> = BTreeMap::new();
    let wanted = |metric: &Metric| selector.metrics.is_empty() || selector.metrics.contains(metric);
    for entry in sources.iter().flat_map(|source| source.metrics.iter()).filter(|entry| wanted(&entry.metric))
    {
        let about = found.entry(entry.metric.clone()).or_default();
        about.kinds.extend(entry.kinds.iter());
        about.units.extend(entry.unit.iter().cloned());
        about.series += 1;
    }
    found
}
