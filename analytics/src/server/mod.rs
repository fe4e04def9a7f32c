//! HTTP/1.1 over TCP: accepts connections and serves a router on them, within limits (I6).
//!
//! A connection costs bounded memory and, without progress, bounded time: heads, idling and writing have deadlines,
//! bodies and heads a size, connections a cap. TLS would stand between `accept` and the guarded stream; who may ask is a
//! layer of the router.

mod connection;
mod guarded;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::metrics::{HttpMetrics, Rejection};

/// How long accepting rests after an error, such as too many open files, that would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What bounds connections.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Open connections; those beyond are answered 503 and closed.
    pub connections_max: usize,
    /// From the first byte of a request (or the start of a connection) to the end of its head.
    pub head_timeout: Duration,
    /// How long a connection stays open between requests.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer that is ready for it.
    pub write_timeout: Duration,
    /// Bytes of a request's head; at least 8 KiB. Longer ones are answered 431.
    pub head_bytes_max: usize,
    /// Bytes of a request's body. Longer ones are answered 413.
    pub body_bytes_max: u64,
    /// How long requests may still take when the server stops.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            // Room for a target of the length that the API allows, and for the cookies of a proxy.
            head_bytes_max: 64 * 1024,
            body_bytes_max: 64 * 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for HTTP on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// How a server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their request did not end in time.
    pub cut: usize,
}

/// A listening socket, not yet served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: Arc<ServerLimits>,
    metrics: Arc<HttpMetrics>,
}

impl Server {
    /// Listens on `address`; port 0 takes any free port.
    pub async fn bind(
        address: SocketAddr,
        limits: ServerLimits,
        metrics: Arc<HttpMetrics>,
    ) -> Result<Self, BindError> {
        let refused = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, limits: Arc::new(limits), metrics })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `shutdown` completes. Then no connection is accepted any more, idle ones are closed,
    /// and requests that are being answered have the drain timeout to end. Dropping the future cuts everything.
    pub async fn run(self, router: Router, shutdown: impl Future<Output = ()>) -> Drained {
        let mut shutdown = pin!(shutdown);
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let (graceful, mut connections) = (GracefulShutdown::new(), JoinSet::new());
        loop {
            let stream = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                stream = self.accept() => stream,
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => self.serve(stream, place, &router, &graceful, &mut connections),
                Err(_) => self.refuse(stream),
            }
        }
        drop(self.listener);
        let drained = tokio::time::timeout(self.limits.drain_timeout, graceful.shutdown()).await;
        let cut = if drained.is_ok() { 0 } else { connections.len() };
        connections.shutdown().await;
        Drained { cut }
    }

    async fn accept(&self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
        router: &Router,
        graceful: &GracefulShutdown,
        connections: &mut JoinSet<()>,
    ) {
        let connection =
            connection::serve(stream, router.clone(), Arc::clone(&self.limits), Arc::clone(&self.metrics));
        let connection = graceful.watch(connection);
        let open = Open::new(Arc::clone(&self.metrics), place);
        connections.spawn(async move {
            // Why a connection ended early is counted where a limit did it, and else the client's business.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(open);
        });
    }

    /// Says that there is no place, as far as that goes without waiting, and closes.
    fn refuse(&self, stream: TcpStream) {
        self.metrics.reject(Rejection::Connections);
        let told = stream.into_std().and_then(|mut stream| stream.write_all(connection::NO_PLACE));
        if let Err(error) = told {
            tracing::debug!(%error, "a connection beyond the limit was closed without an answer");
        }
    }
}

/// A connection that takes a place and is counted as long as it is open.
struct Open {
    metrics: Arc<HttpMetrics>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(metrics: Arc<HttpMetrics>, place: OwnedSemaphorePermit) -> Self {
        metrics.connections.inc();
        Self { metrics, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}
