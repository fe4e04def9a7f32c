//! Rows in which the ingester suffers: killed at random, killed at each step, frozen. Its store is the embedded one.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidemill_ingest::fail::Point;
use tidemill_tests::environment;
use tidemill_tests::feed::Feed;
use tidemill_tests::kills::kill_at_random;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::random::Random;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::judge::settle;
use crate::table::Findings;
use crate::{PLAN, SOON};

const SIGKILL: i32 = 9;

/// What a write goes to first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Store,
    /// Encrypted.
    Spool,
}

fn builder(durability: Durability) -> Result<Builder> {
    let builder = Builder::new()?;
    if durability == Durability::Store {
        return Ok(builder);
    }
    let (spool, keys) = (builder.directory().join("spool"), builder.directory().join("keys"));
    std::fs::write(&keys, format!("1:{}\n", "4d".repeat(32)))?;
    Ok(builder
        .set("ingest.durability", "spool")
        .set("ingest.spool.directory", spool.display().to_string())
        .set("ingest.spool.key_file", keys.display().to_string()))
}

/// `kill -9` at random moments, also while it comes up.
pub(crate) fn killed(durability: Durability) -> Result<Findings> {
    let kills = if environment::all_faults() { 120 } else { 10 };
    let mut random = Random::new("ingester killed")?;
    let tidemill = builder(durability)?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    kill_at_random((&tidemill, &feed), &mut random, kills, || Ok(()))?;
    settle(&mut feed, &tidemill, &format!("{kills} kills"))
}

/// Killed at each step that a message takes, some time after it came up.
pub(crate) fn killed_at_steps(durability: Durability) -> Result<Findings> {
    let rounds = if environment::all_faults() { 8 } else { 1 };
    let mut random = Random::new("ingester killed at each step")?;
    let tidemill = builder(durability)?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    let garbage = Publisher::start(Settings::new(tidemill.mqtt_address(), "garbage", Protocol::V311))?;
    let (mut ends, mut sent) = (0, 0);
    for _ in 0..rounds {
        for point in steps(durability) {
            let at = format!("{point}:{}", 1 + random.below(often(point)));
            end_at(&tidemill, &at, (&garbage, &mut sent)).with_context(|| at.clone())?;
            ends += 1;
        }
    }
    tidemill.restart()?;
    garbage.wait_settled(SOON)?;
    settle(&mut feed, &tidemill, &format!("{ends} kills at {} steps", steps(durability).count()))
}

fn steps(durability: Durability) -> impl Iterator<Item = Point> {
    let spools = durability == Durability::Spool;
    // With the spool first, steps of the store are those of forwarding.
    Point::all().filter(move |point| spools || !point.is_of_spool())
}

/// How often a point is reached in a life of a second or so, at least.
fn often(point: Point) -> u64 {
    match point {
        Point::SegmentBefore | Point::SegmentAfter | Point::AnswerSent => 10,
        Point::Received
        | Point::AckBefore
        | Point::AckQueued
        | Point::SpoolWriteBefore
        | Point::SpoolWriteTorn
        | Point::SpoolSyncBefore
        | Point::SpoolSyncAfter => 5,
        Point::CatalogBefore
        | Point::CatalogAfter
        | Point::MarkBefore
        | Point::MarkAfter
        | Point::RejectBefore
        | Point::RejectAfter => 2,
        Point::SpoolRemoveBefore | Point::SpoolRemoveAfter => 1,
    }
}

/// Starts it, killing the one before, and waits until it has ended there.
fn end_at(tidemill: &Tidemill, at: &str, (garbage, number): (&Publisher, &mut u64)) -> Result<()> {
    tidemill.spawn_with(&[("TIDEMILL_FAIL_AT", at)])?;
    let status = wait::until("its end", SOON, || {
        // What is no message is kept before it is acknowledged, too.
        if garbage.unacknowledged_count() < 5 {
            *number += 1;
            garbage.publish(*number, "devices/garbage/telemetry", b"{", SOON)?;
        }
        tidemill.ended()
    })?;
    ensure!(status.signal() == Some(SIGKILL), "{status}: {}", tidemill.log()?);
    Ok(())
}

/// Stopped in the middle of everything, for longer than devices wait.
pub(crate) fn frozen() -> Result<Findings> {
    let tidemill = Builder::new()?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V311))?;
    for _ in 0..2 {
        feed.wait_more(200, SOON)?;
        tidemill.pause()?;
        wait::pause(Duration::from_secs(8));
        tidemill.resume()?;
    }
    settle(&mut feed, &tidemill, "twice for 8 s")
}
