//! A QoS 1 publisher that records which of its messages the broker acknowledged.
//!
//! Every message has a number of the caller's choosing. When the connection ends, all messages
//! without an acknowledgement are published again, in order, on the next one, as a device with a
//! small queue would: so a message may arrive more than once, and one whose number is among
//! [`Publisher::acknowledged`] must have been made durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::sync::oneshot;

use super::Settings;
use super::link::{Events, RECONNECT_AFTER, Requests, Step, open};

/// A publisher with a thread of its own for the connection; dropping it drops the connection.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    inflight_max: usize,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: Option<Requests>,
    /// By order of publication.
    unacknowledged: BTreeMap<u64, Message>,
    /// Asked of the current link and not sent yet, oldest first.
    asked: VecDeque<u64>,
    /// Sent on the current link, by packet id.
    sent: BTreeMap<u16, u64>,
    next_order: u64,
    acknowledged: BTreeSet<u64>,
    refused: BTreeMap<u64, String>,
    connections: u64,
    closing: bool,
    last_error: String,
}

#[derive(Debug)]
struct Message {
    number: u64,
    topic: String,
    payload: Vec<u8>,
}

impl Publisher {
    /// Starts connecting, and keeps at it.
    pub fn start(settings: Settings) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let inflight_max = usize::from(settings.inflight_max);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("publisher {}", settings.client_id))
            .spawn(move || runtime.block_on(serve(&settings, &served, stopped)))?;
        Ok(Self { shared, inflight_max, stop: Some(stop), thread: Some(thread) })
    }

    /// Publishes a message at QoS 1, once there is room among those in flight. `number` is what
    /// the caller calls the message, different for each.
    pub fn publish(&self, number: u64, topic: &str, payload: &[u8], within: Duration) -> Result<()> {
        let mut state =
            self.wait("room in flight", within, |state| state.unacknowledged.len() < self.inflight_max)?;
        let message = Message { number, topic: topic.to_owned(), payload: payload.to_vec() };
        state.add(message)
    }

    /// Waits until every message published so far is acknowledged or refused.
    pub fn wait_settled(&self, within: Duration) -> Result<()> {
        self.wait("all acknowledgements", within, |state| state.unacknowledged.is_empty()).map(drop)
    }

    /// Waits until message `number` is acknowledged.
    pub fn wait_acknowledged(&self, number: u64, within: Duration) -> Result<()> {
        let what = format!("the acknowledgement of message {number}");
        self.wait(&what, within, |state| state.acknowledged.contains(&number)).map(drop)
    }

    /// The numbers of the messages that the broker acknowledged.
    pub fn acknowledged(&self) -> BTreeSet<u64> {
        self.shared.lock().acknowledged.clone()
    }

    /// How many messages the broker acknowledged.
    pub fn acknowledged_count(&self) -> usize {
        self.shared.lock().acknowledged.len()
    }

    /// The messages that the broker refused for good, with its reason (MQTT 5).
    pub fn refused(&self) -> BTreeMap<u64, String> {
        self.shared.lock().refused.clone()
    }

    /// How often a broker has accepted the connection.
    pub fn connections(&self) -> u64 {
        self.shared.lock().connections
    }

    /// Sends DISCONNECT after everything published so far and waits until the connection is gone.
    pub fn disconnect(mut self, within: Duration) -> Result<()> {
        self.wait_settled(within)?;
        self.shared.update(State::close)?;
        drop(self.wait("the end of the connection", within, |state| state.requests.is_none())?);
        self.join();
        Ok(())
    }

    fn wait(
        &self,
        what: &str,
        within: Duration,
        ready: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'_, State>> {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, within, |state| !ready(state))
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(ready(&state), "gave up waiting for {what} after {within:?}: {}", state.describe());
        Ok(state)
    }

    fn join(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a publisher's thread panicked");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }
}

impl State {
    fn add(&mut self, message: Message) -> Result<()> {
        let order = self.next_order;
        self.next_order += 1;
        if let Some(requests) = &self.requests {
            requests.publish(&message.topic, &message.payload)?;
            self.asked.push_back(order);
        }
        self.unacknowledged.insert(order, message);
        Ok(())
    }

    /// A new link: everything without an acknowledgement is asked of it again.
    fn begin(&mut self, requests: Requests) -> Result<()> {
        self.sent.clear();
        self.asked = self.unacknowledged.keys().copied().collect();
        for message in self.unacknowledged.values() {
            requests.publish(&message.topic, &message.payload)?;
        }
        self.requests = Some(requests);
        Ok(())
    }

    /// The link has ended; whether that was the last.
    fn end(&mut self, error: &anyhow::Error) -> bool {
        self.requests = None;
        self.last_error = format!("{error:#}");
        self.closing
    }

    fn close(&mut self) -> Result<()> {
        self.closing = true;
        self.requests.as_ref().map_or(Ok(()), Requests::disconnect)
    }

    fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Connected => self.connections += 1,
            Step::Sent(id) => {
                let order = self.asked.pop_front().context("sent what nobody asked for")?;
                self.sent.insert(id, order);
            }
            Step::Acknowledged(id) => {
                let number = self.settle(id)?;
                self.acknowledged.insert(number);
            }
            Step::Refused(id, reason) => {
                let number = self.settle(id)?;
                self.refused.insert(number, reason);
            }
            Step::Subscribed(_) | Step::Received(_) | Step::Other => {}
        }
        Ok(())
    }

    fn settle(&mut self, id: u16) -> Result<u64> {
        let order = self.sent.remove(&id).context("an acknowledgement of nothing")?;
        let message = self.unacknowledged.remove(&order).context("acknowledged twice")?;
        Ok(message.number)
    }

    fn describe(&self) -> String {
        format!(
            "{} unacknowledged, {} acknowledged, {} connections, last error: {}",
            self.unacknowledged.len(),
            self.acknowledged.len(),
            self.connections,
            self.last_error,
        )
    }
}

async fn serve(settings: &Settings, shared: &Shared, mut stopped: oneshot::Receiver<()>) {
    loop {
        let (requests, mut events) = open(settings);
        let ended = tokio::select! {
            biased;
            _ = &mut stopped => return,
            ended = drive(shared, requests, &mut events) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(client = settings.client_id, %error, "the link ended");
            if shared.update(|state| state.end(&error)) {
                return;
            }
        }
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            () = tokio::time::sleep(RECONNECT_AFTER) => {}
        }
    }
}

async fn drive(shared: &Shared, requests: Requests, events: &mut Events) -> Result<()> {
    shared.update(|state| state.begin(requests))?;
    loop {
        let step = events.next().await?;
        shared.update(|state| state.take(step))?;
    }
}
