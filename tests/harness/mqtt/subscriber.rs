//! A QoS 1 subscriber that keeps every message that it receives, in order.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Settings;
use super::client::{Client, Session};
use super::link::{Requests, Step};

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
pub struct Subscriber(Client<State>);

#[derive(Debug)]
struct State {
    filter: String,
    requests: Option<Requests>,
    granted: Option<bool>,
    received: Vec<Received>,
}

impl Subscriber {
    /// Connects, subscribes to `filter`, and waits until the broker has granted that.
    pub fn start(settings: Settings, filter: &str, within: Duration) -> Result<Self> {
        let state = State { filter: filter.to_owned(), requests: None, granted: None, received: Vec::new() };
        let client = Client::start(settings, state)?;
        let granted = client.wait("a subscription", within, |state| state.granted.is_some())?.granted;
        ensure!(granted == Some(true), "the broker refused a subscription to {filter}");
        Ok(Self(client))
    }

    /// Everything received so far, once that is at least `count` messages.
    pub fn wait_received(&self, count: usize, within: Duration) -> Result<Vec<Received>> {
        let what = format!("{count} messages");
        let state = self.0.wait(&what, within, |state| state.received.len() >= count)?;
        Ok(state.received.clone())
    }
}

impl Session for State {
    fn begin(&mut self, requests: Requests) -> Result<()> {
        self.requests = Some(requests);
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Connected => {
                self.requests.as_ref().context("connected without a link")?.subscribe(&self.filter)?;
            }
            Step::Subscribed(granted) => self.granted = Some(granted),
            Step::Received(message) => self.received.push(message),
            Step::Sent(_) | Step::Acknowledged(_) | Step::Refused(..) | Step::Other => {}
        }
        Ok(())
    }

    fn end(&mut self, _error: &anyhow::Error) -> bool {
        self.requests = None;
        false
    }

    fn describe(&self) -> String {
        format!("{} messages from {}", self.received.len(), self.filter)
    }
}
