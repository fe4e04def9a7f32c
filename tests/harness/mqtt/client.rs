//! What publisher and subscriber share: a thread that keeps a connection up and feeds what happens
//! on it to a session, and a blocking wait for the session to reach a state.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::oneshot;

use super::Settings;
use super::link::{Requests, Step, open};

/// Between the end of a link and the next attempt.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// The state of a client over all its connections. No method may block.
pub(super) trait Session: Send + 'static {
    /// A new link; nothing of an earlier one is in flight any more.
    fn begin(&mut self, requests: Requests) -> Result<()>;

    /// Something happened on the link; an error ends it.
    fn take(&mut self, step: Step) -> Result<()>;

    /// The link has ended; whether that was the last.
    fn end(&mut self, error: &anyhow::Error) -> bool;

    /// For an error of a caller who waited in vain.
    fn describe(&self) -> String;
}

/// A session and its thread; dropping it drops the connection.
#[derive(Debug)]
pub(super) struct Client<S> {
    shared: Arc<Shared<S>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<S> {
    session: Mutex<S>,
    changed: Condvar,
}

impl<S: Session> Client<S> {
    /// Starts connecting, and keeps at it.
    pub(super) fn start(settings: Settings, session: S) -> Result<Self> {
        let shared = Arc::new(Shared { session: Mutex::new(session), changed: Condvar::new() });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(settings.client_id.clone()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = serve(&settings, &served) => {}
                }
            });
        })?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The session, which cannot change while it is looked at.
    pub(super) fn session(&self) -> MutexGuard<'_, S> {
        self.shared.lock()
    }

    /// The session, once `ready` says so.
    pub(super) fn wait(
        &self,
        what: &str,
        within: Duration,
        ready: impl Fn(&S) -> bool,
    ) -> Result<MutexGuard<'_, S>> {
        let session = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(session, within, |session| !ready(session));
        let (session, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(ready(&session), "gave up waiting for {what} after {within:?}: {}", session.describe());
        Ok(session)
    }
}

impl<S> Drop for Client<S> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("an MQTT client's thread panicked");
        }
    }
}

impl<S: Session> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, S> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }
}

async fn serve<S: Session>(settings: &Settings, shared: &Shared<S>) {
    while let Err(error) = drive(settings, shared).await {
        tracing::debug!(client = settings.client_id, %error, "the link ended");
        if shared.update(|session| session.end(&error)) {
            return;
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// One link, until it ends with the error that says why.
async fn drive<S: Session>(settings: &Settings, shared: &Shared<S>) -> Result<()> {
    let (requests, mut events) = open(settings);
    shared.update(|session| session.begin(requests))?;
    loop {
        let step = events.next().await?;
        shared.update(|session| session.take(step))?;
    }
}
