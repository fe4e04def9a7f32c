//! One connection to a broker, in one task: messages in, groups to the pipeline, acknowledgements out.
//!
//! The client library is polled while a group waits for room in the pipeline and while groups become durable:
//! nothing downstream is awaited where the broker is listened to. An acknowledgement belongs to the connection its
//! message came on. When that ends, what is due later is dropped ([`Window::forget_acks`]): the broker sends the
//! message again, and then it is known, acknowledged once it is durable, and not stored again. The check and the
//! hand-over to the library happen in this task without a wait between, so no acknowledgement can slip into the next
//! connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::backoff::Backoff;
use super::client::{Client, Heard, Requests};
use super::config::{MqttConfig, Retained};
use super::fault::{Fault, FaultKind};
use super::metrics::MqttMetrics;
use crate::source::earlier::Print;
use crate::source::window::{Unpushed, Weight, Window, WindowLimits};
use crate::source::{Closed, Completion, Intake, Publish, Qos};

/// Messages of one group, so that the first of them are on their way while more are read.
const GROUP_MESSAGES_MAX: usize = 256;

/// One connection, over all its reconnections.
pub(super) struct Consumer {
    config: Arc<MqttConfig>,
    metrics: MqttMetrics,
    client_id: String,
    broker: String,
    subscriptions: Vec<String>,
    requests: Requests,
    window: Window,
    /// Taken from the broker, not yet submitted.
    held: Vec<Publish>,
    held_weight: Weight,
    /// Of the held ones those that were taken before: they are acknowledged in their turn, and not submitted.
    held_again: usize,
    /// The group that the pipeline is taking.
    submitted: Weight,
    link: Link,
    backoff: Backoff,
    last_fault: Option<FaultKind>,
    paused: bool,
    stop: Option<oneshot::Receiver<()>>,
    stopping: Option<Stopping>,
    /// Messages that the pipeline did not take any more.
    turned_away: usize,
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy)]
enum Link {
    Up { since: Instant },
    Down { resume: Instant },
}

/// The end: until when to wait, and how far it is.
struct Stopping {
    deadline: Pin<Box<Sleep>>,
    said_goodbye: bool,
    /// Where the subscriptions are taken back: how far that is.
    leaving: Option<Leaving>,
}

/// Leaving a broker for good.
struct Leaving {
    /// Subscriptions whose end the broker has not confirmed.
    left: usize,
    /// From then on nothing more comes of what the broker had for this session.
    quiet: Pin<Box<Sleep>>,
}

/// So long nothing must come after the subscriptions are taken back.
const QUIET: Duration = Duration::from_secs(1);

/// What happened.
enum Event<I> {
    /// Something was heard from the broker, or the connection failed.
    Heard(Result<Heard, Fault>),
    /// The held messages are due to be submitted.
    Submit,
    /// The pipeline has answered; the intake comes back.
    Submitted(I, Result<Completion, Closed>),
    /// Something moved: look again.
    Progress,
    /// It is over.
    Over,
}

/// What a consumer is made of.
pub(super) struct Parts {
    pub(super) config: Arc<MqttConfig>,
    pub(super) metrics: MqttMetrics,
    pub(super) client_id: String,
    pub(super) broker: String,
    pub(super) requests: Requests,
    pub(super) stop: oneshot::Receiver<()>,
}

