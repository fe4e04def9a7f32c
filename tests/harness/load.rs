//! Many devices at once, each on a connection of its own, as fast as told or as their windows allow: more than a feed can
//! send, and still every message is another sample, so that what was acknowledged can be counted afterwards.
//!
//! MQTT 3.1.1, packets built by hand: on the machine that also runs what is tested, the load must cost little. A device
//! whose connection ends comes back at once and repeats what was not acknowledged, as duplicates (DUP).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::api::rows;
use crate::http::Http;

/// Messages that a device sends together.
const BATCH: u64 = 20;
/// The time of the first message of each device; the next are a millisecond apart.
const START_MS: u64 = 1_700_000_000_000;
/// Identifiers of packets go round below this; more than any window.
const IDS: u64 = 60_000;
/// A device that is turned away tries again so soon.
const RETURN_AFTER: Duration = Duration::from_millis(20);
/// A connection that says nothing for so long while messages wait for their acknowledgement is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Latencies are counted by the millisecond up to this.
const LATENCY_MS_MAX: usize = 120_000;

/// Whether messages are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1, with so many in flight on each connection.
    AtLeastOnce {
        /// Messages without their acknowledgement; at least 20.
        window: u64,
    },
}

/// What to send.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to.
    pub address: SocketAddr,
    /// What the names of devices begin with; also the name of their metric.
    pub name: String,
    /// How many devices.
    pub devices: u32,
    /// How.
    pub quality: Quality,
    /// Messages a second of all together; as fast as possible where there is none.
    pub rate: Option<f64>,
    /// How long a silent connection lives, in seconds; 0 for ever. This load sends no pings.
    pub keep_alive: u16,
}

impl Settings {
    /// As fast as 100 messages in flight on each connection allow.
    pub fn new(address: SocketAddr, name: &str, devices: u32) -> Self {
        let quality = Quality::AtLeastOnce { window: 100 };
        Self { address, name: name.to_owned(), devices, quality, rate: None, keep_alive: 0 }
    }
}

/// What all devices of a load count together.
#[derive(Debug)]
struct Counts {
    issued: AtomicU64,
    acknowledged: AtomicU64,
    connections: AtomicU64,
    out_of_order: AtomicU64,
    /// Messages by the milliseconds from sending to acknowledgement.
    latencies: Mutex<Vec<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Send,
    /// Send no more, and end once all is acknowledged.
    Finish,
}

/// A running load; dropping it cuts its connections.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Counts>,
    phase: Option<watch::Sender<Phase>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts sending.
    pub fn start(settings: &Settings) -> Result<Self> {
        let counts = Arc::new(Counts {
            issued: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
            latencies: Mutex::new(vec![0; LATENCY_MS_MAX + 1]),
        });
        let (phase, seen) = watch::channel(Phase::Send);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let devices: Vec<Device> =
            (0..settings.devices).map(|number| Device::new(settings, number, &counts)).collect();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut running = tokio::task::JoinSet::new();
                for device in devices {
                    running.spawn(device.run(seen.clone()));
                }
                let mut dropped = seen;
                tokio::select! {
                    biased;
                    () = async { while dropped.changed().await.is_ok() {} } => {}
                    () = async { while running.join_next().await.is_some() {} } => {}
                }
            });
        })?;
        Ok(Self { counts, phase: Some(phase), thread: Some(thread) })
    }

    /// Messages that may have been sent.
    pub fn issued(&self) -> u64 {
        self.counts.issued.load(Ordering::SeqCst)
    }

    /// Messages that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.counts.acknowledged.load(Ordering::SeqCst)
    }

    /// How often a connection was accepted.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Acknowledgements that were not the next that was due.
    pub fn out_of_order(&self) -> u64 {
        self.counts.out_of_order.load(Ordering::SeqCst)
    }

    /// The time from sending to acknowledgement that this share of messages, from 0 to 1, did not exceed, so far.
    pub fn latency(&self, share: f64) -> Duration {
        let latencies = self.counts.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let all: u64 = latencies.iter().sum();
        let mut below = 0.0;
        for (count, millis) in latencies.iter().zip(0..) {
            below += amount(*count);
            if below >= amount(all) * share {
                return Duration::from_millis(millis);
            }
        }
        Duration::ZERO
    }

    /// Sends no more, and waits until all is acknowledged.
    pub fn finish(&mut self, within: Duration) -> Result<()> {
        if let Some(phase) = &self.phase {
            phase.send_replace(Phase::Finish);
        }
        let over = || self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        crate::wait::until_true("the end of a load", within, over)
            .with_context(|| format!("{} of {} acknowledged", self.acknowledged(), self.issued()))
    }
}

/// What can be read back of a load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Samples.
    pub samples: u64,
    /// Samples that are missing before the last one of their device, or there twice.
    pub wrong: u64,
}

