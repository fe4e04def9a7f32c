//! `GET /v1/samples`: samples of the selected series in one order of time, a page at a time.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::Uri;
use tidemill_store::model::{TimeRange, Timestamp};
use tidemill_store::read::{Explain, Sample, Selector, Series};
use tidemill_store::wide::Order;

use super::compute::compute;
use super::cursor::{Fingerprint, Position, SamplesCursor};
use super::explain;
use super::json::{Pushed, Rows, write_quoted, write_series, write_value};
use super::merge::{Merged, rank};
use super::params::{Params, invalid_cursor};
use super::problem::Problem;
use super::strides::Strides;
use super::{ApiState, Query, Route};
use crate::moment::Utc;

pub(super) const ROUTE: Route = Route {
    path: "/v1/samples",
    parameters: &["tenant", "device", "metric", "start", "end", "limit", "order", "cursor", "explain"],
};

pub(super) async fn answer<Q: Query>(
    State(state): State<ApiState<Q>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let question = Question::of(&uri, &state)?;
    state.run(page(&state, question)).await
}

struct Question {
    selector: Selector,
    /// What the first page asked for.
    range: TimeRange,
    order: Order,
    limit: usize,
    after: Option<Position>,
    query: Fingerprint,
    explained: bool,
}

impl Question {
    fn of<Q>(uri: &Uri, state: &ApiState<Q>) -> Result<Self, Problem> {
        let params = Params::of(uri, ROUTE.parameters)?;
        let (selector, order) = (params.selector()?, params.order()?);
        let (range, limit) = (params.range(state.0.clock.now())?, params.limit(state.0.limits.samples)?);
        let descending = order == Order::Descending;
        let query = Fingerprint::of(ROUTE.path, &selector).with(&[u8::from(descending)]);
        let position = params.cursor(query)?;
        let cursor =
            position.map(|position| SamplesCursor::read(&position)).transpose().map_err(invalid_cursor)?;
        let (range, after) = cursor.map_or((range, None), |cursor| (cursor.range, Some(cursor.after)));
        let explained = explain::wanted(&params)?;
        Ok(Self { selector, range, order, limit, after, query, explained })
    }

    /// What is left of the range.
    fn rest(&self) -> TimeRange {
        let (start, end) = (self.range.start(), self.range.end());
        let rest = match (&self.after, self.order) {
            (None, _) => return self.range,
            (Some(after), Order::Ascending) => TimeRange::new(after.time, end),
            (Some(after), Order::Descending) => TimeRange::new(start, just_after(after.time)),
        };
        rest.unwrap_or(self.range)
    }
}

fn just_after(time: Timestamp) -> Timestamp {
    time.saturating_add(std::time::Duration::from_nanos(1))
}

async fn page<Q: Query>(state: &ApiState<Q>, question: Question) -> Result<Bytes, Problem> {
    let slices = state.0.reader.slices(&question.selector, question.rest(), question.order).await?;
    let mut strides = Strides::new(slices, question.order, question.limit);
    let mut page = Page::new(question, state.0.limits.response_bytes_max);
    while let Some(part) = state.read(&page.question.selector, &mut strides).await? {
        page.explain.add(&part.explain);
        page = compute(part.samples, move || page.with(part.series)).await?;
        page.more |= page.is_full() && !strides.is_done();
        if page.more {
            break;
        }
    }
    Ok(page.finish())
}

/// A page under construction.
struct Page {
    question: Question,
    rows: Rows,
    last: Option<Position>,
    /// Whether there is or may be more behind the last row.
    more: bool,
    explain: Explain,
}

impl Page {
    fn new(question: Question, bytes_max: usize) -> Self {
        Self {
            question,
            rows: Rows::new("samples", bytes_max),
            last: None,
            more: false,
            explain: Explain::default(),
        }
    }

    fn is_full(&self) -> bool {
        self.rows.count() >= self.question.limit
    }

    /// With the samples of a part, as many as still go in.
    fn with(mut self, mut series: Vec<Series>) -> Self {
        rank(&mut series);
        let mut last = None;
        let mut heads: Vec<Vec<u8>> = vec![Vec::new(); series.len()];
        for (at, sample) in Merged::new(&series, self.question.order, self.question.after.as_ref()) {
            let (Some(head), Some(one)) = (heads.get_mut(at), series.get(at)) else { continue };
            if head.is_empty() {
                write_series(head, &one.source, &one.metric);
            }
            if self.is_full() || self.rows.push(|out| write_sample(out, head, sample)) == Pushed::Full {
                self.more = true;
                break;
            }
            last = Some((at, sample.time));
        }
        if let Some((one, time)) = last.and_then(|(at, time)| Some((series.get(at)?, time))) {
            self.last = Some(Position { time, source: one.source.id(), metric: one.metric.clone() });
        }
        self
    }

    fn finish(self) -> Bytes {
        let cursor = |after| SamplesCursor { range: self.question.range, after }.seal(self.question.query);
        let next = self.last.filter(|_| self.more).map(cursor);
        let mut fields = vec![("next", next.into())];
        fields.extend(explain::fields(&self.explain, self.question.explained));
        self.rows.finish(&fields)
    }
}

/// Writes the row of a sample; `head` is what all rows of its series begin with.
fn write_sample(out: &mut Vec<u8>, head: &[u8], sample: &Sample) {
    out.extend_from_slice(head);
    write_time_and_value(out, sample);
}

/// Writes `,"time":…,"value":…}`.
pub(super) fn write_time_and_value(out: &mut Vec<u8>, sample: &Sample) {
    out.extend_from_slice(b",\"time\":");
    write_quoted(out, Utc(sample.time));
    out.extend_from_slice(b",\"value\":");
    write_value(out, &sample.value);
    out.push(b'}');
}
