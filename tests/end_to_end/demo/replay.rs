//! `tidemill replay`: every row arrives, whatever interrupts it, and mistakes are explained.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tidemill_tests::api::{self, Accounting};
use tidemill_tests::command::Command;
use tidemill_tests::csv_series::{self, AMBIENT, MACHINE, RANGE, SensorFile};
use tidemill_tests::random::Random;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::{wait, windows};

use crate::SOON;

const HOUR_NS: i128 = 3_600_000_000_000;

/// A program that takes samples as old as those of the files.
fn archive() -> Result<Tidemill> {
    Builder::new()?.set("ingest.past_max", "36500days").start()
}

fn stored(tidemill: &Tidemill) -> Result<f64> {
    Ok(Accounting::scrape(tidemill.http())?.stored)
}

/// Samples and hourly windows are those of the file.
fn ensure_whole(tidemill: &Tidemill, sensor: &SensorFile) -> Result<()> {
    csv_series::ensure_samples(tidemill.http(), sensor)?;
    let read = windows::read(tidemill.http(), (sensor.device, sensor.metric), "1h", RANGE)?;
    windows::ensure_equal(&read, &windows::expected(&sensor.series()?, HOUR_NS))
}

pub(crate) fn interrupted() -> Result<()> {
    const ROWS: f64 = 22_695.0;
    let tidemill = archive()?;
    let file = MACHINE.copy()?;
    let start = |more: &[&str]| csv_series::replay(&file, &MACHINE, tidemill.mqtt_address(), more);
    for _ in 0..3 {
        let replay = start(&["--rate", "4000"])?;
        let goal = stored(&tidemill)? + 2_000.0;
        wait::until("some rows", SOON, || Ok((stored(&tidemill)? > goal).then_some(())))?;
        let outcome = replay.stop(SOON)?;
        ensure!(outcome.code.is_some_and(|code| code != 0), "not complete: {outcome:#?}");
    }
    start(&[])?.finish(SOON)?.expect(0, &[])?;
    // It did go on where it was: three interruptions repeat at most what was in flight.
    let published = stored(&tidemill)?;
    ensure!((ROWS - 0.5..ROWS + 3_000.0).contains(&published), "{published} messages for {ROWS} rows");
    ensure_whole(&tidemill, &MACHINE)?;
    // A complete replay leaves no position: the next one starts over, and changes nothing.
    start(&[])?.finish(SOON)?.expect(0, &[])?;
    ensure!(stored(&tidemill)? >= published + ROWS - 0.5, "the second replay was not whole");
    ensure_whole(&tidemill, &MACHINE)
}

pub(crate) fn kills() -> Result<()> {
    let mut random = Random::new("a_replay_outlives_kills_of_what_it_publishes_to")?;
    let tidemill = archive()?;
    let file = AMBIENT.copy()?;
    let replay = csv_series::replay(&file, &AMBIENT, tidemill.mqtt_address(), &["--rate", "1500"])?;
    for _ in 0..5 {
        wait::pause(Duration::from_millis(200) + random.span_below(Duration::from_millis(600)));
        tidemill.kill()?;
        tidemill.restart()?;
    }
    replay.finish(SOON)?.expect(0, &[])?;
    ensure_whole(&tidemill, &AMBIENT)
}

pub(crate) fn columns() -> Result<()> {
    let tidemill = archive()?;
    let (_directory, path) = csv_file(
        "when,a,b,ignored,state\n\
         2024-02-29T12:00:00.123456789Z,9007199254740993,0.1,x,on\n\
         2024-02-29T12:00:01Z,,2,x,off\n",
    )?;
    let address = tidemill.mqtt_address().to_string();
    let more = ["--time-column", "when", "--value-columns", "a,b,state", "--broker", &address];
    Command::start(&[&["replay", &path, "--device", "d1"], &more[..]].concat())?
        .finish(SOON)?
        .expect(0, &[])?;
    let query = [("device", "d1"), ("start", "2024-02-29T00:00:00Z"), ("end", "2024-03-01T00:00:00Z")];
    let read = api::samples(tidemill.http(), &query, "100")?;
    let mut values: Vec<_> = read.into_iter().map(|one| (one.time_ns, one.metric, one.value)).collect();
    values.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let (first, second) = (1_709_208_000_123_456_789, 1_709_208_001_000_000_000);
    let expected = [
        (first, "a", json!(9_007_199_254_740_993_u64)),
        (first, "b", json!(0.1)),
        (first, "state", json!("on")),
        (second, "b", json!(2)),
        (second, "state", json!("off")),
    ];
    ensure!(
        values.iter().map(|(time, name, value)| (*time, &**name, value.clone())).eq(expected),
        "{values:?}"
    );
    Ok(())
}

pub(crate) fn mistakes() -> Result<()> {
    let tidemill = Builder::new()?.start()?;
    let address = tidemill.mqtt_address().to_string();
    let replay = |path: &str, more: &[&str]| {
        let fixed = ["replay", path, "--device", "d1", "--broker", &address];
        Command::start(&[&fixed[..], more].concat())?.finish(SOON)
    };
    let (directory, path) = csv_file("timestamp,value,other\n2024-01-01 00:00:00,1,2\nnoon,1,2\n")?;
    let missing = directory.path().join("missing.csv").to_string_lossy().into_owned();
    replay(&missing, &[])?.expect(1, &["missing.csv"])?;
    replay(&path, &["--time-column", "time"])?.expect(1, &["\"time\"", "timestamp, value, other"])?;
    replay(&path, &["--value-columns", "vlaue"])?.expect(1, &["\"vlaue\"", "timestamp, value, other"])?;
    replay(&path, &["--metric", "m"])?.expect(1, &["--value-columns"])?;
    replay(&path, &[])?.expect(1, &["line 3", "noon"])?;
    let unknown = Command::start(&["replay", &path])?.finish(SOON)?;
    unknown.expect(2, &["--device"])
}

/// A file in a directory of its own, and its path.
fn csv_file(text: &str) -> Result<(TempDir, String)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.csv");
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok((directory, text_of(&path)))
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
