//! Rows in which the machine of the ingester suffers: its clock jumps, its memory is short.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use tidemill_tests::api;
use tidemill_tests::clock::Clock;
use tidemill_tests::feed::Feed;
use tidemill_tests::load::{self, Load, Quality};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::judge::settle;
use crate::table::Findings;
use crate::{PLAN, SOON};

const DAY_SECONDS: i64 = 86_400;
/// A sample without a time gets that of its receipt, within so many seconds on a busy machine.
const HONEST_WITHIN_SECONDS: i64 = 60;

/// A day ahead, back to a day behind, and right again, while devices publish. Each sample keeps the time that its device
/// gave it; one without a time gets that of the clock at its receipt, whatever that says.
pub(crate) fn clock_jumps() -> Result<Findings> {
    let (clock, builder) = Clock::of(Builder::new()?)?;
    let tidemill = builder.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    feed.wait_more(200, SOON)?;
    let timeless = Publisher::start(Settings::new(tidemill.mqtt_address(), "timeless", Protocol::V5))?;
    for (number, days) in (0..).zip([1, -1, 0]) {
        clock.jump_to(days * DAY_SECONDS)?;
        let device = format!("after-{number}");
        timeless.publish(number, &format!("devices/{device}/telemetry"), b"{\"honest\":1}", SOON)?;
        timeless.wait_acknowledged(number, SOON)?;
        let offset =
            offset_of(&tidemill, &device).with_context(|| format!("with the clock {days} days off"))?;
        let wrong = offset - days * DAY_SECONDS;
        ensure!(wrong.abs() < HONEST_WITHIN_SECONDS, "{days} days off, and a sample {offset} s");
        feed.wait_more(200, SOON).with_context(|| format!("with the clock {days} days off"))?;
    }
    settle(&mut feed, &tidemill, "a day ahead, two back, right again")
}

/// How far the one sample of a device is off our clock, in seconds.
fn offset_of(tidemill: &Tidemill, device: &str) -> Result<i64> {
    let now = now();
    let [start, end] = [-10, 10].map(|days| (now + days * DAY_SECONDS).to_string());
    let query = [("device", device), ("start", start.as_str()), ("end", end.as_str())];
    let read = api::samples(tidemill.http(), &query, "10")?;
    let [sample] = &read[..] else { anyhow::bail!("one sample expected: {read:?}") };
    Ok(Timestamp::from_nanosecond(sample.time_ns)?.as_second() - now)
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// With little more memory than it said it needs, a flood does not end it.
pub(crate) fn memory_short() -> Result<Findings> {
    const LIMIT_MIB: u64 = 256;
    let builder = Builder::new()?.set("ingest.memory_bytes_max", 8 << 20);
    let tidemill = builder.set("store.embedded.cache_bytes_max", 16 << 20).start()?;
    let pid = tidemill.pid()?;
    tidemill.limit_memory(LIMIT_MIB << 20)?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    let settings = load::Settings::new(tidemill.mqtt_address(), "flood", 30);
    let flood = Load::start(&load::Settings { quality: Quality::AtMostOnce, ..settings })?;
    feed.wait_more(300, SOON)?;
    wait::until_true("a flood", SOON, || flood.issued() > 50_000)?;
    drop(flood);
    ensure!(tidemill.ended()?.is_none() && tidemill.pid()? == pid, "it ended: {}", tidemill.log()?);
    settle(&mut feed, &tidemill, &format!("{LIMIT_MIB} MiB of data, and a flood"))
}

/// Asking for memory fails: the process ends, as if killed, and the next goes on.
pub(crate) fn memory_exhausted() -> Result<Findings> {
    let tidemill = Builder::new()?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    for _ in 0..3 {
        feed.wait_more(200, SOON)?;
        // Less than it has: the next time it asks, it gets none.
        tidemill.limit_memory(1 << 20)?;
        // Queries ask for some, in case that devices alone get by with what there is.
        wait::until("its end", SOON, || {
            let _ = api::plan_samples(tidemill.http(), &PLAN);
            tidemill.ended()
        })?;
        tidemill.restart()?;
    }
    settle(&mut feed, &tidemill, "3 times out of memory")
}
