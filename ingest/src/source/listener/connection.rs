//! One accepted client, in one task: packets in, groups to the pipeline, acknowledgements out.
//!
//! One completion per read that brought messages, a queue of them, and all acknowledgements that are due in one
//! write. In order of urgency at every wake-up: stop, settle, write, submit, read, time out. Nothing is read while
//! a group waits for room in the pipeline, while the window is full, or while the client leaves answers unread, so
//! that each connection costs bounded memory (I6); the rest waits in the client's socket.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ending::Ending;
use super::handshake::Accepted;
use super::registry::{Stop, Successor};
use super::reply::{self, Version};
use super::serve::Shared;
use super::session::{Session, Step};
use super::timer::Timer;
use super::transport::Transport;
use super::violation::Violation;
use crate::source::earlier::Print;
use crate::source::window::{Weight, Window, WindowLimits};
use crate::source::{Closed, Completion, Intake, Publish};

/// How long closing may take: the client is told why, but nobody waits for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Messages that a group has room for before they are seen; those of one read are seldom more.
const GROUP_RESERVED_MAX: usize = 1_024;

/// An accepted client.
pub(super) struct Connection<S, A> {
    shared: Arc<Shared<A>>,
    transport: Transport<S>,
    session: Session,
    window: Window,
    client_id: Bytes,
    /// Whether the client chose its id, and so may come back with it.
    comes_back: bool,
    /// Waits for what this connection leaves.
    successor: Option<Successor>,
    stop: Option<oneshot::Receiver<Stop>>,
    silence_max: Duration,
    /// When the last bytes came, or reading was resumed.
    heard: Instant,
    /// Since when the beginning of a packet waits for its end.
    partial_since: Option<Instant>,
    reading: bool,
    /// Set once the process stops: until when to wait for what is in flight.
    drain_until: Option<Instant>,
    /// The pipeline takes no more.
    closed: bool,
    /// Messages that the pipeline did not take any more.
    turned_away: usize,
    timer: Timer,
}

/// The messages of one read, or of as much of it as the window allows.
#[derive(Debug, Default)]
struct Group {
    messages: Vec<Publish>,
    /// Messages that were taken before: they are acknowledged in their turn, and not submitted.
    again: usize,
    /// Of both.
    weight: Weight,
}

/// What happened.
enum Event<I> {
    /// Something moved: look again.
    Progress,
    /// The pipeline has answered; the intake comes back.
    Submitted(Box<I>, Result<Completion, Closed>),
    /// It is over.
    Over(Ending),
}

