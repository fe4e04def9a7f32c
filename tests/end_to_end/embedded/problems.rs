//! Requests that cannot be answered get problem details that say what to change, and the server
//! goes on.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidemill_tests::http::Http;
use tidemill_tests::tidemill::Builder;

/// Path, parameters, status, end of the type, and a part of the detail.
type Case = (&'static str, &'static [(&'static str, &'static str)], u16, &'static str, &'static str);

const CASES: &[Case] = &[
    ("/v1/latest", &[("devise", "d1")], 400, "unknown-parameter", "device"),
    ("/v1/latest", &[("device", "")], 400, "invalid-parameter", "empty"),
    ("/v1/latest", &[("device", "a/b")], 400, "invalid-parameter", "device"),
    ("/v1/samples", &[("start", "yesterday")], 400, "invalid-parameter", "RFC 3339"),
    ("/v1/samples", &[("start", "2"), ("end", "1")], 400, "invalid-parameter", "end"),
    ("/v1/samples", &[("limit", "0")], 400, "invalid-parameter", "100000"),
    ("/v1/samples", &[("order", "down")], 400, "invalid-parameter", "desc"),
    ("/v1/samples", &[("cursor", "xyz")], 400, "invalid-cursor", "cursor"),
    ("/v1/windows", &[("metric", "m")], 400, "invalid-parameter", "window"),
    ("/v1/windows", &[("metric", "m"), ("window", "5 parsecs")], 400, "invalid-parameter", "window"),
    ("/v1/windows", &[("window", "1h"), ("aggregate", "mean")], 400, "invalid-parameter", "avg"),
    ("/v1/windows", &[("window", "1d"), ("tz", "Europe/Berln")], 400, "invalid-parameter", "Europe/Berlin"),
    ("/v1/windows", &[("window", "1d"), ("fill", "zero")], 400, "invalid-parameter", "previous"),
    ("/v2/samples", &[], 404, "not-found", "/v1/samples"),
];

/// What the document names is served; unit tests compare its list with the routes.
pub(crate) fn documented() -> Result<()> {
    let tidemill = Builder::new()?.start()?;
    let document = tidemill.http().json("/openapi.json", &[])?;
    let paths = document.get("paths").and_then(Value::as_object).context("no paths")?;
    ensure!(paths.contains_key("/v1/spool") && paths.contains_key("/v1/status"), "{:?}", paths.keys());
    for path in paths.keys() {
        let answer = tidemill.http().get(&path.replace("{id}", "1700000000000-1-1-1"), &[])?;
        let expected: &[u16] = match path.as_str() {
            "/v1/rejects/{id}" => &[404],
            "/v1/rejects/replay" | "/v1/rejects/purge" => &[405],
            "/v1/metrics" | "/v1/latest" | "/v1/samples" | "/v1/windows" => &[200, 400],
            _ => &[200],
        };
        ensure!(expected.contains(&answer.status), "{path}: {answer:?}");
    }
    for path in ["/v1/spool", "/v1/status"] {
        ensure!(tidemill.http().get(path, &[("colour", "red")])?.status == 400, "{path}");
    }
    Ok(())
}

pub(crate) fn bad_requests() -> Result<()> {
    let tidemill = Builder::new()?.start()?;
    for case in CASES {
        ensure_problem(tidemill.http(), case)?;
    }
    tidemill.http().expect(200, "/healthz", &[])?;
    tidemill.http().expect(200, "/v1/latest", &[])?;
    Ok(())
}

fn ensure_problem(http: &Http, &(path, query, status, kind, part): &Case) -> Result<()> {
    let answer = http.expect(status, path, query)?;
    ensure!(answer.content_type.starts_with("application/problem+json"), "{path} {query:?}: {answer:?}");
    let problem: Value = serde_json::from_str(&answer.body)?;
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    ensure!(text("type").ends_with(kind), "{path} {query:?}, expected {kind}: {problem}");
    ensure!(text("detail").contains(part), "{path} {query:?}, expected {part:?}: {problem}");
    ensure!(problem.get("status") == Some(&status.into()) && !text("title").is_empty(), "{problem}");
    Ok(())
}
