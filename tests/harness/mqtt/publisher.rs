//! A QoS 1 publisher that records which of its messages the broker acknowledged.
//!
//! Every message has a number of the caller's choosing. When the connection ends, all messages
//! without an acknowledgement are published again, in order, on the next one, as a device with a
//! small queue would: so a message may arrive more than once, and one whose number is among
//! [`Publisher::acknowledged`] must have been made durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Settings;
use super::client::{Client, Session};
use super::link::{Requests, Step};

/// A publisher with a thread of its own for the connection; dropping it drops the connection.
#[derive(Debug)]
pub struct Publisher {
    client: Client<State>,
    inflight_max: usize,
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
    out_of_order: u64,
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
        let inflight_max = usize::from(settings.inflight_max);
        Ok(Self { client: Client::start(settings, State::default())?, inflight_max })
    }

    /// Publishes a message at QoS 1, once there is room among those in flight. `number` is what
    /// the caller calls the message, different for each.
    pub fn publish(&self, number: u64, topic: &str, payload: &[u8], within: Duration) -> Result<()> {
        let mut state = self
            .client
            .wait("room in flight", within, |state| state.unacknowledged.len() < self.inflight_max)?;
        state.add(Message { number, topic: topic.to_owned(), payload: payload.to_vec() });
        Ok(())
    }

    /// Waits until every message published so far is acknowledged or refused.
    pub fn wait_settled(&self, within: Duration) -> Result<()> {
        let settled = |state: &State| state.unacknowledged.is_empty();
        self.client.wait("all acknowledgements", within, settled).map(drop)
    }

    /// Waits until message `number` is acknowledged.
    pub fn wait_acknowledged(&self, number: u64, within: Duration) -> Result<()> {
        let what = format!("the acknowledgement of message {number}");
        self.client.wait(&what, within, |state| state.acknowledged.contains(&number)).map(drop)
    }

    /// The numbers of the messages that the broker acknowledged.
    pub fn acknowledged(&self) -> BTreeSet<u64> {
        self.client.session().acknowledged.clone()
    }

    /// How many messages the broker acknowledged.
    pub fn acknowledged_count(&self) -> usize {
        self.client.session().acknowledged.len()
    }

    /// How many messages wait for their acknowledgement.
    pub fn unacknowledged_count(&self) -> usize {
        self.client.session().unacknowledged.len()
    }

    /// The messages that the broker refused for good, with its reason (MQTT 5).
    pub fn refused(&self) -> BTreeMap<u64, String> {
        self.client.session().refused.clone()
    }

    /// How many acknowledgements came before that of a message which was sent earlier on the same connection.
    pub fn acknowledged_out_of_order(&self) -> u64 {
        self.client.session().out_of_order
    }

    /// How often a broker has accepted the connection.
    pub fn connections(&self) -> u64 {
        self.client.session().connections
    }

    /// Waits until everything is settled, sends DISCONNECT, and waits until the connection is gone.
    pub fn disconnect(self, within: Duration) -> Result<()> {
        self.wait_settled(within)?;
        self.client.session().close()?;
        self.client.wait("the end of the connection", within, |state| state.requests.is_none()).map(drop)
    }
}

impl State {
    fn add(&mut self, message: Message) {
        let order = self.next_order;
        self.next_order += 1;
        // A link that is about to be replaced refuses; the next one is asked for everything again.
        let asked = |requests: &Requests| requests.publish(&message.topic, &message.payload).is_ok();
        if self.requests.as_ref().is_some_and(asked) {
            self.asked.push_back(order);
        }
        self.unacknowledged.insert(order, message);
    }

    fn close(&mut self) -> Result<()> {
        self.closing = true;
        self.requests.as_ref().map_or(Ok(()), Requests::disconnect)
    }

    fn settle(&mut self, id: u16) -> Result<u64> {
        let order = self.sent.remove(&id).context("an acknowledgement of nothing")?;
        self.out_of_order += u64::from(self.sent.values().any(|&other| other < order));
        let message = self.unacknowledged.remove(&order).context("acknowledged twice")?;
        Ok(message.number)
    }
}

impl Session for State {
    /// Everything without an acknowledgement is asked of the new link again.
    fn begin(&mut self, requests: Requests) -> Result<()> {
        self.sent.clear();
        self.asked = self.unacknowledged.keys().copied().collect();
        for message in self.unacknowledged.values() {
            requests.publish(&message.topic, &message.payload)?;
        }
        self.requests = Some(requests);
        Ok(())
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

    fn end(&mut self, error: &anyhow::Error) -> bool {
        self.requests = None;
        self.last_error = format!("{error:#}");
        self.closing
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