impl<S, A> Connection<S, A>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(
        transport: Transport<S>,
        accepted: &Accepted,
        stop: oneshot::Receiver<Stop>,
        shared: Arc<Shared<A>>,
    ) -> Self {
        let now = Instant::now();
        let limits = WindowLimits {
            acks_max: usize::from(shared.limits.in_flight_messages_max.get()),
            bytes_max: shared.limits.in_flight_bytes_max,
        };
        let former = shared.connections.left_by(&accepted.client_id);
        Self {
            transport,
            session: Session::new(accepted.version, shared.limits.topic_aliases_max),
            window: former.unwrap_or_else(|| Window::new(limits, shared.metrics.in_flight.clone())),
            client_id: accepted.client_id.clone(),
            comes_back: accepted.comes_back,
            successor: None,
            stop: Some(stop),
            silence_max: accepted.silence_max,
            heard: now,
            partial_since: None,
            reading: true,
            drain_until: None,
            closed: false,
            turned_away: 0,
            timer: Timer::new(now + accepted.silence_max),
            shared,
        }
    }

    /// Serves the client until it leaves or has to, and says why. What was taken is handed to the pipeline in any
    /// case; returned is also how many messages stayed unacknowledged.
    pub(super) async fn serve<I: Intake>(mut self, intake: I) -> (Ending, usize) {
        // In a box: it is large, and handed back and forth with every group.
        let mut intake = Some(Box::new(intake));
        let mut submission = pin!(None);
        let mut submitted = Weight::default();
        let ending = loop {
            if let Some(mut idle) = intake.take() {
                let (group, over) = self.gather();
                idle.count_duplicates(group.again);
                if group.messages.is_empty() {
                    if group.again > 0 {
                        self.window.push(Completion::settled(), group.weight);
                    }
                    intake = Some(idle);
                } else {
                    submitted = group.weight;
                    submission.set(Some(submit(idle, group.messages)));
                }
                if let Some(ending) = over {
                    break ending;
                }
            }
            match poll_fn(|context| self.poll_event(context, submission.as_mut())).await {
                Event::Progress => {}
                Event::Submitted(idle, answer) => {
                    submission.set(None);
                    intake = Some(idle);
                    match answer {
                        Ok(completion) => self.window.push(completion, submitted),
                        Err(Closed) => self.pipeline_closed(),
                    }
                }
                Event::Over(ending) => break ending,
            }
        };
        let left = self.window.total();
        if let Some(window) = self.window.leave().filter(|_| self.comes_back) {
            let forgotten = self.shared.connections.leave(self.client_id, window);
            self.shared.metrics.forgotten.inc_by(u64::try_from(forgotten).unwrap_or(0));
        }
        drop(self.successor);
        let pending = async {
            if let Some(submission) = submission.as_mut().as_pin_mut() {
                // Whatever it answers, there is nobody left to acknowledge to.
                let _ = submission.await;
            }
        };
        tokio::join!(close(self.transport, self.session.version(), ending), pending);
        (ending, self.turned_away + left.acks)
    }

    /// Takes packets as far as the window allows. What came before a violation still counts.
    fn gather(&mut self) -> (Group, Option<Ending>) {
        let mut group = Group::default();
        if self.closed {
            return (group, None);
        }
        let mut taken = false;
        let over = loop {
            if self.is_full() {
                break None;
            }
            match self.take_packet(&mut group) {
                Ok(true) => taken = true,
                Ok(false) => break None,
                Err(ending) => break Some(ending),
            }
        };
        self.window.show();
        if !self.transport.inbox.is_partial() {
            self.partial_since = None;
        } else if taken || self.partial_since.is_none() {
            self.partial_since = Some(self.heard);
        }
        self.transport.release();
        self.window.release();
        (group, over)
    }

    /// Whether reading has to wait. An MQTT 5 client knows how many messages it may have in flight, so there the
    /// count does not pause reading: more of them is a violation.
    fn is_full(&self) -> bool {
        self.window.is_full_of_bytes()
            || (self.session.version() == Version::V311 && self.window.is_full_of_acks())
    }

    fn take_packet(&mut self, group: &mut Group) -> Result<bool, Ending> {
        let limit = self.shared.limits.packet_bytes_max;
        let Some(frame) = self.transport.inbox.take(limit).map_err(Ending::Violation)? else {
            return Ok(false);
        };
        let (bytes, again) = (frame.bytes(), frame.is_sent_again());
        match self.session.take(frame, &mut self.transport.out).map_err(Ending::Violation)? {
            Step::Message(publish, packet_id) => {
                if packet_id.is_some() && self.window.is_full_of_acks() {
                    return Err(Ending::Violation(Violation::ReceiveMaximum));
                }
                let acknowledge = packet_id.map(|id| (id, Print::of(&publish)));
                if let Some((id, print)) = acknowledge.filter(|_| again) {
                    self.shared.metrics.sent_again.inc();
                    if let Some(weight) = self.window.admit_again(id, print) {
                        group.again += 1;
                        group.weight.add(weight);
                        return Ok(true);
                    }
                }
                group.weight.add(self.window.admit(acknowledge, bytes));
                if group.messages.is_empty() {
                    let more = self.transport.inbox.more_of(bytes);
                    group.messages.reserve_exact(1 + more.min(GROUP_RESERVED_MAX));
                }
                group.messages.push(publish);
                Ok(true)
            }
            Step::Done => Ok(true),
            Step::Goodbye(goodbye) => Err(Ending::Goodbye(goodbye)),
        }
    }

    fn poll_event<I, F>(
        &mut self,
        context: &mut Context<'_>,
        submission: Pin<&mut Option<F>>,
    ) -> Poll<Event<I>>
    where
        F: Future<Output = (Box<I>, Result<Completion, Closed>)>,
    {
        if let Poll::Ready(event) = self.poll_stop(context) {
            return Poll::Ready(event);
        }
        let (version, out) = (self.session.version(), &mut self.transport.out);
        match self.window.poll_settled(context, |id, verdict| reply::acknowledge(version, id, verdict, out)) {
            Poll::Ready(Ok(_)) => {
                self.window.show();
                return Poll::Ready(Event::Progress);
            }
            Poll::Ready(Err(_)) => {
                // The acknowledgements before it are waiting in the buffer, and closing writes them.
                return Poll::Ready(Event::Over(Ending::Abandoned));
            }
            Poll::Pending => {}
        }
        let unsent = match self.transport.poll_send(context) {
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(_)) => return Poll::Ready(Event::Over(Ending::Broken)),
            Poll::Pending => true,
        };
        let submitting = submission.is_some();
        if let Some(Poll::Ready((intake, answer))) =
            submission.as_pin_mut().map(|future| future.poll(context))
        {
            return Poll::Ready(Event::Submitted(intake, answer));
        }
        if self.drain_until.is_some() && !unsent && !submitting && self.window.total().messages == 0 {
            return Poll::Ready(Event::Over(Ending::ShuttingDown));
        }
        if let Poll::Ready(event) = self.poll_read(context, submitting) {
            return Poll::Ready(event);
        }
        self.poll_deadline(context)
    }

    fn poll_stop<I>(&mut self, context: &mut Context<'_>) -> Poll<Event<I>> {
        let Some(stop) = self.stop.as_mut() else { return Poll::Pending };
        // The registry keeps the other end for as long as we are open; without it, nobody can ask any more.
        let asked = ready!(Pin::new(stop).poll(context));
        self.stop = None;
        Poll::Ready(match asked {
            Ok(Stop::TakenOver(successor)) => {
                self.successor = Some(successor);
                Event::Over(Ending::TakenOver)
            }
            Ok(Stop::ShuttingDown) => {
                self.drain();
                Event::Progress
            }
            Err(_) => Event::Progress,
        })
    }

    fn poll_read<I>(&mut self, context: &mut Context<'_>, submitting: bool) -> Poll<Event<I>> {
        let full = self.is_full();
        let reading = !submitting && !full && self.drain_until.is_none() && self.transport.has_room();
        if reading != self.reading {
            self.turn_reading(reading);
            if full {
                self.shared.metrics.read_pauses.inc();
            }
        }
        if !reading {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(self.transport.poll_receive(context)) {
            Ok(0) => Event::Over(Ending::Closed),
            Err(_) => Event::Over(Ending::Broken),
            Ok(bytes) => {
                self.heard = Instant::now();
                self.shared.metrics.received_bytes.inc_by(u64::try_from(bytes).unwrap_or(0));
                Event::Progress
            }
        })
    }

    /// The client is not to blame for the time in which we did not read.
    fn turn_reading(&mut self, reading: bool) {
        self.reading = reading;
        if reading {
            self.heard = Instant::now();
            self.partial_since = self.partial_since.map(|_| self.heard);
        }
    }

    fn poll_deadline<I>(&mut self, context: &mut Context<'_>) -> Poll<Event<I>> {
        let limits = &self.shared.limits;
        let silent = self.reading.then(|| (self.heard + self.silence_max, Ending::Silent));
        let partial = self.partial_since.filter(|_| self.reading);
        let slow = partial.map(|since| (since + limits.packet_timeout, Ending::SlowPacket));
        let stalled =
            self.transport.stalled_since().map(|since| (since + limits.write_timeout, Ending::NotReading));
        let drained = self.drain_until.map(|until| (until, Ending::ShuttingDown));
        let first =
            [silent, slow, stalled, drained].into_iter().flatten().min_by_key(|(deadline, _)| *deadline);
        let Some((deadline, ending)) = first else { return Poll::Pending };
        ready!(self.timer.poll_until(context, deadline));
        Poll::Ready(Event::Over(ending))
    }

    fn drain(&mut self) {
        self.drain_until.get_or_insert_with(|| Instant::now() + self.shared.limits.drain_timeout);
    }

    fn pipeline_closed(&mut self) {
        self.turned_away += self.window.retract().acks;
        self.window.show();
        self.closed = true;
        self.drain();
    }
}

/// Lends the intake to one group and gives it back with the answer.
async fn submit<I: Intake>(mut intake: Box<I>, group: Vec<Publish>) -> (Box<I>, Result<Completion, Closed>) {
    let answer = intake.submit(group).await;
    (intake, answer)
}

async fn close<S>(mut transport: Transport<S>, version: Version, ending: Ending)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let (Version::V5, Some(code)) = (version, ending.reason_code()) {
        reply::disconnect(code, &mut transport.out);
    }
    if ending.is_reachable() {
        transport.close(CLOSE_TIMEOUT).await;
    }
}
