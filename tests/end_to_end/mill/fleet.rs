//! A day of a thousand devices, asked for by the hour in one query: the same numbers with the mill never, half and
//! fully run, and those that the messages give.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use tidemill_tests::delivery;
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::oracle::Plan;
use tidemill_tests::process::scratch_directory;
use tidemill_tests::random::Random;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::windows::{self, Windows};

use crate::{SOON, WEATHER, eager};

/// From a midnight on, a message every half an hour.
const DAY: Plan = Plan { devices: 1_000, start_ms: 1_699_920_000_000, step_ms: 1_800_000, seed: 6 };
const MESSAGES: u64 = 48_000;
/// Half of the buckets of three hours.
const HALF: [&str; 4] =
    ["2023-11-14T00:00:00Z", "2023-11-14T06:00:00Z", "2023-11-14T09:00:00Z", "2023-11-14T21:00:00Z"];

/// Windows by device.
type Fleet = BTreeMap<String, Windows>;

pub(crate) fn all() -> Result<()> {
    let mut random =
        Random::new("a_day_of_a_thousand_devices_is_the_same_with_the_mill_never_half_and_fully_run")?;
    let data = scratch_directory("tidemill-data-")?;
    let directory = data.path().to_string_lossy().into_owned();
    let tidemill =
        eager(Builder::new()?).set("store.embedded.directory", directory).roles("ingest,query").start()?;
    let order = delivery::order(&DAY, MESSAGES, WEATHER, &mut random);
    let settings = Settings::new(tidemill.mqtt_address(), "fleet", Protocol::V5);
    let mut feed = Feed::start_in_order(DAY, settings, order)?;
    feed.wait_over(4 * SOON)?;

    let never = read(tidemill.http())?;
    check(&never).context("with the mill never run")?;
    let half = after(&tidemill, &HALF.map(|bucket| ["grind", "--bucket", bucket]))?;
    ensure!(half == never, "answers differ with the mill half run");
    let full = after(&tidemill, &[["grind", "--all"]])?;
    ensure!(full == never, "answers differ with the mill fully run");
    Ok(())
}

/// What is answered after these commands were run.
fn after<const N: usize>(tidemill: &Tidemill, commands: &[[&str; N]]) -> Result<Fleet> {
    ensure!(tidemill.stop(SOON)? == Some(0), "exit code: {}", tidemill.log()?);
    for command in commands {
        tidemill.command(command)?.finish(SOON)?.expect(0, &["ground"])?;
    }
    tidemill.restart()?;
    let first = read(tidemill.http())?;
    // From what is kept of the first time.
    ensure!(read(tidemill.http())? == first, "asked twice, answered differently");
    Ok(first)
}

fn read(http: &Http) -> Result<Fleet> {
    let start = Timestamp::from_millisecond(DAY.start_ms)?;
    let end = start.checked_add(std::time::Duration::from_hours(24))?;
    windows::read_fleet(http, ("temperature", "1h"), (&start.to_string(), &end.to_string()))
}

/// All are as the messages say.
fn check(fleet: &Fleet) -> Result<()> {
    ensure!(fleet.len() == usize::try_from(DAY.devices)?, "{} devices", fleet.len());
    let mut sent: BTreeMap<String, windows::Series> = BTreeMap::new();
    for number in 0..MESSAGES {
        let value = DAY.value(number, "temperature").as_f64().context("no temperature")?;
        let time = i128::from(DAY.time_ms(number)) * 1_000_000;
        sent.entry(DAY.device(number)).or_default().insert(time, value);
    }
    for (device, series) in &sent {
        let read = fleet.get(device).with_context(|| format!("no {device}"))?;
        windows::ensure_equal(read, &windows::expected(series, 3_600_000_000_000))
            .with_context(|| format!("windows of {device}"))?;
    }
    Ok(())
}
