//! `GET /v1/windows`: aggregates over windows of time, for each selected series.
//!
//! The windows are those that share a moment with `[start, end)`; each is named by its whole bounds, and samples
//! outside of `[start, end)` are not in it.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hashbrown::HashMap;
use hyper::Uri;
use jiff::tz::TimeZone;
use tidemill_store::model::{TimeRange, Timestamp};
use tidemill_store::read::{Explain, Explained, Selector, SeriesFolds};
use tidemill_store::rollup::Fields;
use tidemill_store::wide::Order;

use super::compute::compute;
use super::explain;
use super::json::{Pushed, Rows, write_answer, write_key, write_quoted, write_series};
use super::params::{Params, one_of};
use super::problem::{Problem, ProblemKind};
use super::strides::Strides;
use super::{ApiState, Query, Route};
use crate::moment::{Local, Utc};
use crate::query::QueryError;
use crate::window::{Aggregate, Cut, Fill, Row, SeriesKey, Table, TableLimits, Tiling, Window};

pub(super) const ROUTE: Route = Route {
    path: "/v1/windows",
    parameters: &[
        "tenant",
        "device",
        "metric",
        "start",
        "end",
        "window",
        "aggregate",
        "tz",
        "fill",
        "limit",
        "explain",
    ],
};

/// What is answered where the request does not say.
const DEFAULT_AGGREGATES: [Aggregate; 4] = [Aggregate::Avg, Aggregate::Min, Aggregate::Max, Aggregate::Count];

/// Cells that are in memory at once, about: 10 MB, and a few milliseconds to merge before others run.
const CELLS_AT_ONCE: usize = 25_000;
/// Slices that are read at once to begin with: folds are small.
const SLICES_AT_ONCE: usize = 32;
/// Most windows of one stride; a second has no more at the shortest.
const CUTS_MAX: usize = 10_000;

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
    explained: bool,
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
            explained: explain::wanted(&params)?,
        })
    }

    /// What the folds must know.
    fn fields(&self) -> Fields {
        self.aggregates.iter().fold(Fields::COUNT, |fields, aggregate| fields | aggregate.fields())
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
    let fields = question.fields();
    if fields.intersects(Fields::SKETCH) {
        table = table.with_sketches();
    }
    let slices = state.0.reader.slices(&question.selector, question.range, Order::Ascending).await?;
    let mut strides = Strides::new(slices, Order::Ascending, CELLS_AT_ONCE).beginning_with(SLICES_AT_ONCE);
    let mut explain = Explain::default();
    while let Some(part) = read(state, &question, fields, &mut strides).await? {
        explain.add(&part.explain);
        let until = part.until;
        table = compute(part.cells, move || with(table, part)).await??;
        if table.pass(until) {
            break;
        }
    }
    let bytes_max = state.0.limits.response_bytes_max;
    compute(table.size(), move || render(&table, &question, &explain, bytes_max)).await
}

/// The folds of a part of the range.
struct Part {
    until: Timestamp,
    cuts: Vec<Timestamp>,
    series: Vec<SeriesFolds>,
    cells: usize,
    explain: Explain,
}

/// Reads the next stride; halves it where it is too large. `None` at the end.
async fn read<Q: Query>(
    state: &ApiState<Q>,
    question: &Question,
    fields: Fields,
    strides: &mut Strides,
) -> Result<Option<Part>, QueryError> {
    let tiling = question.tiling();
    while let Some(range) = strides.next() {
        // Lets others run first: a store in memory never waits.
        tokio::task::yield_now().await;
        let windows = tiling.windows_in(range).map(|window| window.end().min(range.end()));
        let cuts: Vec<Timestamp> = [range.start()].into_iter().chain(windows.take(CUTS_MAX)).collect();
        if cuts.last() != Some(&range.end()) && strides.halve(range) {
            continue;
        }
        match state.0.reader.folds(&question.selector, &cuts, fields).await {
            Err(QueryError::TooLarge { halves_may_do: true, .. }) if strides.halve(range) => {}
            Err(error) => return Err(error),
            Ok(Explained { answer: series, explain }) => {
                let cells = series.iter().map(|series| series.cells.len()).sum();
                strides.took(cells);
                let samples = series.iter().flat_map(|series| &series.cells).map(|(_, state)| state.count());
                state.0.metrics.samples_read.inc_by(samples.sum());
                let until = cuts.last().copied().unwrap_or(range.end());
                return Ok(Some(Part { until, cuts, series, cells, explain }));
            }
        }
    }
    Ok(None)
}

fn with(mut table: Table, part: Part) -> Result<Table, Problem> {
    for SeriesFolds { source, metric, cells } in part.series {
        table.add_cells(SeriesKey { source, metric }, &part.cuts, cells).map_err(|error| {
            let detail = format!("{error} have samples in the range; ask for fewer devices or metrics");
            Problem::new(ProblemKind::TooLarge, detail)
        })?;
    }
    Ok(table)
}

fn render(table: &Table, question: &Question, explain: &Explain, bytes_max: usize) -> Bytes {
    let mut rows = Rows::new("series", bytes_max);
    let mut whole = true;
    let mut bounds = Bounds::default();
    for (key, windows) in table.rows(&question.aggregates) {
        let pushed =
            rows.push(|out| whole &= write_row(out, key, &windows, (question, &mut bounds), bytes_max));
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
    let mut fields = vec![("truncated", truncated.into()), ("next_start", next.into())];
    fields.extend(explain::fields(explain, question.explained));
    rows.finish(&fields)
}

fn shown(time: Timestamp, zone: Option<&TimeZone>) -> String {
    zone.map_or_else(|| Utc(time).to_string(), |zone| Local(time, zone).to_string())
}

/// Writes a series with its windows; stops behind the window that passes the limit, and says whether it did not.
fn write_row(
    out: &mut Vec<u8>,
    key: &SeriesKey,
    windows: &[Row],
    (question, bounds): (&Question, &mut Bounds),
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
        write_window(out, row, question, bounds);
    }
    out.extend_from_slice(b"]}");
    true
}

fn write_window(out: &mut Vec<u8>, row: &Row, question: &Question, bounds: &mut Bounds) {
    bounds.write(out, row.window, question.zone.as_ref());
    for (aggregate, answer) in question.aggregates.iter().zip(&row.answers) {
        out.push(b',');
        write_key(out, aggregate.name());
        write_answer(out, answer);
    }
    out.push(b'}');
}

/// The beginnings of windows as they were written before: all series have the same windows, and dates take long.
#[derive(Debug, Default)]
struct Bounds {
    written: HashMap<TimeRange, Vec<u8>>,
}

impl Bounds {
    /// Most that are kept.
    const KEPT_MAX: usize = 4_096;

    fn write(&mut self, out: &mut Vec<u8>, window: TimeRange, zone: Option<&TimeZone>) {
        if let Some(written) = self.written.get(&window) {
            return out.extend_from_slice(written);
        }
        let from = out.len();
        for (lead, time) in [(&b"{\"start\":"[..], window.start()), (b",\"end\":", window.end())] {
            out.extend_from_slice(lead);
            match zone {
                Some(zone) => write_quoted(out, Local(time, zone)),
                None => write_quoted(out, Utc(time)),
            }
        }
        if self.written.len() < Self::KEPT_MAX {
            self.written.insert(window, out.get(from..).unwrap_or_default().to_vec());
        }
    }
}
