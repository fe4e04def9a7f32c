//! Rows in which the store suffers, one Cassandra for all of them, with the spool taking over.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use tidemill_tests::api::Accounting;
use tidemill_tests::cassandra::{Cluster, Keyspace, Node, Size, Topology};
use tidemill_tests::environment;
use tidemill_tests::feed::Feed;
use tidemill_tests::load::{self, Load, Quality};
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::judge::settle;
use crate::table::{Findings, judge};
use crate::{PLAN, SOON};

/// Longer than the deadline after which the spool takes over.
const AWAY: Duration = Duration::from_secs(6);

/// Rows of the table that are tried together, with how each ended.
pub(crate) type Judged = Vec<(&'static str, Result<Findings>)>;
pub(crate) type Row = fn(&Node, &Keyspace) -> Judged;

const ROWS: [Row; 6] = [
    |node, keyspace| one("store frozen, spool takes over", frozen(node, keyspace)),
    |node, keyspace| one("store slow: thaws now and then", slow(node, keyspace)),
    killed,
    |node, keyspace| one("store killed, ingester killed meanwhile", killed_both(node, keyspace)),
    |node, keyspace| one("spool disk full while the store is away", full(node, keyspace)),
    |node, keyspace| one("no spool, store frozen, flood of QoS 0 and 1", flooded(node, keyspace)),
];

/// A row that is tried by itself.
pub(crate) fn one(name: &'static str, findings: Result<Findings>) -> Judged {
    vec![(name, findings)]
}

/// Runs all rows, then says which failed.
pub(crate) fn rows() -> Result<()> {
    run_rows(&ROWS)
}

/// Runs rows on a node of their own, one after another, then says which failed.
pub(crate) fn run_rows(rows: &[Row]) -> Result<()> {
    let cluster = Cluster::start(&Topology::single().size(Size::Small))?;
    let node = cluster.node(0);
    let mut failed = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let keyspace = Keyspace::new(&node.contact_point(), node.datacenter(), &format!("faults{at}"));
        let before = failed.len();
        for (name, findings) in row(node, &keyspace) {
            if let Err(error) = judge(name, findings) {
                failed.push(format!("{name}: {error:?}"));
            }
        }
        if failed.len() > before {
            // Whatever it left behind is not to touch the next row.
            let _ = node.resume();
            node.restart()?;
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

pub(crate) fn spooling(keyspace: &Keyspace) -> Result<Builder> {
    let builder = Builder::new()?.with_cassandra(keyspace);
    let spool = builder.directory().join("spool").display().to_string();
    Ok(builder.set("ingest.spool.directory", spool).set("ingest.spool.store_deadline", "500ms"))
}

pub(crate) fn start(builder: Builder) -> Result<(Tidemill, Feed)> {
    let tidemill = builder.start()?;
    let feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "feed", Protocol::V5))?;
    feed.wait_more(200, SOON)?;
    Ok((tidemill, feed))
}

/// Acknowledgements go on without the store.
fn frozen(node: &Node, keyspace: &Keyspace) -> Result<Findings> {
    let (tidemill, mut feed) = start(spooling(keyspace)?)?;
    let rounds = if environment::all_faults() { 6 } else { 2 };
    let mut most = 0.0_f64;
    for _ in 0..rounds {
        node.pause()?;
        let went_on = feed.wait_more(500, SOON);
        wait::pause(AWAY);
        let accounting = Accounting::scrape(tidemill.http())?;
        node.resume()?;
        went_on.context("acknowledgements stopped though there is a spool")?;
        ensure!(accounting.spooled > 0.5, "{accounting:?}");
        most = most.max(accounting.spooled);
        feed.wait_more(200, SOON)?;
    }
    settle(&mut feed, &tidemill, &format!("{rounds} times, {most} messages spooled at most"))
}

fn slow(node: &Node, keyspace: &Keyspace) -> Result<Findings> {
    let (tidemill, mut feed) = start(spooling(keyspace)?)?;
    for _ in 0..8 {
        node.pause()?;
        wait::pause(Duration::from_millis(900));
        node.resume()?;
        wait::pause(Duration::from_millis(150));
    }
    settle(&mut feed, &tidemill, "8 times 0.9 s")
}

/// With a spool acknowledgements go on, without one they stop; both go on when the store is back.
fn killed(node: &Node, keyspace: &Keyspace) -> Judged {
    const NAMES: [&str; 2] = ["store killed, spool takes over", "store killed, no spool"];
    match killed_under(node, keyspace) {
        Ok(findings) => NAMES.into_iter().zip(findings).collect(),
        Err(error) => NAMES.into_iter().map(|name| (name, Err(anyhow!("{error:?}")))).collect(),
    }
}

fn killed_under(node: &Node, keyspace: &Keyspace) -> Result<[Result<Findings>; 2]> {
    let other = Keyspace::new(&node.contact_point(), node.datacenter(), "killed_plain");
    let (spooled, mut feed) = start(spooling(keyspace)?)?;
    let (plain, mut plain_feed) = start(Builder::new()?.with_cassandra(&other))?;
    node.kill()?;
    let went_on = feed.wait_more(500, SOON);
    // What was on its way when it died is answered by now.
    let before = plain_feed.acknowledged_count();
    wait::pause(AWAY);
    let after = plain_feed.acknowledged_count();
    let waiting = Accounting::scrape(spooled.http());
    node.restart()?;
    let waiting = waiting?.spooled;
    let with_spool = went_on
        .context("acknowledgements stopped though there is a spool")
        .and_then(|()| settle(&mut feed, &spooled, &format!("{waiting} messages in the spool")));
    let without = (before == after)
        .then_some(())
        .with_context(|| format!("{before} acknowledged, then {after}, with nowhere to write"))
        .and_then(|()| settle(&mut plain_feed, &plain, "acknowledgements stopped"));
    Ok([with_spool, without])
}

/// What a process left in its spool when it died is forwarded by the next.
fn killed_both(node: &Node, keyspace: &Keyspace) -> Result<Findings> {
    let (tidemill, mut feed) = start(spooling(keyspace)?)?;
    node.kill()?;
    feed.wait_more(500, SOON)?;
    let spooled = Accounting::scrape(tidemill.http())?.spooled;
    tidemill.kill()?;
    node.restart()?;
    tidemill.restart()?;
    let recovered = Accounting::scrape(tidemill.http())?.recovered;
    ensure!(recovered > 0.5, "{spooled} messages were spooled and none recovered");
    settle(&mut feed, &tidemill, &format!("{recovered} messages recovered from the spool"))
}

/// Acknowledgements stop when the disk of the spool is full, and go on when the store is back.
fn full(node: &Node, keyspace: &Keyspace) -> Result<Findings> {
    let builder = spooling(keyspace)?;
    let disk = SmallDisk::mount(&builder.directory().join("spool"))?;
    let (tidemill, mut feed) = start(builder)?;
    node.pause()?;
    let filled = wait::until("a full spool", SOON * 2, || {
        let refused = tidemill.http().metrics()?.sum("tidemill_spool_refused_total", &[]);
        Ok((refused > 0.5).then_some(()))
    });
    wait::pause(Duration::from_secs(1));
    let before = feed.acknowledged_count();
    wait::pause(Duration::from_secs(2));
    let after = feed.acknowledged_count();
    node.resume()?;
    filled?;
    ensure!(before == after, "{before} acknowledged, then {after}, with nowhere to write");
    let findings = settle(&mut feed, &tidemill, &disk.note());
    // Before its disk goes.
    tidemill.kill()?;
    findings
}

/// A few hundred KiB of a file system of their own, where the kernel and the user allow it.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &std::path::Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut mount = Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", "size=192k", "tmpfs"]).arg(path).status()?;
        ensure!(status.success(), "a small file system cannot be mounted here: run as root");
        Ok(Self(path.to_owned()))
    }

    fn note(&self) -> String {
        format!("tmpfs of 192 KiB at {}", self.0.file_name().unwrap_or_default().display())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Nothing can be written and much comes: memory stays within its bound, QoS 0 is shed and counted, QoS 1 waits.
fn flooded(node: &Node, keyspace: &Keyspace) -> Result<Findings> {
    const ROOM: u64 = 4 << 20;
    const RESIDENT_MAX: f64 = 400e6;
    let builder = Builder::new()?.with_cassandra(keyspace);
    let (tidemill, mut feed) = start(builder.set("ingest.memory_bytes_max", ROOM))?;
    node.pause()?;
    let settings = load::Settings::new(tidemill.mqtt_address(), "flood", 3);
    let flood = Load::start(&load::Settings { quality: Quality::AtMostOnce, ..settings })?;
    let shed = wait::until("shed messages", SOON, || {
        let accounting = Accounting::scrape(tidemill.http())?;
        Ok((accounting.shed > 1000.0).then_some(accounting.shed))
    });
    wait::pause(AWAY);
    let metrics = tidemill.http().metrics()?;
    let resident = metrics.sum("process_resident_memory_bytes", &[]);
    node.resume()?;
    drop(flood);
    let shed = shed?;
    ensure!(resident < RESIDENT_MAX, "{resident} bytes resident");
    let tried = format!("{shed} shed, {:.0} MB resident", resident / 1e6);
    settle(&mut feed, &tidemill, &tried)
}
