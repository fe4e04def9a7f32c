//! One publishing connection: sends what is due as far as its window allows, and hears what is acknowledged.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tidemill_store::model::Clock;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::frames::{Device, Measured};
use super::latency::Latencies;
use super::schedule::{Schedule, Unacknowledged};
use super::wire::{self, Answer, Qos, Version};
use super::{Phase, Shared, Shares};
use crate::fleet::Random;

/// Bytes handed to the network at once, at most.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// A connection that says nothing else sends a ping this often; servers allow one and a half of it.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// How long a server may take to accept a connection while thousands of others come, too.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// Late messages are at least this late.
const LATE_MILLIS_MIN: i64 = 60_000;

/// What a connection is made of.
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) client_id: String,
    pub(super) version: Version,
    pub(super) qos: Qos,
    pub(super) window: u16,
    pub(super) shares: Shares,
    pub(super) seed: u64,
}

/// What the connections of one thread use together.
pub(super) struct Common {
    pub(super) shared: Arc<Shared>,
    pub(super) latencies: RefCell<Latencies>,
    /// Memory for one read.
    pub(super) read: RefCell<Vec<u8>>,
}

/// An accepted connection.
pub(super) struct Connection {
    stream: TcpStream,
    plan: Plan,
    common: Rc<Common>,
    devices: Vec<Device>,
    turn: usize,
    random: Random,
    packet_id: u16,
    window: u64,
    out: Vec<u8>,
    written: usize,
    /// The beginning of a packet.
    part: Vec<u8>,
    unacknowledged: Unacknowledged,
    /// The identifier that is acknowledged next.
    expected: u16,
}

