//! Rejects on a cluster, in the hands of an operator; and an ingester that starts while its cluster is out of reach.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidemill_tests::api::{self, Accounting};
use tidemill_tests::cassandra::Keyspace;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::random::Random;
use tidemill_tests::relay::Relay;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::SOON;

const MESSAGES: u64 = 200;
const TEMPLATES: [&str; 2] = ["devices/{device}/telemetry", "lab/{device}"];

/// One in ten is what nothing can fix; every third has a time of its own.
fn payload(number: u64) -> String {
    match number {
        garbage if garbage.is_multiple_of(10) => format!("garbage {garbage}"),
        timed if timed.is_multiple_of(3) => json!({"v": timed, "ts": 1_700_000_000_000 + timed}).to_string(),
        _ => json!({"v": number}).to_string(),
    }
}

/// A cluster may be worked on while a service runs on it.
pub(crate) fn commands(keyspace: &Keyspace) -> Result<()> {
    let build = |topics: &[&str]| -> Result<Builder> {
        Ok(Builder::new()?.with_cassandra(keyspace).set("ingest.topics", json!(topics)))
    };
    let before = build(&TEMPLATES[..1])?.start()?;
    let publisher = Publisher::start(Settings::new(before.mqtt_address(), "lab", Protocol::V5))?;
    for number in 0..MESSAGES {
        publisher.publish(number, &format!("lab/d{}", number % 7), payload(number).as_bytes(), SOON)?;
    }
    publisher.wait_settled(SOON)?;
    let run = |of: &Tidemill, arguments: &[&str], code, texts: &[&str]| -> Result<String> {
        let finished = of.command(arguments)?.finish(SOON)?;
        finished.expect(code, texts)?;
        Ok(finished.output)
    };
    let list = run(&before, &["rejects", "list", "--device=d1"], 0, &["dead_letter  topic  lab/d1"])?;
    let id = list.split_whitespace().next().context("no id")?;
    run(&before, &["rejects", "show", id], 0, &["reason:       topic", &payload(1)])?;
    run(&before, &["rejects", "replay", "--limit=5"], 0, &["0 stored, 5 still refused"])?;
    let after = build(&TEMPLATES)?.prepare()?;
    let mut random = Random::new("rejects_are_listed_shown_replayed_once_and_purged")?;
    for _ in 0..3 {
        let replay = after.command(&["rejects", "replay"])?;
        wait::pause(random.span_below(Duration::from_millis(1_500)));
        // Dropped, it is killed.
        drop(replay);
    }
    run(&after, &["rejects", "replay"], 0, &["20 still refused", "still refused  shape"])?;
    let query = [("metric", "v"), ("start", "2020-01-01T00:00:00Z")];
    let samples = api::samples(before.http(), &query, "500")?;
    let values: BTreeSet<u64> = samples.iter().filter_map(|sample| sample.value.as_u64()).collect();
    let expected: BTreeSet<u64> = (0..MESSAGES).filter(|number| !number.is_multiple_of(10)).collect();
    ensure!(values == expected, "{:?} are not there", expected.difference(&values).collect::<Vec<_>>());
    ensure!(samples.len() == expected.len(), "{} samples of {}", samples.len(), expected.len());
    run(&after, &["rejects", "purge"], 0, &["20 would be deleted; add --yes"])?;
    run(&after, &["rejects", "purge", "--yes"], 0, &["20 deleted"])?;
    ensure!(run(&after, &["rejects", "list"], 0, &[])?.is_empty(), "something is left");
    Ok(())
}

/// It knows the eras of its last start, takes messages into the spool, and forwards them when the store is there.
pub(crate) fn without_store(keyspace: &Keyspace) -> Result<()> {
    const COUNT: u64 = 300;
    let relay = Relay::start(keyspace.contact_point().parse()?)?;
    let builder = Builder::new()?.with_cassandra(keyspace);
    let spool = builder.directory().join("spool");
    let tidemill = builder
        .set("store.cassandra.contact_points", vec![relay.address().to_string()])
        .set("ingest.spool.directory", spool.display().to_string())
        .set("ingest.spool.store_deadline", "500ms")
        .start()?;
    wait::until("eras that are remembered", SOON, || Ok(spool.join("eras.json").exists().then_some(())))?;
    tidemill.kill()?;
    relay.cut();
    tidemill.spawn()?;
    let listens = wait::until_true("a listener without a store", SOON, || {
        std::net::TcpStream::connect(tidemill.mqtt_address()).is_ok()
    });
    listens.with_context(|| tidemill.log().unwrap_or_default())?;
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    for number in 0..COUNT {
        publisher.publish(
            number,
            "devices/d1/telemetry",
            json!({"v": number}).to_string().as_bytes(),
            SOON,
        )?;
    }
    publisher.wait_settled(SOON)?;
    let spooled = Accounting::scrape(tidemill.http())?.spooled;
    ensure!(spooled > 0.5, "acknowledged and not spooled: {}", tidemill.log()?);
    let ready = tidemill.http().expect(200, "/readyz", &[])?.body;
    let (ready, checks) = (serde_json::from_str::<Value>(&ready)?, ready);
    ensure!(ready.get("degraded") == Some(&json!(true)) && checks.contains("\"spool\""), "{checks}");
    let queries = tidemill.http().get("/v1/latest", &[("device", "d1")])?;
    ensure!(queries.status == 503, "the store is away: {queries:?}");
    ensure!(queries.headers.contains_key("tidemill-spool-pending"), "{queries:?}");
    relay.restore();
    let values = wait::until("everything to be forwarded", SOON * 2, || {
        let Ok(samples) = api::samples(tidemill.http(), &[("metric", "v")], "1000") else { return Ok(None) };
        Ok((samples.len() >= usize::try_from(COUNT)?).then_some(samples))
    })?;
    let values: BTreeSet<u64> = values.iter().filter_map(|sample| sample.value.as_u64()).collect();
    ensure!(values == (0..COUNT).collect(), "{values:?}");
    ensure!(tidemill.stop(SOON)? == Some(0), "{}", tidemill.log()?);
    Ok(())
}