/// Counts what is stored of the load of this name.
pub fn read_back(http: &Http, name: &str) -> Result<ReadBack> {
    let (start, end) = ("2023-11-14T00:00:00Z", "2023-11-20T00:00:00Z");
    let query = [
        ("metric", name),
        ("start", start),
        ("end", end),
        ("window", "7d"),
        ("aggregate", "count,max"),
        ("limit", "100000"),
    ];
    let answer = http.json("/v1/windows", &query)?;
    ensure!(answer.get("truncated") == Some(&serde_json::Value::Bool(false)), "cut: {answer}");
    let mut all = ReadBack::default();
    for series in rows(&answer, "series")? {
        let [window] = rows(series, "windows")? else { bail!("one window expected: {series}") };
        let number = |field: &str| format!("{:.0}", window.get(field)?.as_f64()?).parse::<u64>().ok();
        let (count, max) = number("count").zip(number("max")).with_context(|| window.to_string())?;
        all.samples += count;
        // Messages of a device are numbered from 0, each at another time.
        all.wrong += (max + 1).abs_diff(count);
    }
    Ok(all)
}

/// A count as what shares are taken of: exact far beyond what a test sends.
#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "counts stay far below 2^53")]
pub fn amount(count: u64) -> f64 {
    count as f64
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.phase.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a load's thread panicked");
        }
    }
}

/// Messages that were sent together.
#[derive(Debug)]
struct Batch {
    first: u64,
    acknowledged: u64,
    sent_at: Instant,
}

#[derive(Debug)]
struct Device {
    settings: Settings,
    id: String,
    counts: Arc<Counts>,
    /// Messages so far.
    sent: u64,
    in_flight: VecDeque<Batch>,
    started: Instant,
}

/// One connection of a device.
struct Link {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    /// The beginning of a packet.
    part: Vec<u8>,
}

impl Device {
    fn new(settings: &Settings, number: u32, counts: &Arc<Counts>) -> Self {
        Self {
            id: format!("{}-{number}", settings.name),
            settings: settings.clone(),
            counts: Arc::clone(counts),
            sent: 0,
            in_flight: VecDeque::new(),
            started: crate::wait::now().into(),
        }
    }

    async fn run(mut self, mut phase: watch::Receiver<Phase>) {
        loop {
            match self.connect().await {
                Ok(link) => match self.serve(link, &mut phase).await {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(device = self.id, %error, "a connection ended"),
                },
                Err(error) => tracing::debug!(device = self.id, %error, "not connected"),
            }
            sleep(RETURN_AFTER).await;
        }
    }

