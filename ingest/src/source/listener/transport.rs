//! A byte stream with what was read and not yet taken, and what is to be written. Any stream will do: TCP now, TLS
//! later.
//!
//! Reads go through one buffer per worker thread and are copied out at their exact size. So a silent connection
//! holds no buffer at all, and a message in flight keeps alive no more than the read it came in.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use super::frame::Inbox;
use crate::fail;

/// Bytes of one read: some hundred messages, so that a system call and a wake-up are shared by many.
const READ_BYTES: usize = 64 * 1024;
/// Bytes waiting to be written beyond which nothing more is read: answers to a client that does not read them.
const UNSENT_BYTES_MAX: usize = 16 * 1024;
/// Capacity that an idle connection may keep.
const IDLE_CAPACITY: usize = 64;
/// What is read and thrown away on closing, so that the last words are not lost to a reset.
const LINGER_BYTES_MAX: u64 = 1024 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// One connection's stream and buffers.
#[derive(Debug)]
pub(super) struct Transport<S> {
    stream: S,
    /// Read, not yet taken.
    pub(super) inbox: Inbox,
    /// To be written.
    pub(super) out: BytesMut,
    flushed: bool,
    /// Since when nothing could be written.
    stalled_since: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, inbox: Inbox::default(), out: BytesMut::new(), flushed: true, stalled_since: None }
    }

    /// Reads once; 0 bytes are the end.
    pub(super) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        READ_BUFFER.with_borrow_mut(|bytes| {
            let mut buffer = ReadBuf::new(bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            self.inbox.extend(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Writes what is waiting; ready when nothing is left.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.out.advance(written);
                    fail::reach(fail::Point::AnswerSent);
                    self.flushed = false;
                    self.stalled_since = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.stalled_since.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Since when the peer has not taken a byte of what is waiting.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// Whether there is room for the answers to another read.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < UNSENT_BYTES_MAX
    }

    /// Gives memory back where nothing is waiting.
    pub(super) fn release(&mut self) {
        self.inbox.release();
        if self.out.is_empty() && self.out.capacity() > IDLE_CAPACITY {
            self.out = BytesMut::new();
        }
    }

    /// Writes what is waiting and closes, all within `limit`: first our direction, then, so that the peer gets
    /// the last words, what it still sends is read and thrown away.
    pub(super) async fn close(mut self, limit: Duration) {
        let goodbye = async {
            self.stream.write_all(&self.out).await?;
            self.stream.shutdown().await?;
            let mut rest = self.stream.take(LINGER_BYTES_MAX);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        // Whatever goes wrong here, the peer is gone or slow, and the stream is dropped.
        let _ = timeout(limit, goodbye).await;
    }
}
