//! Rejects in the hands of an operator: listed, shown, taken again after a fix, deleted, and never too many (I6, I7).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::process::scratch_directory;
use tidemill_tests::random::Random;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::{api, wait};

use crate::{PLAN, SOON};

/// Messages to topics that no template fits, and one in ten that nothing can fix.
const MESSAGES: u64 = 600;
const TOPICS: [&str; 2] = ["devices/{device}/telemetry", "lab/{device}"];

fn on(data: &Path, topics: &[&str]) -> Result<Builder> {
    let data = data.to_string_lossy().into_owned();
    Ok(Builder::new()?.set("store.embedded.directory", data).set("ingest.topics", json!(topics)))
}

/// Every other message has a time, so every other one has that of its receipt.
fn payload(number: u64) -> String {
    if number.is_multiple_of(10) {
        return format!("garbage {number}");
    }
    let value = json!({"v": number});
    let timed = json!({"v": number, "ts": PLAN.start_ms + i64::try_from(number).unwrap_or(0)});
    if number.is_multiple_of(2) { value.to_string() } else { timed.to_string() }
}

fn publish_all(tidemill: &Tidemill) -> Result<()> {
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "lab", Protocol::V5))?;
    for number in 0..MESSAGES {
        publisher.publish(number, &format!("lab/d{}", number % 7), payload(number).as_bytes(), SOON)?;
    }
    publisher.disconnect(SOON)
}

fn rejects(http: &Http, query: &[(&str, &str)]) -> Result<Vec<Value>> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let cursors = cursor.as_deref().map(|cursor| ("cursor", cursor));
        let query: Vec<_> = [("limit", "97")].iter().chain(query).copied().chain(cursors).collect();
        let answer = http.json("/v1/rejects", &query)?;
        all.extend(api::rows(&answer, "rejects")?.iter().cloned());
        match answer.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(all),
        }
    }
}

pub(crate) fn killed() -> Result<()> {
    const KILLS: u32 = 8;
    let mut random = Random::new("a_replay_that_is_killed_and_run_again_has_been_done_once")?;
    let data = scratch_directory("tidemill-data-")?;
    let before = on(data.path(), &TOPICS[..1])?.start()?;
    publish_all(&before)?;
    ensure!(rejects(before.http(), &[])?.len() == 600, "all are rejects");
    ensure!(before.stop(SOON)? == Some(0), "{}", before.log()?);
    let after = on(data.path(), &TOPICS)?.prepare()?;
    after.command(&["rejects", "replay", "--reason=syntax"])?.finish(SOON)?.expect(0, &["0 stored"])?;
    for _ in 0..KILLS {
        let replay = after.command(&["rejects", "replay"])?;
        wait::pause(random.span_below(Duration::from_millis(400)));
        // Dropped, it is killed.
        drop(replay);
    }
    let last = after.command(&["rejects", "replay"])?.finish(SOON)?;
    last.expect(0, &["60 still refused", "still refused  shape"])?;
    after.restart()?;
    ensure_once(after.http())?;
    let left = rejects(after.http(), &[])?;
    let garbage = |reject: &Value| reject.get("payload_begins").and_then(Value::as_str).map(str::to_owned);
    let left: BTreeSet<String> = left.iter().filter_map(garbage).collect();
    let expected: BTreeSet<String> = (0..MESSAGES).step_by(10).map(payload).collect();
    ensure!(left == expected, "{left:?}");
    ensure!(after.stop(SOON)? == Some(0), "{}", after.log()?);
    after.command(&["rejects", "purge"])?.finish(SOON)?.expect(0, &["60 would be deleted; add --yes"])?;
    let some = ["rejects", "purge", "--device=d3", "--yes"];
    after.command(&some)?.finish(SOON)?.expect(0, &[" deleted"])?;
    let all = after.command(&["rejects", "list"])?.finish(SOON)?;
    ensure!(all.output.lines().count() < 60 && !all.output.contains("lab/d3"), "{}", all.output);
    after.command(&["rejects", "purge", "--yes"])?.finish(SOON)?.expect(0, &[" deleted"])?;
    ensure!(after.command(&["rejects", "list"])?.finish(SOON)?.output.is_empty(), "something is left");
    Ok(())
}

/// Every value is there once, and a time has one value.
fn ensure_once(http: &Http) -> Result<()> {
    let samples = api::samples(http, &[("metric", "v"), ("start", "2020-01-01T00:00:00Z")], "500")?;
    let values: BTreeSet<u64> = samples.iter().filter_map(|sample| sample.value.as_u64()).collect();
    let expected: BTreeSet<u64> = (0..MESSAGES).filter(|number| !number.is_multiple_of(10)).collect();
    ensure!(samples.len() == expected.len(), "{} samples of {}", samples.len(), expected.len());
    ensure!(values == expected, "{:?} are not there", expected.difference(&values).collect::<Vec<_>>());
    Ok(())
}

