//! A publishing MQTT client that knows what was acknowledged: for the simulated fleet and for `replay`.
//!
//! QoS 1 over MQTT 3.1.1, which every broker speaks. The session is kept over reconnects, and what was not
//! acknowledged is sent again by the client library, so "acknowledged" counts each message once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, Outgoing, QoS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

/// Unacknowledged messages of one publisher.
const IN_FLIGHT_MAX: u16 = 200;
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
    client: AsyncClient,
    slots: Arc<Semaphore>,
    sent: mpsc::Sender<OwnedSemaphorePermit>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Starts to connect; `options` need an address and a client id.
    pub(crate) fn start(mut options: MqttOptions) -> Self {
        options.set_clean_session(false).set_inflight(IN_FLIGHT_MAX).set_keep_alive(Duration::from_secs(15));
        let (client, events) = AsyncClient::new(options, usize::from(IN_FLIGHT_MAX));
        let (sent, permits) = mpsc::channel(usize::from(IN_FLIGHT_MAX));
        let (report, progress) = watch::channel(Progress::default());
        let task = tokio::spawn(drive(events, permits, report));
        Self { client, slots: Arc::new(Semaphore::new(usize::from(IN_FLIGHT_MAX))), sent, progress, task }
    }

    /// Hands one message over; waits while too many are unacknowledged.
    pub(crate) async fn publish(&self, topic: &str, payload: Vec<u8>) -> anyhow::Result<()> {
        let permit = Arc::clone(&self.slots).acquire_owned().await?;
        self.sent.send(permit).await.map_err(|_| anyhow::anyhow!("the publisher has ended"))?;
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await?;
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
        if self.client.disconnect().await.is_ok() {
            let mut task = self.task;
            if tokio::time::timeout(GOODBYE_TIMEOUT, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Runs the connection until it is closed from this side.
async fn drive(
    mut events: EventLoop,
    mut permits: mpsc::Receiver<OwnedSemaphorePermit>,
    report: watch::Sender<Progress>,
) {
    let mut acks = AckOrder::default();
    let mut backoff = BACKOFF_MIN;
    loop {
        match events.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => acks.sent(id),
            Ok(Event::Incoming(Incoming::PubAck(ack))) => {
                let settled = acks.acknowledged(ack.pkid);
                for _ in 0..settled {
                    drop(permits.try_recv());
                }
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
            }
        }
    }
}

/// Turns acknowledgements of packet ids into a count of messages acknowledged without a gap, in the order in
/// which they were first sent. A repeated sending of an id that is still open is the same message.
#[derive(Debug, Default)]
struct AckOrder {
    open: HashMap<u16, u64>,
    window: VecDeque<bool>,
    next: u64,
    settled: u64,
}

impl AckOrder {
    fn sent(&mut self, id: u16) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.open.entry(id) {
            entry.insert(self.next);
            self.next += 1;
            self.window.push_back(false);
        }
    }

    /// How many more messages are now settled without a gap.
    fn acknowledged(&mut self, id: u16) -> u64 {
        let Some(position) = self.open.remove(&id) else { return 0 };
        let offset = usize::try_from(position - self.settled).unwrap_or(usize::MAX);
        if let Some(done) = self.window.get_mut(offset) {
            *done = true;
        }
        let mut settled = 0;
        while self.window.front() == Some(&true) {
            self.window.pop_front();
            settled += 1;
        }
        self.settled += settled;
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::AckOrder;

    #[test]
    fn a_gap_holds_back_later_acknowledgements() {
        let mut order = AckOrder::default();
        for id in [7, 8, 9] {
            order.sent(id);
        }
        assert_eq!(order.acknowledged(8), 0);
        assert_eq!(order.acknowledged(7), 2);
        order.sent(7);
        assert_eq!(order.acknowledged(9), 1);
        assert_eq!(order.acknowledged(7), 1);
    }

    #[test]
    fn a_message_sent_again_counts_once() {
        let mut order = AckOrder::default();
        order.sent(1);
        order.sent(1);
        assert_eq!(order.acknowledged(1), 1);
        assert_eq!(order.acknowledged(1), 0);
    }
}
