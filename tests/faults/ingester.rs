//! Rows in which the ingester suffers: killed, frozen, cut off from its devices. Its store is the embedded one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::environment;
use tidemill_tests::feed::Feed;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::random::Random;
use tidemill_tests::relay::Relay;
use tidemill_tests::tidemill::Builder;
use tidemill_tests::wait;

use crate::judge::settle;
use crate::table::Findings;
use crate::{PLAN, SOON};

/// `kill -9` at random moments, also while it comes up.
pub(crate) fn killed(durability: Option<&str>) -> Result<Findings> {
    let kills = if environment::all_faults() { 120 } else { 10 };
    let mut random = Random::new("ingester killed")?;
    let mut builder = Builder::new()?;
    if let Some(durability) = durability {
        let (spool, keys) = (builder.directory().join("spool"), builder.directory().join("keys"));
        std::fs::write(&keys, format!("1:{}\n", "4d".repeat(32)))?;
        builder = builder
            .set("ingest.durability", durability)
            .set("ingest.spool.directory", spool.display().to_string())
            .set("ingest.spool.key_file", keys.display().to_string());
    }
    let tidemill = builder.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    for kill in 0..kills {
        if random.below(4) == 0 {
            // In the middle of coming up.
            tidemill.spawn()?;
        } else {
            feed.wait_more(1, SOON)?;
        }
        wait::pause(random.span_below(Duration::from_millis(400)));
        tidemill.kill()?;
        tidemill.restart().with_context(|| format!("after kill {kill}"))?;
    }
    settle(&mut feed, &tidemill, &format!("{kills} kills"))
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
