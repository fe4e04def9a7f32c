//! The load generator: connections that publish prepared packets, on threads of their own.
//!
//! Knows an address and nothing of what is behind it. What it counts is what a fleet would see: published,
//! acknowledged, and how long that took.

mod connection;
mod frames;
mod latency;
mod payload;
mod schedule;
mod wire;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use connection::{Common, Connection, Plan};
use frames::{Device, Style};
use latency::Measured;
use schedule::{Pace, Schedule};

pub(super) use latency::{Latencies, LatencySummary};
pub(super) use payload::Shape;
pub(super) use wire::{Qos, Version};

use crate::clock::SystemClock;

/// Bytes of one read: thousands of acknowledgements.
const READ_BYTES: usize = 64 * 1024;
/// Connections of one thread that are being opened at once.
const OPENING_MAX: usize = 200;
/// How long the last acknowledgements may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Where a rate gives no burst: what this span brings, since the clock of a sleeping task is no finer than this.
const BURST_SPAN: Duration = Duration::from_millis(5);

/// What to send.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) devices: u32,
    /// Unacknowledged messages of one connection.
    pub(super) window: u16,
    pub(super) qos: Qos,
    pub(super) version: Version,
    pub(super) shape: Shape,
    pub(super) shares: Shares,
    pub(super) rate: Rate,
    pub(super) threads: u32,
}

/// How fast to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rate {
    /// As fast as acknowledgements come.
    Full,
    /// So many messages a second in all; `burst` of a connection together, or what a few milliseconds bring.
    Paced { messages_per_second: f64, burst: Option<u32> },
    /// Nothing at all.
    Silent,
}

/// What part of messages is not of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) late_percent: u8,
    /// How late at most.
    pub(super) late_by: Duration,
    pub(super) duplicate_percent: u8,
}

/// What connections shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: others still connect, or the system needs a rest.
    Hold,
    /// Send.
    Send,
    /// Wait for what is unacknowledged, and leave.
    Stop,
}

