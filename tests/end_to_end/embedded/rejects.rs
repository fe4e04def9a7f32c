//! What cannot be understood hurts only itself (I7), and every message is accounted for (I2).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tidemill_tests::api::Accounting;
use tidemill_tests::feed::Feed;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::Builder;
use tidemill_tests::wait;

use crate::{PLAN, SOON};

/// Topics and payloads that nobody can store.
const DEAD: [(&str, &[u8]); 7] = [
    ("devices/d1/telemetry", b"{\"a\":"),
    ("devices/d1/telemetry", b""),
    ("devices/d1/telemetry", b"\xff\xfe\x00"),
    ("devices/d1/telemetry", b"[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"),
    ("devices/d1/telemetry", b"{\"ts\":\"noon\",\"a\":1}"),
    ("weather/berlin", b"{\"a\":1}"),
    ("devices//telemetry", b"{\"a\":1}"),
];

pub(crate) fn poison() -> Result<()> {
    const ROUNDS: u64 = 20;
    let tidemill = Builder::new()?.start()?;
    let http = tidemill.http();
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "good", Protocol::V5))?;
    let poisoner = Publisher::start(Settings::new(tidemill.mqtt_address(), "poison", Protocol::V311))?;
    let mut messages = 0;
    for _ in 0..ROUNDS {
        for (topic, payload) in DEAD {
            poisoner.publish(messages, topic, payload, SOON)?;
            messages += 1;
        }
        let future = json!({"ts": milliseconds_from_now(Duration::from_hours(24))?, "a": 1}).to_string();
        poisoner.publish(messages, "devices/d1/telemetry", future.as_bytes(), SOON)?;
        messages += 1;
    }
    poisoner.wait_settled(SOON)?;
    ensure!(poisoner.connections() == 1, "bad payloads are no reason to end a connection");
    feed.wait_more(100, SOON)?;
    feed.finish(SOON)?;
    feed.verify(http)?;
    let rejected = http.metrics()?;
    let by_kind = |kind| rejected.sum("tidemill_ingest_messages_rejected_total", &[("kind", kind)]);
    let accounting = Accounting::scrape(http)?;
    let expected = (f64::from(u32::try_from(ROUNDS * 7)?), f64::from(u32::try_from(ROUNDS)?));
    ensure!((accounting.dead_lettered, accounting.quarantined) == expected, "{accounting:?}");
    ensure!((by_kind("dead_letter"), by_kind("quarantine")) == expected, "by reason: {rejected:?}");
    ensure!(http.json("/v1/latest", &[("device", "d1")])?.get("samples") == Some(&json!([])), "d1");
    Ok(())
}

pub(crate) fn wildcard() -> Result<()> {
    const CONNECT: &[u8] = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04wild";
    const PUBLISH: &[u8] = b"\x32\x1e\0\x13devices/+/telemetry\0\x01{\"a\":1}";
    let tidemill = Builder::new()?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "good", Protocol::V5))?;
    for _ in 0..10 {
        let mut device = connect(tidemill.mqtt_address())?;
        device.write_all(CONNECT)?;
        let mut accepted = [0; 4];
        device.read_exact(&mut accepted).context("no answer to CONNECT")?;
        ensure!(accepted == *b"\x20\x02\0\0", "CONNACK: {accepted:?}");
        device.write_all(PUBLISH)?;
        let mut rest = Vec::new();
        // A reset is an end as well.
        drop(device.read_to_end(&mut rest));
        ensure!(rest.is_empty(), "a wildcard was answered: {rest:?}");
    }
    feed.wait_more(100, SOON)?;
    feed.finish(SOON)?;
    feed.verify(tidemill.http())?;
    let ended =
        tidemill.http().metrics()?.sum("tidemill_listener_disconnects_total", &[("reason", "topic_name")]);
    ensure!((ended - 10.0).abs() < 0.5, "{ended} connections ended for their topic");
    Ok(())
}

pub(crate) fn accounting() -> Result<()> {
    let tidemill = Builder::new()?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V311))?;
    let unreliable = Publisher::start(Settings::new(tidemill.mqtt_address(), "unreliable", Protocol::V5))?;
    for number in 0..100 {
        unreliable.publish(number, "devices/d1/telemetry", b"nonsense", SOON)?;
        Accounting::scrape(tidemill.http())?;
    }
    unreliable.wait_settled(SOON)?;
    feed.finish(SOON)?;
    let last = wait::until("nothing in flight", SOON, || {
        let scraped = Accounting::scrape(tidemill.http())?;
        Ok((scraped.in_flight < 0.5).then_some(scraped))
    })?;
    let issued = f64::from(u32::try_from(feed.issued())?);
    ensure!((last.stored - issued).abs() < 0.5, "{issued} issued: {last:?}");
    ensure!((last.dead_lettered - 100.0).abs() < 0.5, "{last:?}");
    Ok(())
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

#[expect(clippy::disallowed_methods, reason = "the program under test compares with the wall clock, too")]
fn milliseconds_from_now(span: Duration) -> Result<u64> {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)? + span;
    Ok(u64::try_from(time.as_millis())?)
}
