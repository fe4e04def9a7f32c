//! Prometheus' HTTP API: shapes of answers, errors and limits, as clients of Prometheus know them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::Body;
use common::{Answer, Api, Canned, Mode, NOW, SECOND, source};
use http_body_util::BodyExt;
use hyper::Request;
use serde_json::{Value as Json, json};
use tidemill_analytics::api::{ApiLimits, PromqlLimits};
use tidemill_store::model::Value;
use tower::ServiceExt;

const MINUTE: i64 = 60 * SECOND;

/// Two pumps with a temperature a minute over ten minutes, a switch and a text.
fn pumps() -> Api {
    pumps_with(ApiLimits::default())
}

fn pumps_with(limits: ApiLimits) -> Api {
    let api = Api::with(limits);
    let north = source("acme", "pump-1", &[("site", "north"), ("device", "shadowed")]);
    let south = source("acme", "pump-2", &[("site", "south")]);
    for minute in 0..=10 {
        let time = NOW - 10 * MINUTE + minute * MINUTE;
        api.store.add(
            &north,
            "temperature",
            time,
            Value::F64(20.0 + f64::from(i32::try_from(minute).unwrap())),
        );
        api.store.add(&south, "temperature", time, Value::I64(40));
        api.store.add(&south, "energy_total", time, Value::I64(minute * 6));
    }
    api.store.add(&north, "running", NOW, Value::Bool(true));
    api.store.add(&north, "state", NOW, Value::Text("idle".into()));
    api
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02X}"))
}

