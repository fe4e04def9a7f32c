//! Rows in which the network between devices and ingester suffers.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidemill_tests::environment;
use tidemill_tests::feed::Feed;
use tidemill_tests::load::{self, Load};
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::relay::Relay;
use tidemill_tests::tidemill::Builder;
use tidemill_tests::wait;

use crate::judge::{DRAINS_WITHIN, settle};
use crate::table::Findings;
use crate::{PLAN, SOON};

/// Nothing passes and nothing is closed; then everything is closed. The device knows nothing of what arrived.
pub(crate) fn half_open() -> Result<Findings> {
    let tidemill = Builder::new()?.start()?;
    let relay = Relay::start(tidemill.mqtt_address())?;
    let mut feed = Feed::start(PLAN, Settings::new(relay.address(), "device", Protocol::V5))?;
    for _ in 0..4 {
        feed.wait_more(200, SOON)?;
        relay.hold();
        wait::pause(Duration::from_secs(1));
        relay.cut();
        wait::pause(Duration::from_millis(300));
        relay.restore();
    }
    ensure!(relay.connections() > 3, "the device never came back");
    settle(&mut feed, &tidemill, "4 times, the same id comes back")
}

/// Devices whose packets are dropped from some moment on, with nothing that says so: their connections end for their
/// silence, and what they had in flight costs nobody else anything.
pub(crate) fn silent() -> Result<Findings> {
    const DEVICES: u32 = 50;
    let tidemill = Builder::new()?.start()?;
    let relay = Relay::start(tidemill.mqtt_address())?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    let settings =
        load::Settings { keep_alive: 2, ..load::Settings::new(relay.address(), "silent", DEVICES) };
    let lost = Load::start(&load::Settings { rate: Some(2000.0), ..settings })?;
    wait::until_true("all devices", SOON, || lost.acknowledged() > u64::from(DEVICES) * 20)?;
    relay.hold();
    wait::until("silent connections to end", SOON, || {
        // All but the feed's.
        let open = tidemill.http().metrics()?.sum("tidemill_listener_connections", &[]);
        Ok((open < 1.5).then_some(()))
    })?;
    feed.wait_more(200, SOON)?;
    drop(lost);
    drop(relay);
    settle(&mut feed, &tidemill, &format!("{DEVICES} devices fell silent and were let go"))
}

/// All devices lose their connections at once, come back at once, and repeat what was not acknowledged.
pub(crate) fn storm() -> Result<Findings> {
    let (devices, cuts) = if environment::all_faults() { (500, 20_u64) } else { (200, 5) };
    let tidemill = Builder::new()?.start()?;
    let relay = Relay::start(tidemill.mqtt_address())?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    let settings = load::Settings::new(relay.address(), "storm", devices);
    let mut load = Load::start(&load::Settings { rate: Some(4000.0), ..settings })?;
    for cut in 1..=cuts {
        wait::until_true("all devices", SOON, || load.connections() >= cut * u64::from(devices))?;
        let acknowledged = load.acknowledged();
        wait::until_true("acknowledgements", SOON, || load.acknowledged() > acknowledged)?;
        relay.cut();
        relay.restore();
    }
    load.finish(DRAINS_WITHIN)?;
    let back = format!("{} connections of {devices} devices", load.connections());
    let mut found = settle(&mut feed, &tidemill, &back)?;
    let read = load::read_back(tidemill.http(), "storm")?;
    found += of_load(&load, read);
    Ok(found)
}

/// What is wrong with a load that has been acknowledged as a whole.
pub(crate) fn of_load(load: &Load, read: load::ReadBack) -> Findings {
    let count = |difference: u64| usize::try_from(difference).unwrap_or(usize::MAX);
    Findings {
        issued: load.issued(),
        acknowledged: load.acknowledged(),
        read: read.samples,
        lost: count(load.acknowledged().saturating_sub(read.samples)),
        invented: count(read.samples.saturating_sub(load.issued())),
        duplicated: count(read.wrong),
        reordered: load.out_of_order(),
        ..Findings::default()
    }
}
