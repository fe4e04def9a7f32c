//! Sessions of Sparkplug edge nodes: which birth is in force, so that data may use aliases.
//!
//! Births outlive the process as rows of the store: each is durable before its message is acknowledged (I1), and is
//! read back when data of a node arrives that this process has not seen born. So what is known here is a cache, and
//! forgetting it is always right (I6). Data that needs a birth which is not known is kept in quarantine and the node is
//! asked to publish its births again. Pure: times are arguments; what is to be published and written is returned.

mod command;
pub mod topic;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tidemill_store::layout::{BirthRow, BirthState};
use tidemill_store::model::Timestamp;

pub use topic::{SparkplugTemplate, SparkplugTopic};

use crate::decode::DecodeError;
use crate::decode::sparkplug::{self, BirthCertificate, Facts, Kind};
use crate::source::{Command, Qos};

/// How long a node is not asked again, neither for a rebirth nor the store for its births.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long a node is not asked again because of missing messages: its births are large, and what is missing may be so
/// because messages come in another order than they were sent in.
const ASK_AGAIN_AFTER_GAP: Duration = Duration::from_mins(1);
/// Metrics of all births together, above which the older half of the nodes is forgotten and read back as needed: some
/// hundred MB.
const METRICS_MAX: usize = 2_000_000;
/// Nodes, above which the older half is forgotten.
const NODES_MAX: usize = 100_000;
/// A sequence number that is further ahead lies behind: its message was sent again.
const SEQ_AHEAD_MAX: u8 = 128;

/// The sessions of all nodes.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<Arc<str>, Node>,
    metrics: usize,
    /// Nodes that would have been asked for their births, had they not been asked a moment before.
    owed: HashMap<Arc<str>, Why>,
}

#[derive(Debug, Default)]
struct Node {
    /// The birth in force; none after a death, or where none was seen.
    birth: Option<Arc<BirthCertificate>>,
    born_at: Option<Timestamp>,
    devices: HashMap<Arc<str>, Arc<BirthCertificate>>,
    seq: Option<u8>,
    /// When the store was asked for its births.
    looked_up_at: Option<Timestamp>,
    rebirth_asked_at: Option<Timestamp>,
    /// When it was asked because of missing messages.
    gap_asked_at: Option<Timestamp>,
}

/// Why a node is asked for its births.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its data refers to one that is not known.
    NoBirth,
    /// Messages are missing.
    Gap,
}

/// What a message is read with.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) birth: Option<Arc<BirthCertificate>>,
    pub(crate) online: Option<bool>,
}

/// How a message came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) payload: &'a bytes::Bytes,
    pub(crate) received_at: Timestamp,
    pub(crate) occasion: Occasion,
}

/// On what occasion a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// It has just come.
    Live(Qos),
    /// It came before, was kept as a reject, and is taken again: what is known since then is newer.
    Replay,
}

/// What a message changed.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// To be written before the message is settled.
    pub(crate) row: Option<BirthRow>,
    /// Whether a sequence number was left out.
    pub(crate) is_gap: bool,
    /// The devices that are gone with their node, as the topics of their own deaths.
    pub(crate) buried: Vec<String>,
}

impl Sessions {
    /// What is needed to read a message of `topic`.
    pub(crate) fn open(
        &self,
        topic: &SparkplugTopic,
        payload: &[u8],
        metrics_max: usize,
    ) -> Result<Opened, DecodeError> {
        Ok(match topic.kind {
            Kind::Birth => {
                let birth = BirthCertificate::read(payload, metrics_max)?;
                Opened { birth: Some(Arc::new(birth)), online: Some(true) }
            }
            Kind::Data => Opened { birth: self.birth(topic), online: None },
            Kind::Death => {
                let birth = self.birth(topic);
                let is_stale = topic.device.is_none() && self.is_stale(topic, sparkplug::bd_seq(payload));
                Opened { birth, online: (!is_stale).then_some(false) }
            }
        })
    }

    fn birth(&self, topic: &SparkplugTopic) -> Option<Arc<BirthCertificate>> {
        let state = self.state();
        let node = state.nodes.get(&topic.node)?;
        let birth = match &topic.device {
            Some(device) => node.devices.get(device),
            None => node.birth.as_ref(),
        };
        birth.map(Arc::clone)
    }

    /// Whether a death is of an earlier session than the one that is known.
    fn is_stale(&self, topic: &SparkplugTopic, of_death: Option<u64>) -> bool {
        let known = self.birth(topic).and_then(|birth| birth.bd_seq);
        matches!((known, of_death), (Some(known), Some(of_death)) if known != of_death)
    }

