//! Rejects of an embedded store that is in use, as the process that uses it tells them over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value as Json;
use tidemill_analytics::api::{PURGE_PATH, REPLAY_PATH};

use super::Totals;
use super::question::{PAGE, Question};
use super::serve::{Purged, Replayed};
use super::show::{self, CountLine, Line, MORE_COUNTS, Whole};
use crate::cli::RejectFilterArgs;
use crate::commands::print;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// Prints a line each.
pub(super) fn list(address: SocketAddr, args: &RejectFilterArgs) -> anyhow::Result<()> {
    let filters =
        [("kind", &args.kind), ("reason", &args.reason), ("device", &args.device), ("topic", &args.topic)];
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut cursor: Option<String> = None;
    while left > 0 {
        let limit = PAGE.min(left).to_string();
        let mut query = vec![("start", args.since.as_str()), ("end", args.until.as_str()), ("limit", &limit)];
        query.extend(filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let answer = get(address, "/v1/rejects", &query)?;
        let rejects = answer.get("rejects").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        print(&rejects.iter().map(|reject| line(reject).print()).collect::<String>())?;
        left -= rejects.len().min(left);
        match answer.get("next").and_then(Json::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let mut query = vec![("start", args.since.as_str()), ("end", args.until.as_str())];
    query.extend(filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
    let answer = get(address, "/v1/rejects/counts", &query)?;
    let counts = answer.get("counts").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let lines = counts.iter().map(|count| count_line(count).print()).collect::<String>();
    let more = answer.get("more").and_then(Json::as_bool).unwrap_or_default();
    print(&(lines + if more { MORE_COUNTS } else { "" }))
}

/// Prints one of them whole.
pub(super) fn show(address: SocketAddr, id: &str) -> anyhow::Result<()> {
    if let Some(stranger) = id.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
        bail!("{id:?} is no id of a reject: it holds {stranger:?}");
    }
    let reject = get(address, &format!("/v1/rejects/{id}"), &[])?;
    let of = |name| reject.get(name).and_then(Json::as_str);
    let payload = of("payload_text").or_else(|| of("payload_hex")).unwrap_or_default();
    print(&Whole { line: line(&reject), payload }.print())
}

/// Has them taken again, page by page.
pub(super) fn replay(address: SocketAddr, mut question: Question) -> anyhow::Result<()> {
    let mut totals = Totals::default();
    loop {
        let answer: Replayed = serde_json::from_value(post(address, REPLAY_PATH, &question)?)?;
        totals.add(&answer.taken)?;
        question.limit = question.limit.map(|limit| limit.saturating_sub(answer.found));
        question.after = answer.next;
        if question.after.is_none() {
            return totals.print();
        }
    }
}

/// Has them deleted, page by page.
pub(super) fn purge(address: SocketAddr, mut question: Question) -> anyhow::Result<()> {
    let mut found = 0;
    loop {
        let answer: Purged = serde_json::from_value(post(address, PURGE_PATH, &question)?)?;
        found += answer.found;
        question.limit = question.limit.map(|limit| limit.saturating_sub(answer.found));
        question.after = answer.next;
        if question.after.is_none() {
            return print(&show::purged(found, question.yes));
        }
    }
}

fn line(reject: &Json) -> Line<'_> {
    let of = |name| reject.get(name).and_then(Json::as_str).unwrap_or_default();
    Line {
        id: of("id"),
        received_at: of("received_at"),
        kind: of("kind"),
        waits: reject.get("waits").and_then(Json::as_bool).unwrap_or_default(),
        reason: of("reason"),
        detail: of("detail"),
        topic: of("topic"),
        payload_bytes: reject.get("payload_bytes").and_then(Json::as_u64).unwrap_or_default(),
    }
}

fn count_line(count: &Json) -> CountLine<'_> {
    let of = |name| count.get(name).and_then(Json::as_str).unwrap_or_default();
    CountLine {
        first: of("first"),
        last: of("last"),
        count: count.get("count").and_then(Json::as_u64).unwrap_or_default(),
        kind: of("kind"),
        reason: of("reason"),
        detail: of("detail"),
        topic: of("topic"),
    }
}

fn agent() -> ureq::Agent {
    let config =
        ureq::Agent::config_builder().timeout_global(Some(ANSWER_WITHIN)).http_status_as_error(false).build();
    ureq::Agent::from(config)
}

fn get(address: SocketAddr, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Json> {
    let asked = agent().get(format!("http://{address}{path}")).query_pairs(query.iter().copied()).call();
    said(address, path, asked)
}

fn post(address: SocketAddr, path: &str, question: &Question) -> anyhow::Result<Json> {
    said(address, path, agent().post(format!("http://{address}{path}")).send_json(question))
}

/// The answer to a question; what is wrong with the question is said by the answer.
fn said(
    address: SocketAddr,
    path: &str,
    asked: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> anyhow::Result<Json> {
    let mut answer = asked
        .with_context(|| format!("the process that has the store does not answer on http://{address}"))?;
    let body: Json = answer.body_mut().read_json()?;
    if !answer.status().is_success() {
        let detail = body.get("detail").and_then(Json::as_str).unwrap_or("no reason was given");
        bail!("http://{address}{path}: {detail}");
    }
    Ok(body)
}
