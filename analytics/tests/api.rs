//! The routes, asked through the router as a service, over a canned store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(clippy::missing_docs_in_private_items, missing_docs, unreachable_pub, dead_code, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::body::Body;
use common::{Api, Mode, NOW, SECOND, source};
use hyper::Request;
use serde_json::{Value as Json, json};
use tidemill_analytics::api::{ApiLimits, Check, RowLimit, SPOOL_PATH, STATUS_PATH, operator_router};
use tidemill_store::model::{Source, Value};
use tower::ServiceExt;

/// Two devices: `a` with a temperature each 10 s of the last 5 minutes and one word, `b` with an integer a minute.
fn sensors(api: &Api) {
    let (a, b) = (source("acme", "a", &[("site", "north")]), source("acme", "b", &[]));
    for n in 0..30_i32 {
        api.store.add(
            &a,
            "temperature",
            NOW - 300 * SECOND + i64::from(n) * 10 * SECOND,
            Value::F64(20.0 + f64::from(n) / 2.0),
        );
    }
    api.store.add(&a, "state", NOW - 250 * SECOND + 500_000_000, Value::Text("open".into()));
    for n in 0..5 {
        api.store.add(
            &b,
            "count",
            NOW - 300 * SECOND + n * 60 * SECOND,
            Value::I64(n + 9_007_199_254_740_993),
        );
    }
}

#[tokio::test]
async fn latest_gives_the_newest_sample_of_each_series_in_order_of_names() {
    let api = Api::new();
    sensors(&api);
    assert_eq!(
        api.ask("GET", "/v1/latest").await.text,
        concat!(
            r#"{"samples":[{"tenant":"acme","device":"a","metric":"state","tags":{"site":"north"},"time":"2025-06-01T11:55:50.5Z","value":"open"},"#,
            r#"{"tenant":"acme","device":"a","metric":"temperature","tags":{"site":"north"},"time":"2025-06-01T11:59:50Z","value":34.5},"#,
            r#"{"tenant":"acme","device":"b","metric":"count","tags":{},"time":"2025-06-01T11:59:00Z","value":9007199254740997}],"truncated":false}"#,
            "\n"
        )
    );
    let some = api.get("/v1/latest?device=b&device=c&metric=count&limit=1").await;
    assert_eq!((some["samples"].as_array().unwrap().len(), &some["truncated"]), (1, &json!(false)));
    assert_eq!(api.get("/v1/latest?limit=2").await["truncated"], json!(true));
}

