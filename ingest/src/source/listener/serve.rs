//! The accept loop: one task for each connection, as many as allowed, and an orderly end of all of them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::authenticate::Authenticate;
use super::config::{Limits, ListenerConfig};
use super::connection::Connection;
use super::handshake;
use super::metrics::ListenerMetrics;
use super::registry::{Connections, Serial, Stop};
use super::transport::Transport;
use crate::source::Intake;

/// Pause after a failure to accept: the usual one is too many open files, which does not pass at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long a client may take to read why it was not accepted.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// What the last goodbyes may take after the drain timeout, before connections are dropped.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// The listener did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be bound.
    #[error("cannot listen for MQTT on {address}")]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is no randomness for the client ids that the listener assigns.
    #[error("no randomness for assigned client ids: {0}")]
    Randomness(getrandom::Error),
}

/// A bound listener. Connections wait in its backlog until [`Self::run`].
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    limits: Limits,
    metrics: ListenerMetrics,
    instance: u64,
}

/// What a listener did, once it has stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerReport {
    /// Connections accepted.
    pub accepted: u64,
    /// QoS 1 messages taken and not acknowledged to those whom the stop sent away: their senders will repeat them. What a
    /// client did not wait for that left by itself is not among them.
    pub unacknowledged: usize,
    /// Connections that had to be dropped because they did not end within the drain timeout.
    pub dropped: usize,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared<A> {
    pub(super) limits: Limits,
    pub(super) metrics: ListenerMetrics,
    pub(super) connections: Connections,
    pub(super) authenticate: A,
    instance: u64,
}

impl<A> Shared<A> {
    pub(super) fn new(limits: Limits, metrics: ListenerMetrics, authenticate: A, instance: u64) -> Self {
        Self { limits, metrics, connections: Connections::default(), authenticate, instance }
    }

    /// A client id that no client chose: unique over restarts and instances.
    pub(super) fn assigned_client_id(&self, serial: Serial) -> String {
        format!("tidemill-{:016x}-{}", self.instance, serial.0)
    }
}

impl Listener {
    /// Binds the address. Whether it may be bound is the caller's question ([`super::bind_is_allowed`]).
    pub async fn bind(config: ListenerConfig, metrics: ListenerMetrics) -> Result<Self, BindError> {
        let ListenerConfig { address, limits } = config;
        let instance = getrandom::u64().map_err(BindError::Randomness)?;
        let failed = |source| BindError::Address { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, limits, metrics, instance })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready. Then nothing more is accepted or read; every connection stays until its
    /// messages in flight are durable and acknowledged, at most for the drain timeout, and ends with DISCONNECT
    /// (MQTT 5) and a close. Dropping the future closes everything at once: what was not acknowledged will be
    /// repeated by its senders.
    pub async fn run<I: Intake, A: Authenticate>(
        self,
        intake: I,
        authenticate: A,
        shutdown: impl Future<Output = ()>,
    ) -> ListenerReport {
        let Self { socket, limits, metrics, instance, address } = self;
        let shared = Arc::new(Shared::new(limits, metrics, authenticate, instance));
        tracing::info!(%address, "listening for MQTT");
        let mut tasks = JoinSet::new();
        let mut report = ListenerReport::default();
        let accepting = accept_all(&socket, &shared, &intake, &mut tasks, &mut report);
        tokio::select! {
            biased;
            () = shutdown => {}
            () = accepting => {}
        }
        drop(socket);
        stop(&shared, tasks, &mut report).await;
        tracing::info!(%address, ?report, "stopped listening for MQTT");
        report
    }
}

