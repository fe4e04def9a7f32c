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
use crate::{PLAN, SOON};

/// Nodes find out about each other, and drivers about nodes, by themselves; three of them share this machine.
const FOUND_WITHIN: Duration = Duration::from_mins(3);

/// An ingester with what publishes to it.
struct Side {
    tidemill: Tidemill,
    feed: Feed,
    _keyspace: Keyspace,
}

/// One node of three down: nobody notices. Two down: acknowledgements stop, or the spool takes over. One of them back: two
/// are a quorum again. In the full matrix all are.
pub(crate) fn rows() -> Result<()> {
    let cluster = Cluster::start(&Topology::of(&[DATACENTER; 3]).size(Size::Small))?;
    let nodes = (cluster.node(1), cluster.node(2));
    let mut plain = side(&cluster, "plain", |keyspace| Ok(Builder::new()?.with_cassandra(keyspace)))?;
    let mut spooled = side(&cluster, "spooled", spooling)?;

    nodes.0.kill()?;
    for side in [&plain, &spooled] {
        side.feed.wait_more(200, FOUND_WITHIN).context("one of three down stops acknowledgements")?;
    }
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
    stopped?;
    spooled_on.context("acknowledgements stopped though there is a spool")?;
    ensure!(waiting.spooled > 0.5, "{waiting:?}");
    back.context("two of three are up, and nothing is acknowledged")?;

    let found = settle(&mut plain.feed, &plain.tidemill, "acknowledgements stopped with 2 down");
    let plain = judge("1, then 2 of 3 replicas down, no spool", found);
    let tried = format!("{} messages in the spool", waiting.spooled);
    let found = settle(&mut spooled.feed, &spooled.tidemill, &tried);
    let spooled = judge("1, then 2 of 3 replicas down, spool", found);
    plain.and(spooled)
}

fn side(cluster: &Cluster, name: &str, builder: impl Fn(&Keyspace) -> Result<Builder>) -> Result<Side> {
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
    Ok(Side { tidemill, feed, _keyspace: keyspace })
}

/// Waits until nothing is acknowledged for a while.
fn stops(feed: &Feed) -> Result<()> {
    wait::until("acknowledgements to stop", FOUND_WITHIN, || {
        let before = feed.acknowledged_count();
        wait::pause(Duration::from_secs(3));
        Ok((feed.acknowledged_count() == before).then_some(()))
    })
}