impl Consumer {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { config, metrics, client_id, broker, requests, stop } = parts;
        let limits = WindowLimits {
            // A broker that keeps to the announced maximum never fills it, so that its pings are always read.
            acks_max: usize::from(config.in_flight_messages_max.get()) + 1,
            bytes_max: config.in_flight_bytes_max,
        };
        Self {
            window: Window::new(limits, metrics.in_flight.clone()),
            subscriptions: config.subscriptions(),
            backoff: Backoff::new(config.backoff_min, config.backoff_max),
            config,
            metrics,
            client_id,
            broker,
            requests,
            held: Vec::new(),
            held_weight: Weight::default(),
            held_again: 0,
            submitted: Weight::default(),
            link: Link::Down { resume: Instant::now() },
            last_fault: None,
            paused: false,
            stop: Some(stop),
            stopping: None,
            turned_away: 0,
        }
    }

    /// Consumes until told to stop, then until what was taken is acknowledged or the drain timeout has passed.
    /// Returns how many messages stayed unacknowledged.
    pub(super) async fn run<I: Intake>(mut self, mut client: Client, intake: I) -> usize {
        let mut intake = Some(intake);
        let mut submission = pin!(None);
        loop {
            let resume = match self.link {
                Link::Up { .. } => None,
                Link::Down { resume } => Some(resume),
            };
            let heard = {
                let mut listening = pin!(listen(&mut client, resume));
                loop {
                    let next =
                        poll_fn(|context| self.poll_event(context, listening.as_mut(), submission.as_mut()));
                    match next.await {
                        Event::Heard(heard) => break heard,
                        Event::Progress => {}
                        Event::Submit => {
                            assert!(intake.is_some(), "a group is submitted only while none is");
                            if let Some(held) = intake.as_mut().and_then(|intake| self.let_go(intake)) {
                                submission.set(intake.take().map(|idle| submit(idle, held)));
                            }
                        }
                        Event::Submitted(idle, answer) => {
                            submission.set(None);
                            intake = Some(idle);
                            self.answered(answer);
                        }
                        Event::Over => return self.end(),
                    }
                }
            };
            if let Err(fault) = heard.and_then(|heard| self.hear(heard)) {
                self.fail(&fault);
                client.reset();
            }
        }
    }

    /// Takes what was heard; an error ends the connection.
    fn hear(&mut self, heard: Heard) -> Result<(), Fault> {
        match heard {
            Heard::Message { publish, packet_id, again } => {
                self.metrics.redelivered.inc_by(u64::from(again));
                self.take(publish, packet_id, again);
            }
            Heard::Connected { session_present } => {
                self.link = Link::Up { since: Instant::now() };
                self.metrics.connects.inc();
                self.metrics.connected.inc();
                tracing::debug!(
                    client_id = self.client_id,
                    broker = self.broker,
                    session_present,
                    "connected"
                );
                if !session_present {
                    self.window.forget_earlier();
                }
                self.requests.subscribe(&self.subscriptions)?;
            }
            Heard::Subscribed => {
                let (client_id, broker, failures) = (&self.client_id, &self.broker, self.backoff.failures());
                tracing::info!(client_id, broker, failures, "consuming from MQTT broker");
                self.last_fault = None;
                self.metrics.subscribed.inc();
            }
            Heard::Unsubscribed => {
                if let Some(leaving) = self.stopping.as_mut().and_then(|stopping| stopping.leaving.as_mut()) {
                    leaving.left = leaving.left.saturating_sub(1);
                    leaving.quiet.as_mut().reset(Instant::now() + QUIET);
                }
            }
            Heard::GoodbyeSent => {
                self.metrics.connected.dec();
                self.link = Link::Down { resume: Instant::now() };
            }
            Heard::Nothing => {}
        }
        Ok(())
    }

    fn take(&mut self, publish: Publish, packet_id: Option<u16>, again: bool) {
        let room = self.window.total().bytes < self.config.in_flight_bytes_max / 2;
        let takes = self.stopping.as_mut().is_none_or(Stopping::takes);
        self.metrics.retained.inc_by(u64::from(publish.retained));
        let ignored = publish.retained && self.config.retained == Retained::Ignore;
        if publish.qos == Qos::AtMostOnce && ignored {
            return;
        }
        if publish.qos == Qos::AtMostOnce && !(takes && room) {
            self.metrics.shed.inc();
        } else if takes {
            let acknowledge = packet_id.map(|id| (id, Print::of(&publish)));
            let known = acknowledge
                .filter(|_| again && !ignored)
                .and_then(|(id, print)| self.window.admit_again(id, print));
            if let Some(weight) = known {
                self.held_again += 1;
                self.held_weight.add(weight);
                return;
            }
            let bytes = publish.topic.len() + publish.payload.len();
            self.held_weight.add(self.window.admit(acknowledge, bytes));
            // What is ignored is acknowledged in its turn, with the group that it would have been in.
            if !ignored {
                self.held.push(publish);
            }
        }
        // A QoS 1 message that comes while stopping stays unacknowledged: the broker keeps it.
    }

    /// The messages that are held, to be submitted, if there are any; what is only to be acknowledged needs nobody.
    fn let_go<I: Intake>(&mut self, intake: &mut I) -> Option<Vec<Publish>> {
        let (held, weight) = (std::mem::take(&mut self.held), std::mem::take(&mut self.held_weight));
        intake.count_duplicates(std::mem::take(&mut self.held_again));
        if held.is_empty() {
            self.window.push(Completion::settled(), weight);
            return None;
        }
        self.submitted = weight;
        Some(held)
    }

    fn answered(&mut self, answer: Result<Completion, Closed>) {
        if let Ok(completion) = answer {
            self.window.push(completion, std::mem::take(&mut self.submitted));
        } else {
            self.turned_away += self.window.retract().acks;
            self.held.clear();
            self.held_again = 0;
            self.held_weight = Weight::default();
            self.begin_to_stop();
        }
        self.window.show();
    }

    /// The connection has ended: acknowledgements that are not yet due will never be.
    fn fail(&mut self, fault: &Fault) {
        let now = Instant::now();
        if let Link::Up { since } = self.link {
            self.metrics.connected.dec();
            if now - since >= self.config.backoff_max {
                self.backoff.reset();
            }
        }
        self.metrics.disconnects.with_label_values(&[fault.kind.label()]).inc();
        let unpushed = Unpushed { submitted: self.submitted, gathered: self.held_weight };
        let stale_acks = self.window.forget_acks(unpushed);
        self.metrics.stale_acks.inc_by(u64::try_from(stale_acks).unwrap_or(0));
        self.held_weight.acks = 0;
        self.submitted.acks = 0;
        // Without randomness, clients return in step: harmless.
        let pause = self.backoff.next(getrandom::u32().unwrap_or(u32::MAX));
        self.metrics.backoff_seconds.inc_by(pause.as_secs_f64());
        self.link = Link::Down { resume: now + pause };
        let (client_id, broker) = (&self.client_id, &self.broker);
        // Once for each kind of failure in a row; the counters have them all.
        if self.last_fault.replace(fault.kind) == Some(fault.kind) {
            tracing::debug!(client_id, broker, %fault, ?pause, stale_acks, "MQTT connection failed again");
        } else {
            tracing::warn!(client_id, broker, %fault, ?pause, stale_acks, "MQTT connection failed");
        }
    }

    fn begin_to_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let up = matches!(self.link, Link::Up { .. });
        let leaves =
            self.config.leave_on_stop && up && self.requests.unsubscribe(&self.subscriptions).is_ok();
        if self.config.leave_on_stop && !leaves {
            let (client_id, broker) = (&self.client_id, &self.broker);
            tracing::warn!(
                client_id,
                broker,
                "not connected: the broker keeps our subscriptions and their messages"
            );
        }
        let leaving = leaves.then(|| Leaving {
            left: self.subscriptions.len(),
            quiet: Box::pin(sleep_until(Instant::now() + QUIET)),
        });
        let deadline = Box::pin(sleep_until(Instant::now() + self.config.drain_timeout));
        self.stopping = Some(Stopping { deadline, said_goodbye: false, leaving });
    }

    fn end(self) -> usize {
        if matches!(self.link, Link::Up { .. }) {
            self.metrics.connected.dec();
        }
        self.turned_away + self.window.total().acks
    }
}