/// Counted by all connections.
struct Shared {
    epoch: Instant,
    clock: SystemClock,
    measured: Measured,
    opened: AtomicU64,
    published: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

impl Shared {
    /// Nanoseconds since the load began.
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn counts(&self) -> Counts {
        Counts {
            published: self.published.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// How far the load has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
}

/// A running load.
pub(super) struct Generator {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<anyhow::Result<Latencies>>>,
}

impl Generator {
    /// Opens all connections and holds them; fails where one is not accepted.
    pub(super) async fn open(load: &Load, address: SocketAddr) -> anyhow::Result<Self> {
        let (phase, watched) = watch::channel(Phase::Hold);
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            clock: SystemClock,
            measured: Measured::new(),
            opened: AtomicU64::new(0),
            published: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let count = load.threads.clamp(1, load.connections.max(1));
        let mut threads = Vec::new();
        for index in 0..count {
            let thread = Thread { index, count, load: load.clone(), address, shared: Arc::clone(&shared) };
            let phase = watched.clone();
            let named = std::thread::Builder::new().name(format!("load-{index}"));
            threads.push(named.spawn(move || thread.run(phase)).context("cannot start a thread")?);
        }
        let generator = Self { shared, phase, threads };
        while generator.shared.opened.load(Ordering::Relaxed) < u64::from(load.connections) {
            if generator.has_failed() {
                generator.finish().await?;
                return Err(anyhow!("a load thread ended before it began"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(generator)
    }

    /// Tells all connections what to do.
    pub(super) fn set(&self, phase: Phase) {
        self.phase.send_if_modified(|current| std::mem::replace(current, phase) != phase);
    }

    /// From now on latencies count.
    pub(super) fn begin_measuring(&self) {
        self.shared.measured.begin(self.shared.now());
    }

    /// What is due from now on does not count any more.
    pub(super) fn end_measuring(&self) {
        self.shared.measured.end(self.shared.now());
    }

    pub(super) fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Whether a connection has failed, which ends its thread.
    pub(super) fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops, waits for the last acknowledgements, and gives all latencies and the final counts.
    pub(super) async fn finish(self) -> anyhow::Result<(Latencies, Counts)> {
        let Self { phase, threads, shared } = self;
        phase.send_replace(Phase::Stop);
        let joined = tokio::task::spawn_blocking(move || {
            let mut sum = Latencies::new()?;
            for thread in threads {
                sum.merge(&thread.join().map_err(|_| anyhow!("a load thread panicked"))??)?;
            }
            anyhow::Ok((sum, shared.counts()))
        });
        joined.await?
    }
}

/// One thread and its part of the connections.
struct Thread {
    index: u32,
    count: u32,
    load: Load,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Thread {
    fn run(self, phase: watch::Receiver<Phase>) -> anyhow::Result<Latencies> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.publish(phase))
    }

    async fn publish(self, mut phase: watch::Receiver<Phase>) -> anyhow::Result<Latencies> {
        let common = Rc::new(Common {
            shared: Arc::clone(&self.shared),
            latencies: RefCell::new(Latencies::new()?),
            read: RefCell::new(vec![0; READ_BYTES]),
        });
        let mut connections = self.open_all(&common).await?;
        phase.wait_for(|phase| *phase != Phase::Hold).await?;
        let started = self.shared.now();
        let mut publishing = JoinSet::new();
        for (index, mut connection) in connections.drain(..) {
            let (schedule, phase) = (Schedule::new(self.pace(index, started)), phase.clone());
            publishing.spawn_local(async move { connection.publish(schedule, phase).await });
        }
        let ended = async {
            while let Some(ended) = publishing.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        let stopped = async {
            // A sender that is gone means that nobody waits for the load any more.
            let _ = phase.wait_for(|phase| *phase == Phase::Stop).await;
            tokio::time::sleep(SETTLE_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            ended = ended => ended?,
            // What is unacknowledged by now shows in the counts.
            () = stopped => {}
        }
        let latencies = common.latencies.borrow().clone();
        Ok(latencies)
    }

    async fn open_all(&self, common: &Rc<Common>) -> anyhow::Result<Vec<(u32, Connection)>> {
        let mut opening = JoinSet::new();
        let mut open = Vec::new();
        for index in (self.index..self.load.connections).step_by(usize::try_from(self.count)?) {
            if opening.len() >= OPENING_MAX
                && let Some(opened) = opening.join_next().await
            {
                open.push(opened??);
            }
            let (plan, devices, common) = (self.plan(index), self.devices(index), Rc::clone(common));
            opening.spawn_local(async move {
                let opened = Connection::open(plan, devices, Rc::clone(&common)).await;
                common.shared.opened.fetch_add(1, Ordering::Relaxed);
                opened.map(|connection| (index, connection))
            });
        }
        while let Some(opened) = opening.join_next().await {
            open.push(opened??);
        }
        Ok(open)
    }

    fn plan(&self, index: u32) -> Plan {
        let Load { version, qos, window, shares, .. } = self.load;
        Plan {
            address: self.address,
            client_id: format!("tidemill-bench-{index}"),
            version,
            qos,
            window,
            shares,
            seed: u64::from(index) + 1,
        }
    }

    /// The devices behind connection `index`: at least one each, else spread evenly.
    fn devices(&self, index: u32) -> Vec<Device> {
        let Load { version, qos, shape, connections, .. } = self.load;
        let devices = self.load.devices.max(connections);
        (index..devices)
            .step_by(usize::try_from(connections).unwrap_or(usize::MAX).max(1))
            .map(|number| Device::new(number, devices, Style { version, qos, shape }))
            .collect()
    }

    fn pace(&self, index: u32, started: u64) -> Pace {
        match self.load.rate {
            Rate::Full => Pace::Full,
            Rate::Silent => Pace::Silent,
            Rate::Paced { messages_per_second, burst } => {
                let connections = f64::from(self.load.connections.max(1));
                let per_second = (messages_per_second / connections).max(1e-6);
                let natural = (per_second * BURST_SPAN.as_secs_f64()).round().max(1.0);
                let burst = burst.map_or(natural, f64::from).max(1.0);
                let period = Duration::from_secs_f64(burst / per_second);
                // Spread evenly over the first period, so that connections do not send all together.
                let offset = period.mul_f64(f64::from(index) / connections);
                Pace::Bursts { start: started + nanos(offset), period: nanos(period), burst: whole(burst) }
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A small whole number that a float holds.
fn whole(number: f64) -> u64 {
    Duration::try_from_secs_f64(number).map_or(1, |duration| duration.as_secs())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Accepts one client and reads what it sends until it leaves.
    fn sink(listener: TcpListener) -> std::thread::JoinHandle<u64> {
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; READ_BYTES];
            assert!(stream.read(&mut buffer).unwrap() > 0);
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            let mut received = 0;
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                received += u64::try_from(read).unwrap();
            }
            received
        })
    }

    #[tokio::test]
    async fn without_acknowledgements_a_connection_goes_on_when_everything_was_written() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, received) = (listener.local_addr().unwrap(), sink(listener));
        let load = Load {
            connections: 1,
            devices: 1,
            window: 1,
            qos: Qos::AtMostOnce,
            version: Version::V311,
            shape: Shape::Flat,
            shares: Shares { late_percent: 0, late_by: Duration::ZERO, duplicate_percent: 0 },
            rate: Rate::Full,
            threads: 1,
        };
        let generator = Generator::open(&load, address).await.unwrap();
        generator.set(Phase::Send);
        let much = async {
            while generator.counts().published < 50_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), much).await.expect("it goes on");
        let (_, counts) = generator.finish().await.unwrap();
        assert!(received.join().unwrap() > counts.published * 100);
    }
}
