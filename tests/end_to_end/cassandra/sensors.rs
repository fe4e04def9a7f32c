//! Real input: two CSV files of sensors, replayed through the broker, and hourly windows over HTTP
//! that equal those computed here straight from the files (I4).

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::cassandra::Keyspace;
use tidemill_tests::csv_series::{self, AMBIENT, MACHINE, RANGE, SensorFile};
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::windows;

use crate::{SOON, broker};

const HOUR_NS: i128 = 3_600_000_000_000;

/// A consumer of the broker that takes samples as old as those of the files, and keeps their order:
/// where a file has a time twice, the later row counts.
pub(crate) fn ingester(keyspace: &Keyspace, broker: &Mosquitto) -> Result<Builder> {
    Ok(Builder::new()?
        .with_cassandra(keyspace)
        .with_broker(broker.address(), "sensors")
        .set("ingest.mqtt.connections", 1)
        .set("ingest.past_max", "36500days"))
}

pub(crate) fn files(keyspace: &Keyspace) -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let tidemill = ingester(keyspace, &broker)?.start()?;
    broker::wait_consumed(&broker, &tidemill)?;
    for sensor in [&MACHINE, &AMBIENT] {
        let file = sensor.copy()?;
        let outcome = csv_series::replay(&file, sensor, broker.address(), &[])?.finish(SOON)?;
        outcome.expect(0, &[]).with_context(|| sensor.name)?;
        wait_hourly(&tidemill, sensor)?;
    }
    // Nothing of it was only in memory.
    ensure!(tidemill.stop(SOON)? == Some(0), "exit code: {}", tidemill.log()?);
    tidemill.restart()?;
    [&MACHINE, &AMBIENT].into_iter().try_for_each(|sensor| wait_hourly(&tidemill, sensor))
}

/// Waits until as many samples are answered as the file has times, and compares every hour.
pub(crate) fn wait_hourly(tidemill: &Tidemill, sensor: &SensorFile) -> Result<()> {
    let series = sensor.series()?;
    csv_series::wait_all(tidemill.http(), sensor, &series, SOON)?;
    let read = windows::read(tidemill.http(), (sensor.device, sensor.metric), "1h", RANGE)?;
    windows::ensure_equal(&read, &windows::expected(&series, HOUR_NS)).context(sensor.name)
}
