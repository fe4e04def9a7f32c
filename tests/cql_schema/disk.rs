//! What has expired leaves the disk of a node as whole files, and what lives longer stays.
//!
//! A node of its own, because its tables are looked at from the side. Hours pass in seconds: the grace after which a
//! file may go, and how often the node looks, are cut short in the table; windows and times to live are those of the
//! schema.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidemill_store::layout::tables::BLOCKS;
use tidemill_store::model::Clock as _;
use tidemill_store::wide::cql::{Cql, CqlOptions, Keyspace, schema};
use tidemill_store::wide::{Datum, Key, Row, Scan, Wide as _};
use tidemill_tests::cassandra::{Cluster, Node, Topology, fresh_keyspace};
use tidemill_tests::random::Random;
use tidemill_tests::wait;

use crate::fixture::{SystemClock, all_pages, at, connect, run, runtime};

const DAY_MS: i64 = 86_400_000;
/// The earlier bucket has still so long to live when it is written.
const LEFT_MS: i64 = 15_000;
const ROWS: i64 = 64;
const BODY_BYTES: usize = 64 * 1024;
const WITHIN: Duration = Duration::from_mins(3);

pub(crate) fn windows() -> Result<()> {
    let cluster = Cluster::start(&Topology::single())?;
    let node = cluster.node(0);
    let keyspace = Keyspace::new(&fresh_keyspace("disk"))?;
    let mut options = CqlOptions::new(vec![node.contact_point()], keyspace, node.datacenter(), 1);
    options.retention.raw = Some(Duration::from_hours(24));
    let runtime = runtime()?;
    let store = runtime.block_on(prepare(&options))?;
    let now = SystemClock.now().millis_floor();
    let (expiring, staying) = (now - DAY_MS + LEFT_MS, now);
    let mut random = Random::new("what_has_expired_gives_its_bytes_back_to_the_disk")?;
    for ends_at in [expiring, staying] {
        let rows: Vec<Row> = (0..ROWS).map(|n| block(n, ends_at, body(&mut random))).collect();
        runtime.block_on(store.put(&BLOCKS, &bucket(ends_at), &rows, at(ends_at * 1_000)))?;
        node.nodetool(&["flush", options.keyspace.as_str(), "blocks"])?;
    }
    let full = live_bytes(node, &options)?;
    let written = u64::try_from(BODY_BYTES)? * 2 * u64::try_from(ROWS)?;
    ensure!(full >= written, "{full} bytes on disk, {written} were written");
    let mut nudges = 0;
    wait::until("the disk to fall by half", WITHIN, || {
        // A flush has the node look at its files.
        nudges += 1;
        let row = block(ROWS + nudges, staying, vec![0; 8]);
        runtime.block_on(store.put(&BLOCKS, &bucket(staying), &[row], at(staying * 1_000)))?;
        node.nodetool(&["flush", options.keyspace.as_str(), "blocks"])?;
        Ok((live_bytes(node, &options)? < full * 6 / 10).then_some(()))
    })?;
    let count = |ends_at| -> Result<usize> {
        Ok(runtime.block_on(all_pages(&store, &Scan::partition(&BLOCKS, bucket(ends_at))))?.len())
    };
    let (gone, left) = (count(expiring)?, count(staying)?);
    ensure!(gone == 0 && left == usize::try_from(ROWS + nudges)?, "{gone} and {left} rows");
    Ok(())
}

async fn prepare(options: &CqlOptions) -> Result<Cql> {
    schema::apply(options).await?;
    run(
        options,
        "ALTER TABLE KS.blocks WITH gc_grace_seconds = 0 AND compaction = {'class': 'TimeWindowCompactionStrategy', \
         'compaction_window_unit': 'HOURS', 'compaction_window_size': '1', \
         'expired_sstable_check_frequency_seconds': '1'}",
    )
    .await?;
    Ok(connect(options).await?)
}

fn bucket(ends_at: i64) -> Key {
    Key::from([Datum::Int(1), Datum::Instant(ends_at - DAY_MS)])
}

fn body(random: &mut Random) -> Vec<u8> {
    (0..BODY_BYTES).map(|_| u8::try_from(random.below(256)).unwrap_or(0)).collect()
}

fn block(n: i64, ends_at: i64, body: Vec<u8>) -> Row {
    let clustering = [Datum::Int(1), Datum::Int(n), Datum::Blob("s".into()), Datum::Int(0)];
    let cells = [Datum::Blob("s".into()), Datum::Int(0), Datum::Int(0), Datum::Int(1)];
    let rest = [Datum::Instant(ends_at), Datum::Blob(body.into())];
    Row { clustering: clustering.into(), cells: cells.into_iter().chain(rest).collect() }
}

/// What the table's files take.
fn live_bytes(node: &Node, options: &CqlOptions) -> Result<u64> {
    let stats = node.nodetool(&["tablestats", &format!("{}.blocks", options.keyspace)])?;
    let line = stats.lines().find_map(|line| line.trim().strip_prefix("Space used (live): "));
    Ok(line.with_context(|| stats.clone())?.trim().parse()?)
}
