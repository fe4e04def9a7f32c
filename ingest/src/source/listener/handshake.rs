//! From the first byte to CONNACK: reads the CONNECT, judges it, claims the client id, answers.

use std::future::poll_fn;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::authenticate::{Authenticate, Credentials, Verdict};
use super::connect::{self, Connect, ConnectError};
use super::registry::Serial;
use super::reply::{self, Announced, Refusal, Version};
use super::serve::Shared;
use super::transport::Transport;

/// The first byte of a CONNECT.
const CONNECT: u8 = 0x10;
/// Bytes of a CONNECT: credentials, properties and a small will. Less than a packet may have, because anybody may
/// send one.
const CONNECT_BYTES_MAX: usize = 16 * 1024;
/// How long the former connection of a client may take to end.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// The standard's tolerance on keep-alive (3.1.2.10), as a fraction.
const KEEP_ALIVE_TOLERANCE: (u32, u32) = (3, 2);

/// A client whose CONNECT was accepted; its CONNACK waits in the transport.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) version: Version,
    pub(super) client_id: Bytes,
    /// Whether the client chose its id, and so may come back with it.
    pub(super) comes_back: bool,
    /// The longest silence it may keep.
    pub(super) silence_max: Duration,
    pub(super) has_will: bool,
}

/// Why there is no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAccepted {
    /// Closed, or broken, before a whole CONNECT.
    Gone,
    /// What came was no CONNECT; the answer, if it can have one, waits in the transport.
    NoConnect,
    /// Refused; the CONNACK waits in the transport.
    Refused(Refusal),
}

impl NotAccepted {
    /// The bounded word for it in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::NoConnect => "no_connect",
            Self::Refused(refusal) => refusal.label(),
        }
    }
}

/// Waits for a CONNECT and accepts or refuses it. The caller sets the time limit.
pub(super) async fn accept<S, A>(
    transport: &mut Transport<S>,
    serial: Serial,
    shared: &Shared<A>,
) -> Result<Accepted, NotAccepted>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Authenticate,
{
    let mut connect = receive_connect(transport, shared).await?;
    let assigned = connect.client_id.is_empty().then(|| shared.assigned_client_id(serial));
    if let Some(id) = &assigned {
        connect.client_id = Bytes::from(id.clone().into_bytes());
    }
    if let Some(refusal) = judge(&connect, &shared.authenticate).await {
        reply::refuse_connect(connect.version, refusal, &mut transport.out);
        return Err(NotAccepted::Refused(refusal));
    }
    // A copy of its own: it lives as long as the connection.
    let client_id = Bytes::copy_from_slice(&connect.client_id);
    if let Some(former) = shared.connections.claim(serial, client_id.clone()) {
        // What it had in flight is gone on with here. It ends at once, unless the process has no time for it.
        let _ = timeout(TAKE_OVER_TIMEOUT, former).await;
    }
    let silence = Silence::of(&connect, shared.limits.idle_timeout);
    let announced = Announced {
        receive_maximum: shared.limits.in_flight_messages_max.get(),
        topic_alias_maximum: shared.limits.topic_aliases_max,
        packet_bytes_max: u32::try_from(shared.limits.packet_bytes_max).unwrap_or(u32::MAX).max(1),
        assigned_client_id: assigned.as_deref(),
        keep_alive_seconds: silence.announced_seconds,
        no_session: connect.wants_session,
    };
    reply::accept_connect(connect.version, announced, &mut transport.out);
    Ok(Accepted {
        version: connect.version,
        client_id,
        comes_back: assigned.is_none(),
        silence_max: silence.max,
        has_will: connect.has_will,
    })
}

async fn receive_connect<S, A>(
    transport: &mut Transport<S>,
    shared: &Shared<A>,
) -> Result<Connect, NotAccepted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limit = CONNECT_BYTES_MAX.min(shared.limits.packet_bytes_max);
    let frame = loop {
        // Another protocol is not waited for.
        if transport.inbox.peek().is_some_and(|first| first != CONNECT) {
            return Err(NotAccepted::NoConnect);
        }
        match transport.inbox.take(limit) {
            Ok(Some(frame)) => break frame,
            Ok(None) => {}
            Err(_) => return Err(NotAccepted::NoConnect),
        }
        match poll_fn(|context| transport.poll_receive(context)).await {
            Ok(0) | Err(_) => return Err(NotAccepted::Gone),
            Ok(bytes) => shared.metrics.received_bytes.inc_by(u64::try_from(bytes).unwrap_or(0)),
        }
    };
    connect::parse(frame.body).map_err(|error| match error {
        ConnectError::Refused(version, refusal) => {
            reply::refuse_connect(version, refusal, &mut transport.out);
            NotAccepted::Refused(refusal)
        }
        ConnectError::Violation(version, violation) => {
            if version == Some(Version::V5) {
                reply::refuse_malformed_connect(violation, &mut transport.out);
            }
            NotAccepted::NoConnect
        }
    })
}

async fn judge<A: Authenticate>(connect: &Connect, authenticate: &A) -> Option<Refusal> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    let credentials = Credentials {
        client_id: text(&connect.client_id),
        user_name: connect.user_name.as_deref().map(text),
        password: connect.password.as_deref(),
    };
    match authenticate.authenticate(credentials).await {
        Verdict::Allowed => None,
        Verdict::BadCredentials => Some(Refusal::BadCredentials),
        Verdict::NotAuthorized => Some(Refusal::NotAuthorized),
    }
}

/// How long a client may be silent, and what it has to be told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    max: Duration,
    announced_seconds: Option<u16>,
}

impl Silence {
    fn of(connect: &Connect, idle_timeout: Duration) -> Self {
        let (numerator, denominator) = KEEP_ALIVE_TOLERANCE;
        let tolerated =
            |seconds: NonZeroU16| Duration::from_secs(u64::from(seconds.get())) * numerator / denominator;
        match (NonZeroU16::new(connect.keep_alive_seconds), connect.version) {
            (Some(seconds), _) => Self { max: tolerated(seconds), announced_seconds: None },
            (None, Version::V311) => Self { max: idle_timeout, announced_seconds: None },
            (None, Version::V5) => {
                let seconds = u16::try_from(idle_timeout.as_secs()).unwrap_or(u16::MAX).max(1);
                let max = NonZeroU16::new(seconds).map_or(idle_timeout, tolerated);
                Self { max, announced_seconds: Some(seconds) }
            }
        }
    }
}
