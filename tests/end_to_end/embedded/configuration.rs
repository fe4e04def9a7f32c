//! What an operator may get wrong is refused before anything listens, with the way out.

use anyhow::{Result, ensure};
use tidemill_tests::tidemill::Builder;

use crate::SOON;

/// The exit code of a mistake in configuration or command line.
const USAGE: i32 = 2;

pub(crate) fn unknown_key() -> Result<()> {
    let mistaken = || Builder::new().map(|builder| builder.set("ingest.listener.max_connections", 5));
    let closest = &["ingest.listener.max_connections", "ingest.listener.connections_max"];
    mistaken()?.prepare()?.command(&["run"])?.finish(SOON)?.expect(USAGE, closest)?;
    mistaken()?.prepare()?.command(&["check-config"])?.finish(SOON)?.expect(USAGE, closest)?;
    let wrong = Builder::new()?.set("ingest.memory_bytes_max", "lots").prepare()?;
    wrong.command(&["run"])?.finish(SOON)?.expect(USAGE, &["memory_bytes_max"])?;
    let right = Builder::new()?.set("ingest.listener.connections_max", 5).prepare()?;
    right.command(&["check-config"])?.finish(SOON)?.expect(0, &["connections_max = 5"])
}

pub(crate) fn remote_addresses() -> Result<()> {
    for key in ["http", "ingest.listener"] {
        let (bind, allow) = (format!("{key}.bind"), format!("{key}.insecure_allow_remote"));
        let builder = Builder::new()?.set(&bind, "0.0.0.0:0").prepare()?;
        builder.command(&["run"])?.finish(SOON)?.expect(USAGE, &[&allow])?;
        let allowed = Builder::new()?.set(&bind, "0.0.0.0:0").set(&allow, true).prepare()?;
        allowed.command(&["check-config"])?.finish(SOON)?.expect(0, &["0.0.0.0:0"])?;
    }
    Ok(())
}

pub(crate) fn second_process() -> Result<()> {
    let first = Builder::new()?.start()?;
    let directory = first.directory().join("tidemill-data").to_string_lossy().into_owned();
    let second = Builder::new()?.set("store.embedded.directory", directory).prepare()?;
    let outcome = second.command(&["run"])?.finish(SOON)?;
    ensure!(outcome.code.is_some_and(|code| code != 0), "{outcome:#?}");
    ensure!(outcome.log.contains("tidemill-data"), "it does not name the directory: {outcome:#?}");
    ensure!(first.is_ready(), "the first one suffered");
    Ok(())
}

/// Said once, without what the program calls it inside.
pub(crate) fn wrong_word() -> Result<()> {
    for (key, word, words) in [
        ("ingest.time_unit", "sec", "\"sec\" is none of s, ms, us, ns, auto for key `ingest.time_unit`"),
        ("ingest.mqtt.version", "4", "\"4\" is none of 3.1.1, 5 for key `ingest.mqtt.version`"),
        ("ingest.durability", "disk", "\"disk\" is none of store, spool for key `ingest.durability`"),
    ] {
        let outcome = Builder::new()?.set(key, word).prepare()?.command(&["check-config"])?.finish(SOON)?;
        outcome.expect(USAGE, &[words])?;
        ensure!(outcome.log.matches("is none of").count() == 1, "{outcome:#?}");
    }
    let consuming = |group: &str, brokers: &[&str]| {
        let brokers: Vec<String> = brokers.iter().map(|broker| (*broker).to_owned()).collect();
        Builder::new()
            .map(|builder| builder.set("ingest.mqtt.group", group).set("ingest.mqtt.brokers", brokers))
    };
    let check = ["check-config"];
    let group = consuming("a/b", &["mqtt://broker"])?.prepare()?;
    group.command(&check)?.finish(SOON)?.expect(USAGE, &["share group \"a/b\""])?;
    let twice = consuming("g", &["mqtt://broker", "mqtt://broker:1883"])?.prepare()?;
    twice.command(&check)?.finish(SOON)?.expect(USAGE, &["broker:1883 is named twice"])?;
    let at_once = Builder::new()?.set("store.rejects_retention", "0s").prepare()?;
    at_once.command(&check)?.finish(SOON)?.expect(USAGE, &["store.rejects_retention must be above 0"])
}
