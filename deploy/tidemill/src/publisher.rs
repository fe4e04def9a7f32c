//! A publishing MQTT client that knows what was acknowledged: for the simulated fleet and for `replay`.
//!
//! QoS 1 over MQTT 3.1.1, which every broker speaks. Each connection is a new client, and gets again, in order, all
//! that is not acknowledged: a broker that has lost the session loses nothing, and "acknowledged" counts each
//! message once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, Outgoing, QoS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

/// Unacknowledged messages of one publisher.
const IN_FLIGHT_MAX: u16 = 200;
/// Requests to a connection: what is in flight, and a goodbye.
const REQUESTS_MAX: usize = 201;
/// Longest wait between attempts to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Shortest wait between attempts to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// How far a publisher has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Messages acknowledged, counted from the first without a gap.
    pub(crate) acknowledged: u64,
    /// Times the connection was lost or refused.
    pub(crate) disconnects: u64,
    /// Why, the last time.
    pub(crate) last_error: Option<String>,
}

/// Publishes in order and reports what was acknowledged.
pub(crate) struct Publisher {
    link: Arc<Mutex<Link>>,
    slots: Arc<Semaphore>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

/// What is unacknowledged, and the client of the current connection, which was handed all of it.
struct Link {
    client: AsyncClient,
    window: Window<Message>,
}

struct Message {
    topic: String,
    payload: Vec<u8>,
    _slot: OwnedSemaphorePermit,
}

impl Publisher {
    /// Starts to connect; `options` need an address and a client id.
    pub(crate) fn start(mut options: MqttOptions) -> Self {
        options.set_clean_session(true).set_inflight(IN_FLIGHT_MAX).set_keep_alive(Duration::from_secs(15));
        let (client, events) = AsyncClient::new(options.clone(), REQUESTS_MAX);
        let link = Arc::new(Mutex::new(Link { client, window: Window::default() }));
        let (report, progress) = watch::channel(Progress::default());
        let task = tokio::spawn(drive(options, events, Arc::clone(&link), report));
        Self { link, slots: Arc::new(Semaphore::new(usize::from(IN_FLIGHT_MAX))), progress, task }
    }

    /// Hands one message over; waits while too many are unacknowledged.
    pub(crate) async fn publish(&self, topic: &str, payload: Vec<u8>) -> anyhow::Result<()> {
        let slot = Arc::clone(&self.slots).acquire_owned().await?;
        ensure!(!self.task.is_finished(), "the publisher has ended");
        lock(&self.link).publish(Message { topic: topic.to_owned(), payload, _slot: slot });
        Ok(())
    }

    /// How far it has come, and a way to wait for more.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until `count` messages are acknowledged.
    pub(crate) async fn acknowledged(&self, count: u64) -> anyhow::Result<()> {
        let mut progress = self.progress();
        progress.wait_for(|progress| progress.acknowledged >= count).await?;
        Ok(())
    }

    /// Ends the connection in order.
    pub(crate) async fn disconnect(self) {
        const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
        let asked = lock(&self.link).client.try_disconnect();
        let mut task = self.task;
        if asked.is_err() || tokio::time::timeout(GOODBYE_TIMEOUT, &mut task).await.is_err() {
            task.abort();
        }
    }
}

impl Link {
    fn publish(&mut self, message: Message) {
        hand_over(&self.client, &message);
        self.window.push(message);
    }