async fn post<Q: tidemill_analytics::query::Query>(api: &Api<Q>, path: &str, form: &str) -> Answer {
    let request = Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap();
    let response = api.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

async fn query(api: &Api, text: &str) -> Json {
    let answer = api.get(&format!("/api/v1/query?query={}", encoded(text))).await;
    assert_eq!(answer["status"], "success");
    answer["data"].clone()
}

/// A request that is refused: status, type and text of the error.
async fn refused(api: &Api, target: &str) -> (u16, String, String) {
    let answer = api.ask("GET", target).await;
    let error = answer.json();
    assert_eq!(error["status"], "error", "{}", answer.text);
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (answer.status.as_u16(), text("errorType"), text("error"))
}

#[tokio::test]
async fn names_and_tags_are_labels_and_values_are_texts() {
    let data = query(&pumps(), "temperature{site=\"north\"}").await;
    assert_eq!(
        data,
        json!({
            "resultType": "vector",
            "result": [{
                "metric": {
                    "__name__": "temperature", "device": "pump-1", "exported_device": "shadowed",
                    "site": "north", "tenant": "acme",
                },
                "value": [NOW / SECOND, "30"],
            }],
        })
    );
}

#[tokio::test]
async fn booleans_are_numbers_and_texts_are_no_samples() {
    let api = pumps();
    assert_eq!(query(&api, "running").await["result"][0]["value"][1], "1");
    assert_eq!(query(&api, "state").await["result"], json!([]));
    assert_eq!(query(&api, "count({device=\"pump-1\"})").await["result"][0]["value"][1], "2");
}

#[tokio::test]
async fn every_type_of_result_has_its_shape() {
    let api = pumps();
    let at = NOW / SECOND;
    assert_eq!(query(&api, "1 + 1").await, json!({ "resultType": "scalar", "result": [at, "2"] }));
    assert_eq!(query(&api, "\"a\"").await, json!({ "resultType": "string", "result": [at, "a"] }));
    let matrix = query(&api, "temperature{device=\"pump-1\"}[90s]").await;
    assert_eq!(matrix["resultType"], "matrix");
    assert_eq!(matrix["result"][0]["values"], json!([[at - 60, "29"], [at, "30"]]));
}

#[tokio::test]
async fn a_range_is_answered_step_by_step_also_as_a_form_and_under_the_other_prefix() {
    let api = pumps();
    let at = NOW / SECOND;
    let form = format!(
        "query={}&start={}&end={at}&step=5m",
        encoded("sum by (site) (rate(energy_total[5m]))"),
        at - 300
    );
    let answer = post(&api, "/prometheus/api/v1/query_range", &form).await.json();
    assert_eq!(answer["data"]["resultType"], "matrix");
    let row = &answer["data"]["result"][0];
    assert_eq!(row["metric"], json!({ "site": "south" }));
    assert_eq!(row["values"], json!([[at - 300, "0.1"], [at, "0.1"]]));
    let get = api.get(&format!("/api/v1/query_range?{form}")).await;
    assert_eq!(get["data"], answer["data"]);
    assert_eq!(answer.get("warnings"), None);
}

#[tokio::test]
async fn notes_and_statistics_come_along() {
    let api = pumps();
    let answer =
        api.get(&format!("/api/v1/query?stats=all&query={}", encoded("rate(temperature[5m])"))).await;
    let info = answer["infos"][0].as_str().unwrap();
    assert!(
        info.starts_with("PromQL info: metric might not be a counter") && info.ends_with("(1:6)"),
        "{info}"
    );
    assert_eq!(answer["data"]["stats"]["samples"]["totalQueryableSamples"], 10);
    let warned = api.get(&format!("/api/v1/query?query={}", encoded("quantile(2, running)"))).await;
    assert!(warned["warnings"][0].as_str().unwrap().starts_with("PromQL warning: quantile value"));
}

#[tokio::test]
async fn an_answer_that_is_cut_warns_of_it() {
    let api = pumps();
    for target in
        ["/api/v1/query?query=temperature&limit=1", "/api/v1/labels?limit=1", "/api/v1/metadata?limit=1"]
    {
        let answer = api.get(target).await;
        assert_eq!(answer["warnings"], json!(["results truncated due to limit"]), "{target}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_bad_data() {
    let api = pumps();
    for (target, says) in [
        ("query?query=sum(", "invalid parameter \"query\": parse error"),
        ("query?query=", "invalid parameter \"query\": parse error"),
        ("query?query=1&time=x", "invalid parameter \"time\": cannot parse \"x\""),
        ("query?query=1&timeout=x", "invalid parameter \"timeout\""),
        ("query?query=1&lookback_delta=-1", "invalid parameter \"lookback_delta\""),
        ("query?query=1&limit=x", "invalid parameter \"limit\""),
        ("query?query=%FF", "percent-encoded"),
        ("query_range?query=1&start=2&end=1&step=1", "end timestamp must not be before start time"),
        ("query_range?query=1&start=1&end=2&step=0", "zero or negative query resolution step"),
        ("query_range?query=1&start=0&end=11001&step=1", "exceeded maximum resolution of 11,000 points"),
        ("query_range?query=temperature[5m]&start=1&end=2&step=1", "invalid expression type"),
        ("series", "no match[] parameter provided"),
        ("labels?match[]=1", "a series selector is wanted"),
        ("label//values", "invalid label name"),
        ("query?query=ln(0)", "expected type instant vector in call to function \"ln\", got scalar"),
        ("query?query=x[0]", "duration must be greater than 0"),
        ("query?query=&query=1", "no expression found"),
        (
            "query_range?query=1&start=0&end=1&step=1h99999999999999s",
            "invalid parameter \"step\": cannot parse",
        ),
        ("query_range?query=1&start=0&end=1&step=0s", "zero or negative query resolution step"),
        ("query_range?query=x[5m:1m]&start=0&end=1&step=1", "invalid expression type \"range vector\""),
        ("query_range?query=%22x%22&start=0&end=1&step=1", "invalid expression type \"string\""),
        ("query_exemplars?query=x&start=2&end=1", "end timestamp must not be before start timestamp"),
        ("metadata?limit_per_metric=x", "invalid parameter \"limit_per_metric\""),
        ("format_query?query=sum(", "parse error"),
    ] {
        let (status, kind, text) = refused(&api, &format!("/api/v1/{target}")).await;
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{target}");
        assert!(text.contains(says), "{target}: {text}");
    }
    assert_eq!(api.get("/api/v1/query_range?query=1&start=0&end=10999&step=1").await["status"], "success");
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_an_execution_error() {
    let api = pumps();
    let clash = format!(
        "/api/v1/query?query={}",
        encoded("label_replace(temperature, \"site\", \"\", \"\", \"\") * on() temperature")
    );
    let (status, kind, text) = refused(&api, &clash).await;
    assert_eq!((status, kind.as_str()), (422, "execution"), "{text}");
    let promql = PromqlLimits { samples_max: 20, ..PromqlLimits::default() };
    let small = pumps_with(ApiLimits { promql, ..ApiLimits::default() });
    for text in ["quantile_over_time(0.5, temperature[1h])", "max_over_time(vector(1)[1h:1s])"] {
        let (status, kind, why) = refused(&small, &format!("/api/v1/query?query={}", encoded(text))).await;
        assert_eq!((status, kind.as_str()), (422, "execution"));
        assert!(why.contains("too many samples"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_that_takes_too_long_ends_with_its_reading() {
    let api = Api::new();
    *api.store.mode.lock().unwrap() = Mode::Hangs;
    let (status, kind, _) = refused(&api, "/api/v1/query?query=a&timeout=100ms").await;
    assert_eq!((status, kind.as_str()), (503, "timeout"));
    assert_eq!(Arc::strong_count(&api.store.hanging), 1);
    let reason = "tidemill_http_rejected_total{reason=\"query_timeout\"}";
    assert_eq!(api.counted(reason).await, 1);
    for none in ["0", "-1", "0s"] {
        let target = format!("/api/v1/query?query=temperature&timeout={none}");
        let (status, kind, _) = refused(&pumps(), &target).await;
        assert_eq!((status, kind.as_str()), (503, "timeout"), "also what would need no time");
    }
}

#[tokio::test(start_paused = true)]
async fn queries_wait_for_their_turn_and_are_refused_where_too_many_wait() {
    let limits = ApiLimits {
        queries_max: 1,
        queue_max: 1,
        queue_wait_max: Duration::from_secs(1),
        ..ApiLimits::default()
    };
    let api = Api::with(limits);
    *api.store.mode.lock().unwrap() = Mode::Hangs;
    let ask = || refused(&api, "/api/v1/query?query=a");
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    let mut kinds = [first, second, third].map(|(status, kind, _)| (status, kind));
    kinds.sort();
    assert_eq!(kinds.map(|(_, kind)| kind), ["timeout", "unavailable", "unavailable"]);
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable_and_not_shown() {
    let api = Api::new();
    *api.store.mode.lock().unwrap() = Mode::Fails;
    for target in ["query?query=a", "labels", "series?match[]=a", "metadata"] {
        let (status, kind, text) = refused(&api, &format!("/api/v1/{target}")).await;
        assert_eq!((status, kind.as_str()), (503, "unavailable"), "{target}");
        assert!(!text.contains("10.0.0.7"));
    }
}

#[tokio::test]
async fn a_range_too_large_for_one_read_is_read_in_parts() {
    let api = pumps();
    let whole = query(&api, "sum_over_time(temperature[15m])").await;
    api.store.samples_max.store(5, Relaxed);
    assert_eq!(query(&api, "sum_over_time(temperature[15m])").await, whole);
}

#[tokio::test]
async fn the_catalog_answers_names_values_and_series() {
    let api = pumps();
    let data = async |target: &str| api.get(&format!("/api/v1/{target}")).await["data"].clone();
    assert_eq!(data("labels").await, json!(["__name__", "device", "exported_device", "site", "tenant"]));
    assert_eq!(data("labels?match[]=energy_total").await, json!(["__name__", "device", "site", "tenant"]));
    assert_eq!(data("label/__name__/values").await, json!(["energy_total", "running", "temperature"]));
    assert_eq!(data("label/U__site/values?match[]=temperature").await, json!(["north", "south"]));
    assert_eq!(data("label/none/values").await, json!([]));
    let series = data(&format!("series?match[]=running&match[]={}", encoded("{site=~\"sou.*\"}"))).await;
    let names: Vec<_> = series.as_array().unwrap().iter().map(|one| one["__name__"].clone()).collect();
    assert_eq!(names, ["energy_total", "running", "temperature"]);
    assert_eq!(
        data("metadata").await,
        json!({
            "energy_total": [{ "type": "counter", "help": "", "unit": "" }],
            "running": [{ "type": "gauge", "help": "", "unit": "" }],
            "temperature": [{ "type": "gauge", "help": "", "unit": "" }],
        })
    );
}

#[tokio::test]
async fn clients_learn_what_they_talk_to() {
    let api = pumps();
    let data = async |target: &str| api.get(&format!("/api/v1/{target}")).await["data"].clone();
    let build = data("status/buildinfo").await;
    assert!(build["version"].as_str().unwrap().starts_with("3.") && build.get("features").is_none());
    assert_eq!(data("status/flags").await["query.lookback-delta"], "5m");
    assert_eq!(data("label/U__a_/values").await, json!([]), "a name that only looks escaped");
    assert_eq!(data("status/config").await, json!({ "yaml": "" }));
    assert_eq!(data("status/tsdb").await["headStats"]["numSeries"], 4);
    assert_eq!(data("status/runtimeinfo").await["startTime"], "2025-06-01T12:00:00Z");
    assert_eq!(data("rules").await, json!({ "groups": [] }));
    assert_eq!(data("alerts").await, json!({ "alerts": [] }));
    assert_eq!(data("rules?type=alert").await, json!({ "groups": [] }));
    assert_eq!(data("targets").await, json!({ "activeTargets": [], "droppedTargets": [] }));
    assert_eq!(data("targets/metadata").await, json!([]));
    assert_eq!(data("query_exemplars?query=a").await, json!([]));
    assert_eq!(data("format_query?query=sum(a)by(b)").await, "sum by (b) (a)");
}

#[tokio::test]
async fn a_query_is_shown_as_a_tree() {
    let tree = &pumps()
        .get("/api/v1/parse_query?query=sum%20by%20(b)%20(rate(a%7Bc%3D%22d%22%7D%5B5m%5D))")
        .await["data"];
    assert_eq!((&tree["type"], &tree["op"]), (&json!("aggregation"), &json!("sum")));
    assert_eq!((&tree["grouping"], &tree["without"]), (&json!(["b"]), &json!(false)));
    let rate = &tree["expr"];
    assert_eq!((&rate["type"], &rate["func"]["name"]), (&json!("call"), &json!("rate")));
    let range = &rate["args"][0];
    assert_eq!(
        (&range["type"], &range["name"], &range["range"]),
        (&json!("matrixSelector"), &json!("a"), &json!(300_000))
    );
    let matcher = json!({ "name": "c", "type": "=", "value": "d" });
    assert!(range["matchers"].as_array().unwrap().contains(&matcher), "{range}");
    let (status, kind, _) = refused(&pumps(), "/api/v1/parse_query?query=a%7B").await;
    assert_eq!((status, kind.as_str()), (400, "bad_data"));
}

#[tokio::test]
async fn patterns_are_those_of_prometheus() {
    let api = pumps();
    for (pattern, found) in [
        (r"`pump-\d`", 2),
        (r#""pump-\\d""#, 2),
        (r"`\Qpump-1\E`", 1),
        (r#""pump-[[:digit:]]""#, 2),
        (r"`pump-[1&&x]`", 1),
        (r"'\x70ump-\\062'", 1),
    ] {
        let text = format!("temperature{{device=~{pattern}}}");
        assert_eq!(query(&api, &text).await["result"].as_array().unwrap().len(), found, "{text}");
    }
    let replaced =
        query(&api, r#"label_replace(temperature{site="north"}, "n", "$1", "device", `.*-(\d)`)"#).await;
    assert_eq!(replaced["result"][0]["metric"]["n"], "1");
    assert_eq!(query(&api, "1_000 + 0x_ff + 0e5").await["result"][1], "1255");
    assert_eq!(query(&api, "1e21").await["result"][1], "1000000000000000000000");
}

#[tokio::test]
async fn clients_that_look_for_a_prometheus_find_one() {
    for path in ["/-/healthy", "/-/ready", "/prometheus/-/healthy", "/prometheus/-/ready"] {
        assert_eq!(pumps().ask("GET", path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn as_many_points_as_prometheus_gives_and_no_more() {
    let api = pumps();
    let answer = api.get("/api/v1/query_range?query=1&start=0&end=11000&step=1").await;
    assert_eq!(answer["data"]["result"][0]["values"].as_array().unwrap().len(), 11_001);
    let (status, kind, _) = refused(&api, "/api/v1/query_range?query=1&start=0&end=11001&step=1").await;
    assert_eq!((status, kind.as_str()), (400, "bad_data"));
}

#[tokio::test]
async fn names_between_two_times_in_either_order() {
    let api = pumps();
    let (start, end) = (NOW / SECOND - 600, NOW / SECOND);
    for path in ["labels?x=1", "label/device/values?x=1", "series?match[]=temperature"] {
        let ask = async |start, end| api.get(&format!("/api/v1/{path}&start={start}&end={end}")).await;
        let (forth, back) = (ask(start, end).await, ask(end, start).await);
        assert_eq!(forth["data"], back["data"], "{path}");
        assert!(!forth["data"].as_array().unwrap().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_query_has_no_exemplars_and_rules_have_two_types() {
    for target in ["query_exemplars?query=a%7B", "query_exemplars", "rules?type=x"] {
        let (status, kind, _) = refused(&pumps(), &format!("/api/v1/{target}")).await;
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{target}");
    }
}

#[tokio::test]
async fn label_values_are_read_only() {
    let answer = post(&pumps(), "/api/v1/label/site/values", "").await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn a_slow_metric_is_current_for_longer() {
    let late = |limits: ApiLimits| async {
        let api: Api<Canned> = Api::with(limits);
        api.store.add(&source("t", "d", &[]), "level", NOW - 20 * MINUTE, Value::F64(1.0));
        let answer = query(&api, "level").await["result"].as_array().unwrap().len();
        let asked = api.get("/api/v1/query?query=level&lookback_delta=30m").await;
        (answer, asked["data"]["result"].as_array().unwrap().len())
    };
    assert_eq!(late(ApiLimits::default()).await, (0, 1));
    let intervals = vec![("level".to_owned(), Duration::from_mins(20))];
    let promql = PromqlLimits { intervals, ..PromqlLimits::default() };
    assert_eq!(late(ApiLimits { promql, ..ApiLimits::default() }).await, (1, 1));
}
