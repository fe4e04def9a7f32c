//! `GET /v1/rejects`: messages that could not be taken, oldest first, a page at a time; `GET /v1/rejects/{id}`: one of
//! them whole; `GET /v1/rejects/counts`: how many were not kept because there were too many.
//!
//! Lists show the beginning of a payload; one reject shows all of it, as text where it is text and in hexadecimal. Reads
//! from the store directly: rejects are no samples, and no reader knows them.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use hyper::Uri;
use tidemill_store::layout::{RejectCountRow, RejectKind, RejectRow};
use tidemill_store::model::{TimeRange, Timestamp};
use tidemill_store::rejects::{self, InvalidPlace, Listed, RejectFilter, RejectPlace};
use tidemill_store::wide::{ReadError, Wide};

use super::cursor::Fingerprint;
use super::json::{Pushed, Rows, write_json, write_key, write_quoted};
use super::params::{Params, invalid_cursor};
use super::problem::{Problem, ProblemKind};
use super::{ApiState, Query, Route, meta, observe};
use crate::moment::Utc;
use crate::query::QueryError;

pub(super) const ROUTE: Route = Route {
    path: "/v1/rejects",
    parameters: &["start", "end", "kind", "reason", "device", "topic", "limit", "cursor"],
};
pub(super) const ONE: Route = Route { path: "/v1/rejects/{id}", parameters: &[] };
pub(super) const COUNTS: Route = Route {
    path: "/v1/rejects/counts",
    parameters: &["start", "end", "kind", "reason", "device", "topic", "limit"],
};
const KINDS: [(&str, Option<RejectKind>); 2] =
    [("dead_letter", Some(RejectKind::DeadLetter)), ("quarantine", Some(RejectKind::Quarantine))];
/// Days that one list may span: each is looked at.
const RANGE_MAX: std::time::Duration = std::time::Duration::from_hours(24 * 400);

/// The route of rejects in `wide`.
pub fn rejects_router<Q: Query, W: Wide>(state: ApiState<Q>, wide: Arc<W>) -> Router {
    let shared = (state.clone(), Arc::clone(&wide));
    let list = move |uri: Uri| {
        let (state, wide) = shared.clone();
        async move { answer(&state, &*wide, &uri).await }
    };
    let shared = (state.clone(), Arc::clone(&wide));
    let counts = move |uri: Uri| {
        let (state, wide) = shared.clone();
        async move {
            let params = Params::of(&uri, COUNTS.parameters)?;
            let filter = filter(&params, state.0.clock.now())?;
            let limit = params.limit(state.0.limits.entries)?;
            state.run(counted(&*wide, filter, limit, state.0.limits.response_bytes_max)).await
        }
    };
    let shared = (state.clone(), wide);
    let one = move |Path(id): Path<String>, uri: Uri| {
        let (state, wide) = shared.clone();
        async move {
            Params::of(&uri, ONE.parameters)?;
            let place = id.parse::<RejectPlace>().map_err(|why| Problem::invalid("id", why))?;
            state.run(one(&*wide, place)).await
        }
    };
    Router::new()
        .route(ROUTE.path, get(list))
        .route(COUNTS.path, get(counts))
        .route(ONE.path, get(one))
        .method_not_allowed_fallback(meta::method_not_allowed)
        .layer(from_fn_with_state(state, observe::observe::<Q>))
}

async fn answer<Q: Query, W: Wide>(state: &ApiState<Q>, wide: &W, uri: &Uri) -> Result<Response, Problem> {
    let params = Params::of(uri, ROUTE.parameters)?;
    let filter = filter(&params, state.0.clock.now())?;
    let query = fingerprint(&filter);
    let after = params.cursor(query)?.map(|position| Position::read(&position)).transpose();
    let after = after.map_err(|_| invalid_cursor(super::cursor::InvalidCursor))?;
    let limit = params.limit(state.0.limits.entries)?;
    let bytes_max = state.0.limits.response_bytes_max;
    state.run(page(wide, Question { filter, query, after, limit, bytes_max })).await
}

fn filter(params: &Params, now: Timestamp) -> Result<RejectFilter, Problem> {
    let range = params.range(now)?;
    if range.end().saturating_since(range.start()) > RANGE_MAX {
        return Err(Problem::invalid("start", "lies too far before the end; a list spans 400 days at most"));
    }
    Ok(RejectFilter {
        range,
        kind: params.word("kind", KINDS, None)?,
        reason: params.one("reason")?.map(str::to_owned),
        device: params.one("device")?.map(str::to_owned),
        topic: params.one("topic")?.map(str::to_owned),
    })
}

struct Question {
    filter: RejectFilter,
    query: Fingerprint,
    after: Option<Position>,
    limit: usize,
    bytes_max: usize,
}

/// Where a page starts, with the range of the first: a relative one moves between pages.
struct Position {
    place: RejectPlace,
    range: TimeRange,
}

impl Position {
    fn write(&self) -> String {
        format!("{}/{}/{}", self.range.start().nanos(), self.range.end().nanos(), self.place)
    }

