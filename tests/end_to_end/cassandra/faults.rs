//! A store that stops answering: acknowledgements wait for it (I1), memory does not grow without
//! bound, and everything goes on when it is back.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidemill_tests::api::Accounting;
use tidemill_tests::cassandra::{Cluster, Keyspace, Topology};
use tidemill_tests::feed::Feed;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::tidemill::Builder;
use tidemill_tests::wait;

use crate::{PLAN, SOON};

/// Longer than Cassandra's own write timeout, so that outcomes become unknown.
const FROZEN: Duration = Duration::from_secs(5);
/// For what the node had answered before it froze.
const UNDER_WAY: Duration = Duration::from_millis(300);

pub(crate) fn frozen_store() -> Result<()> {
    let cluster = Cluster::start(&Topology::single())?;
    let node = cluster.node(0);
    let keyspace = Keyspace::new(&node.contact_point(), node.datacenter(), "frozen");
    let tidemill = Builder::new()?.with_cassandra(&keyspace).start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "feed", Protocol::V5))?;
    feed.wait_more(500, SOON)?;
    for _ in 0..2 {
        node.pause()?;
        wait::pause(UNDER_WAY);
        let before = feed.acknowledged_count();
        wait::pause(FROZEN);
        let after = feed.acknowledged_count();
        let waiting = Accounting::scrape(tidemill.http())?;
        node.resume()?;
        ensure!(before == after, "{before} acknowledged, then {after}, with a store that wrote nothing");
        ensure!(waiting.in_flight > 0.5, "{waiting:?}");
        feed.wait_more(500, SOON)?;
        feed.verify(tidemill.http())?;
    }
    feed.finish(SOON)?;
    let verdict = feed.verify(tidemill.http())?;
    ensure!(usize::try_from(feed.issued())? * 4 == verdict.seen, "{} issued, {verdict}", feed.issued());
    Ok(())
}