pub(crate) fn in_use() -> Result<()> {
    let data = scratch_directory("tidemill-data-")?;
    let tidemill = on(data.path(), &TOPICS[..1])?.start()?;
    publish_all(&tidemill)?;
    let http = tidemill.http();
    ensure!(rejects(http, &[("reason", "topic")])?.len() == 600, "by reason");
    ensure!(rejects(http, &[("device", "d3")])?.len() == 86, "by device");
    ensure!(rejects(http, &[("topic", "lab/")])?.len() == 600, "by topic");
    ensure!(rejects(http, &[("end", "-1h"), ("start", "-2h")])?.is_empty(), "by time");
    let first = rejects(http, &[("device", "d1"), ("kind", "dead_letter")])?.first().cloned();
    let id = first.as_ref().and_then(|reject| reject.get("id")?.as_str()).context("no id")?;
    let one = http.json(&format!("/v1/rejects/{id}"), &[])?;
    let hex = payload(1).bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let of = |name: &str| one.get(name).cloned().unwrap_or_default();
    ensure!((of("payload_text"), of("payload_hex")) == (json!(payload(1)), json!(hex)), "{one}");
    ensure!(http.get("/v1/rejects/nonsense", &[])?.status == 400, "an id that is none");
    ensure!(http.get("/v1/rejects/1-1-1-1", &[])?.status == 404, "a reject that is none");
    ensure!(http.get("/v1/rejects", &[("colour", "red")])?.status == 400, "an unknown parameter");
    let list = tidemill.command(&["rejects", "list", "--device=d1", "--limit=3"])?.finish(SOON)?;
    list.expect(0, &[id, "dead_letter  topic  lab/d1"])?;
    ensure!(list.output.lines().count() == 3, "{}", list.output);
    tidemill
        .command(&["rejects", "show", id])?
        .finish(SOON)?
        .expect(0, &[&payload(1), "reason:       topic"])?;
    tidemill.command(&["rejects", "show", "1-1-1-1"])?.finish(SOON)?.expect(1, &["there is no reject"])?;
    ensure!(http.get("/v1/rejects/replay", &[])?.status == 405, "a question that changes something");
    ensure!(tidemill.stop(SOON)? == Some(0), "{}", tidemill.log()?);
    changed_in_use(data.path())
}

/// While a process works on the store, it does what is asked with the configuration that it has.
fn changed_in_use(data: &Path) -> Result<()> {
    let tidemill = on(data, &TOPICS)?.start()?;
    let one = ["rejects", "replay", "--device=d3", "--limit=1"];
    tidemill.command(&one)?.finish(SOON)?.expect(0, &["1 stored, 0 still refused, 0 cannot"])?;
    let replay = tidemill.command(&["rejects", "replay"])?.finish(SOON)?;
    replay.expect(0, &["539 stored, 60 still refused, 0 cannot", "still refused  shape"])?;
    ensure_once(tidemill.http())?;
    tidemill.command(&["rejects", "replay"])?.finish(SOON)?.expect(0, &["0 stored, 60 still refused"])?;
    ensure_once(tidemill.http())?;
    ensure!(rejects(tidemill.http(), &[])?.len() == 60, "what nothing can fix");
    let purge = tidemill.command(&["rejects", "purge"])?.finish(SOON)?;
    purge.expect(0, &["60 would be deleted; add --yes"])?;
    tidemill.command(&["rejects", "purge", "--yes"])?.finish(SOON)?.expect(0, &["60 deleted"])?;
    ensure!(rejects(tidemill.http(), &[])?.is_empty(), "something is left");
    ensure!(tidemill.stop(SOON)? == Some(0), "{}", tidemill.log()?);
    Ok(())
}

pub(crate) fn flood() -> Result<()> {
    const FLOOD: u64 = 4_000;
    const BYTES_MAX: u64 = 200_000;
    let data = scratch_directory("tidemill-data-")?;
    let tidemill = on(data.path(), &TOPICS[..1])?
        .set("ingest.reject_device_bytes_per_day_max", BYTES_MAX)
        .set("ingest.reject_bytes_per_day_max", 5 * BYTES_MAX)
        .start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "good", Protocol::V5))?;
    let flood = Publisher::start(Settings::new(tidemill.mqtt_address(), "bad", Protocol::V311))?;
    let garbage = [b'x'; 500];
    for number in 0..FLOOD {
        flood.publish(number, "devices/bad/telemetry", &garbage, SOON)?;
    }
    // Neighbours go on meanwhile, and a neighbour's own mistake is kept.
    feed.wait_more(200, SOON)?;
    flood.publish(FLOOD, "devices/other/telemetry", b"{", SOON)?;
    flood.wait_settled(SOON)?;
    feed.finish(SOON)?;
    feed.verify(tidemill.http())?;
    let kept = rejects(tidemill.http(), &[("device", "bad")])?;
    let bytes = |reject: &Value| reject.get("payload_bytes").and_then(Value::as_u64).unwrap_or(0);
    let (count, kept_bytes) = (u64::try_from(kept.len())?, kept.iter().map(bytes).sum::<u64>());
    ensure!((1..FLOOD / 10).contains(&count) && kept_bytes <= BYTES_MAX, "{count} kept, {kept_bytes} bytes");
    ensure!(rejects(tidemill.http(), &[("device", "other")])?.len() == 1, "the neighbour's");
    let not_kept = tidemill.http().metrics()?.sum("tidemill_ingest_rejects_not_kept_total", &[]);
    ensure!((not_kept - f64::from(u32::try_from(FLOOD - count)?)).abs() < 0.5, "{not_kept} of {count}");
    let counted = || -> Result<u64> {
        let counts = tidemill.http().json("/v1/rejects/counts", &[("device", "bad"), ("reason", "shape")])?;
        let counts = api::rows(&counts, "counts")?;
        Ok(counts.iter().filter_map(|count| count.get("count")?.as_u64()).sum())
    };
    wait::until("a count of what was not kept", SOON, || Ok((counted()? == FLOOD - count).then_some(())))?;
    let list = tidemill.command(&["rejects", "list", "--device=bad"])?.finish(SOON)?;
    list.expect(0, &["not kept: ", "dead_letter  shape  devices/bad/telemetry"])?;
    let told = Publisher::start(Settings::new(tidemill.mqtt_address(), "told", Protocol::V5))?;
    told.publish(0, "devices/bad/telemetry", &garbage, SOON)?;
    told.wait_settled(SOON)?;
    Ok(())
}
