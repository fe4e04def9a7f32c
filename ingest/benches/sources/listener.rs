//! The direct listener, from one busy connection to many slow ones, and the memory of silent ones.

use std::net::SocketAddr;
use std::time::Duration;

use prometheus::Registry;
use tidemill_ingest::source::listener::{AllowAll, Limits, Listener, ListenerConfig, ListenerMetrics};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::generator::Load;
use crate::usage::Usage;
use crate::{Settling, Taken, spawn};

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

pub(crate) async fn measure() {
    // First, while the process has no freed memory that connections could take.
    println!("listener: idle connections  KiB each");
    for connections in IDLE {
        idle(connections).await;
    }
    println!("listener: connections  in flight  group   messages/s  CPU s per million  messages a group");
    for load in LOADS {
        loaded(load).await;
    }
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    counting: JoinHandle<Taken>,
    listening: JoinHandle<()>,
}

async fn start() -> Running {
    let metrics = ListenerMetrics::register(&Registry::new()).unwrap();
    let config = ListenerConfig { address: "127.0.0.1:0".parse().unwrap(), limits: Limits::default() };
    let listener = Listener::bind(config, metrics).await.unwrap();
    let address = listener.local_addr();
    let (intake, counting) = Settling::start(usize::MAX);
    let (stop, stopped) = oneshot::channel::<()>();
    let listening = tokio::spawn(async move {
        listener.run(intake, AllowAll, async { drop(stopped.await) }).await;
    });
    Running { address, stop, counting, listening }
}

async fn loaded(load: Load) {
    let running = start().await;
    let mut child = spawn(&load.arguments(running.address)).await;
    let (before, started) = (Usage::now(), Instant::now());
    drop(child.stdin.take());
    assert!(child.wait().await.unwrap().success());
    let (elapsed, cpu) = (started.elapsed().as_secs_f64(), Usage::now().cpu_seconds - before.cpu_seconds);
    running.stop.send(()).unwrap();
    running.listening.await.unwrap();
    let taken = running.counting.await.unwrap();
    assert_eq!(taken.messages, load.total());
    let messages = taken.messages as f64;
    println!(
        "{:>21} {:>10} {:>6} {:>12.0} {:>18.2} {:>17.1}",
        load.connections,
        load.in_flight,
        load.group,
        messages / elapsed,
        cpu * 1e6 / messages,
        messages / taken.groups as f64,
    );
}

async fn idle(connections: usize) {
    let running = start().await;
    let before = Usage::now().resident_bytes;
    let child = spawn(&["idle".to_owned(), running.address.to_string(), connections.to_string()]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let grown = Usage::now().resident_bytes.saturating_sub(before);
    println!("{connections:>26} {:>9.1}", grown as f64 / 1_024.0 / connections as f64);
    drop(child);
    running.stop.send(()).unwrap();
    running.listening.await.unwrap();
}