    fn read(position: &[u8]) -> Result<Self, InvalidPlace> {
        let text = std::str::from_utf8(position).map_err(|_| InvalidPlace)?;
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(InvalidPlace);
        let mut time = || -> Result<Timestamp, InvalidPlace> {
            let nanos = next()?.parse().map_err(|_| InvalidPlace)?;
            Timestamp::from_nanos(nanos).map_err(|_| InvalidPlace)
        };
        let range = TimeRange::new(time()?, time()?).map_err(|_| InvalidPlace)?;
        Ok(Self { place: next()?.parse()?, range })
    }
}

fn fingerprint(filter: &RejectFilter) -> Fingerprint {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Fingerprint::of(ROUTE.path, &tidemill_store::read::Selector::default())
        .with(filter.kind.map_or("", RejectKind::as_str).as_bytes())
        .with(text(&filter.reason).as_bytes())
        .with(text(&filter.device).as_bytes())
        .with(text(&filter.topic).as_bytes())
}

async fn page<W: Wide>(wide: &W, question: Question) -> Result<Bytes, Problem> {
    let Question { mut filter, query, after, limit, bytes_max } = question;
    if let Some(after) = &after {
        filter.range = after.range;
    }
    let found = rejects::list(wide, &filter, after.map(|after| after.place), limit)
        .await
        .map_err(|error| failed(&error))?;
    let (mut rows, mut last, mut more) = (Rows::new("rejects", bytes_max), None, found.more);
    for listed in &found.rejects {
        if rows.push(|out| write_listed(out, listed)) == Pushed::Full {
            more = true;
            break;
        }
        last = Some(listed.place);
    }
    let range = filter.range;
    let next = last.filter(|_| more).map(|place| query.seal(Position { place, range }.write().as_bytes()));
    Ok(rows.finish(&[("next", next.into())]))
}

async fn counted<W: Wide>(
    wide: &W,
    filter: RejectFilter,
    limit: usize,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    let (counts, mut more) = rejects::counts(wide, &filter, limit).await.map_err(|error| failed(&error))?;
    let mut rows = Rows::new("counts", bytes_max);
    for count in &counts {
        if rows.push(|out| write_count(out, count)) == Pushed::Full {
            more = true;
            break;
        }
    }
    Ok(rows.finish(&[("more", more.into())]))
}

fn write_count(out: &mut Vec<u8>, count: &RejectCountRow) {
    out.push(b'{');
    write_key(out, "first");
    write_quoted(out, Utc(count.first));
    out.push(b',');
    write_key(out, "last");
    write_quoted(out, Utc(count.last));
    write_field(out, "count", &count.count);
    write_field(out, "kind", count.kind.as_str());
    write_field(out, "reason", &count.reason);
    write_field(out, "detail", &count.detail);
    write_field(out, "topic", &count.topic);
    write_field(out, "payload_begins", &String::from_utf8_lossy(&count.payload));
    out.push(b'}');
}

async fn one<W: Wide>(wide: &W, place: RejectPlace) -> Result<Bytes, Problem> {
    let Some(row) = rejects::get(wide, &place).await.map_err(|error| failed(&error))? else {
        let detail = format!("there is no reject {place}; it was replayed or purged, or has expired");
        return Err(Problem::new(ProblemKind::NotFound, detail));
    };
    let mut out = Vec::with_capacity(3 * row.payload.len() + 512);
    write_head(&mut out, &place, &row, row.payload.len());
    let mut hex = String::with_capacity(2 * row.payload.len());
    for byte in &row.payload {
        let written = write!(hex, "{byte:02x}");
        assert!(written.is_ok(), "a string takes every write");
    }
    write_field(&mut out, "payload_hex", &hex);
    write_field(&mut out, "payload_text", &std::str::from_utf8(&row.payload).ok());
    out.extend_from_slice(b"}\n");
    Ok(out.into())
}

fn write_listed(out: &mut Vec<u8>, listed: &Listed) {
    write_head(out, &listed.place, &listed.row, listed.payload_bytes);
    write_field(out, "payload_begins", &String::from_utf8_lossy(&listed.row.payload));
    out.push(b'}');
}

fn write_head(out: &mut Vec<u8>, place: &RejectPlace, row: &RejectRow, payload_bytes: usize) {
    out.push(b'{');
    write_key(out, "id");
    write_quoted(out, place);
    out.push(b',');
    write_key(out, "received_at");
    write_quoted(out, Utc(row.received_at));
    write_field(out, "kind", row.kind.as_str());
    write_field(out, "waits", &place.waits());
    write_field(out, "reason", &row.reason);
    write_field(out, "detail", &row.detail);
    write_field(out, "topic", &row.topic);
    write_field(out, "payload_bytes", &payload_bytes);
}

fn write_field<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, name: &'static str, value: &T) {
    out.push(b',');
    write_key(out, name);
    write_json(out, value);
}

fn failed(error: &ReadError) -> Problem {
    Problem::from(if error.is_transient() {
        QueryError::Unavailable(error.to_string())
    } else {
        QueryError::Broken(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_as_written() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let place = "1700000000000-5f2a-7-3".parse().unwrap();
        let position = Position { place, range: TimeRange::new(at(5), at(9)).unwrap() };
        let read = Position::read(position.write().as_bytes()).unwrap();
        assert_eq!((read.place, read.range), (position.place, position.range));
        for text in ["", "1/2", "1/2/3", "9/5/1700000000000-5f2a-7-3"] {
            assert!(Position::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
