//! Odd payloads, legal and not, in every format of text: each is stored as what it says, or kept with its reason and its
//! place, and all of them are accounted for (I2, I7).

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidemill_tests::api;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::Builder;

use crate::SOON;

/// What becomes of a payload.
enum Fate {
    /// The only sample has this metric, value and, where the payload says one, time.
    Stored(&'static str, Value, Option<&'static str>),
    /// It is kept with this reason, and its detail begins so.
    Kept(&'static str, &'static str),
}

use Fate::{Kept, Stored};

const AT: Option<&str> = Some("2023-11-14T22:13:20Z");

/// The format, which is the first level of the topic, the payload, and what becomes of it.
fn cases() -> Vec<(&'static str, &'static str, Fate)> {
    vec![
        ("json", "\u{feff}{\"ts\": 1700000000000, \"a\": 1}", Stored("a", json!(1), AT)),
        ("json", "{\"a\": 9223372036854775807}", Stored("a", json!(i64::MAX), None)),
        ("json", "{\"a\": -0.0}", Stored("a", json!(-0.0), None)),
        ("json", "{\"ä温\": \"\\ud83d\\ude00\"}", Stored("ä温", json!("😀"), None)),
        ("json", "{\"ts\": \"2023-11-14T22:13:20.0000000000001Z\", \"a\": 1}", Stored("a", json!(1), AT)),
        ("json", "{\"a\": 1e400}", Kept("number", "at /a (byte 11): ")),
        ("json", "{\"a\": 9223372036854775809}", Kept("number", "at /a (byte ")),
        ("json", "{\"a\": NaN}", Kept("syntax", "at /a (byte 6): ")),
        ("json", "{\"a\": 1,}", Kept("syntax", "at byte 8: ")),
        ("json", "{\"a\": 1, \"a\": 1}", Kept("duplicate_member", "at /a (byte ")),
        ("json", "{\"a\": \"\\ud800\"}", Kept("syntax", "at /a (byte ")),
        ("json", "{}", Kept("shape", "at byte 1: ")),
        ("json", "", Kept("syntax", "at byte 0: the payload is empty")),
        ("json", "{\"ts\": 0, \"a\": 1}", Kept("too_old", "the event time 1970-01-01T00:00:00Z ")),
        ("json", "{\"ts\": 9223372036854775807, \"a\": 1}", Kept("time", "at /ts (byte ")),
        ("json", "{\"ts\": 1e300, \"a\": 1}", Kept("time", "at /ts (byte ")),
        ("line_protocol", "\u{feff}m a=1i 1700000000000000000", Stored("m.a", json!(1), AT)),
        ("line_protocol", "m\\,x a=\"b\\\"c\"", Stored("m,x.a", json!("b\"c"), None)),
        ("line_protocol", "m a=1\nbad line\n", Kept("syntax", "at line 2 (byte 14): ")),
        ("line_protocol", "m a=1 1700000000", Kept("too_old", "the event time 1970-01-01T00:00:01.7Z ")),
        ("csv", "\u{feff}ts;a\n1700000000000;1", Stored("a", json!(1), AT)),
        ("csv", "ts;a\n1700000000000;1;2", Kept("shape", "at line 2 (byte ")),
        ("csv", "ts;a\n1700000000000;\"1", Kept("syntax", "at line 2 (byte ")),
        ("senml_json", "[{\"bn\":\"d:\",\"bt\":1.7e9,\"n\":\"a\",\"v\":1}]", Stored("a", json!(1), AT)),
        ("senml_json", "[{\"n\":\"a\",\"vd\":\"aGk\"}]", Kept("shape", "at /0/vd (byte ")),
        ("auto", "m a=1i 1700000000000000000", Stored("m.a", json!(1), AT)),
        ("auto", "\u{feff}{\"ts\": 1700000000000, \"a\": 1}", Stored("a", json!(1), AT)),
        ("auto", "[{\"n\":\"a\",\"v\":1}]", Kept("format", "at byte 0: it reads as json and as senml_json")),
        ("auto", "hello", Kept("syntax", "at line 1 (byte 5): ")),
    ]
}

pub(crate) fn odd() -> Result<()> {
    let template = |format: &str| {
        let mut template = json!({"topic": format!("{format}/{{device}}"), "format": format});
        if let (true, Some(csv)) = (format == "csv", template.as_object_mut()) {
            csv.insert("delimiter".to_owned(), json!(";"));
        }
        template
    };
    let formats = ["json", "line_protocol", "csv", "senml_json", "auto"];
    let templates: Vec<Value> = formats.into_iter().map(template).collect();
    let tidemill = Builder::new()?.set("ingest.templates", templates).start()?;
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "odd", Protocol::V5))?;
    for (number, (format, payload, _)) in (0..).zip(cases()) {
        publisher.publish(number, &format!("{format}/d{number}"), payload.as_bytes(), SOON)?;
    }
    publisher.wait_settled(SOON)?;
    ensure!(publisher.connections() == 1, "an odd payload is no reason to end a connection");
    let (mut stored, mut kept) = (0.0, 0.0);
    for (number, (format, payload, fate)) in cases().into_iter().enumerate() {
        let device = format!("d{number}");
        let answer = tidemill.http().json("/v1/latest", &[("device", &device)])?;
        let samples = api::rows(&answer, "samples")?;
        let rejects = tidemill.http().json("/v1/rejects", &[("device", &device)])?;
        let rejects = api::rows(&rejects, "rejects")?;
        let context = || format!("{format} {payload:?}: {samples:?}, {rejects:?}");
        ensure!(samples.len() + rejects.len() == 1, context());
        let of = |row: &Value, name: &str| row.get(name).cloned().unwrap_or_default();
        match fate {
            Stored(metric, value, time) => {
                stored += 1.0;
                let sample = samples.first().with_context(context)?;
                ensure!((of(sample, "metric"), of(sample, "value")) == (json!(metric), value), context());
                ensure!(time.is_none_or(|time| of(sample, "time") == json!(time)), context());
            }
            Kept(reason, detail) => {
                kept += 1.0;
                let reject = rejects.first().with_context(context)?;
                ensure!(of(reject, "reason") == json!(reason), context());
                ensure!(
                    of(reject, "detail").as_str().is_some_and(|text| text.starts_with(detail)),
                    context()
                );
            }
        }
    }
    let accounting = api::Accounting::scrape(tidemill.http())?;
    let seen = (accounting.stored, accounting.dead_lettered + accounting.quarantined, accounting.in_flight);
    ensure!(seen == (stored, kept, 0.0), "{accounting:?}");
    Ok(())
}
