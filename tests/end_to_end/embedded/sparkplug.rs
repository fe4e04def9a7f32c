//! Sparkplug B through a broker: births outlive the process, and data before a birth is kept and asks for one.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidemill_tests::api;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings, Subscriber};
use tidemill_tests::process::scratch_directory;
use tidemill_tests::tidemill::Builder;
use tidemill_tests::wait;

use crate::SOON;

const BIRTH: &[u8] = include_bytes!("../../golden/formats/sparkplug_nbirth.bin");
const DATA: &[u8] = include_bytes!("../../golden/formats/sparkplug_ndata.bin");
const TEMPLATE: &str = "spBv1.0/{group}/{message}/{edge_node}/{device}";

pub(crate) fn births() -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let data = scratch_directory("tidemill-data-")?;
    let tidemill = Builder::new()?
        .with_broker(broker.address(), "host")
        .set("ingest.mqtt.group", "")
        .set("ingest.mqtt.connections", 1)
        .set("ingest.templates", json!([{"topic": TEMPLATE, "format": "sparkplug"}]))
        .set("store.embedded.directory", data.path().to_string_lossy().into_owned())
        .start()?;
    let wait_subscribed = || {
        wait::until("a subscription", SOON, || {
            let subscribed = tidemill.http().metrics()?.sum("tidemill_mqtt_subscribed_total", &[]);
            Ok((subscribed > 0.5).then_some(()))
        })
    };
    wait_subscribed()?;
    let commands = Settings::new(broker.address(), "edge-commands", Protocol::V311);
    let commands = Subscriber::start(commands, "spBv1.0/plant/NCMD/edge", SOON)?;
    let edge = Publisher::start(Settings::new(broker.address(), "edge", Protocol::V311))?;
    edge.publish(0, "spBv1.0/plant/NDATA/edge", DATA, SOON)?;
    let asked = commands.wait_received(1, SOON)?;
    let rebirth = b"Node Control/Rebirth";
    ensure!(
        asked.iter().any(|command| command.payload.windows(rebirth.len()).any(|part| part == rebirth)),
        "{asked:?}"
    );
    let temperatures = || -> Result<Vec<Value>> {
        let query = [("metric", "temp"), ("device", "edge"), ("start", "2023-01-01T00:00:00Z")];
        Ok(api::samples(tidemill.http(), &query, "100")?.into_iter().map(|sample| sample.value).collect())
    };
    ensure!(temperatures()?.is_empty(), "there was no birth");
    wait::until("a reject", SOON, || {
        let kept = tidemill.http().json("/v1/rejects", &[("reason", "no_birth"), ("device", "edge")])?;
        Ok((api::rows(&kept, "rejects")?.len() == 1).then_some(()))
    })?;
    let waits = || -> Result<(Option<String>, f64, Value)> {
        let status = tidemill.http().get("/v1/status", &[])?;
        let gauge = tidemill.http().metrics()?.sum("tidemill_ingest_waiting_messages", &[]);
        let listed = serde_json::from_str::<Value>(&status.body)?.get("waiting").cloned();
        Ok((status.headers.get("tidemill-waiting").cloned(), gauge, listed.unwrap_or_default()))
    };
    let (header, gauge, listed) = waits()?;
    ensure!(header.as_deref() == Some("1") && (gauge - 1.0).abs() < 0.5, "{header:?}, {gauge}");
    ensure!(listed.pointer("/0/reason") == Some(&json!("no_birth")), "{listed}");
    let line = tidemill.command(&["rejects", "list"])?.finish(SOON)?;
    line.expect(0, &["quarantine (waits)  no_birth"])?;
    edge.publish(1, "spBv1.0/plant/NBIRTH/edge", BIRTH, SOON)?;
    let expected = [json!(20.5), json!(22.5)];
    wait::until("the data that waited", SOON, || Ok((temperatures()? == expected).then_some(())))?;
    wait::until("no reject", SOON, || {
        let kept = tidemill.http().json("/v1/rejects", &[("reason", "no_birth")])?;
        Ok(api::rows(&kept, "rejects")?.is_empty().then_some(()))
    })?;
    let (header, gauge, listed) = waits()?;
    ensure!(header.is_none() && gauge < 0.5 && listed == json!([]), "{header:?}, {gauge}, {listed}");
    tidemill.kill()?;
    tidemill.restart()?;
    wait_subscribed()?;
    edge.publish(2, "spBv1.0/plant/NDATA/edge", DATA, SOON)?;
    edge.wait_settled(SOON)?;
    let rejected = tidemill.http().metrics()?.sum("tidemill_ingest_messages_quarantined_total", &[]);
    ensure!(rejected < 0.5, "{rejected} messages were not understood after the restart");
    ensure!(temperatures()? == expected, "the same again");
    ensure!(tidemill.stop(SOON)? == Some(0), "{}", tidemill.log()?);
    let replay = tidemill.command(&["rejects", "replay", "--reason=no_birth"])?.finish(SOON)?;
    replay.expect(0, &["0 stored, 0 still refused"])
}