    /// Notes what a message that was read says about its session.
    pub(crate) fn note(
        &self,
        topic: &SparkplugTopic,
        opened: &Opened,
        facts: &Facts,
        arrived: Arrived<'_>,
    ) -> Change {
        let Arrived { payload, received_at, occasion } = arrived;
        let mut state = self.state();
        state.bound();
        let State { nodes, metrics, owed } = &mut *state;
        let node = nodes.entry(Arc::clone(&topic.node)).or_default();
        let is_gap = match (occasion, facts.seq) {
            (Occasion::Live(qos), Some(seq)) => node.is_gap(seq, topic, qos),
            (Occasion::Replay, _) | (_, None) => false,
        };
        let is_old = occasion == Occasion::Replay && node.knows_better(topic, received_at);
        let row = |row_state| BirthRow {
            node: topic.node.to_string(),
            device: topic.device.as_deref().unwrap_or_default().to_owned(),
            received_at,
            state: row_state,
            // A copy: a slice would hold all that was read from the socket with it.
            payload: if row_state == BirthState::Born {
                bytes::Bytes::copy_from_slice(payload)
            } else {
                bytes::Bytes::new()
            },
        };
        if topic.device.is_none() && topic.kind != Kind::Data && opened.online.is_some() && !is_old {
            // It has just said all of it, or cannot say anything.
            owed.remove(&topic.node);
        }
        let mut buried = Vec::new();
        let row = match (topic.kind, opened.online, &opened.birth) {
            (Kind::Birth, _, Some(birth)) => {
                if !is_old {
                    *metrics += weight(birth);
                    node.bear(topic, birth, received_at);
                }
                Some(row(BirthState::Born))
            }
            (Kind::Death, Some(false), _) => {
                if !is_old {
                    buried = node.bury(topic);
                }
                Some(row(BirthState::Dead))
            }
            _ => None,
        };
        Change { row, is_gap, buried }
    }

    /// Whether data of `node` cannot be read before the store was asked for its births; says so once in a while.
    pub(crate) fn must_look_up(&self, node: &Arc<str>, now: Timestamp) -> bool {
        let mut state = self.state();
        if state
            .nodes
            .get(node)
            .is_some_and(|node| node.birth.is_some() || within(ASK_AGAIN_AFTER, node.looked_up_at, now))
        {
            return false;
        }
        state.nodes.entry(Arc::clone(node)).or_default().looked_up_at = Some(now);
        true
    }

    /// Takes births of `node` back from rows; what was seen since is newer and stays.
    pub(crate) fn restore(&self, node: &Arc<str>, rows: &[BirthRow], metrics_max: usize) {
        let Some(own) = rows.iter().find(|row| row.device.is_empty() && row.state == BirthState::Born) else {
            return;
        };
        let read = |row: &BirthRow| BirthCertificate::read(&row.payload, metrics_max).ok().map(Arc::new);
        let Some(birth) = read(own) else { return };
        let mut state = self.state();
        let State { nodes, metrics, .. } = &mut *state;
        let entry = nodes.entry(Arc::clone(node)).or_default();
        if entry.born_at.is_some() {
            return;
        }
        *metrics += weight(&birth);
        (entry.birth, entry.born_at) = (Some(birth), Some(own.received_at));
        let devices = rows.iter().filter(|row| {
            !row.device.is_empty() && row.state == BirthState::Born && row.received_at >= own.received_at
        });
        for row in devices {
            if let Some(birth) = read(row) {
                *metrics += weight(&birth);
                entry.devices.entry(row.device.as_str().into()).or_insert(birth);
            }
        }
    }

    /// The request that `node` publish its births again. Where it was asked a moment ago, it is [due](Self::due) later,
    /// unless its birth comes meanwhile.
    pub(crate) fn ask_for_rebirth(&self, node: &Arc<str>, why: Why, now: Timestamp) -> Option<Command> {
        let mut state = self.state();
        let State { nodes, owed, .. } = &mut *state;
        if nodes.entry(Arc::clone(node)).or_default().may_be_asked(why, now) {
            owed.remove(node);
            return command::rebirth(node, now);
        }
        let owed = owed.entry(Arc::clone(node)).or_insert(why);
        if why == Why::NoBirth {
            *owed = why;
        }
        None
    }

