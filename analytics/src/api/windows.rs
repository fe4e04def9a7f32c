//! `GET /v1/windows`: aggregates over windows of time, for each selected series.
//!
//! The windows are those that share a moment with `[start, end)`; each is named by its whole bounds, and samples
//! outside of `[start, end)` are not in it.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::Uri;
use jiff::tz::TimeZone;
use tidemill_store::model::{TimeRange, Timestamp};
use tidemill_store::read::{Selector, Series};
use tidemill_store::rollup::Fields;
use tidemill_store::wide::Order;

use super::compute::compute;
use super::json::{Pushed, Rows, write_answer, write_key, write_quoted, write_series};
use super::params::{Params, one_of};
use super::problem::{Problem, ProblemKind};
use super::strides::Strides;
use super::{ApiState, Query, Route};
use crate::moment::{Local, Utc};
use crate::window::{Aggregate, Cut, Fill, Row, SeriesKey, Table, TableLimits, Tiling, Window};

pub(super) const ROUTE: Route = Route {
    path: "/v1/windows",
    parameters: &["tenant", "device", "metric", "start", "end", "window", "aggregate", "tz", "fill", "limit"],
};

/// What is answered where the request does not say.
const DEFAULT_AGGREGATES: [Aggregate; 4] = [Aggregate::Avg, Aggregate::Min, Aggregate::Max, Aggregate::Count];

/// Samples that are in memory at once, about: 10 MB, and a few milliseconds to aggregate before others run.
const SAMPLES_AT_ONCE: usize = 250_000;

pub(super) async fn answer<Q: Query>(
    State(state): State<ApiState<Q>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let question = Question::of(&uri, &state)?;
    state.run(windows(&state, question)).await
}

struct Question {
    selector: Selector,
    range: TimeRange,
    window: Window,
    aggregates: Vec<Aggregate>,
    /// Where it is given, times are answered in it.
    zone: Option<TimeZone>,
    fill: Fill,
    limit: usize,
}

impl Question {
    fn of<Q>(uri: &Uri, state: &ApiState<Q>) -> Result<Self, Problem> {
        let params = Params::of(uri, ROUTE.parameters)?;
        let window = params.read("window", Window::parse)?;
        Ok(Self {
            selector: params.selector()?,
            range: params.range(state.0.clock.now())?,
            window: window
                .ok_or_else(|| Problem::invalid("window", "is missing; say how long, such as 5m or 1d"))?,
            aggregates: aggregates(&params)?,
            zone: params.zone()?,
            fill: params.word("fill", Fill::ALL.map(|fill| (fill.name(), fill)), Fill::None)?,
            limit: params.limit(state.0.limits.windows)?,
        })
    }

    fn tiling(&self) -> Tiling {
        Tiling::new(self.window, self.zone.clone().unwrap_or(TimeZone::UTC))
    }
}

/// `aggregate`: names with commas between them, or repeated, or both; each once, in the order given.
fn aggregates(params: &Params) -> Result<Vec<Aggregate>, Problem> {
    let words = Aggregate::ALL.map(|aggregate| (aggregate.name(), aggregate));
    let mut aggregates = Vec::new();
    for name in params.all("aggregate").flat_map(|names| names.split(',')) {
        let aggregate = one_of(name, &words).map_err(|why| Problem::invalid("aggregate", why))?;
        if !aggregates.contains(&aggregate) {
            aggregates.push(aggregate);
        }
    }
    Ok(if aggregates.is_empty() { DEFAULT_AGGREGATES.to_vec() } else { aggregates })
}

async fn windows<Q: Query>(state: &ApiState<Q>, question: Question) -> Result<Bytes, Problem> {
    let limits = TableLimits { rows: question.limit, series: state.0.limits.series_max };
    let mut table = Table::new(question.tiling(), question.range, question.fill, limits);
    if question.aggregates.iter().any(|aggregate| aggregate.fields().intersects(Fields::SKETCH)) {
        table = table.with_sketches();
    }
    let slices = state.0.reader.slices(&question.selector, question.range, Order::Ascending).await?;
    let mut strides = Strides::new(slices, Order::Ascending, SAMPLES_AT_ONCE);
    while let Some(part) = state.read(&question.selector, &mut strides).await? {
        let until = part.range.end();
        table = compute(part.samples, move || with(table, &part.series)).await??;
        if table.pass(until) {
            break;
        }
    }
    let bytes_max = state.0.limits.response_bytes_max;
    compute(table.size(), move || render(&table, &question, bytes_max)).await
}

fn with(mut table: Table, part: &[Series]) -> Result<Table, Problem> {
    for series in part {
        table.add(series).map_err(|error| {
            let detail = format!("{error} have samples in the range; ask for fewer devices or metrics");
            Problem::new(ProblemKind::TooLarge, detail)
        })?;
    }
    Ok(table)
}

fn render(table: &Table, question: &Question, bytes_max: usize) -> Bytes {
    let mut rows = Rows::new("series", bytes_max);
    let mut whole = true;
    for (key, windows) in table.rows(&question.aggregates) {
        let pushed = rows.push(|out| whole &= write_row(out, key, &windows, question, bytes_max));
        if !whole || pushed == Pushed::Full {
            whole = false;
            break;
        }
    }
    let cut = table.cut();
    let next = match cut {
        Some(Cut::At(time)) if whole => Some(shown(time, question.zone.as_ref())),
        Some(Cut::At(_) | Cut::Series(_)) | None => None,
    };
    let truncated = cut.is_some() || !whole;
    rows.finish(&[("truncated", truncated.into()), ("next_start", next.into())])
}

fn shown(time: Timestamp, zone: Option<&TimeZone>) -> String {
    zone.map_or_else(|| Utc(time).to_string(), |zone| Local(time, zone).to_string())
}

/// Writes a series with its windows; stops behind the window that passes the limit, and says whether it did not.
fn write_row(
    out: &mut Vec<u8>,
    key: &SeriesKey,
    windows: &[Row],
    question: &Question,
    bytes_max: usize,
) -> bool {
    write_series(out, &key.source, &key.metric);
    out.extend_from_slice(b",\"windows\":[");
    for (n, row) in windows.iter().enumerate() {
        if n > 0 {
            if out.len() > bytes_max {
                out.extend_from_slice(b"]}");
                return false;
            }
            out.push(b',');
        }
        write_window(out, row, question);
    }
    out.extend_from_slice(b"]}");
    true
}

fn write_window(out: &mut Vec<u8>, row: &Row, question: &Question) {
    for (lead, time) in [(&b"{\"start\":"[..], row.window.start()), (b",\"end\":", row.window.end())] {
        out.extend_from_slice(lead);
        match &question.zone {
            Some(zone) => write_quoted(out, Local(time, zone)),
            None => write_quoted(out, Utc(time)),
        }
    }
    for (aggregate, answer) in question.aggregates.iter().zip(&row.answers) {
        out.push(b',');
        write_key(out, aggregate.name());
        write_answer(out, answer);
    }
    out.push(b'}');
}
