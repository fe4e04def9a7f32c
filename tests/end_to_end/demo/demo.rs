//! `tidemill demo`: everything in one process, with a simulated fleet, and an account at the end.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tidemill_tests::api::{self, Accounting};
use tidemill_tests::command::{Command, Outcome};
use tidemill_tests::environment;
use tidemill_tests::http::Http;
use tidemill_tests::process::scratch_directory;

use crate::SOON;

/// Starts a demo on free ports with these further arguments.
fn start(data: &Path, arguments: &[&str]) -> Result<Command> {
    let data = data.to_string_lossy();
    let fixed = ["demo", "--data-dir", &data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    Command::start(&[&fixed[..], arguments].concat())
}

/// Where the demo says that it listens, once it has.
fn address(demo: &Command, before: &str) -> Result<SocketAddr> {
    demo.wait_output(&format!("an address behind {before:?}"), SOON, |output| {
        let rest = output.split_once(before)?.1;
        rest.split(|c: char| c.is_whitespace() || c == '/').next()?.parse().ok()
    })
}

fn http(demo: &Command) -> Result<Http> {
    address(demo, "HTTP   http://").map(Http::new)
}

/// The number that follows `word` in what was printed.
fn number(outcome: &Outcome, word: &str) -> Result<u64> {
    let rest = outcome.output.rsplit_once(word).with_context(|| format!("no {word:?}: {outcome:#?}"))?.1;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("no number behind {word:?}: {outcome:#?}"))
}

/// Exit code 0, received = stored, and nothing lost; how much was received.
fn ensure_nothing_lost(outcome: &Outcome) -> Result<u64> {
    outcome.expect(0, &[" 0 lost"])?;
    let (received, stored) = (number(outcome, "received")?, number(outcome, "= stored")?);
    ensure!(received == stored, "{received} received, {stored} stored: {outcome:#?}");
    for other in ["duplicate", "quarantined", "dead-lettered", "+ shed", "+ in flight"] {
        ensure!(number(outcome, other)? == 0, "{other}: {outcome:#?}");
    }
    ensure!(number(outcome, "published")? == number(outcome, ", acknowledged")?, "{outcome:#?}");
    Ok(received)
}

pub(crate) fn for_a_while() -> Result<()> {
    let data = scratch_directory("tidemill-demo-")?;
    let demo = start(data.path(), &["--for", "5s", "--devices", "20", "--rate", "200"])?;
    let http = http(&demo)?;
    http.expect(200, "/readyz", &[])?;
    let outcome = demo.finish(SOON)?;
    let received = ensure_nothing_lost(&outcome)?;
    ensure!((500..=1_100).contains(&received), "{received} messages in 5 s at 200 a second: {outcome:#?}");
    ensure!(outcome.output.contains("msg/s"), "no status line: {outcome:#?}");
    ensure!(http.get("/healthz", &[]).is_err(), "it still listens");
    Ok(())
}

pub(crate) fn twice() -> Result<()> {
    let data = scratch_directory("tidemill-demo-")?;
    let arguments = ["--for", "1s", "--devices", "3", "--rate", "300"];
    for _ in 0..2 {
        ensure_nothing_lost(&start(data.path(), &arguments)?.finish(SOON)?)?;
    }
    let demo = start(data.path(), &["--devices", "0"])?;
    let answer = http(&demo)?.json("/v1/devices", &[])?;
    let devices = api::rows(&answer, "devices")?.len();
    ensure!(devices == 3, "{devices} devices: {answer}");
    ensure!(demo.stop(SOON)?.code == Some(0), "exit code");
    Ok(())
}

pub(crate) fn without_devices() -> Result<()> {
    let data = scratch_directory("tidemill-demo-")?;
    let demo = start(data.path(), &["--devices", "0"])?;
    let (http, mqtt) = (http(&demo)?, address(&demo, "MQTT   ")?);
    let output = std::process::Command::new(environment::mosquitto_pub().context("no mosquitto_pub")?)
        .args(["-p", &mqtt.port().to_string(), "-q", "1", "-t", "devices/d1/telemetry"])
        .args(["-m", "{\"temperature\": 21.5}"])
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let latest = api::latest(&http, "d1")?;
    let values: Vec<_> = latest.iter().map(|sample| (&*sample.metric, &sample.value)).collect();
    ensure!(values == [("temperature", &json!(21.5))], "{latest:?}");
    demo.stop(SOON)?.expect(0, &["received 1 = stored 1 "])
}

pub(crate) fn stopped() -> Result<()> {
    let data = scratch_directory("tidemill-demo-")?;
    let demo = start(data.path(), &["--devices", "5", "--rate", "1000"])?;
    let http = http(&demo)?;
    tidemill_tests::wait::until("some messages", SOON, || {
        Ok((Accounting::scrape(&http)?.stored > 500.5).then_some(()))
    })?;
    let received = ensure_nothing_lost(&demo.stop(SOON)?)?;
    ensure!(received > 500, "{received}");
    Ok(())
}