    /// Goes on with the client of a new connection, beginning with what is unacknowledged.
    fn renew(&mut self, client: AsyncClient) {
        self.client = client;
        for message in self.window.restart() {
            hand_over(&self.client, message);
        }
    }
}

/// There is room for all that may be in flight; a client whose connection has ended may refuse, and the next one is
/// handed everything again.
fn hand_over(client: &AsyncClient, message: &Message) {
    let payload = message.payload.clone();
    if let Err(error) = client.try_publish(&message.topic, QoS::AtLeastOnce, false, payload) {
        tracing::trace!(%error, "handed over to a connection that has ended");
    }
}

fn lock(link: &Mutex<Link>) -> MutexGuard<'_, Link> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs connection after connection until one is closed from this side.
async fn drive(
    options: MqttOptions,
    mut events: EventLoop,
    link: Arc<Mutex<Link>>,
    report: watch::Sender<Progress>,
) {
    let mut backoff = BACKOFF_MIN;
    loop {
        match events.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => lock(&link).window.sent(id),
            Ok(Event::Incoming(Incoming::PubAck(ack))) => {
                let settled = lock(&link).window.acknowledged(ack.pkid);
                report.send_modify(|progress| progress.acknowledged += settled);
            }
            Ok(Event::Incoming(Incoming::ConnAck(_))) => backoff = BACKOFF_MIN,
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(Event::Incoming(_) | Event::Outgoing(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "publisher lost its connection");
                report.send_modify(|progress| {
                    progress.disconnects += 1;
                    progress.last_error = Some(error.to_string());
                });
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                let (client, renewed) = AsyncClient::new(options.clone(), REQUESTS_MAX);
                lock(&link).renew(client);
                events = renewed;
            }
        }
    }
}

/// Messages in the order in which they were handed over, from the first that is not acknowledged.
#[derive(Debug)]
struct Window<M>(VecDeque<Entry<M>>);

#[derive(Debug)]
struct Entry<M> {
    message: M,
    state: EntryState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryState {
    Waiting,
    Sent(u16),
    Acknowledged,
}

impl<M> Default for Window<M> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<M> Window<M> {
    fn push(&mut self, message: M) {
        self.0.push_back(Entry { message, state: EntryState::Waiting });
    }

    /// A connection ended: all that is not acknowledged is to be sent again, in this order.
    fn restart(&mut self) -> impl Iterator<Item = &M> {
        self.0.iter_mut().filter(|entry| entry.state != EntryState::Acknowledged).map(|entry| {
            entry.state = EntryState::Waiting;
            &entry.message
        })
    }

    /// The first message that waits was sent with this packet id.
    fn sent(&mut self, id: u16) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.state == EntryState::Waiting) {
            entry.state = EntryState::Sent(id);
        }
    }

    /// Drops the messages that are now acknowledged without a gap; how many.
    fn acknowledged(&mut self, id: u16) -> u64 {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.state == EntryState::Sent(id)) {
            entry.state = EntryState::Acknowledged;
        }
        let mut settled = 0;
        while self.0.pop_front_if(|entry| entry.state == EntryState::Acknowledged).is_some() {
            settled += 1;
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    fn window(ids: &[u16]) -> Window<u16> {
        let mut window = Window::default();
        for &id in ids {
            window.push(id);
            window.sent(id);
        }
        window
    }

    #[test]
    fn a_gap_holds_back_later_acknowledgements() {
        let mut window = window(&[7, 8, 9]);
        assert_eq!(window.acknowledged(8), 0);
        assert_eq!(window.acknowledged(7), 2);
        assert_eq!(window.acknowledged(7), 0);
        assert_eq!(window.acknowledged(9), 1);
    }

    #[test]
    fn a_new_connection_sends_again_in_order_what_is_not_acknowledged() {
        let mut window = window(&[1, 2, 3]);
        window.push(4);
        assert_eq!(window.acknowledged(2), 0);
        assert_eq!(window.restart().copied().collect::<Vec<_>>(), [1, 3, 4]);
        // Packet ids start over; the acknowledgement that the old connection had is kept.
        window.sent(1);
        window.sent(2);
        assert_eq!(window.acknowledged(3), 0, "an id of the old connection");
        assert_eq!(window.acknowledged(2), 0);
        assert_eq!(window.acknowledged(1), 3);
        window.sent(3);
        assert_eq!(window.acknowledged(3), 1);
    }
}
