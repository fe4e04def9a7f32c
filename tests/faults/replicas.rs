//! Rows in which some of three replicas are down, one cluster for all of them. Two ingesters write to it, one with a spool
//! and one without, each to a keyspace of its own that every node keeps a replica of.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tidemill_tests::api::Accounting;
use tidemill_tests::cassandra::{Cluster, DATACENTER, Keyspace, Size, Topology};
use tidemill_tests::environment;
use tidemill_tests::feed::Feed;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::judge::settle;
use crate::store::spooling;
use crate::table::judge;
use crate::{PLAN, SOON, later};

/// Nodes find out about each other, and drivers about nodes, by themselves; three of them share this machine.
const FOUND_WITHIN: Duration = Duration::from_mins(3);

/// An ingester with its rows of the table, and what publishes to it.
struct Side {
    rows: Rows,
    tidemill: Tidemill,
    feed: Feed,
    _keyspace: Keyspace,
}

struct Rows {
    one_down: &'static str,
    two_down: &'static str,
}

const PLAIN: Rows =
    Rows { one_down: "1 of 3 replicas down, no spool", two_down: "2 of 3 replicas down and back, no spool" };
const SPOOLED: Rows = Rows {
    one_down: "1 of 3 replicas down, spool",
    two_down: "2 of 3 replicas down and back, spool takes over",
};

/// One node of three down: nobody notices. Two down: acknowledgements stop, or the spool takes over. One of them back: two
/// are a quorum again. In the full matrix all are.
pub(crate) fn rows() -> Result<()> {
    let cluster = Cluster::start(&Topology::of(&[DATACENTER; 3]).size(Size::Small))?;
    let nodes = (cluster.node(1), cluster.node(2));
    let plain = |keyspace: &Keyspace| Ok(Builder::new()?.with_cassandra(keyspace));
    let mut plain = side(&cluster, ("plain", PLAIN), plain)?;
    let mut spooled = side(&cluster, ("spooled", SPOOLED), spooling)?;

    nodes.0.kill()?;
    let one_down = [&mut plain, &mut spooled].map(Side::goes_on_without_one);
    nodes.1.kill()?;
    let stopped = stops(&plain.feed);
    let spooled_on = spooled.feed.wait_more(200, FOUND_WITHIN);
    let waiting = Accounting::scrape(spooled.tidemill.http())?;
    nodes.0.restart()?;
    // Two of three are a quorum again.
    let back = plain.feed.wait_more(200, FOUND_WITHIN);
    if environment::all_faults() {
        nodes.1.restart()?;
    }
    let stopped = stopped.and_then(|()| back.context("two of three are up, and nothing is acknowledged"));
    let plain = plain.ends(stopped, "acknowledgements stopped with 2 down");
    let spooled_on = spooled_on.context("acknowledgements stopped though there is a spool").and_then(|()| {
        ensure!(waiting.spooled > 0.5, "nothing in the spool with 2 down: {waiting:?}");
        Ok(())
    });
    let spooled = spooled.ends(spooled_on, &format!("{} messages in the spool", waiting.spooled));
    one_down.into_iter().chain([plain, spooled]).fold(Ok(()), Result::and)
}

impl Side {
    /// What is acknowledged while one replica is down is judged while it still is; then other devices go on.
    fn goes_on_without_one(&mut self) -> Result<()> {
        let went_on =
            self.feed.wait_more(200, FOUND_WITHIN).context("one of three down stops acknowledgements");
        let found = went_on.and_then(|()| settle(&mut self.feed, &self.tidemill, "judged while it is down"));
        let next = Settings::new(self.tidemill.mqtt_address(), "feed-2", Protocol::V5);
        self.feed = Feed::start(later(1), next)?;
        judge(self.rows.one_down, found).and_then(|()| self.feed.wait_more(200, SOON))
    }

    fn ends(&mut self, tried: Result<()>, note: &str) -> Result<()> {
        judge(self.rows.two_down, tried.and_then(|()| settle(&mut self.feed, &self.tidemill, note)))
    }
}

fn side(
    cluster: &Cluster,
    (name, rows): (&str, Rows),
    builder: impl Fn(&Keyspace) -> Result<Builder>,
) -> Result<Side> {
    // The first node stays up, but nobody is to depend on it.
    let keyspace = Keyspace::new(&cluster.node(0).contact_point(), DATACENTER, name);
    let builder = || -> Result<Builder> {
        let builder = builder(&keyspace)?.set("store.cassandra.contact_points", cluster.contact_points());
        // Few shards: three nodes and all that writes to them share this machine.
        let builder = builder.set("store.first_era.shards", 1).roles("ingest,query");
        Ok(builder.set("store.cassandra.replication", json!({DATACENTER: 3})))
    };
    // Nodes that have just started may not know of each other yet, and then the schema is refused.
    let tidemill = wait::until("a cluster that agrees", FOUND_WITHIN, || Ok(builder()?.start().ok()))?;
    let feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "feed", Protocol::V5))?;
    feed.wait_more(200, SOON)?;
    Ok(Side { rows, tidemill, feed, _keyspace: keyspace })
}

/// Waits until nothing is acknowledged for a while.
fn stops(feed: &Feed) -> Result<()> {
    wait::until("acknowledgements to stop", FOUND_WITHIN, || {
        let before = feed.acknowledged_count();
        wait::pause(Duration::from_secs(3));
        Ok((feed.acknowledged_count() == before).then_some(()))
    })
}
