//! Every deadline of a connection, in virtual time over an in-memory stream.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::authenticate::AllowAll;
use super::config::Limits;
use super::metrics::ListenerMetrics;
use super::registry::Serial;
use super::serve::{Shared, Ticket, serve};
use crate::source::{Closed, Completion, Intake, Publish, Settlement};

const CONNECT_V3: &[u8] = b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x0A\x00\x02d1";
const CONNECT_V5: &[u8] = b"\x10\x0F\x00\x04MQTT\x05\x02\x00\x0A\x00\x00\x02d1";
const PUBLISH: &[u8] = b"\x32\x06\x00\x01t\x00\x01x";
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const TOLERATED: Duration = Duration::from_secs(15);
const NEARLY_TOLERATED: Duration = Duration::from_secs(14);

#[derive(Clone)]
struct Held(mpsc::Sender<Settlement>);

impl Intake for Held {
    async fn submit(&mut self, _group: Vec<Publish>) -> Result<Completion, Closed> {
        let (settlement, completion) = Completion::pair();
        self.0.send(settlement).await.map_err(|_| Closed)?;
        Ok(completion)
    }
}

struct Served {
    client: DuplexStream,
    settlements: mpsc::Receiver<Settlement>,
    serving: JoinHandle<usize>,
    shared: Arc<Shared<AllowAll>>,
}

impl Served {
    /// A connection whose stream holds `buffer` bytes in each direction.
    fn start(limits: Limits, buffer: usize) -> Self {
        let metrics = ListenerMetrics::register(&Registry::new()).unwrap();
        let shared = Arc::new(Shared::new(limits, metrics, AllowAll, 1));
        let (client, server) = duplex(buffer);
        let (sender, settlements) = mpsc::channel(1_000);
        let serial = Serial(1);
        let stop = shared.connections.open(serial);
        let serving = tokio::spawn(serve(server, Ticket { serial, stop }, Held(sender), Arc::clone(&shared)));
        Self { client, settlements, serving, shared }
    }

    async fn connected(connect: &[u8], limits: Limits) -> Self {
        let mut served = Self::start(limits, 64 * 1024);
        served.client.write_all(connect).await.unwrap();
        served.client.read_exact(&mut [0; 4]).await.unwrap();
        served
    }

    /// The seconds until the connection ends by itself, and its last bytes.
    async fn end(&mut self) -> (Duration, Vec<u8>) {
        let start = Instant::now();
        let mut last = Vec::new();
        self.client.read_to_end(&mut last).await.unwrap();
        (start.elapsed(), last)
    }

    fn disconnects(&self, reason: &str) -> u64 {
        self.shared.metrics.disconnects.with_label_values(&[reason]).get()
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_connect_is_closed() {
    let limits = Limits::default();
    let mut served = Served::start(limits.clone(), 1_024);
    served.client.write_all(&CONNECT_V3[..5]).await.unwrap();
    assert_eq!(seconds(served.end().await.0), seconds(limits.connect_timeout));
    assert_eq!(served.shared.metrics.refused.with_label_values(&["connect_timeout"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_is_tolerated_for_one_and_a_half_keep_alives() {
    let mut served = Served::connected(CONNECT_V3, Limits::default()).await;
    sleep(NEARLY_TOLERATED).await;
    served.client.write_all(&[0xC0, 0]).await.unwrap();
    served.client.read_exact(&mut [0; 2]).await.unwrap();
    assert_eq!(seconds(served.end().await.0), seconds(TOLERATED));
    served.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn mqtt_5_is_told_that_it_was_silent() {
    let mut served = Served::connected(CONNECT_V5, Limits::default()).await;
    let last = served.end().await.1;
    assert!(last.ends_with(&[0xE0, 1, 0x8D]), "{last:x?}");
    drop(served.client);
    served.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_keep_alive_means_the_idle_timeout() {
    let limits = Limits::default();
    let mut connect = CONNECT_V3.to_vec();
    connect[11] = 0;
    let mut served = Served::connected(&connect, limits.clone()).await;
    assert_eq!(seconds(served.end().await.0), seconds(limits.idle_timeout));
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_trickles_in_is_cut_off() {
    let limits = Limits::default();
    let mut served = Served::connected(CONNECT_V3, limits.clone()).await;
    served.client.write_all(&[0x32, 200, 1]).await.unwrap();
    let start = Instant::now();
    while served.client.write_all(b"x").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    let late = start.elapsed().saturating_sub(limits.packet_timeout);
    assert!(late <= Duration::from_secs(4), "{late:?} late");
    drop(served.client);
    served.serving.await.unwrap();
    assert_eq!(served.shared.metrics.disconnects.with_label_values(&["slow_packet"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_are_cut_off() {
    let limits = Limits::default();
    let mut served = Served::start(limits.clone(), 64);
    served.client.write_all(CONNECT_V3).await.unwrap();
    let start = Instant::now();
    while served.client.write_all(&[0xC0, 0].repeat(16)).await.is_ok() {}
    assert_eq!(seconds(start.elapsed()), seconds(limits.write_timeout));
    assert_eq!(served.disconnects("not_reading"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_blamed_for_our_own_slowness() {
    let limits = Limits { in_flight_messages_max: NonZeroU16::MIN, ..Limits::default() };
    let mut served = Served::connected(CONNECT_V3, limits).await;
    served.client.write_all(&[PUBLISH, &[0xC0, 0]].concat()).await.unwrap();
    let settlement = served.settlements.recv().await.unwrap();
    sleep(TOLERATED * 100).await;
    settlement.settle();
    let mut answers = [0; 6];
    served.client.read_exact(&mut answers).await.unwrap();
    assert_eq!(answers, [0x40, 2, 0, 1, 0xD0, 0]);
    assert!(served.end().await.0 >= KEEP_ALIVE, "its keep-alive starts anew");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_is_in_flight_until_its_deadline() {
    let limits = Limits::default();
    let mut served = Served::connected(CONNECT_V3, limits.clone()).await;
    served.client.write_all(PUBLISH).await.unwrap();
    let _settlement = served.settlements.recv().await.unwrap();
    served.shared.connections.stop_all();
    assert_eq!(seconds(served.end().await.0), seconds(limits.drain_timeout));
    drop(served.client);
    assert_eq!(served.serving.await.unwrap(), 1, "one message stays unacknowledged");
}
