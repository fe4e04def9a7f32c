//! The listener of a whole process as its devices see it, byte by byte: what it announces, which reason codes it gives,
//! and that who breaks a rule hurts nobody else (I7).

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tidemill_tests::api;
use tidemill_tests::feed::Feed;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::raw::{Raw, packet, publish, text};
use crate::{PLAN, SOON};

const TOPIC: &str = "devices/raw/telemetry";
const QOS_1: u8 = 0b010;

/// Limits are those of configuration, and a sender that keeps to the receive maximum is never cut off.
pub(crate) fn announced() -> Result<()> {
    let tidemill = Builder::new()?
        .set("ingest.listener.in_flight_max", 7)
        .set("ingest.listener.packet_bytes_max", 5_000)
        .start()?;
    let (mut raw, announced) = Raw::connect(tidemill.mqtt_address(), "raw", &[])?;
    for (name, property) in [
        ("receive maximum", &[0x21, 0, 7][..]),
        ("maximum packet size", &[0x27, 0, 0, 0x13, 0x88]),
        ("maximum quality of service", &[0x24, 1]),
        ("no wildcard subscriptions", &[0x28, 0]),
    ] {
        ensure!(announced.windows(property.len()).any(|part| part == property), "{name}: {announced:?}");
    }
    for round in 0..20_u16 {
        let ids = round * 7 + 1..round * 7 + 8;
        let burst: Vec<u8> = ids.clone().flat_map(|id| numbered(id, u64::from(id))).collect();
        raw.send(&burst)?;
        for id in ids {
            ensure!(raw.acknowledged(id)? == 0, "{id}");
        }
    }
    ensure!(
        values(&tidemill)? == (1..=140).map(|n| json!(n)).collect::<Vec<_>>(),
        "{:?}",
        values(&tidemill)?
    );
    Ok(())
}

/// Each of them ends its own connection with its reason, and the next one is as good as new.
pub(crate) fn reasons() -> Result<()> {
    let tidemill = Builder::new()?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "good", Protocol::V5))?;
    let alias = |alias: u16| [&[0x23][..], &alias.to_be_bytes()].concat();
    let of = |flags, properties: &[u8]| publish(flags, TOPIC, 2, properties, b"{\"n\": 2}");
    let oversize = publish(QOS_1, TOPIC, 2, &[], &vec![b' '; 300_000]);
    let cases: [(&str, Vec<u8>, u8, &str); 9] = [
        ("oversize packet", oversize, 0x95, "packet_too_large"),
        ("quality of service 2", of(0b100, &[]), 0x9b, "qos_not_supported"),
        ("quality of service 3", of(0b110, &[]), 0x81, "malformed"),
        ("topic alias 0", of(QOS_1, &alias(0)), 0x94, "topic_alias"),
        ("topic alias beyond the maximum", of(QOS_1, &alias(17)), 0x94, "topic_alias"),
        ("topic alias of nothing", publish(QOS_1, "", 2, &alias(3), b"{}"), 0x82, "protocol_error"),
        ("wildcard", publish(QOS_1, "devices/+/telemetry", 2, &[], b"{}"), 0x90, "topic_name"),
        ("a property twice", of(QOS_1, &[1, 1, 1, 1]), 0x82, "protocol_error"),
        ("reserved packet type", packet(0x00, &[]), 0x81, "malformed"),
    ];
    for (name, bytes, reason, label) in cases {
        let ended = || -> Result<f64> {
            let metrics = tidemill.http().metrics()?;
            Ok(metrics.sum("tidemill_listener_disconnects_total", &[("reason", label)]))
        };
        let before = ended()?;
        let (mut raw, _) = Raw::connect(tidemill.mqtt_address(), "raw", &[])?;
        raw.send(&[numbered(1, 1), bytes].concat())?;
        let code = match raw.packet()?.with_context(|| name)? {
            (0x40, _) => raw.disconnected().with_context(|| name)?,
            (0xe0, body) => *body.first().with_context(|| name)?,
            other => anyhow::bail!("{name}: {other:?}"),
        };
        ensure!(code == reason, "{name}: {code:#x}");
        let counted = || -> Result<bool> { Ok(ended()? - before > 0.5) };
        wait::until_true(&format!("{name} to be counted as {label}"), SOON, || counted().unwrap_or(false))?;
    }
    feed.wait_more(100, SOON)?;
    feed.finish(SOON)?;
    feed.verify(tidemill.http())?;
    let (mut first, _) = Raw::connect(tidemill.mqtt_address(), "same", &[])?;
    let (mut second, _) = Raw::connect(tidemill.mqtt_address(), "same", &[])?;
    ensure!(first.disconnected()? == 0x8e, "the session was taken over");
    second.send(&numbered(1, 1))?;
    ensure!(second.acknowledged(1)? == 0, "by a connection that works");
    ensure!(tidemill.stop(SOON)? == Some(0), "{}", tidemill.log()?);
    ensure!(second.disconnected()? == 0x8b, "the server shuts down");
    Ok(())
}

