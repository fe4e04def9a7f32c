//! A TCP relay on loopback between a client and a server, for faults on the wire: connections
//! are cut, held (open, and nothing passes: a half-open connection) or delayed.
//!
//! It knows no protocol, but may be listened in on. What it has taken from one side and not yet passed on is bounded, and
//! lost when it cuts, as in a network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::ports::Port;
use crate::tap::{Tap, Way, Wire};

const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks on the way in one direction of one connection.
const CHUNKS_MAX: usize = 256;

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Hold,
    Cut,
}

#[derive(Debug, Clone, Copy)]
struct Weather {
    mode: Mode,
    delay: Duration,
    /// How often all connections were ended: one that looks later still sees that it is meant.
    cuts: u64,
}

type Chunks = (mpsc::Sender<(Instant, Vec<u8>)>, mpsc::Receiver<(Instant, Vec<u8>)>);

/// A relay to one server; dropping it ends its connections.
#[derive(Debug)]
pub struct Relay {
    port: Port,
    weather: Option<watch::Sender<Weather>>,
    connections: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay that passes everything to `target`, on a free port of 127.0.0.1.
    pub fn start(target: SocketAddr) -> Result<Self> {
        Self::start_on(Port::claim()?, target)
    }

    /// As [`Relay::start`], on a port of the caller's.
    pub fn start_on(port: Port, target: SocketAddr) -> Result<Self> {
        Self::start_tapped(port, target, None)
    }

    /// As [`Relay::start`], between a consumer and its broker, on whom `tap` listens in.
    pub fn tapped(broker: SocketAddr, tap: &Arc<Tap>) -> Result<Self> {
        Self::start_tapped(Port::claim()?, broker, Some(Arc::clone(tap)))
    }

    fn start_tapped(port: Port, target: SocketAddr, tap: Option<Arc<Tap>>) -> Result<Self> {
        let (weather, seen) = watch::channel(Weather { mode: Mode::Pass, delay: Duration::ZERO, cuts: 0 });
        let connections = Arc::new(AtomicU64::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(port.address()))?;
        let counted = Arc::clone(&connections);
        let thread = std::thread::Builder::new()
            .name(format!("relay to {target}"))
            .spawn(move || runtime.block_on(accept(listener, (target, tap), seen, counted)))?;
        Ok(Self { port, weather: Some(weather), connections, thread: Some(thread) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Ends all connections and closes new ones at once, until [`Relay::restore`].
    pub fn cut(&self) {
        self.set(|weather| {
            weather.mode = Mode::Cut;
            weather.cuts += 1;
        });
    }

    /// Lets nothing pass in either direction and keeps connections open, until
    /// [`Relay::restore`] lets pass what was held.
    pub fn hold(&self) {
        self.set(|weather| weather.mode = Mode::Hold);
    }

    /// Passes everything again.
    pub fn restore(&self) {
        self.set(|weather| weather.mode = Mode::Pass);
    }

    /// Passes everything this much later, in each direction, from now on.
    pub fn delay(&self, delay: Duration) {
        self.set(|weather| weather.delay = delay);
    }

    /// How many connections it has relayed, ended ones included.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn set(&self, change: impl FnOnce(&mut Weather)) {
        if let Some(weather) = &self.weather {
            weather.send_modify(change);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.weather.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a relay's thread panicked");
        }
    }
}

async fn accept(
    listener: TcpListener,
    (target, tap): (SocketAddr, Option<Arc<Tap>>),
    mut weather: watch::Receiver<Weather>,
    connections: Arc<AtomicU64>,
) {
    loop {
        let client = tokio::select! {
            biased;
            changed = weather.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            accepted = listener.accept() => accepted,
        };
        let Weather { mode, cuts, .. } = *weather.borrow();
        if let Ok((client, _)) = client
            && mode != Mode::Cut
        {
            connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(carry((client, target, tap.clone()), cuts, weather.clone()));
        }
    }
}

/// One connection, until both directions have ended, an error, or another cut than those before it.
async fn carry(
    (client, target, tap): (TcpStream, SocketAddr, Option<Arc<Tap>>),
    cuts: u64,
    weather: watch::Receiver<Weather>,
) {
    let mut until_cut = weather.clone();
    tokio::select! {
        biased;
        _ = until_cut.wait_for(|weather| weather.cuts > cuts) => {}
        ended = relay(client, (target, tap), weather) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a relayed connection ended");
            }
        }
    }
}

