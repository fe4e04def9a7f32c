//! A stream that keeps time: of heads that arrive slowly, of connections without a request, of clients that do not
//! take their answer. Each ends the connection with an error of kind `TimedOut`, counted.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::ServerLimits;
use super::connection::TOO_SLOW;
use crate::metrics::{HttpMetrics, Rejection};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for the rest of a head; a new connection, too.
    Head,
    /// Waiting for an answer.
    Answering,
    /// Waiting for the next request.
    Idle,
}

/// The phase of a connection and how often it changed, shared by what reads and what answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Phases(Arc<AtomicU64>);

impl Phases {
    /// Begins `phase`, also where it was in that phase already.
    pub(super) fn enter(&self, phase: Phase) {
        let code = match phase {
            Phase::Head => 0,
            Phase::Answering => 1,
            Phase::Idle => 2,
        };
        let changes = self.0.load(Ordering::Relaxed) >> 2;
        self.0.store((changes + 1) << 2 | code, Ordering::Relaxed);
    }

    fn now(&self) -> (Phase, u64) {
        let state = self.0.load(Ordering::Relaxed);
        let phase = match state & 3 {
            0 => Phase::Head,
            1 => Phase::Answering,
            _ => Phase::Idle,
        };
        (phase, state)
    }
}

/// A TCP stream under guard.
pub(super) struct Guarded {
    stream: TcpStream,
    phases: Phases,
    limits: Arc<ServerLimits>,
    metrics: Arc<HttpMetrics>,
    reading: Deadline,
    /// The phase that `reading` is for.
    reading_for: u64,
    writing: Deadline,
    /// Whether anything ever came.
    began: bool,
    expired: bool,
}

impl Guarded {
    pub(super) fn new(
        stream: TcpStream,
        limits: Arc<ServerLimits>,
        phases: Phases,
        metrics: Arc<HttpMetrics>,
    ) -> Self {
        let reading = Deadline::after(limits.head_timeout);
        Self {
            stream,
            reading_for: phases.now().1,
            reading,
            writing: Deadline(None),
            phases,
            limits,
            metrics,
            began: false,
            expired: false,
        }
    }

    /// Called where a request is waited for: is it time to give up?
    fn poll_reading(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let (phase, state) = self.phases.now();
        if self.reading_for != state {
            self.reading_for = state;
            self.reading = match phase {
                Phase::Head => Deadline::after(self.limits.head_timeout),
                Phase::Idle => Deadline::after(self.limits.idle_timeout),
                Phase::Answering => Deadline(None),
            };
        }
        ready!(self.reading.poll(cx));
        Poll::Ready(self.expire(if phase == Phase::Head { Rejection::HeadTimeout } else { Rejection::Idle }))
    }

    /// Answers 408, as far as that goes without waiting and does not run into another answer.
    fn tell_too_slow(&self) {
        if self.began && self.writing.0.is_none() {
            let told = self.stream.try_write(TOO_SLOW);
            tracing::debug!(told = told.is_ok(), "a request's head took too long");
        }
    }

    /// The end of the connection; counted once, however often hyper asks until it lets go.
    fn expire(&mut self, reason: Rejection) -> io::Error {
        if !std::mem::replace(&mut self.expired, true) {
            self.metrics.reject(reason);
            if reason == Rejection::HeadTimeout {
                self.tell_too_slow();
            }
        }
        io::Error::new(io::ErrorKind::TimedOut, reason.name())
    }

    /// Passes on how writing went, unless it has stood still for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing = Deadline(None);
            if self.phases.now().0 == Phase::Idle {
                self.phases.enter(Phase::Idle);
            }
            return result;
        }
        if self.writing.0.is_none() {
            self.writing = Deadline::after(self.limits.write_timeout);
        }
        ready!(self.writing.poll(cx));
        Poll::Ready(Err(self.expire(Rejection::WriteTimeout)))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => self.poll_reading(cx).map(Err),
            Poll::Ready(result) => {
                let arrived = buffer.remaining() < before;
                self.began |= arrived;
                if arrived && self.phases.now().0 == Phase::Idle {
                    self.phases.enter(Phase::Head);
                }
                Poll::Ready(result)
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // With its answer written, a connection may wait without another read: its idle time starts here.
        match self.poll_reading(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A moment after which waiting ends; `None` waits for ever.
struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    fn after(wait: Duration) -> Self {
        Self(Some(Box::pin(sleep_until(Instant::now() + wait))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
