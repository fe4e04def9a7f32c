//! The sensors' CSV files: replayed with `tidemill replay`, and read here the plain way, to know
//! what must be answered.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tempfile::TempDir;

use crate::command::Command;
use crate::http::Http;
use crate::process::scratch_directory;
use crate::windows::{self, Series};
use crate::{api, environment, wait};

/// Holds all rows of the files.
pub const RANGE: (&str, &str) = ("2013-01-01T00:00:00Z", "2015-01-01T00:00:00Z");

/// A file of one sensor, with columns `timestamp` and `value`.
#[derive(Debug)]
pub struct SensorFile {
    /// The file's name.
    pub name: &'static str,
    /// Published as this device.
    pub device: &'static str,
    /// Published as this metric.
    pub metric: &'static str,
}

/// 22,695 rows, every 5 minutes; 12 times occur twice.
pub const MACHINE: SensorFile =
    SensorFile { name: "machine_temperature_system_failure.csv", device: "machine", metric: "temperature" };

/// 7,267 rows, every hour.
pub const AMBIENT: SensorFile =
    SensorFile { name: "ambient_temperature_system_failure.csv", device: "ambient", metric: "temperature" };

/// A copy of a file: a replay keeps its position beside the file, and shared data is not to be
/// written to.
#[derive(Debug)]
pub struct Copied {
    directory: TempDir,
    name: &'static str,
}

impl Copied {
    /// The copy.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }
}

impl SensorFile {
    /// The file in the shared data.
    pub fn path(&self) -> PathBuf {
        environment::shared_directory().join("data/sensors").join(self.name)
    }

    /// A copy in a directory of its own.
    pub fn copy(&self) -> Result<Copied> {
        let copied = Copied { directory: scratch_directory("tidemill-csv-")?, name: self.name };
        std::fs::copy(self.path(), copied.path()).with_context(|| self.path().display().to_string())?;
        Ok(copied)
    }

    /// Its samples. Where a time occurs twice, the later row counts.
    pub fn series(&self) -> Result<Series> {
        read(&self.path())
    }
}

fn read(path: &Path) -> Result<Series> {
    let mut series = Series::new();
    for row in csv::Reader::from_path(path)?.deserialize() {
        let (time, value): (String, f64) = row?;
        let time: DateTime = time.parse()?;
        series.insert(time.to_zoned(TimeZone::UTC)?.timestamp().as_nanosecond(), value);
    }
    Ok(series)
}

/// Starts `tidemill replay` of a copied file, with some more arguments.
pub fn replay(file: &Copied, sensor: &SensorFile, broker: SocketAddr, more: &[&str]) -> Result<Command> {
    let (path, broker) = (file.path().to_string_lossy().into_owned(), broker.to_string());
    let arguments = [
        "replay",
        &path,
        "--device",
        sensor.device,
        "--metric",
        sensor.metric,
        "--time-column",
        "timestamp",
        "--broker",
        &broker,
    ];
    Command::start(&[&arguments[..], more].concat())
}

/// Waits until a server answers as many samples as the series has.
pub fn wait_all(http: &Http, sensor: &SensorFile, series: &Series, within: Duration) -> Result<()> {
    wait::until(&format!("{} samples of {}", series.len(), sensor.name), within, || {
        let days = windows::read(http, (sensor.device, sensor.metric), "1d", RANGE)?;
        Ok(windows::holds_all(&days, series).then_some(()))
    })
}

/// An error unless the samples that a server answers are those of the file, each once.
pub fn ensure_samples(http: &Http, sensor: &SensorFile) -> Result<()> {
    let query = [("device", sensor.device), ("metric", sensor.metric), ("start", RANGE.0), ("end", RANGE.1)];
    let read = api::samples(http, &query, "10000")?;
    let read: Vec<_> = read.iter().map(|sample| (sample.time_ns, sample.value.as_f64())).collect();
    let expected: Vec<_> = sensor.series()?.into_iter().map(|(time, value)| (time, Some(value))).collect();
    let difference = read.iter().zip(&expected).find(|(read, expected)| read != expected);
    ensure!(difference.is_none(), "{}: (read, expected) {difference:?}", sensor.name);
    ensure!(read.len() == expected.len(), "{} samples, expected {}", read.len(), expected.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_rows_with_one_time_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows.csv");
        let rows =
            "timestamp,value\n1970-01-01 00:00:01,2.5\n1970-01-01 00:00:00,1\n1970-01-01 00:00:01,3.5\n";
        std::fs::write(&path, rows).unwrap();
        assert_eq!(read(&path).unwrap(), Series::from([(0, 1.0), (1_000_000_000, 3.5)]));
    }
}