async fn relay(
    client: TcpStream,
    (target, tap): (SocketAddr, Option<Arc<Tap>>),
    weather: watch::Receiver<Weather>,
) -> Result<()> {
    let wire = Arc::new(Wire::default());
    let ear = |way| tap.clone().map(|tap| Ear { tap, wire: Arc::clone(&wire), way });
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::try_join!(
        pump(client_read, server_write, ear(Way::ToBroker), weather.clone()),
        pump(server_read, client_write, ear(Way::ToConsumer), weather),
    )?;
    Ok(())
}

/// Who listens in on one direction of one connection.
struct Ear {
    tap: Arc<Tap>,
    wire: Arc<Wire>,
    way: Way,
}

async fn pump(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    ear: Option<Ear>,
    weather: watch::Receiver<Weather>,
) -> Result<()> {
    let (sender, receiver): Chunks = mpsc::channel(CHUNKS_MAX);
    tokio::try_join!(read(from, sender, ear, weather.clone()), write(to, receiver, weather))?;
    Ok(())
}

async fn read(
    mut from: OwnedReadHalf,
    chunks: mpsc::Sender<(Instant, Vec<u8>)>,
    ear: Option<Ear>,
    weather: watch::Receiver<Weather>,
) -> Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        if from.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        if let Some(Ear { tap, wire, way }) = &ear {
            tap.pass(wire, *way, &chunk);
        }
        let delay = weather.borrow().delay;
        chunks.send((Instant::now() + delay, chunk)).await?;
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut weather: watch::Receiver<Weather>,
) -> Result<()> {
    while let Some((due, chunk)) = chunks.recv().await {
        tokio::time::sleep_until(due).await;
        weather.wait_for(|weather| weather.mode != Mode::Hold).await?;
        to.write_all(&chunk).await?;
    }
    weather.wait_for(|weather| weather.mode != Mode::Hold).await?;
    Ok(to.shutdown().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener as StdListener, TcpStream as StdStream};

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(10);

    /// A server that sends back what it gets, for one connection after another.
    fn echo() -> SocketAddr {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut copy = stream.try_clone().unwrap();
                std::thread::spawn(move || std::io::copy(&mut stream, &mut copy));
            }
        });
        address
    }

    fn connect(relay: &Relay) -> StdStream {
        StdStream::connect(relay.address()).unwrap()
    }

    fn say(stream: &mut StdStream) {
        stream.write_all(b"word").unwrap();
    }

    /// How many bytes of an answer come within `span`; 0 is the end of the connection.
    fn hear(stream: &mut StdStream, span: Duration) -> std::io::Result<usize> {
        stream.set_read_timeout(Some(span)).unwrap();
        stream.read(&mut [0; 4])
    }

    #[test]
    fn a_held_connection_stays_open_and_passes_what_was_held() {
        let relay = Relay::start(echo()).unwrap();
        let mut stream = connect(&relay);
        say(&mut stream);
        assert_eq!(hear(&mut stream, LONG).unwrap(), 4);
        relay.hold();
        say(&mut stream);
        assert!(hear(&mut stream, SHORT).is_err(), "nothing passes and nothing is closed");
        relay.restore();
        assert_eq!(hear(&mut stream, LONG).unwrap(), 4);
        assert_eq!(relay.connections(), 1);
    }

    #[test]
    fn a_cut_ends_connections_and_new_ones_until_restored() {
        let relay = Relay::start(echo()).unwrap();
        let mut before = connect(&relay);
        say(&mut before);
        assert_eq!(hear(&mut before, LONG).unwrap(), 4);
        relay.cut();
        assert!(!matches!(hear(&mut before, LONG), Ok(1..)), "the connection has ended");
        let mut during = connect(&relay);
        assert!(!matches!(hear(&mut during, LONG), Ok(1..)), "a new one ends at once");
        relay.restore();
        let mut after = connect(&relay);
        say(&mut after);
        assert_eq!(hear(&mut after, LONG).unwrap(), 4);
    }

    #[test]
    fn a_delay_is_applied_in_each_direction() {
        let relay = Relay::start(echo()).unwrap();
        let mut stream = connect(&relay);
        relay.delay(SHORT);
        let started = crate::wait::now();
        say(&mut stream);
        assert_eq!(hear(&mut stream, LONG).unwrap(), 4);
        assert!(started.elapsed() >= SHORT * 2, "{:?}", started.elapsed());
    }
}
