//! The end of every row: the fault is over, so everything must go on, drain, and read back.

use std::time::Duration;

use anyhow::Result;
use tidemill_tests::api::{self, Accounting};
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::tidemill::Tidemill;
use tidemill_tests::wait;

use crate::table::Findings;

/// Within this a fresh message is acknowledged once a fault has ended.
pub(crate) const GOES_ON_WITHIN: Duration = Duration::from_mins(1);
/// Within this all that waits is in the store, on a machine that runs all rows at once.
pub(crate) const DRAINS_WITHIN: Duration = Duration::from_mins(2);

/// Judges a feed that published to the listener.
pub(crate) fn settle(feed: &mut Feed, tidemill: &Tidemill, note: &str) -> Result<Findings> {
    let mut stalled = u64::from(feed.wait_more(20, GOES_ON_WITHIN).is_err());
    feed.finish(DRAINS_WITHIN)?;
    stalled += u64::from(wait::until("an empty spool", DRAINS_WITHIN, || drained(tidemill.http())).is_err());
    verdict(feed, tidemill, stalled, note)
}

/// Judges a feed that published to a broker, whose acknowledgement comes before ours.
pub(crate) fn settle_broker(
    feed: &mut Feed,
    tidemill: &Tidemill,
    samples: impl Fn() -> Result<usize>,
    note: &str,
) -> Result<Findings> {
    let mut stalled = u64::from(feed.wait_more(20, GOES_ON_WITHIN).is_err());
    feed.finish(DRAINS_WITHIN)?;
    let acknowledged = feed.acknowledged_count() * 4;
    let all = wait::until("every message", DRAINS_WITHIN, || Ok((samples()? >= acknowledged).then_some(())));
    // What never comes is lost, not late: the verdict says which.
    stalled +=
        u64::from(all.is_ok() && wait::until("a drain", DRAINS_WITHIN, || drained(tidemill.http())).is_err());
    verdict(feed, tidemill, stalled, note)
}

fn verdict(feed: &Feed, tidemill: &Tidemill, stalled: u64, note: &str) -> Result<Findings> {
    let verdict = feed.verdict(tidemill.http())?;
    Accounting::scrape(tidemill.http())?;
    Ok(Findings {
        lost: verdict.lost.len(),
        invented: verdict.invented.len(),
        duplicated: verdict.doubled.len(),
        reordered: feed.acknowledged_out_of_order(),
        stalled,
        note: format!("{} messages; {note}", feed.acknowledged_count()),
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
