//! What the listener costs: messages per second and CPU seconds per million QoS 1 messages, for framing and
//! acknowledgements alone (the pipeline settles every group at once, in another task), and memory per connection.
//!
//! The generator is a child process that sends prebuilt packets, so that the CPU and the memory of this process are
//! the listener's. Run with `cargo bench -p tidemill-ingest --bench listener`, best on an idle machine.
#![expect(clippy::print_stdout, reason = "a benchmark reports on its standard output")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a benchmark ends where something is wrong, and rounds"
)]

mod generator;
mod usage;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use prometheus::Registry;
use tidemill_ingest::source::listener::{AllowAll, Limits, Listener, ListenerConfig, ListenerMetrics};
use tidemill_ingest::source::{Closed, Completion, Intake, Publish, Settlement};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use generator::Load;
use usage::Usage;

/// Connections, messages in flight on each, and messages of one write.
const LOADS: [Load; 7] = [
    Load { connections: 1, in_flight: 1_000, group: 100, messages: 4_000_000 },
    Load { connections: 100, in_flight: 1_000, group: 100, messages: 4_000_000 },
    Load { connections: 1_000, in_flight: 1_000, group: 100, messages: 4_000_000 },
    Load { connections: 100, in_flight: 10, group: 10, messages: 1_000_000 },
    Load { connections: 1_000, in_flight: 10, group: 10, messages: 1_000_000 },
    Load { connections: 1, in_flight: 1, group: 1, messages: 50_000 },
    Load { connections: 1_000, in_flight: 1, group: 1, messages: 300_000 },
];
const IDLE: [usize; 2] = [1_000, 9_000];

/// Counts messages and has every group settled by another task.
#[derive(Clone)]
struct Settling(mpsc::Sender<(usize, Settlement)>);

impl Intake for Settling {
    async fn submit(&mut self, group: Vec<Publish>) -> Result<Completion, Closed> {
        let (settlement, completion) = Completion::pair();
        self.0.send((group.len(), settlement)).await.map_err(|_| Closed)?;
        Ok(completion)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.get(1).map(String::as_str) {
        Some("generate") => runtime.block_on(generator::generate(&arguments[2..])),
        Some("idle") => runtime.block_on(generator::idle(&arguments[2..])),
        _ => runtime.block_on(measure()),
    }
}

async fn measure() {
    println!("connections  in flight  group   messages/s  CPU s per million  messages a read");
    for load in LOADS {
        loaded(load).await;
    }
    println!("idle connections  KiB each");
    for connections in IDLE {
        idle(connections).await;
    }
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    counted: tokio::task::JoinHandle<(usize, usize)>,
    listening: tokio::task::JoinHandle<()>,
}

async fn start() -> Running {
    let metrics = ListenerMetrics::register(&Registry::new()).unwrap();
    let config = ListenerConfig { address: "127.0.0.1:0".parse().unwrap(), limits: Limits::default() };
    let listener = Listener::bind(config, metrics).await.unwrap();
    let address = listener.local_addr();
    let (settlements, mut taken) = mpsc::channel::<(usize, Settlement)>(1_024);
    let counted = tokio::spawn(async move {
        let (mut messages, mut groups) = (0, 0);
        while let Some((count, settlement)) = taken.recv().await {
            messages += count;
            groups += 1;
            settlement.settle();
        }
        (messages, groups)
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let listening = tokio::spawn(async move {
        listener.run(Settling(settlements), AllowAll, async { drop(stopped.await) }).await;
    });
    Running { address, stop, counted, listening }
}

/// Starts the child and waits until it says that all its connections are accepted.
async fn spawn(arguments: &[String]) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("connected"));
    child
}

async fn loaded(load: Load) {
    let running = start().await;
    let mut child = spawn(&load.arguments(running.address)).await;
    let (before, started) = (Usage::now(), Instant::now());
    // Closing its standard input is the word to start.
    drop(child.stdin.take());
    assert!(child.wait().await.unwrap().success());
    let (elapsed, cpu) = (started.elapsed().as_secs_f64(), Usage::now().cpu_seconds - before.cpu_seconds);
    running.stop.send(()).unwrap();
    running.listening.await.unwrap();
    let (messages, groups) = running.counted.await.unwrap();
    assert_eq!(messages, load.total());
    println!(
        "{:>11} {:>10} {:>6} {:>12.0} {:>18.2} {:>16.1}",
        load.connections,
        load.in_flight,
        load.group,
        messages as f64 / elapsed,
        cpu * 1e6 / messages as f64,
        messages as f64 / groups as f64,
    );
}

async fn idle(connections: usize) {
    let running = start().await;
    let before = Usage::now().resident_bytes;
    let child = spawn(&["idle".to_owned(), running.address.to_string(), connections.to_string()]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let grown = Usage::now().resident_bytes.saturating_sub(before);
    println!("{connections:>16} {:>9.1}", grown as f64 / 1_024.0 / connections as f64);
    drop(child);
    running.stop.send(()).unwrap();
    running.listening.await.unwrap();
}
