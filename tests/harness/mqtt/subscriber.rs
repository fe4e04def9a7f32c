//! A QoS 1 subscriber that keeps every message that it receives, in order.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::oneshot;

use super::Settings;
use super::link::{RECONNECT_AFTER, Step, open};

/// A message as it came from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The topic it was published to.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A subscription with a thread of its own; dropping it drops the connection.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<Shared>,
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
    granted: Option<bool>,
    received: Vec<Received>,
}

impl Subscriber {
    /// Connects, subscribes to `filter`, and waits until the broker has answered that.
    pub fn start(settings: Settings, filter: &str, within: Duration) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (served, wanted) = (Arc::clone(&shared), filter.to_owned());
        let thread = std::thread::Builder::new()
            .name(format!("subscriber {}", settings.client_id))
            .spawn(move || runtime.block_on(serve(&settings, &wanted, &served, stopped)))?;
        let subscriber = Self { shared, stop: Some(stop), thread: Some(thread) };
        subscriber.wait(within, |state| state.granted.is_some());
        let granted = subscriber.read(|state| state.granted);
        ensure!(granted == Some(true), "subscribing to {filter}: granted: {granted:?}");
        Ok(subscriber)
    }

    /// Everything received so far, once that is at least `count` messages.
    pub fn wait_received(&self, count: usize, within: Duration) -> Result<Vec<Received>> {
        self.wait(within, |state| state.received.len() >= count);
        let received = self.read(|state| state.received.clone());
        ensure!(received.len() >= count, "received {} of {count} in {within:?}", received.len());
        Ok(received)
    }

    fn wait(&self, within: Duration, ready: impl Fn(&State) -> bool) {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.shared.changed.wait_timeout_while(state, within, |state| !ready(state)));
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a subscriber's thread panicked");
        }
    }
}

async fn serve(settings: &Settings, filter: &str, shared: &Shared, mut stopped: oneshot::Receiver<()>) {
    loop {
        let error = tokio::select! {
            biased;
            _ = &mut stopped => return,
            error = drive(settings, filter, shared) => error,
        };
        tracing::debug!(client = settings.client_id, ?error, "the link ended");
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            () = tokio::time::sleep(RECONNECT_AFTER) => {}
        }
    }
}

async fn drive(settings: &Settings, filter: &str, shared: &Shared) -> Result<()> {
    let (requests, mut events) = open(settings);
    loop {
        match events.next().await? {
            Step::Connected => requests.subscribe(filter)?,
            Step::Subscribed(granted) => shared.update(|state| state.granted = Some(granted)),
            Step::Received(message) => shared.update(|state| state.received.push(message)),
            Step::Sent(_) | Step::Acknowledged(_) | Step::Refused(..) | Step::Other => {}
        }
    }
}

impl Shared {
    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}
