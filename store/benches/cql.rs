//! How fast a cluster takes segments and gives them back, and what that costs on both sides:
//! `cargo bench -p tidemill-store --features cql --bench cql -- HOST:PORT DATACENTER [SERVER_PID [SECONDS]]`.
//!
//! Each writer puts one segment after another, as a shard does. Reports segments and bytes a second and the CPU time
//! that a thousand segments take here and, with the process id of a server on this machine, there. Keeps its rows in
//! the keyspace `tidemill_bench`, which is left behind.

#![expect(clippy::print_stdout, reason = "a report is what this is for")]

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemill_store::layout::tables::SEGMENTS;
use tidemill_store::model::{Clock, Timestamp};
use tidemill_store::wide::cql::{Cql, CqlOptions, Keyspace, schema};
use tidemill_store::wide::{Datum, Key, Row, Scan, Wide, WriteTime};
use tokio::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const BODIES: [usize; 2] = [2 * 1024, 32 * 1024];
const WRITERS: [i64; 3] = [1, 8, 64];
const CONNECTIONS: [u16; 3] = [1, 2, 4];

/// What to measure.
#[derive(Clone, Copy)]
struct Load {
    body_bytes: usize,
    writers: i64,
    time: Duration,
    /// Keeps runs apart by partition.
    run: i64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [host, datacenter, rest @ ..] = arguments.as_slice() else {
        return Err("name a node as HOST:PORT and its data centre".into());
    };
    let server = rest.first().map(String::as_str);
    let time = Duration::from_secs(rest.get(1).map_or(Ok(5), |seconds| seconds.parse())?);
    let mut options = CqlOptions::new(vec![host.clone()], Keyspace::new("tidemill_bench")?, datacenter, 1);
    schema::apply(&options).await?;
    let mut run = 0;
    for connections in CONNECTIONS {
        options.connections_per_host = NonZeroU16::new(connections).ok_or("no connection")?;
        let store = Arc::new(Cql::connect(&options, Arc::new(Epoch)).await?);
        // Wakes the server's compiler and our own connections.
        write_all(&store, Load { body_bytes: 2048, writers: 64, time, run: -1 }).await?;
        for body_bytes in BODIES {
            for writers in WRITERS {
                run += 1;
                print!("{connections} connections, ");
                measure(&store, Load { body_bytes, writers, time, run }, server).await?;
            }
        }
    }
    Ok(())
}

async fn measure(store: &Arc<Cql>, load: Load, server: Option<&str>) -> Result<(), Failure> {
    let cpu = |process: &str| cpu_seconds(process);
    let there = |since: f64| -> Result<f64, Failure> { Ok(server.map_or(Ok(0.0), cpu)? - since) };
    let (start, here_before, there_before) = (Instant::now(), cpu("self")?, there(0.0)?);
    let (rows, mut latencies) = write_all(store, load).await?;
    let (elapsed, here, there_cpu) =
        (start.elapsed().as_secs_f64(), cpu("self")? - here_before, there(there_before)?);
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 1000).copied().unwrap_or_default();
    let rows_f = f64::from(rows);
    println!(
        "{} writers of {} bytes: {:.0} rows/s, {:.1} MB/s, CPU s per 1000 rows {:.3} here {:.3} there, p50 {:?}, p99 {:?}",
        load.writers,
        load.body_bytes,
        rows_f / elapsed,
        rows_f * f64::from(u32::try_from(load.body_bytes)?) / elapsed / 1e6,
        here / rows_f * 1e3,
        there_cpu / rows_f * 1e3,
        at(500),
        at(990),
    );
    read(store, load).await
}

async fn write_all(store: &Arc<Cql>, load: Load) -> Result<(u32, Vec<Duration>), Failure> {
    let tasks: Vec<_> =
        (0..load.writers).map(|writer| tokio::spawn(write(Arc::clone(store), writer, load))).collect();
    let (mut rows, mut latencies) = (0, Vec::new());
    for task in tasks {
        let (written, mut seen) = task.await??;
        rows += written;
        latencies.append(&mut seen);
    }
    Ok((rows, latencies))
}

async fn write(store: Arc<Cql>, writer: i64, load: Load) -> Result<(u32, Vec<Duration>), Failure> {
    let start = Instant::now();
    let (mut rows, mut latencies) = (0_u32, Vec::new());
    let noise = (0_u32..).map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]);
    let body: Bytes = noise.take(load.body_bytes).collect();
    let partition = partition(load.run, writer);
    while start.elapsed() < load.time {
        let mut cells = vec![Datum::Instant(0)];
        cells.extend([0, 100, 0, 1].map(Datum::Int));
        cells.push(Datum::Blob(body.clone()));
        let row = Row { clustering: [Datum::Int(1), Datum::Int(i64::from(rows))].into(), cells };
        let begin = Instant::now();
        store.put(&SEGMENTS, &partition, &[row], WriteTime::from_micros(1)).await?;
        latencies.push(begin.elapsed());
        rows += 1;
    }
    Ok((rows, latencies))
}

fn partition(run: i64, writer: i64) -> Key {
    [Datum::Int(writer), Datum::Instant(run)].into()
}

/// Reads every row of a run back, one partition after another.
async fn read(store: &Cql, load: Load) -> Result<(), Failure> {
    let (start, cpu) = (Instant::now(), cpu_seconds("self")?);
    let (mut rows, mut pages) = (0_u32, 0_u32);
    for writer in 0..load.writers {
        let scan = Scan::partition(&SEGMENTS, partition(load.run, writer));
        let mut from = None;
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
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds("self")? - cpu);
    let rows = f64::from(rows);
    println!(
        "    read back: {:.0} rows/s in {pages} pages, {:.3} CPU s per 1000 rows here",
        rows / elapsed,
        cpu / rows * 1e3
    );
    Ok(())
}

/// CPU time that a process has used so far.
fn cpu_seconds(process: &str) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name in brackets: user and system time are the 12th and 13th, in ticks of 10 ms.
    let (_, after) = stat.rsplit_once(')').ok_or("no process statistics")?;
    let ticks = |index: usize| -> Result<f64, Failure> {
        Ok(after.split_whitespace().nth(index).ok_or("no CPU time")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// What is written here never expires, so that the time does not matter.
struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }
}