async fn accept_all<I: Intake, A: Authenticate>(
    socket: &TcpListener,
    shared: &Arc<Shared<A>>,
    intake: &I,
    tasks: &mut JoinSet<usize>,
    report: &mut ListenerReport,
) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => {
                let _ = left_by(ended, report);
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                admit(stream, shared, intake, tasks, report);
            }
            Err(error) => {
                shared.metrics.accept_errors.inc();
                // Once for each run of failures.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept MQTT connections for now");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn admit<I: Intake, A: Authenticate>(
    stream: TcpStream,
    shared: &Arc<Shared<A>>,
    intake: &I,
    tasks: &mut JoinSet<usize>,
    report: &mut ListenerReport,
) {
    if tasks.len() >= shared.limits.connections_max {
        // Its version is not known yet, so there is no packet that could say why.
        shared.metrics.refused.with_label_values(&["connections"]).inc();
        return;
    }
    // Without it, an acknowledgement may wait for the client's delayed TCP acknowledgement of the one before.
    if stream.set_nodelay(true).is_err() {
        shared.metrics.refused.with_label_values(&["gone"]).inc();
        return;
    }
    report.accepted += 1;
    shared.metrics.accepted.inc();
    let serial = Serial(report.accepted);
    let stop = shared.connections.open(serial);
    tasks.spawn(serve(stream, Ticket { serial, stop }, intake.clone(), Arc::clone(shared)));
}

/// How many messages a connection that ended left unacknowledged, as far as it could say so.
fn left_by(ended: Result<usize, JoinError>, report: &mut ListenerReport) -> usize {
    match ended {
        Ok(unacknowledged) => return unacknowledged,
        Err(error) if error.is_cancelled() => report.dropped += 1,
        // A broken invariant in one connection: it is closed, the others go on.
        Err(error) => tracing::error!(%error, "an MQTT connection failed"),
    }
    0
}

async fn stop<A>(shared: &Shared<A>, mut tasks: JoinSet<usize>, report: &mut ListenerReport) {
    shared.connections.stop_all();
    let ending = async {
        while let Some(ended) = tasks.join_next().await {
            report.unacknowledged += left_by(ended, report);
        }
    };
    if timeout(shared.limits.drain_timeout + STOP_GRACE, ending).await.is_err() {
        tasks.abort_all();
        while let Some(ended) = tasks.join_next().await {
            report.unacknowledged += left_by(ended, report);
        }
    }
}

/// A connection's number and what tells it to stop.
pub(super) struct Ticket {
    pub(super) serial: Serial,
    pub(super) stop: oneshot::Receiver<Stop>,
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Counted<'a, A> {
    shared: &'a Shared<A>,
    serial: Serial,
    client_id: Option<bytes::Bytes>,
}

impl<A> Drop for Counted<'_, A> {
    fn drop(&mut self) {
        self.shared.metrics.connections.dec();
        self.shared.connections.close(self.serial, self.client_id.as_deref());
    }
}

/// One connection from its first byte to its last. Returns how many messages stayed unacknowledged.
pub(super) async fn serve<S, I, A>(stream: S, ticket: Ticket, intake: I, shared: Arc<Shared<A>>) -> usize
where
    S: AsyncRead + AsyncWrite + Unpin,
    I: Intake,
    A: Authenticate,
{
    let Ticket { serial, mut stop } = ticket;
    shared.metrics.connections.inc();
    let mut counted = Counted { shared: &shared, serial, client_id: None };
    let mut transport = Transport::new(stream);
    let accepted = tokio::select! {
        biased;
        _ = &mut stop => Err("shutting_down"),
        accepted = timeout(shared.limits.connect_timeout, handshake::accept(&mut transport, serial, &shared)) => {
            match accepted {
                Ok(accepted) => accepted.map_err(handshake::NotAccepted::label),
                Err(_) => Err("connect_timeout"),
            }
        }
    };
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(reason) => {
            shared.metrics.refused.with_label_values(&[reason]).inc();
            transport.close(REFUSAL_TIMEOUT).await;
            return 0;
        }
    };
    counted.client_id = Some(accepted.client_id.clone());
    let connection = Connection::new(transport, &accepted, stop, Arc::clone(&shared));
    let (ending, unacknowledged) = connection.serve(intake).await;
    shared.metrics.disconnects.with_label_values(&[ending.label()]).inc();
    if accepted.has_will && ending.calls_for_will() {
        shared.metrics.wills.inc();
    }
    tracing::debug!(serial = serial.0, ?ending, unacknowledged, "MQTT client left");
    unacknowledged
}