#[tokio::test]
async fn samples_come_in_one_order_of_time_over_all_series() {
    let api = Api::new();
    sensors(&api);
    let answer = api.get("/v1/samples?start=2025-06-01T11:55:45Z&end=1748778960.000000001").await;
    let seen: Vec<String> =
        rows(&answer, "samples").iter().map(|s| format!("{} {}", s["device"], s["time"])).collect();
    let (mut same_time, order) = (seen[2..].to_vec(), &seen[..2]);
    assert_eq!(order, [r#""a" "2025-06-01T11:55:50Z""#, r#""a" "2025-06-01T11:55:50.5Z""#]);
    same_time.sort();
    assert_eq!(same_time, [r#""a" "2025-06-01T11:56:00Z""#, r#""b" "2025-06-01T11:56:00Z""#]);
    assert_eq!(answer["next"], Json::Null);
}

fn rows<'a>(answer: &'a Json, field: &str) -> &'a [Json] {
    answer[field].as_array().unwrap()
}

/// Follows `next` to the end.
async fn pages(api: &Api, target: &str, field: &str) -> Vec<Json> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{target}{cursor}")).await;
        found.extend_from_slice(rows(&page, field));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn pages_join_to_the_whole_in_either_order() {
    let api = Api::new();
    sensors(&api);
    let whole = api.get("/v1/samples").await;
    let mut whole = rows(&whole, "samples").to_vec();
    assert_eq!(whole.len(), 36);
    for limit in [1, 2, 7, 35, 36] {
        assert_eq!(pages(&api, &format!("/v1/samples?limit={limit}"), "samples").await, whole, "{limit}");
    }
    whole.reverse();
    for limit in [1, 5, 36] {
        assert_eq!(
            pages(&api, &format!("/v1/samples?order=desc&limit={limit}"), "samples").await,
            whole,
            "{limit}"
        );
    }
}

#[tokio::test]
async fn what_is_written_behind_a_page_changes_no_page_before_it() {
    let api = Api::new();
    sensors(&api);
    let before = pages(&api, "/v1/samples?limit=9", "samples").await;
    let first = api.get("/v1/samples?limit=9").await;
    let next = first["next"].as_str().unwrap();
    // One sample in the past of the page, one in its future, one at the very time of its last row.
    let c = source("acme", "c", &[]);
    api.store.add(&c, "m", NOW - 299 * SECOND, Value::Bool(true));
    api.store.add(&c, "m", NOW - 1, Value::Bool(true));
    let second = api.get(&format!("/v1/samples?limit=100&cursor={next}")).await;
    let mut expected = before[9..].to_vec();
    expected.push(json!({"tenant": "acme", "device": "c", "metric": "m", "tags": {}, "time": "2025-06-01T11:59:59.999999999Z", "value": true}));
    assert_eq!(rows(&second, "samples"), expected);
}

#[tokio::test]
async fn a_cursor_of_another_query_is_refused() {
    let api = Api::new();
    sensors(&api);
    let next = api.get("/v1/samples?limit=1").await["next"].as_str().unwrap().to_owned();
    for target in [
        format!("/v1/samples?device=a&cursor={next}"),
        format!("/v1/samples?order=desc&cursor={next}"),
        format!("/v1/devices?cursor={next}"),
        format!("/v1/samples?cursor={}", &next[1..]),
        "/v1/samples?cursor=".to_owned(),
        "/v1/metrics?cursor=zz".to_owned(),
    ] {
        let (status, code, detail) = api.refused(&target).await;
        assert_eq!((status, code.as_str()), (400, "invalid-cursor"), "{target}");
        assert!(detail.contains("take `next` from its answer"), "{detail}");
    }
}

#[tokio::test]
async fn an_answer_is_cut_at_its_byte_limit_and_goes_on_with_a_cursor() {
    let api = Api::with(ApiLimits { response_bytes_max: 1_000, ..ApiLimits::default() });
    sensors(&api);
    let page = api.ask("GET", "/v1/samples").await;
    assert!(page.text.len() < 1_300, "{}", page.text.len());
    assert_eq!(pages(&api, "/v1/samples?limit=100", "samples").await.len(), 36);
    let windows = api.get("/v1/windows?window=10s").await;
    assert_eq!((&windows["truncated"], &windows["next_start"]), (&json!(true), &Json::Null));
    assert_eq!(api.get("/v1/latest").await["truncated"], json!(false));
}

#[tokio::test]
async fn windows_hold_the_aggregates_that_were_asked_for() {
    let api = Api::new();
    sensors(&api);
    assert_eq!(
        api.ask(
            "GET",
            "/v1/windows?window=2m&metric=temperature&start=2025-06-01T11:55:00Z&end=2025-06-01T11:58:20Z"
        )
        .await
        .text,
        concat!(
            r#"{"series":[{"tenant":"acme","device":"a","metric":"temperature","tags":{"site":"north"},"windows":["#,
            r#"{"start":"2025-06-01T11:54:00Z","end":"2025-06-01T11:56:00Z","avg":21.25,"min":20.0,"max":22.5,"count":6},"#,
            r#"{"start":"2025-06-01T11:56:00Z","end":"2025-06-01T11:58:00Z","avg":25.75,"min":23.0,"max":28.5,"count":12},"#,
            r#"{"start":"2025-06-01T11:58:00Z","end":"2025-06-01T12:00:00Z","avg":29.25,"min":29.0,"max":29.5,"count":2}]}],"#,
            r#""truncated":false,"next_start":null}"#,
            "\n"
        )
    );
    let answer = api.get("/v1/windows?window=1h&aggregate=first,last,sum&aggregate=count,sum&device=b").await;
    assert_eq!(
        answer["series"][0]["windows"][0].to_string(),
        r#"{"count":5,"end":"2025-06-01T12:00:00Z","first":9007199254740993,"last":9007199254740997,"start":"2025-06-01T11:00:00Z","sum":45035996273704975}"#
    );
}

#[tokio::test]
async fn calendar_windows_follow_the_time_zone_and_say_its_offset() {
    let api = Api::new();
    let device = source("t", "d", &[]);
    // Half past midnight of March 30 and of March 31 in Berlin: the clock changed in between.
    api.store.add(&device, "m", 1_743_291_000 * SECOND, Value::I64(1));
    api.store.add(&device, "m", 1_743_373_800 * SECOND, Value::I64(2));
    let answer = api
        .get("/v1/windows?window=1d&tz=Europe/Berlin&aggregate=last&start=2025-03-29T23:00:00Z&end=now")
        .await;
    assert_eq!(
        answer["series"][0]["windows"],
        json!([
            {"start": "2025-03-30T00:00:00+01:00", "end": "2025-03-31T00:00:00+02:00", "last": 1},
            {"start": "2025-03-31T00:00:00+02:00", "end": "2025-04-01T00:00:00+02:00", "last": 2}
        ])
    );
}

#[tokio::test]
async fn empty_windows_appear_only_when_filled() {
    let api = Api::new();
    let device = source("t", "d", &[]);
    for (minute, value) in [(-50, 1.0), (-20, 4.0)] {
        api.store.add(&device, "m", NOW + minute * 60 * SECOND, Value::F64(value));
    }
    let ask = async |fill: &str| {
        let target = format!("/v1/windows?window=10m&aggregate=avg,count&fill={fill}");
        let answer = api.get(&target).await;
        let windows = answer["series"][0]["windows"].as_array().unwrap().clone();
        windows.iter().map(|w| format!("{}/{}", w["avg"], w["count"])).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ask("none").await, "1.0/1 4.0/1");
    assert_eq!(ask("null").await, "null/0 1.0/1 null/0 null/0 4.0/1 null/0");
    assert_eq!(ask("previous").await, "null/0 1.0/1 1.0/0 1.0/0 4.0/1 4.0/0");
    assert_eq!(ask("linear").await, "null/0 1.0/1 2.0/0 3.0/0 4.0/1 null/0");
}

#[tokio::test]
async fn windows_beyond_the_limit_are_cut_in_time_and_asked_for_from_there() {
    let api = Api::new();
    sensors(&api);
    let whole = api.get("/v1/windows?window=1m&aggregate=count").await;
    let (mut start, mut found) = ("-1h".to_owned(), Vec::new());
    loop {
        let page = api.get(&format!("/v1/windows?window=1m&aggregate=count&limit=4&start={start}")).await;
        for series in rows(&page, "series") {
            for window in rows(series, "windows") {
                found.push(format!("{} {window}", series["metric"]));
            }
        }
        match page["next_start"].as_str() {
            Some(next) => start = next.to_owned(),
            None => break,
        }
    }
    let mut expected: Vec<String> = Vec::new();
    for series in rows(&whole, "series") {
        expected
            .extend(rows(series, "windows").iter().map(|window| format!("{} {window}", series["metric"])));
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_is_too_large_at_once_is_read_in_halves_and_refused_where_they_are_too_large() {
    let api = Api::new();
    sensors(&api);
    let samples = pages(&api, "/v1/samples?order=desc&limit=7", "samples").await;
    let windows = api.get("/v1/windows?window=1m").await;
    api.store.samples_max.store(2, Relaxed);
    assert_eq!(pages(&api, "/v1/samples?order=desc&limit=7", "samples").await, samples);
    assert_eq!(api.get("/v1/windows?window=1m").await, windows);
    api.store.samples_max.store(0, Relaxed);
    let (status, code, detail) = api.refused("/v1/windows?window=1m").await;
    assert_eq!((status, code.as_str()), (422, "query-too-large"));
    assert!(detail.contains("ask for fewer devices"), "{detail}");
}

#[tokio::test]
async fn devices_and_metrics_are_listed_in_order_a_page_at_a_time() {
    let api = Api::new();
    sensors(&api);
    api.store.add(&source("acme", "a", &[("site", "east")]), "state", 0, Value::Bool(true));
    api.store.add(&source("zoo", "a", &[]), "temperature", 0, Value::I64(1));
    let whole = api.get("/v1/devices").await;
    assert_eq!(
        whole["devices"],
        json!([
            {"tenant": "acme", "device": "a", "skew_seconds": null, "sources": [
                {"tags": {"site": "east"}, "metrics": ["state"]},
                {"tags": {"site": "north"}, "metrics": ["state", "temperature"]}
            ]},
            {"tenant": "acme", "device": "b", "skew_seconds": null, "sources": [{"tags": {}, "metrics": ["count"]}]},
            {"tenant": "zoo", "device": "a", "skew_seconds": null, "sources": [{"tags": {}, "metrics": ["temperature"]}]}
        ])
    );
    assert_eq!(pages(&api, "/v1/devices?limit=1", "devices").await, rows(&whole, "devices"));
    assert_eq!(rows(&api.get("/v1/devices?tenant=zoo").await, "devices").len(), 1);

    let whole = api.get("/v1/metrics?device=a").await;
    assert_eq!(
        whole["metrics"],
        json!([
            {"metric": "state", "kinds": ["bool", "string"], "units": [], "series": 2},
            {"metric": "temperature", "kinds": ["f64", "i64"], "units": [], "series": 2}
        ])
    );
    assert_eq!(pages(&api, "/v1/metrics?device=a&limit=1", "metrics").await, rows(&whole, "metrics"));
}

#[tokio::test]
async fn what_cannot_be_answered_says_what_to_change() {
    let api = Api::with(ApiLimits { samples: RowLimit { default: 5, max: 10 }, ..ApiLimits::default() });
    for (target, status, code, detail) in [
        ("/v1/samples?limit=11", 400, "invalid-parameter", "between 1 and 10"),
        ("/v1/samples?start=tomorrow", 400, "invalid-parameter", "`start` is not a time; use RFC 3339"),
        ("/v1/samples?start=now&end=-1h", 400, "invalid-parameter", "is after `end`"),
        ("/v1/windows?metric=m", 400, "invalid-parameter", "`window` is missing"),
        ("/v1/windows?window=5x", 400, "invalid-parameter", "\"x\" is not a unit"),
        ("/v1/windows?window=5m&aggregate=average", 400, "invalid-parameter", "It takes avg, min, max"),
        ("/v1/windows?window=5m&fill=zero", 400, "invalid-parameter", "none, null, previous, linear"),
        ("/v1/windows?window=1d&tz=Berlin", 400, "invalid-parameter", "IANA time zone"),
        ("/v1/latest?device=a%23", 400, "invalid-parameter", "the device holds '#' at byte 1"),
        ("/v1/latest?window=5m", 400, "unknown-parameter", "Known are tenant, device, metric, limit"),
        ("/v1/sample", 404, "not-found", "Did you mean `/v1/samples`?"),
        ("/v2/nothing/of/the/kind", 404, "not-found", "`/` lists what there is"),
    ] {
        let refused = api.refused(target).await;
        assert_eq!((refused.0, refused.1.as_str()), (status, code), "{target}");
        assert!(refused.2.contains(detail), "{target}: {}", refused.2);
    }
    let long = format!("/v1/latest?device={}", "a".repeat(17_000));
    assert_eq!(api.refused(&long).await.0, 414);
}

#[tokio::test]
async fn methods_other_than_get_and_head_are_refused_by_name() {
    let api = Api::new();
    let answer = api.ask("DELETE", "/v1/samples").await;
    assert_eq!((answer.status.as_u16(), &answer.headers["allow"]), (405, &"GET,HEAD".parse().unwrap()));
    assert_eq!(answer.json()["type"], "urn:tidemill:problem:method-not-allowed");
    let (get, head) = (api.ask("GET", "/v1/latest").await, api.ask("HEAD", "/v1/latest").await);
    assert_eq!((head.status, head.text.as_str()), (get.status, ""));
    assert_eq!(head.headers["content-length"], get.text.len().to_string());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_gives_503_and_keeps_its_secrets() {
    let api = Api::new();
    sensors(&api);
    *api.store.mode.lock().unwrap() = Mode::Fails;
    let answer = api.ask("GET", "/v1/samples").await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (503, &"5".parse().unwrap()));
    assert!(!answer.text.contains("10.0.0.7"));
    *api.store.mode.lock().unwrap() = Mode::Hangs;
    let (status, code, detail) = api.refused("/v1/latest").await;
    assert_eq!((status, code.as_str()), (503, "query-timeout"));
    assert!(detail.contains("more than 30 s"), "{detail}");
    assert_eq!(api.counted(r#"tidemill_http_rejected_total{reason="query_timeout"}"#).await, 1);
}

#[tokio::test(start_paused = true)]
async fn queries_beyond_those_that_run_and_wait_are_refused_and_others_go_on() {
    let api = Api::with(ApiLimits { queries_max: 1, queue_max: 1, ..ApiLimits::default() });
    *api.store.mode.lock().unwrap() = Mode::Hangs;
    let (first, second, third) =
        tokio::join!(api.refused("/v1/latest"), api.refused("/v1/latest"), api.refused("/v1/latest"));
    let codes: Vec<&str> = [&first, &second, &third].iter().map(|refused| refused.1.as_str()).collect();
    assert_eq!(codes, ["query-timeout", "overloaded", "overloaded"]);
    assert_eq!(api.ask("GET", "/healthz").await.text, "ok\n");
    *api.store.mode.lock().unwrap() = Mode::Answers;
    assert_eq!(api.ask("GET", "/v1/latest").await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_outcome_also_when_they_are_dropped() {
    let api = Api::new();
    sensors(&api);
    api.get("/v1/samples").await;
    api.refused("/v1/samples?x=1").await;
    api.refused("/etc/passwd").await;
    *api.store.mode.lock().unwrap() = Mode::Hangs;
    let mut hanging = Box::pin(api.ask("GET", "/v1/latest"));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    assert_eq!(api.counted("tidemill_http_requests_in_flight").await, 2);
    drop(hanging);
    for (series, count) in [
        (r#"tidemill_http_requests_total{route="/v1/samples",status="200"}"#, 1),
        (r#"tidemill_http_requests_total{route="/v1/samples",status="400"}"#, 1),
        (r#"tidemill_http_requests_total{route="none",status="404"}"#, 1),
        (r#"tidemill_http_requests_total{route="/v1/latest",status="dropped"}"#, 1),
        (r#"tidemill_http_request_duration_seconds_count{route="/v1/samples"}"#, 2),
        ("tidemill_query_samples_read_total", 36),
        ("tidemill_http_requests_in_flight", 1),
    ] {
        assert_eq!(api.counted(series).await, count, "{series}");
    }
}

#[tokio::test]
async fn readiness_names_what_is_not_well() {
    let api = Api::new();
    assert_eq!(api.get("/readyz").await, json!({"ready": true, "degraded": false, "checks": []}));
    let check = |name: &str, ready| Check { name: name.into(), ready, detail: String::new() };
    api.readiness.lock().unwrap().checks = vec![check("store", true), check("listener", false)];
    let answer = api.ask("GET", "/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        json!({"ready": false, "degraded": true,
               "checks": [{"name": "store", "ready": true}, {"name": "listener", "ready": false}]})
    );
    api.readiness.lock().unwrap().takes_messages = true;
    let answer = api.ask("GET", "/readyz").await;
    assert_eq!(answer.status, 200);
    assert_eq!((&answer.json()["ready"], &answer.json()["degraded"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn a_process_without_queries_still_shows_how_it_is() {
    let api = Api::new();
    for (path, status) in
        [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/latest", 404), ("/", 404)]
    {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = operator_router(api.state.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn devices_say_how_far_their_clocks_are_off_where_that_is_known() {
    let api = Api::new();
    sensors(&api);
    let skew = |source: &Source| (source.device().as_str() == "a").then_some(-0.25);
    api.state.tell_skews(Arc::new(skew));
    let answer = api.get("/v1/devices").await;
    let devices = rows(&answer, "devices");
    assert_eq!(devices[0]["skew_seconds"], -0.25);
    assert_eq!(devices[1].get("skew_seconds"), Some(&Json::Null), "{answer}");
}

#[tokio::test]
async fn every_example_of_the_index_is_answered() {
    let api = Api::new();
    sensors(&api);
    let index = api.ask("GET", "/").await.text;
    let examples: Vec<&str> = index
        .lines()
        .filter_map(|line| line.trim().split(' ').next())
        .filter(|word| word.starts_with('/'))
        // The process around the API serves these, and its own tests ask for them.
        .filter(|path| ![STATUS_PATH, SPOOL_PATH].contains(path))
        .collect();
    assert!(examples.len() >= 10, "{index}");
    for example in examples {
        assert_eq!(api.ask("GET", example).await.status, 200, "{example}");
    }
}