impl Stopping {
    /// Whether messages are still taken: while leaving, all that the broker has for this session.
    fn takes(&mut self) -> bool {
        let Some(leaving) = &mut self.leaving else { return false };
        leaving.quiet.as_mut().reset(Instant::now() + QUIET);
        true
    }

    /// Whether the broker has nothing more for us.
    fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        let Some(leaving) = &mut self.leaving else { return true };
        leaving.quiet.as_mut().poll(context).is_ready() && leaving.left == 0
    }
}

impl Consumer {
    fn poll_event<I, L, S>(
        &mut self,
        context: &mut Context<'_>,
        listening: Pin<&mut L>,
        mut submission: Pin<&mut Option<S>>,
    ) -> Poll<Event<I>>
    where
        L: Future<Output = Result<Heard, Fault>>,
        S: Future<Output = (I, Result<Completion, Closed>)>,
    {
        if let Poll::Ready(event) = self.poll_stop(context) {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = self.poll_settled(context) {
            return Poll::Ready(event);
        }
        let answered = submission.as_mut().as_pin_mut().map(|future| future.poll(context));
        if let Some(Poll::Ready((intake, answer))) = answered {
            return Poll::Ready(Event::Submitted(intake, answer));
        }
        let idle = submission.is_none();
        if idle && self.held_weight.messages >= GROUP_MESSAGES_MAX {
            return Poll::Ready(Event::Submit);
        }
        if let Poll::Ready(event) = self.poll_end(context, idle) {
            return Poll::Ready(event);
        }
        if self.may_listen()
            && let Poll::Ready(heard) = listening.poll(context)
        {
            return Poll::Ready(Event::Heard(heard));
        }
        // What was ready to be read has been read: now it is one group.
        self.window.show();
        if idle && self.held_weight.messages > 0 { Poll::Ready(Event::Submit) } else { Poll::Pending }
    }

    fn poll_stop<I>(&mut self, context: &mut Context<'_>) -> Poll<Event<I>> {
        let Some(stop) = self.stop.as_mut() else { return Poll::Pending };
        // A source that is gone without a word stops us, too.
        let _ = ready!(Pin::new(stop).poll(context));
        self.stop = None;
        self.begin_to_stop();
        Poll::Ready(Event::Progress)
    }

    fn poll_settled<I>(&mut self, context: &mut Context<'_>) -> Poll<Event<I>> {
        let mut failed = None;
        let requests = &self.requests;
        let settled = self.window.poll_settled(context, |id, _| {
            if let Err(fault) = requests.acknowledge(id) {
                failed = Some(fault);
            }
        });
        Poll::Ready(match (ready!(settled), failed) {
            (_, Some(fault)) => Event::Heard(Err(fault)),
            (Ok(_), None) => {
                self.window.show();
                Event::Progress
            }
            (Err(abandoned), None) => Event::Heard(Err(Fault::new(FaultKind::Abandoned, abandoned))),
        })
    }

    /// On the way out: goodbye once everything is acknowledged, the end once that is said, or at the deadline.
    fn poll_end<I>(&mut self, context: &mut Context<'_>, idle: bool) -> Poll<Event<I>> {
        let drained = idle && self.held.is_empty() && self.window.total().messages == 0;
        let Some(stopping) = self.stopping.as_mut() else { return Poll::Pending };
        let up = matches!(self.link, Link::Up { .. });
        if (drained && !up) || stopping.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Over);
        }
        if drained && stopping.is_quiet(context) && !std::mem::replace(&mut stopping.said_goodbye, true) {
            return Poll::Ready(match self.requests.disconnect() {
                Ok(()) => Event::Progress,
                Err(_) => Event::Over,
            });
        }
        Poll::Pending
    }

    /// Whether to go on reading. Without a connection there is no reason to make one just to stop.
    fn may_listen(&mut self) -> bool {
        let paused = self.window.is_full_of_acks() || self.window.is_full_of_bytes();
        if paused && !self.paused {
            self.metrics.poll_pauses.inc();
        }
        self.paused = paused;
        !paused && (self.stopping.is_none() || matches!(self.link, Link::Up { .. }))
    }
}

/// Waits for the pause to end, if there is one, and then for the broker.
async fn listen(client: &mut Client, resume: Option<Instant>) -> Result<Heard, Fault> {
    if let Some(resume) = resume {
        sleep_until(resume).await;
    }
    client.poll().await
}

/// Lends the intake to one group and gives it back with the answer.
async fn submit<I: Intake>(mut intake: I, group: Vec<Publish>) -> (I, Result<Completion, Closed>) {
    let answer = intake.submit(group).await;
    (intake, answer)
}