/// Garbage is acknowledged, and its sender told once no more of it is kept; what it sends well is stored all the same.
pub(crate) fn quota() -> Result<()> {
    let tidemill = Builder::new()?.set("ingest.reject_device_bytes_per_day_max", 2_000).start()?;
    let (mut raw, _) = Raw::connect(tidemill.mqtt_address(), "raw", &[])?;
    let mut codes = Vec::new();
    for id in 1..=20 {
        raw.send(&publish(QOS_1, TOPIC, id, &[], b"{\"n\":"))?;
        codes.push(raw.acknowledged(id)?);
    }
    let kept = codes.iter().take_while(|code| **code == 0).count();
    ensure!((1..20).contains(&kept) && codes.iter().skip(kept).all(|code| *code == 0x97), "{codes:?}");
    raw.send(&numbered(21, 5))?;
    ensure!(raw.acknowledged(21)? == 0, "it is stored");
    ensure!(values(&tidemill)? == [json!(5)], "{:?}", values(&tidemill)?);
    let listed = tidemill.http().json("/v1/rejects", &[("device", "raw")])?;
    ensure!(api::rows(&listed, "rejects")?.len() == kept, "{listed}");
    Ok(())
}

/// The same bytes again, with DUP or without, after a reconnect: the sample is there once. A will, the retain flag and
/// every property that a publisher may set change nothing.
pub(crate) fn repeated() -> Result<()> {
    let tidemill = Builder::new()?.start()?;
    let said = json!({"ts": PLAN.start_ms, "n": 1}).to_string();
    let properties = [
        &[0x01, 1][..],
        &[0x02, 0, 0, 0, 10],
        &[&[0x03][..], &text("application/json")].concat(),
        &[&[0x08][..], &text("answers")].concat(),
        &[&[0x09][..], &text("id")].concat(),
        &[&[0x26][..], &text("site"), &text("north")].concat(),
        &[&[0x26][..], &text("site"), &text("south")].concat(),
        &[0x23, 0, 9],
    ]
    .concat();
    for flags in [QOS_1, QOS_1 | 0b1000, QOS_1 | 0b0001] {
        let (mut raw, _) = Raw::connect(tidemill.mqtt_address(), "raw", &[0x11, 0, 0, 1, 0, 0x21, 0, 20])?;
        for _ in 0..2 {
            raw.send(&publish(flags, TOPIC, 7, &properties, said.as_bytes()))?;
            ensure!(raw.acknowledged(7)? == 0, "flags {flags:#b}");
        }
        raw.send(&publish(flags, "", 8, &[0x23, 0, 9], said.as_bytes()))?;
        ensure!(raw.acknowledged(8)? == 0, "by its alias");
    }
    ensure!(values(&tidemill)? == [json!(1)], "{:?}", values(&tidemill)?);
    let accounting = api::Accounting::scrape(tidemill.http())?;
    ensure!((accounting.stored - 9.0).abs() < 0.5 && accounting.in_flight < 0.5, "{accounting:?}");
    Ok(())
}

/// A reading without a time, whose connection ended before it was acknowledged, is there once when it is sent again: it
/// would get another time.
pub(crate) fn sent_again() -> Result<()> {
    const ROUNDS: u16 = 5;
    let tidemill = Builder::new()?.start()?;
    for round in 1..=ROUNDS {
        let said = json!({"n": round}).to_string();
        let (mut raw, _) = Raw::connect(tidemill.mqtt_address(), "raw", &[])?;
        // It reads the message and the end of the connection at once.
        tidemill.pause()?;
        raw.send(&publish(QOS_1, TOPIC, round, &[], said.as_bytes()))?;
        drop(raw);
        tidemill.resume()?;
        wait::until("the end of the connection", SOON, || {
            let open = tidemill.http().metrics()?.sum("tidemill_listener_connections", &[]);
            Ok((open < 0.5).then_some(()))
        })?;
        let (mut raw, _) = Raw::connect(tidemill.mqtt_address(), "raw", &[])?;
        raw.send(&publish(QOS_1 | 0b1000, TOPIC, round, &[], said.as_bytes()))?;
        ensure!(raw.acknowledged(round)? == 0, "round {round}");
    }
    let read = api::samples(tidemill.http(), &[("device", "raw"), ("start", "-1h")], "100")?;
    let values: Vec<_> = read.into_iter().map(|sample| sample.value).collect();
    ensure!(values == (1..=ROUNDS).map(|round| json!(round)).collect::<Vec<_>>(), "{values:?}");
    let accounting = api::Accounting::scrape(tidemill.http())?;
    ensure!((accounting.duplicate - f64::from(ROUNDS)).abs() < 0.5, "{accounting:?}");
    Ok(())
}

/// A message of its own time, `n` being `number`.
fn numbered(id: u16, number: u64) -> Vec<u8> {
    let at = PLAN.start_ms + i64::from(id);
    publish(QOS_1, TOPIC, id, &[], json!({"ts": at, "n": number}).to_string().as_bytes())
}

fn values(tidemill: &Tidemill) -> Result<Vec<serde_json::Value>> {
    let (start, end) = api::plan_range(&PLAN)?;
    let query = [("device", "raw"), ("metric", "n"), ("start", start.as_str()), ("end", end.as_str())];
    Ok(api::samples(tidemill.http(), &query, "1000")?.into_iter().map(|sample| sample.value).collect())
}
