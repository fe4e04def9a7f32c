//! Brings the fleet into each server the way that is meant for it: MQTT and the mill, blocks by promtool, JSON lines.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use tidemill_tests::cassandra::{Keyspace, shared};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::prometheus::Prometheus;
use tidemill_tests::wait;

use crate::data::{Fleet, METRICS, name, site, write_value};
use crate::idle::{disk, resident, wait_idle};
use crate::rivals::{Kind, Rival, Store, Victoria, tidemill};

const PATIENCE: Duration = Duration::from_hours(2);
/// Samples of a device in one message or line.
const AT_ONCE: u64 = 500;
/// Hours in one block of Prometheus.
const BLOCK_HOURS: u64 = 2;

/// What loading took and left.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Loaded {
    pub(crate) kind: Kind,
    /// Seconds until everything was in and settled; none where it was there already.
    pub(crate) seconds: Option<f64>,
    /// None where it is a server's of its own.
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) resident_bytes: u64,
}

/// A server that has the fleet, and is idle.
pub(crate) fn ready(kind: Kind, directory: &Path, fleet: Fleet) -> Result<(Rival, Loaded)> {
    fs::create_dir_all(directory)?;
    let mark = directory.with_extension("json");
    let wanted = serde_json::to_string(&fleet)?;
    let there = fs::read_to_string(&mark).is_ok_and(|have| have == wanted);
    let started = wait::now();
    let mut keyspace = None;
    if !there {
        eprintln!("versus: loading {} samples into {kind}", fleet.samples());
        fs::remove_dir_all(directory)?;
        fs::create_dir_all(directory)?;
        match kind {
            Kind::Tidemill => load_tidemill(Store::Directory(directory), fleet)?,
            Kind::Cassandra => {
                let node = shared()?;
                let fresh = Keyspace::new(node.contact_point(), node.datacenter(), "versus");
                load_tidemill(Store::Keyspace(&fresh), fleet)?;
                keyspace = Some(fresh);
            }
            Kind::Prometheus => load_prometheus(directory, fleet)?,
            Kind::Victoria => load_victoria(directory, fleet)?,
        }
    }
    let rival = Rival::start(kind, directory, keyspace)?;
    wait_idle(rival.pid()?)?;
    let own_disk = kind != Kind::Cassandra;
    if own_disk {
        fs::write(&mark, wanted)?;
    }
    let seconds = (!there).then(|| started.elapsed().as_secs_f64());
    let disk_bytes = own_disk.then(|| disk(directory)).transpose()?;
    let loaded = Loaded { kind, seconds, disk_bytes, resident_bytes: resident(rival.pid()?)? };
    eprintln!("versus: {loaded:?}");
    Ok((rival, loaded))
}

/// Ranges of numbers of messages of at most `length`.
fn chunks(fleet: Fleet, length: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let all = fleet.messages();
    (0..all.div_ceil(length)).map(move |chunk| chunk * length..all.min((chunk + 1) * length))
}

fn load_tidemill(store: Store<'_>, fleet: Fleet) -> Result<()> {
    let tidemill = tidemill(store, "ingest")?;
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "fleet", Protocol::V5))?;
    let mut message = 0;
    for chunk in chunks(fleet, AT_ONCE) {
        for device in 0..fleet.devices {
            let payload = points(fleet, device, chunk.clone());
            let topic = format!("devices/{}/telemetry", name(device));
            publisher.publish(message, &topic, payload.as_bytes(), PATIENCE)?;
            message += 1;
        }
    }
    publisher.disconnect(PATIENCE)?;
    tidemill.stop_well(PATIENCE)?;
    eprintln!("versus: grinding");
    tidemill.grind_all(PATIENCE)?;
    match store {
        Store::Directory(_) => Ok(()),
        Store::Keyspace(_) => {
            let mill = self::tidemill(store, "mill")?;
            mill.wait_collected(PATIENCE)?;
            mill.stop_well(PATIENCE)
        }
    }
}

/// A JSON array of points of a device.
fn points(fleet: Fleet, device: u32, numbers: std::ops::Range<u64>) -> String {
    let mut text = String::from("[");
    for number in numbers {
        if text.len() > 1 {
            text.push(',');
        }
        let _ = write!(text, "{{\"ts\":{},\"values\":{{", fleet.time_ms(device, number));
        for (place, metric) in METRICS.into_iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let _ = write!(text, "{comma}\"{metric}\":");
            write_value(&mut text, place, device, number);
        }
        let _ = write!(text, "}},\"tags\":{{\"site\":\"{}\"}}}}", site(device));
    }
    text.push(']');
    text
}

/// A file for each block: promtool reads a whole file once for each block that is in it.
fn load_prometheus(directory: &Path, fleet: Fleet) -> Result<()> {
    let prometheus = Prometheus::prepare()?.with_data(directory.to_owned());
    let file = prometheus.directory().join("block.om");
    for chunk in chunks(fleet, BLOCK_HOURS * 3_600 / u64::from(fleet.step_seconds)) {
        let mut text = String::new();
        for (place, metric) in METRICS.into_iter().enumerate() {
            for device in 0..fleet.devices {
                let (device_name, site) = (name(device), site(device));
                for number in chunk.clone() {
                    let _ = write!(
                        text,
                        "{metric}{{device=\"{device_name}\",site=\"{site}\",tenant=\"default\"}} "
                    );
                    write_value(&mut text, place, device, number);
                    let time = fleet.time_ms(device, number);
                    // A digit more, since a float is cut off, not rounded, to milliseconds.
                    let _ = writeln!(text, " {}.{:03}2", time / 1_000, time % 1_000);
                }
            }
        }
        text.push_str("# EOF\n");
        fs::write(&file, text)?;
        prometheus.import(&file)?;
    }
    Ok(())
}

fn load_victoria(directory: &Path, fleet: Fleet) -> Result<()> {
    let victoria = Victoria::start(directory)?;
    for chunk in chunks(fleet, AT_ONCE) {
        let mut lines = String::new();
        for device in 0..fleet.devices {
            for (place, metric) in METRICS.into_iter().enumerate() {
                line(&mut lines, fleet, (device, place, metric), chunk.clone());
            }
            if device % 100 == 99 || device + 1 == fleet.devices {
                let answer = victoria.http().post("/api/v1/import", lines.as_bytes())?;
                ensure!(answer.status == 204, "{answer:?}");
                lines.clear();
            }
        }
    }
    victoria.stop()
}

fn line(lines: &mut String, fleet: Fleet, series: (u32, usize, &str), numbers: std::ops::Range<u64>) {
    let (device, place, metric) = series;
    let _ = write!(
        lines,
        "{{\"metric\":{{\"__name__\":\"{metric}\",\"device\":\"{}\",\"site\":\"{}\",\"tenant\":\"default\"}},\"values\":[",
        name(device),
        site(device)
    );
    for number in numbers.clone() {
        if number != numbers.start {
            lines.push(',');
        }
        write_value(lines, place, device, number);
    }
    lines.push_str("],\"timestamps\":[");
    for number in numbers.clone() {
        let comma = if number == numbers.start { "" } else { "," };
        let _ = write!(lines, "{comma}{}", fleet.time_ms(device, number));
    }
    lines.push_str("]}\n");
}