    /// The requests that were put off and are due.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<Command> {
        let mut state = self.state();
        let State { nodes, owed, .. } = &mut *state;
        let is_due = |node: &Arc<str>, why: &mut Why| {
            nodes.get_mut(node).is_none_or(|node| node.may_be_asked(*why, now))
        };
        owed.extract_if(is_due).filter_map(|(node, _)| command::rebirth(&node, now)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn within(pause: Duration, asked_at: Option<Timestamp>, now: Timestamp) -> bool {
    // A clock that went back counts as long ago: asking once too often is harmless.
    asked_at.is_some_and(|at| at <= now && now.saturating_since(at) < pause)
}

impl State {
    /// Forgets the nodes that were born longest ago where too much is known: their births have long been durable, so
    /// what is read back of them is what was forgotten.
    fn bound(&mut self) {
        if self.metrics <= METRICS_MAX && self.nodes.len() <= NODES_MAX {
            return;
        }
        // Births that took the place of others were counted besides them.
        self.metrics = self.nodes.values().map(Node::metrics).sum();
        if self.metrics <= METRICS_MAX && self.nodes.len() <= NODES_MAX {
            return;
        }
        let mut born: Vec<Option<Timestamp>> = self.nodes.values().map(|node| node.born_at).collect();
        born.sort_unstable();
        let middle = born.get(born.len() / 2).copied().flatten();
        self.nodes.retain(|_, node| node.born_at > middle);
        self.owed.retain(|node, _| self.nodes.contains_key(node));
        self.metrics = self.nodes.values().map(Node::metrics).sum();
    }
}

impl Node {
    /// Whether it is asked for its births now, which is noted, or was a moment ago.
    fn may_be_asked(&mut self, why: Why, now: Timestamp) -> bool {
        let was_asked = within(ASK_AGAIN_AFTER, self.rebirth_asked_at, now)
            || (why == Why::Gap && within(ASK_AGAIN_AFTER_GAP, self.gap_asked_at, now));
        if !was_asked {
            self.rebirth_asked_at = Some(now);
            if why == Why::Gap {
                self.gap_asked_at = Some(now);
            }
        }
        !was_asked
    }

    /// Takes a sequence number, which counts from 0 to 255 and around; a node's own birth begins anew. Whether messages
    /// are missing before it: not so where it may have come before.
    fn is_gap(&mut self, seq: u64, topic: &SparkplugTopic, qos: Qos) -> bool {
        let Ok(seq) = u8::try_from(seq) else { return true };
        let begins = topic.kind == Kind::Birth && topic.device.is_none();
        let ahead = self.seq.map_or(1, |before| seq.wrapping_sub(before));
        if !begins && qos == Qos::AtLeastOnce && (ahead == 0 || ahead > SEQ_AHEAD_MAX) {
            return false;
        }
        self.seq = Some(seq);
        !begins && ahead != 1
    }

    /// Whether what is known of `topic` is newer than `received_at`.
    fn knows_better(&self, topic: &SparkplugTopic, received_at: Timestamp) -> bool {
        let of_device = topic.device.as_ref().is_some_and(|device| self.devices.contains_key(device));
        of_device || self.born_at.is_some_and(|born_at| born_at > received_at)
    }

    fn metrics(&self) -> usize {
        self.birth.iter().chain(self.devices.values()).map(|birth| weight(birth)).sum()
    }

    fn bear(&mut self, topic: &SparkplugTopic, birth: &Arc<BirthCertificate>, received_at: Timestamp) {
        if let Some(device) = &topic.device {
            self.devices.insert(Arc::clone(device), Arc::clone(birth));
            return;
        }
        self.birth = Some(Arc::clone(birth));
        self.born_at = Some(received_at);
        self.rebirth_asked_at = None;
        self.devices.clear();
    }

    /// Ends a session; gives the devices that end with their node.
    fn bury(&mut self, topic: &SparkplugTopic) -> Vec<String> {
        if let Some(device) = &topic.device {
            self.devices.remove(device);
            return Vec::new();
        }
        self.birth = None;
        self.seq = None;
        let mut devices: Vec<Arc<str>> = self.devices.drain().map(|(device, _)| device).collect();
        devices.sort_unstable();
        devices.iter().filter_map(|device| topic::of_device_death(&topic.node, device)).collect()
    }
}

/// What a birth counts for: its metrics, and one more, so that one without any counts, too.
fn weight(birth: &BirthCertificate) -> usize {
    birth.len() + 1
}

#[cfg(test)]
mod tests;
