//! The end of every row: the fault is over, so everything must go on, drain, and read back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidemill_tests::api::{self, Accounting};
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::mosquitto::Mosquitto;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::Tidemill;
use tidemill_tests::wait;

use crate::table::Findings;

/// Within this a fresh message is taken once a fault has ended.
pub(crate) const GOES_ON_WITHIN: Duration = Duration::from_mins(1);
/// Within this all that waits is in the store, on a machine that runs several rows at once: a spool is forwarded record by
/// record, each as small as what its shard had at the time.
pub(crate) const DRAINS_WITHIN: Duration = Duration::from_mins(5);
/// The device of fresh messages, one for each row: nothing of an earlier one can pass for it.
const FRESH: &str = "fresh";

/// Judges a feed that published to the listener.
pub(crate) fn settle(feed: &mut Feed, tidemill: &Tidemill, note: &str) -> Result<Findings> {
    let ended = wait::now();
    let taken = fresh(tidemill.mqtt_address());
    let went_on = ended.elapsed();
    let mut stalled = u64::from(taken.is_err());
    stalled += u64::from(feed.wait_more(20, GOES_ON_WITHIN).is_err());
    feed.finish(DRAINS_WITHIN)?;
    stalled += u64::from(wait::until("an empty spool", DRAINS_WITHIN, || drained(tidemill.http())).is_err());
    let drained = ended.elapsed();
    if taken.is_ok() {
        ensure!(is_read(tidemill, FRESH)?, "the fresh message was acknowledged and cannot be read");
    }
    let found = verdict(feed, tidemill, note)?;
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
    let taken = fresh(broker.address()).and_then(|()| {
        wait::until_true("a fresh message", GOES_ON_WITHIN, || is_read(tidemill, FRESH).is_ok_and(|is| is))
    });
    let went_on = ended.elapsed();
    let mut stalled = u64::from(taken.is_err());
    stalled += u64::from(feed.wait_more(20, GOES_ON_WITHIN).is_err());
    feed.finish(DRAINS_WITHIN)?;
    let acknowledged = feed.acknowledged_count() * 4;
    let all = wait::until("every message", DRAINS_WITHIN, || Ok((samples()? >= acknowledged).then_some(())));
    // What never comes is lost, not late: the verdict says which.
    stalled +=
        u64::from(all.is_ok() && wait::until("a drain", DRAINS_WITHIN, || drained(tidemill.http())).is_err());
    let drained = ended.elapsed();
    let found = verdict(feed, tidemill, note)?;
    Ok(Findings { stalled: found.stalled + stalled, went_on, drained, ..found })
}

/// A device that nobody knows yet gets a message acknowledged.
fn fresh(address: SocketAddr) -> Result<()> {
    let publisher = Publisher::start(Settings::new(address, FRESH, Protocol::V5))?;
    publisher.publish(0, &format!("devices/{FRESH}/telemetry"), b"{\"fresh\":1}", GOES_ON_WITHIN)?;
    publisher.wait_acknowledged(0, GOES_ON_WITHIN)
}

fn is_read(tidemill: &Tidemill, device: &str) -> Result<bool> {
    Ok(!api::latest(tidemill.http(), device)?.is_empty())
}

fn verdict(feed: &Feed, tidemill: &Tidemill, note: &str) -> Result<Findings> {
    let verdict = feed.verdict(tidemill.http())?;
    Accounting::scrape(tidemill.http())?;
    Ok(Findings {
        lost: verdict.lost.len(),
        invented: verdict.invented.len(),
        duplicated: verdict.doubled.len(),
        reordered: feed.acknowledged_out_of_order(),
        note: format!("{} messages; {note}", feed.acknowledged_count()),
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