    async fn connect(&self) -> Result<Link> {
        let opening = async {
            let mut stream = TcpStream::connect(self.settings.address).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&connect(&self.id, self.settings.keep_alive)).await?;
            let mut accepted = [0; 4];
            stream.read_exact(&mut accepted).await?;
            ensure!(accepted == [0x20, 2, 0, 0], "not accepted: {accepted:?}");
            Ok(stream)
        };
        let stream = timeout(PATIENCE, opening).await.context("no answer to CONNECT")??;
        self.counts.connections.fetch_add(1, Ordering::SeqCst);
        Ok(Link { stream, out: Vec::new(), written: 0, part: Vec::new() })
    }

    /// Until everything is over, or with why the connection ended.
    async fn serve(&mut self, mut link: Link, phase: &mut watch::Receiver<Phase>) -> Result<()> {
        self.repeat(&mut link);
        let mut heard = Instant::now();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let sends = *phase.borrow_and_update() == Phase::Send;
            let writing = link.written < link.out.len();
            if !sends && !writing && self.in_flight.is_empty() {
                return Ok(());
            }
            let next = (sends && !writing && self.has_room()).then(|| self.due()).flatten();
            let (mut reader, mut writer) = link.stream.split();
            tokio::select! {
                biased;
                read = reader.read(&mut buffer) => {
                    let read = read?;
                    ensure!(read > 0, "the server closed the connection");
                    heard = Instant::now();
                    link.part.extend_from_slice(buffer.get(..read).unwrap_or_default());
                    self.hear(&mut link.part)?;
                }
                written = writer.write(link.out.get(link.written..).unwrap_or_default()), if writing => {
                    link.written += written?;
                    heard = Instant::now();
                    // A socket that takes everything must not keep the other devices waiting.
                    tokio::task::yield_now().await;
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.send(&mut link),
                () = sleep_until(heard + PATIENCE), if writing || !self.in_flight.is_empty() => {
                    bail!("silence")
                }
                changed = phase.changed() => changed?,
            }
        }
    }

    fn has_room(&self) -> bool {
        match self.settings.quality {
            Quality::AtMostOnce => true,
            Quality::AtLeastOnce { window } => {
                u64::try_from(self.in_flight.len()).unwrap_or(u64::MAX) * BATCH + BATCH <= window
            }
        }
    }

    /// When the next batch is due.
    fn due(&self) -> Option<Instant> {
        let Some(rate) = self.settings.rate else { return Some(self.started) };
        let each = rate / f64::from(self.settings.devices);
        let seconds = Duration::try_from_secs_f64(amount(self.sent) / each).ok()?;
        self.started.checked_add(seconds)
    }

    fn send(&mut self, link: &mut Link) {
        link.out.clear();
        link.written = 0;
        let first = self.sent;
        self.sent += BATCH;
        // Counted before a byte of it is on its way.
        self.counts.issued.fetch_add(BATCH, Ordering::SeqCst);
        self.write(first, false, &mut link.out);
        if self.settings.quality != Quality::AtMostOnce {
            self.in_flight.push_back(Batch { first, acknowledged: 0, sent_at: Instant::now() });
        }
    }

    /// Everything without an acknowledgement goes out again, in order.
    fn repeat(&mut self, link: &mut Link) {
        for at in 0..self.in_flight.len() {
            let Some(batch) = self.in_flight.get_mut(at) else { return };
            // What was acknowledged of it is sent again, too: its order is that of the batch.
            let acknowledged = std::mem::take(&mut batch.acknowledged);
            let first = batch.first;
            self.counts.acknowledged.fetch_sub(acknowledged, Ordering::SeqCst);
            self.write(first, true, &mut link.out);
        }
    }

    fn write(&self, first: u64, again: bool, out: &mut Vec<u8>) {
        let (topic, metric) = (format!("devices/{}/telemetry", self.id), &self.settings.name);
        for number in first..first + BATCH {
            let payload = format!("{{\"ts\":{},\"{metric}\":{number}}}", START_MS + number);
            let acknowledged = self.settings.quality != Quality::AtMostOnce;
            let id = acknowledged.then(|| packet_id(number));
            publish(&topic, id, again, payload.as_bytes(), out);
        }
    }

    fn hear(&mut self, part: &mut Vec<u8>) -> Result<()> {
        let whole = part.len() / 4 * 4;
        for answer in part.get(..whole).unwrap_or_default().chunks_exact(4) {
            let &[0x40, 2, high, low] = answer else { bail!("unexpected packet {answer:?}") };
            self.settle(u16::from_be_bytes([high, low]))?;
        }
        part.drain(..whole);
        Ok(())
    }

    fn settle(&mut self, id: u16) -> Result<()> {
        let batch = self.in_flight.front_mut().context("an acknowledgement of nothing")?;
        if packet_id(batch.first + batch.acknowledged) != id {
            self.counts.out_of_order.fetch_add(1, Ordering::SeqCst);
        }
        batch.acknowledged += 1;
        self.counts.acknowledged.fetch_add(1, Ordering::SeqCst);
        if batch.acknowledged == BATCH {
            let millis = usize::try_from(batch.sent_at.elapsed().as_millis()).unwrap_or(usize::MAX);
            let mut latencies = self.counts.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = latencies.get_mut(millis.min(LATENCY_MS_MAX)) {
                *count += BATCH;
            }
            self.in_flight.pop_front();
        }
        Ok(())
    }
}

fn packet_id(number: u64) -> u16 {
    u16::try_from(number % IDS).unwrap_or(0) + 1
}

fn connect(id: &str, keep_alive: u16) -> Vec<u8> {
    let mut rest = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2];
    rest.extend(keep_alive.to_be_bytes());
    text(id, &mut rest);
    let mut packet = Vec::new();
    head(0x10, rest.len(), &mut packet);
    packet.extend(rest);
    packet
}

fn publish(topic: &str, id: Option<u16>, again: bool, payload: &[u8], out: &mut Vec<u8>) {
    let flags = if id.is_some() { 0x32 } else { 0x30 } | if again { 0x08 } else { 0 };
    head(flags, 2 + topic.len() + id.map_or(0, |_| 2) + payload.len(), out);
    text(topic, out);
    out.extend(id.map(u16::to_be_bytes).into_iter().flatten());
    out.extend(payload);
}

/// First byte and remaining length of a packet.
fn head(first: u8, mut length: usize, out: &mut Vec<u8>) {
    out.push(first);
    loop {
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return;
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_mqtt_311() {
        assert_eq!(connect("d", 60), [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'd']);
        let mut out = Vec::new();
        publish("t", Some(258), true, b"xy", &mut out);
        assert_eq!(out, [0x3a, 7, 0, 1, b't', 1, 2, b'x', b'y']);
        out.clear();
        publish("t", None, false, &[0; 200], &mut out);
        assert_eq!(out.get(..6).unwrap(), [0x30, 0xcb, 1, 0, 1, b't']);
    }
}
