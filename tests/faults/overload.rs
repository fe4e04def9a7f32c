//! Twice as much as it can take, for a while: what cannot be taken waits at its sender (QoS 1) or is shed and counted
//! (QoS 0), memory and the time to an acknowledgement stay bounded, nobody is cut off, and it is over when it is over.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidemill_tests::api::Accounting;
use tidemill_tests::environment;
use tidemill_tests::feed::Feed;
use tidemill_tests::load::{self, Load, Quality, Settings, amount};
use tidemill_tests::mqtt::{self, Protocol};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::judge::{DRAINS_WITHIN, settle};
use crate::network::of_load;
use crate::table::Findings;
use crate::{PLAN, SOON};

/// What messages may take between socket and store: less than what all devices have ready to be read at any moment, so
/// that it is full whatever else the machine does.
const ROOM: u64 = 1 << 20;
/// All of the process, its store's caches and the memory that its allocator keeps included.
const RESIDENT_MAX: f64 = 600e6;
/// No message waits longer for its acknowledgement than the windows of all devices take to be written, on a machine that
/// is busy with other rows as well.
const LATENCY_MAX: Duration = Duration::from_secs(30);
const DEVICES: u32 = 40;
const WINDOW: u64 = 1000;

pub(crate) fn twice_the_rate() -> Result<Findings> {
    let (measured, lasting) = if environment::all_faults() { (10, 120) } else { (4, 10) };
    let cache = 16 << 20;
    let builder = Builder::new()?.set("ingest.memory_bytes_max", ROOM);
    let tidemill = builder.set("store.embedded.cache_bytes_max", cache).start()?;
    let mut feed = Feed::start(PLAN, mqtt::Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    let rate = sustainable(&tidemill, Duration::from_secs(measured))?;

    let settings = Settings::new(tidemill.mqtt_address(), "over", DEVICES);
    let quality = Quality::AtLeastOnce { window: WINDOW };
    let mut load = Load::start(&Settings { quality, rate: Some(rate), ..settings.clone() })?;
    let careless = |name: &str, rate: Option<f64>| {
        let name = name.to_owned();
        Load::start(&Settings { name, quality: Quality::AtMostOnce, rate, ..settings.clone() })
    };
    let as_fast = careless("careless", Some(rate))?;
    let (resident, latency) = watch(&tidemill, &load, Duration::from_secs(lasting))?;
    let shed = || -> Result<bool> { Ok(Accounting::scrape(tidemill.http())?.shed > 0.5) };
    // What can be sustained was measured beside other rows; the machine may have more to give by now.
    let flat_out = if shed()? { None } else { Some(careless("flat-out", None)?) };
    wait::until("QoS 0 to be shed", SOON, || Ok(shed()?.then_some(())))?;
    let over = wait::now();
    let connections = load.connections() + as_fast.connections();
    drop((as_fast, flat_out));
    load.finish(DRAINS_WITHIN)?;
    let accounting = wait::until("nothing in flight of the load", DRAINS_WITHIN, || {
        let accounting = Accounting::scrape(tidemill.http())?;
        // The feed alone has no more than its window in flight.
        Ok((accounting.in_flight <= 100.0).then_some(accounting))
    })?;
    let recovered = over.elapsed();

    ensure!(resident < RESIDENT_MAX, "{resident} bytes resident");
    ensure!(latency < LATENCY_MAX, "{latency:?} to an acknowledgement");
    ensure!(connections == u64::from(DEVICES) * 2, "{connections} connections: some were cut off");
    let note = format!(
        "twice {rate:.0}/s for {lasting} s: {:.0} MB resident, {:.0} ms to half of the acknowledgements, {:.0} to all, \
         {:.0} shed, recovered in {:.1} s",
        resident / 1e6,
        load.latency(0.5).as_secs_f64() * 1e3,
        latency.as_secs_f64() * 1e3,
        accounting.shed,
        recovered.as_secs_f64(),
    );
    let mut found = settle(&mut feed, &tidemill, &note)?;
    found += of_load(&load, load::read_back(tidemill.http(), "over")?);
    Ok(found)
}

/// How many messages a second it acknowledges while senders wait for it.
fn sustainable(tidemill: &Tidemill, span: Duration) -> Result<f64> {
    let mut load = Load::start(&Settings::new(tidemill.mqtt_address(), "sustained", DEVICES))?;
    wait::until_true("all devices at work", SOON, || load.acknowledged() > u64::from(DEVICES) * 100)?;
    let (started, before) = (wait::now(), load.acknowledged());
    wait::pause(span);
    let rate = amount(load.acknowledged() - before) / started.elapsed().as_secs_f64();
    load.finish(DRAINS_WITHIN)?;
    Ok(rate)
}

/// The most memory that it had, and the longest that an acknowledgement took.
fn watch(tidemill: &Tidemill, load: &Load, span: Duration) -> Result<(f64, Duration)> {
    let started: Instant = wait::now();
    let mut resident = 0.0_f64;
    while started.elapsed() < span {
        wait::pause(Duration::from_millis(250));
        // What it counts adds up at every moment.
        Accounting::scrape(tidemill.http())?;
        resident = resident.max(tidemill.http().metrics()?.sum("process_resident_memory_bytes", &[]));
    }
    Ok((resident, load.latency(1.0)))
}
