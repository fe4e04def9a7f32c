//! The end of every row: the fault is over, so everything must go on, drain, and read back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tidemill_tests::api::{self, Accounting};
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::mosquitto::Mosquitto;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::oracle::METRICS;
use tidemill_tests::tap::Tap;
use tidemill_tests::tidemill::Tidemill;
use tidemill_tests::wait;

use crate::PLAN;
use crate::table::Findings;

/// Within this a fresh message is taken once a fault has ended.
pub(crate) const GOES_ON_WITHIN: Duration = Duration::from_mins(1);
/// Within this all that waits is in the store, on a machine that runs several rows at once: a spool is forwarded record by
/// record, each as small as what its shard had at the time.
pub(crate) const DRAINS_WITHIN: Duration = Duration::from_mins(5);
/// How many devices had a fresh message.
static FRESH: AtomicU64 = AtomicU64::new(0);

/// The device of a fresh message, another one for each row: nothing of an earlier one can pass for it.
fn fresh_device() -> String {
    format!("fresh-{}", FRESH.fetch_add(1, Ordering::Relaxed))
}

/// Judges a feed that published to the listener.
pub(crate) fn settle(feed: &mut Feed, tidemill: &Tidemill, note: &str) -> Result<Findings> {
    let (ended, device) = (wait::now(), fresh_device());
    let taken = fresh(tidemill.mqtt_address(), &device);
    let went_on = ended.elapsed();
    let mut stalled = u64::from(taken.is_err());
    stalled += u64::from(feed.wait_more(20, GOES_ON_WITHIN).is_err());
    feed.finish(DRAINS_WITHIN)?;
    stalled += u64::from(wait::until("an empty spool", DRAINS_WITHIN, || drained(tidemill.http())).is_err());
    let drained = ended.elapsed();
    if taken.is_ok() {
        ensure!(is_read(tidemill, &device)?, "the fresh message was acknowledged and cannot be read");
    }
    let found = verdict(feed, feed.acknowledged(), tidemill, note)?;
    Ok(Findings { stalled: found.stalled + stalled, went_on, drained, ..found })
}

/// Judges a feed that published to a broker, whose acknowledgement comes before ours.
pub(crate) fn settle_broker(
    feed: &mut Feed,
    (broker, tidemill): (&Mosquitto, &Tidemill),
    samples: impl Fn() -> Result<usize>,
    note: &str,
) -> Result<Findings> {
    let ended = wait::now();
    let mut stalled = u64::from(fresh_through(broker, tidemill, GOES_ON_WITHIN).is_err());
    let went_on = ended.elapsed();
    stalled += u64::from(feed.wait_more(20, GOES_ON_WITHIN).is_err());
    feed.finish(DRAINS_WITHIN)?;
    let acknowledged = feed.acknowledged_count() * METRICS.len();
    let all = wait::until("every message", DRAINS_WITHIN, || Ok((samples()? >= acknowledged).then_some(())));
    // What never comes is lost, not late: the verdict says which.
    stalled +=
        u64::from(all.is_ok() && wait::until("a drain", DRAINS_WITHIN, || drained(tidemill.http())).is_err());
    let drained = ended.elapsed();
    let found = verdict(feed, feed.acknowledged(), tidemill, note)?;
    Ok(Findings { stalled: found.stalled + stalled, went_on, drained, ..found })
}

/// Judges a feed that published to a broker which forgets: what `tap` saw the consumer acknowledge must be there, what the
/// broker alone acknowledged was its own to lose.
pub(crate) fn settle_tapped(
    feed: &mut Feed,
    (broker, tidemill): (&Mosquitto, &Tidemill),
    tap: &Tap,
    note: &str,
) -> Result<Findings> {
    let ended = wait::now();
    let mut stalled = u64::from(fresh_through(broker, tidemill, GOES_ON_WITHIN).is_err());
    let went_on = ended.elapsed();
    stalled += u64::from(feed.wait_more(20, GOES_ON_WITHIN).is_err());
    feed.finish(DRAINS_WITHIN)?;
    // One session keeps the order: when this has come, all that the broker still had before it has come, too.
    stalled += u64::from(fresh_through(broker, tidemill, DRAINS_WITHIN).is_err());
    stalled += u64::from(wait::until("a drain", DRAINS_WITHIN, || drained(tidemill.http())).is_err());
    let drained = ended.elapsed();
    let acknowledged = tap.acknowledged(&PLAN, feed.issued());
    let note = format!("the broker took {}; {note}", feed.acknowledged_count());
    let found = verdict(feed, acknowledged, tidemill, &note)?;
    Ok(Findings { stalled, went_on, drained, ..found })
}

/// A device that nobody knows yet publishes a message to the broker, which arrives.
fn fresh_through(broker: &Mosquitto, tidemill: &Tidemill, within: Duration) -> Result<()> {
    let device = fresh_device();
    fresh(broker.address(), &device)?;
    wait::until_true("a fresh message", within, || is_read(tidemill, &device).is_ok_and(|is| is))
}

/// A device that nobody knows yet gets a message acknowledged.
fn fresh(address: SocketAddr, device: &str) -> Result<()> {
    let publisher = Publisher::start(Settings::new(address, device, Protocol::V5))?;
    publisher.publish(0, &format!("devices/{device}/telemetry"), b"{\"fresh\":1}", GOES_ON_WITHIN)?;
    publisher.wait_acknowledged(0, GOES_ON_WITHIN)
}

fn is_read(tidemill: &Tidemill, device: &str) -> Result<bool> {
    Ok(!api::latest(tidemill.http(), device)?.is_empty())
}

fn verdict(feed: &Feed, acknowledged: BTreeSet<u64>, tidemill: &Tidemill, note: &str) -> Result<Findings> {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let must_be_there = count(acknowledged.len());
    let verdict = feed.verdict_on(acknowledged, tidemill.http())?;
    Accounting::scrape(tidemill.http())?;
    Ok(Findings {
        issued: feed.issued(),
        acknowledged: must_be_there,
        read: count(verdict.seen / METRICS.len()),
        lost: verdict.lost.len(),
        invented: verdict.invented.len(),
        duplicated: verdict.doubled.len(),
        reordered: feed.acknowledged_out_of_order(),
        note: note.to_owned(),
        ..Findings::default()
    })
}

fn drained(http: &Http) -> Result<Option<()>> {
    let accounting = Accounting::scrape(http)?;
    Ok((accounting.spooled < 0.5 && accounting.in_flight < 0.5).then_some(()))
}

/// How many samples of the plan can be read.
pub(crate) fn readable(tidemill: &Tidemill) -> Result<usize> {
    Ok(api::plan_samples(tidemill.http(), &crate::PLAN)?.len())
}