impl Connection {
    /// Connects and waits to be accepted.
    pub(super) async fn open(plan: Plan, devices: Vec<Device>, common: Rc<Common>) -> anyhow::Result<Self> {
        let opening = async {
            let stream = TcpStream::connect(plan.address).await.context("cannot connect")?;
            stream.set_nodelay(true)?;
            let keep_alive = u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX);
            let mut connection = Self {
                out: wire::connect(plan.version, &plan.client_id, keep_alive),
                stream,
                devices,
                turn: 0,
                random: Random::seeded(plan.seed),
                packet_id: 0,
                window: u64::from(plan.window),
                written: 0,
                part: Vec::new(),
                unacknowledged: Unacknowledged::default(),
                expected: 1,
                common,
                plan,
            };
            connection.handshake().await?;
            Ok(connection)
        };
        timeout(CONNECT_TIMEOUT, opening).await.context("the server did not accept the connection in time")?
    }

    async fn handshake(&mut self) -> anyhow::Result<()> {
        loop {
            self.write()?;
            self.stream.readable().await?;
            if let Some(receive_maximum) = self.read(0)?.accepted {
                self.window = self.window.min(u64::from(receive_maximum));
                return Ok(());
            }
        }
    }

    /// Publishes until told to stop and everything is acknowledged, or until dropped.
    pub(super) async fn publish(
        &mut self,
        mut schedule: Schedule,
        mut phase: watch::Receiver<Phase>,
    ) -> anyhow::Result<()> {
        let epoch = self.common.shared.epoch;
        loop {
            let now = self.common.shared.now();
            let doing = *phase.borrow_and_update();
            if doing == Phase::Send {
                self.fill(&mut schedule, now);
            }
            self.write()?;
            let all_written = self.written == self.out.len();
            if doing == Phase::Stop && all_written && self.unacknowledged.count() == 0 {
                return self.leave();
            }
            let full = self.unacknowledged.count() >= self.window || !all_written;
            let next = schedule.next().filter(|_| doing == Phase::Send && !full);
            // With QoS 0 no answer comes that would wake it.
            let goes_on = doing == Phase::Send
                && self.plan.qos == Qos::AtMostOnce
                && schedule.next().is_none()
                && schedule.due(now) > 0;
            let interest = if all_written && !goes_on {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            tokio::select! {
                biased;
                ready = self.stream.ready(interest) => {
                    if ready?.is_readable() {
                        self.read(self.common.shared.now())?;
                    } else if !all_written {
                        continue;
                    }
                }
                () = sleep_until(epoch + Duration::from_nanos(next.unwrap_or_default())), if next.is_some() => {}
                () = sleep_until(Instant::now() + KEEP_ALIVE), if next.is_none() => self.out.extend(wire::PING),
                changed = phase.changed() => changed?,
            }
            if self.plan.qos == Qos::AtMostOnce {
                // A socket that takes everything must not keep the other connections of the thread waiting.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Prepares what is due and has room.
    fn fill(&mut self, schedule: &mut Schedule, now: u64) {
        let acknowledged = self.plan.qos == Qos::AtLeastOnce;
        let room =
            if acknowledged { self.window - self.unacknowledged.count().min(self.window) } else { u64::MAX };
        let ready = schedule.due(now).min(room);
        let now_millis = if ready > 0 { self.common.shared.clock.now().millis_floor() } else { 0 };
        let mut sent = 0;
        while sent < ready && self.out.len() < OUT_BYTES_MAX {
            let measured = self.measured(now_millis);
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            self.turn = (self.turn + 1) % self.devices.len().max(1);
            let Some(device) = self.devices.get_mut(self.turn) else { return };
            device.publish(measured, self.packet_id, &mut self.out);
            let due = schedule.send(now);
            if acknowledged {
                self.unacknowledged.push(due);
            }
            sent += 1;
        }
        self.common.shared.published.fetch_add(sent, Ordering::Relaxed);
    }

    fn measured(&mut self, now_millis: i64) -> Measured {
        let Shares { late_percent, late_by, duplicate_percent } = self.plan.shares;
        if late_percent == 0 && duplicate_percent == 0 {
            return Measured::Now(now_millis);
        }
        let drawn = self.random.within(100);
        if drawn < i64::from(late_percent) {
            let span = u32::try_from(late_by.as_millis()).unwrap_or(u32::MAX);
            Measured::At(now_millis - LATE_MILLIS_MIN - self.random.within(span))
        } else if drawn < i64::from(late_percent) + i64::from(duplicate_percent) {
            Measured::Again(now_millis)
        } else {
            Measured::Now(now_millis)
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.try_write(rest) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot send"),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads once and takes what the server said.
    fn read(&mut self, now: u64) -> anyhow::Result<Heard> {
        let common = Rc::clone(&self.common);
        let mut buffer = common.read.borrow_mut();
        let read = match self.stream.try_read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::default()),
            Err(error) => return Err(error).context("cannot receive"),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        let heard = if self.part.is_empty() {
            self.hear(bytes)?
        } else {
            let joined = [std::mem::take(&mut self.part).as_slice(), bytes].concat();
            self.hear(&joined)?
        };
        self.settle(&heard, now);
        Ok(heard)
    }

    fn hear(&mut self, bytes: &[u8]) -> anyhow::Result<Heard> {
        let (mut heard, mut expected) = (Heard::default(), self.expected);
        let taken = wire::hear(bytes, |answer| match answer {
            Answer::Accepted { receive_maximum } => heard.accepted = Some(receive_maximum),
            Answer::Pong => {}
            Answer::Acknowledged { packet_id } | Answer::Refused { packet_id } => {
                heard.settled += 1;
                heard.refused += u64::from(matches!(answer, Answer::Refused { .. }));
                heard.out_of_order |= packet_id != expected;
                expected = packet_id.checked_add(1).unwrap_or(1);
            }
        })?;
        ensure!(!heard.out_of_order, "acknowledgements came out of order");
        ensure!(heard.settled <= self.unacknowledged.count(), "more was acknowledged than was sent");
        self.part.extend_from_slice(bytes.get(taken..).unwrap_or_default());
        self.expected = expected;
        Ok(heard)
    }

    fn settle(&mut self, heard: &Heard, now: u64) {
        if heard.settled == 0 {
            return;
        }
        let shared = &self.common.shared;
        shared.acknowledged.fetch_add(heard.settled - heard.refused, Ordering::Relaxed);
        shared.refused.fetch_add(heard.refused, Ordering::Relaxed);
        let mut latencies = self.common.latencies.borrow_mut();
        self.unacknowledged.settle(heard.settled, |due, count| {
            if shared.measured.holds(due) {
                latencies.record(now.saturating_sub(due), count);
            }
        });
    }

    fn leave(&mut self) -> anyhow::Result<()> {
        self.out.extend(wire::DISCONNECT);
        self.write()
    }
}

/// What one read brought.
#[derive(Debug, Default)]
struct Heard {
    accepted: Option<u16>,
    settled: u64,
    refused: u64,
    out_of_order: bool,
}
