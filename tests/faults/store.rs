//! Rows in which the store suffers, one Cassandra for all of them, with the spool taking over.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
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

pub(crate) type Row = (&'static str, fn(&Node, &Keyspace) -> Result<Findings>);

const ROWS: [Row; 5] = [
    ("store frozen, spool takes over", frozen),
    ("store slow: thaws now and then", slow),
    ("store killed, ingester killed meanwhile", killed),
    ("spool full while the store is away", full),
    ("no spool, store frozen, flood of QoS 0 and 1", flooded),
];

/// Runs all rows, then says which failed.
pub(crate) fn rows() -> Result<()> {
    run_rows(&ROWS)
}

/// Runs rows on a node of their own, one after another, then says which failed.
pub(crate) fn run_rows(rows: &[Row]) -> Result<()> {
    let cluster = Cluster::start(&Topology::single().size(Size::Small))?;
    let node = cluster.node(0);
    let mut failed = Vec::new();
    for (at, (name, row)) in rows.iter().enumerate() {
        let keyspace = Keyspace::new(&node.contact_point(), node.datacenter(), &format!("faults{at}"));
        if let Err(error) = judge(name, row(node, &keyspace)) {
            failed.push(format!("{name}: {error:?}"));
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

/// What a process left in its spool when it died is forwarded by the next.
fn killed(node: &Node, keyspace: &Keyspace) -> Result<Findings> {
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
