//! Publishes the day part by part, has a mill grind each, and counts what it took.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use tidemill_tests::http::Metrics;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::Tidemill;
use tidemill_tests::wait;

use crate::fleet::{Device, Fleet, name};
use crate::idle::{resident, ticks, wait_idle};
use crate::store::{Levels, Store};

const PATIENCE: Duration = Duration::from_hours(1);
/// A hundredth of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// What publishing and grinding took and left.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Grinding {
    /// Bytes of all segments that came in.
    pub(crate) segment_bytes: u64,
    pub(crate) ingest_cpu_seconds: f64,
    pub(crate) mill_cpu_seconds: f64,
    /// From the mill's being ready until nothing waited, over all parts.
    pub(crate) mill_seconds: f64,
    /// What the mills spent in grinds, as they say.
    pub(crate) grind_seconds: f64,
    pub(crate) grinds: f64,
    /// Bytes of blocks and frames that were written.
    pub(crate) written_bytes: f64,
    pub(crate) mill_resident_bytes: u64,
    pub(crate) levels: Levels,
    /// On disk, with logs of what was written last.
    pub(crate) left_bytes: u64,
    /// The same once these were read and let go by the next process.
    pub(crate) at_rest_bytes: u64,
}

/// Publishes and grinds everything.
pub(crate) fn grind(store: &Store, fleet: Fleet, parts: u32) -> Result<Grinding> {
    let mut devices: Vec<Device> = (0..fleet.devices).map(Device::new).collect();
    let mut grinding = Grinding::default();
    let parts = parts.min(fleet.hours);
    for part in 0..parts {
        let hours = fleet.hours * part / parts..fleet.hours * (part + 1) / parts;
        eprintln!("figures: hours {hours:?} come in");
        let ingest = store.start("ingest")?;
        publish(&ingest, fleet, &mut devices, hours.clone())?;
        grinding.ingest_cpu_seconds += cpu_seconds(&ingest)?;
        ingest.stop_well(PATIENCE)?;
        grinding.segment_bytes += Store::levels(&ingest)?.segments;
        eprintln!("figures: hours {hours:?} are ground");
        let samples = fleet.samples() * u64::from(hours.end - hours.start) / u64::from(fleet.hours);
        mill(store, &mut grinding, samples, part + 1 == parts)?;
    }
    grinding.left_bytes = store.on_disk()?;
    let reader = store.start("query")?;
    wait_idle(reader.pid()?)?;
    reader.stop_well(PATIENCE)?;
    grinding.at_rest_bytes = store.on_disk()?;
    Ok(grinding)
}

fn publish(
    ingest: &Tidemill,
    fleet: Fleet,
    devices: &mut [Device],
    hours: std::ops::Range<u32>,
) -> Result<()> {
    let publisher = Publisher::start(Settings::new(ingest.mqtt_address(), "figures", Protocol::V5))?;
    let mut message = 0;
    for hour in hours {
        for (device, number) in devices.iter_mut().zip(0..) {
            let topic = format!("devices/{}/telemetry", name(number));
            publisher.publish(message, &topic, device.hour(fleet, hour).as_bytes(), PATIENCE)?;
            message += 1;
        }
    }
    publisher.wait_settled(PATIENCE)?;
    ensure!(publisher.refused().is_empty(), "messages were refused");
    publisher.disconnect(PATIENCE)
}

/// A mill until nothing waits, and after the last part until it has collected what was replaced.
fn mill(store: &Store, grinding: &mut Grinding, samples: u64, is_last: bool) -> Result<()> {
    let mill = store.start("mill")?;
    let started = wait::now();
    let metrics = wait::until("everything to be ground", PATIENCE, || {
        let metrics = mill.http().metrics()?;
        let waiting = |state| metrics.sum("tidemill_mill_buckets", &[("state", state)]);
        let all = metrics.sum("tidemill_mill_samples_total", &[]) >= double(samples) - 0.5;
        Ok((all && waiting("closed") + waiting("dirty") < 0.5).then_some(metrics))
    })?;
    grinding.mill_seconds += started.elapsed().as_secs_f64();
    grinding.mill_cpu_seconds += cpu_seconds(&mill)?;
    grinding.take(&metrics);
    grinding.mill_resident_bytes = grinding.mill_resident_bytes.max(resident(mill.pid()?)?);
    if is_last {
        mill.wait_collected(PATIENCE)?;
        wait_idle(mill.pid()?)?;
    }
    mill.stop_well(PATIENCE)?;
    grinding.levels = Store::levels(&mill)?;
    ensure!(grinding.levels.segments == 0, "something is not ground: {:?}", grinding.levels);
    Ok(())
}

impl Grinding {
    fn take(&mut self, metrics: &Metrics) {
        self.grind_seconds += metrics.sum("tidemill_mill_grind_seconds_sum", &[]);
        self.grinds += metrics.sum("tidemill_mill_grind_seconds_count", &[]);
        self.written_bytes += metrics.sum("tidemill_mill_written_bytes_total", &[]);
    }
}

fn cpu_seconds(tidemill: &Tidemill) -> Result<f64> {
    Ok(double(ticks(tidemill.pid()?)?) / TICKS_PER_SECOND)
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(crate) fn double(number: u64) -> f64 {
    number as f64
}
