//! How fast the embedded store takes segments and gives them back:
//! `cargo bench -p tidemill-store --features lsm --bench lsm -- [BODY_BYTES [SECONDS [WRITERS [DIR]]]]`.
//!
//! Each writer puts one segment after another, as a shard does. Reports rows, bytes and commits a second and the
//! CPU time that a thousand rows take, whole process. Without arguments a short look at 2 KiB and 64 KiB; DIR, on
//! the disk to be measured, is left behind.

#![expect(clippy::print_stdout, reason = "a report is what this is for")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;
use tidemill_store::layout::tables::{self, SEGMENTS};
use tidemill_store::metrics;
use tidemill_store::wide::lsm::{Lsm, LsmOptions};
use tidemill_store::wide::{Datum, Key, PageToken, Row, Scan, Wide, WriteTime};
use tokio::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What to measure.
struct Load {
    body_bytes: usize,
    time: Duration,
    writers: i64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let argument =
        |index: usize, default: &str| arguments.get(index).map_or(default, String::as_str).to_owned();
    let time = Duration::from_secs(argument(1, "3").parse()?);
    let writers = argument(2, "64").parse()?;
    let bodies = match arguments.first() {
        Some(bytes) => vec![bytes.parse()?],
        None => vec![2048, 65_536],
    };
    for body_bytes in bodies {
        let load = Load { body_bytes, time, writers };
        match arguments.get(3) {
            Some(dir) => measure(dir.as_ref(), &load).await?,
            None => measure(&tempfile::tempdir()?.path().join("store"), &load).await?,
        }
    }
    Ok(())
}

async fn measure(dir: &Path, load: &Load) -> Result<(), Failure> {
    let Load { body_bytes, time, writers } = *load;
    let registry = Registry::new();
    let store = Arc::new(Lsm::open(LsmOptions::new(dir), &tables::ALL, &registry)?);
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let tasks: Vec<_> = (0..writers)
        .map(|writer| tokio::spawn(write(Arc::clone(&store), writer, body_bytes, time)))
        .collect();
    let (mut rows, mut latencies) = (0_u32, Vec::new());
    for task in tasks {
        let (written, mut seen) = task.await??;
        rows += written;
        latencies.append(&mut seen);
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 1000).copied().unwrap_or_default();
    let rows_f = f64::from(rows);
    let bytes = f64::from(u32::try_from(body_bytes)?) * rows_f;
    let commits = commits(&registry);
    println!(
        "{writers} writers of {body_bytes} bytes: {:.0} rows/s, {:.1} MB/s, {:.0} commits/s of {:.1} rows, \
         {:.3} CPU s per 1000 rows, {:.0}% CPU, p50 {:?}, p99 {:?}, p99.9 {:?}, {:.0} MB on disk, {} peak",
        rows_f / elapsed,
        bytes / elapsed / 1e6,
        commits / elapsed,
        rows_f / commits,
        cpu / rows_f * 1e3,
        cpu / elapsed * 100.0,
        at(500),
        at(990),
        at(999),
        f64::from(u32::try_from(store.disk_bytes()? / 1_000_000)?),
        peak_memory()?,
    );
    read(&store, writers).await?;
    store.close().await?;
    Ok(())
}

async fn write(
    store: Arc<Lsm>,
    writer: i64,
    body_bytes: usize,
    time: Duration,
) -> Result<(u32, Vec<Duration>), Failure> {
    let start = Instant::now();
    let (mut rows, mut latencies) = (0, Vec::new());
    let body: Vec<u8> = (0..body_bytes).map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]).collect();
    let body = Bytes::from(body);
    let partition = Key::from([Datum::Int(writer), Datum::Instant(0)]);
    while start.elapsed() < time {
        let cells = vec![
            Datum::Instant(0),
            Datum::Int(0),
            Datum::Int(100),
            Datum::Int(0),
            Datum::Int(1),
            Datum::Blob(body.clone()),
        ];
        let row = Row { clustering: [Datum::Int(1), Datum::Int(i64::from(rows))].into(), cells };
        let begin = Instant::now();
        store.put(&SEGMENTS, &partition, &[row], WriteTime::from_micros(1)).await?;
        latencies.push(begin.elapsed());
        rows += 1;
    }
    Ok((rows, latencies))
}

/// Reads every row back.
async fn read(store: &Lsm, writers: i64) -> Result<(), Failure> {
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let (mut rows, mut pages) = (0_u32, 0_u32);
    for writer in 0..writers {
        let partition = Key::from([Datum::Int(writer), Datum::Instant(0)]);
        let scan = Scan::partition(&SEGMENTS, partition);
        let mut from: Option<PageToken> = None;
        loop {
            let page = store.scan(&scan, from).await?;
            rows += u32::try_from(page.rows.len())?;
            pages += 1;
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    println!(
        "read back: {:.0} rows/s in {pages} pages, {:.4} CPU s per 1000 rows",
        f64::from(rows) / elapsed,
        cpu / f64::from(rows) * 1e3
    );
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let absent = Key::from([Datum::Int(1), Datum::Int(i64::MAX)]);
    let partition = Key::from([Datum::Int(0), Datum::Instant(0)]);
    for _ in 0..10_000 {
        store.get(&SEGMENTS, &partition, &absent).await?;
    }
    println!(
        "10000 gets: {:.1} us each, {:.1} us CPU",
        start.elapsed().as_secs_f64() * 100.0,
        (cpu_seconds()? - cpu) * 100.0
    );
    Ok(())
}

fn commits(registry: &Registry) -> f64 {
    let families = registry.gather();
    let commits = families.iter().find(|family| family.name() == metrics::COMMIT_SECONDS);
    let count = commits.and_then(|family| {
        family.get_metric().first().map(|metric| metric.get_histogram().get_sample_count())
    });
    count.and_then(|count| u32::try_from(count).ok()).map_or(f64::NAN, f64::from)
}

/// User and system time of this process. Linux counts it in hundredths of a second.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

fn peak_memory() -> Result<String, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or("?").trim().to_owned())
}
