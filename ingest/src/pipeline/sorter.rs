//! Sorts the messages of a group: decodes each, checks its times, and lays its points out by shard.
//!
//! All of it belongs to one connection and is used again for the next group. No I/O, no waiting: time and eras are
//! given. A message is atomic: all of its points are laid out, or it is a reject (I7).

use std::sync::Arc;

use tidemill_store::layout::{Eras, RejectKind};
use tidemill_store::model::{Source, Timestamp};

use super::intake::number;
use super::routes::Routes;
use super::tray::{NamedPoint, Tray, Trays};
use crate::config::IngestConfig;
use crate::decode::{JsonDecoder, Message};
use crate::metrics::Rejected;
use crate::policy::{TimePolicy, TimeWindow};
use crate::rejects::Reject;
use crate::source::Publish;
use crate::topic::TopicTemplates;

/// Sorts groups of one connection.
#[derive(Debug)]
pub(super) struct Sorter {
    eras: Arc<Eras>,
    times: TimePolicy,
    metrics_max: usize,
    routes: Routes,
    decoder: JsonDecoder,
    message: Message,
    /// The sources of the points in `message`.
    sources: Vec<Arc<Source>>,
    trays: Trays,
}

/// A group, sorted.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Messages that cannot be taken: their position in the group, and how many samples they had.
    pub(super) rejects: Vec<Rejection>,
    /// Samples of all messages that were understood.
    pub(super) samples: usize,
}

/// A message of the group that cannot be taken.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) message: usize,
    pub(super) samples: usize,
    pub(super) reject: Reject,
}

/// Why a message is not taken.
struct Refused {
    kind: RejectKind,
    reason: &'static str,
    detail: String,
    samples: usize,
}

impl Sorter {
    pub(super) fn new(config: &IngestConfig, templates: Arc<TopicTemplates>, eras: Arc<Eras>) -> Self {
        Self {
            eras,
            times: config.times,
            metrics_max: config.memory.metrics_max,
            routes: Routes::new(templates, config.memory.topics_max),
            decoder: JsonDecoder::new(config.decode, config.time_unit),
            message: Message::default(),
            sources: Vec::new(),
            trays: Trays::default(),
        }
    }

    /// Sorts `group`, received at `now`; [`Sorter::trays`] then holds what was taken.
    pub(super) fn sort(&mut self, group: Vec<Publish>, now: Timestamp) -> Sorted {
        self.routes.trim();
        if self.decoder.names().len() > self.metrics_max {
            self.decoder.forget_names();
        }
        self.trays.clear();
        let (window, mut sorted) = (self.times.window(now), Sorted::default());
        for (index, publish) in group.into_iter().enumerate() {
            match self.check(&publish, &window) {
                Ok(()) => {
                    sorted.samples += self.message.samples();
                    self.lay_out(publish, index, now);
                }
                Err(refused) => {
                    sorted.samples += refused.samples;
                    sorted.rejects.push(rejection(refused, publish, index, now));
                }
            }
        }
        sorted
    }

    /// What was taken of the group sorted last, by shard. What the caller takes out of a tray is gone.
    pub(super) fn trays(&mut self) -> impl Iterator<Item = &mut Tray> {
        self.trays.filled()
    }

    /// Decodes a message and checks all of it.
    fn check(&mut self, publish: &Publish, window: &TimeWindow) -> Result<(), Refused> {
        let route = self.routes.route(&publish.topic).map_err(|error| Refused::dead("topic", &error, 0))?;
        self.decoder
            .decode(&publish.payload, &mut self.message)
            .map_err(|error| Refused::dead(error.fault.label(), &error, 0))?;
        let samples = self.message.samples();
        self.sources.clear();
        for point in self.message.points() {
            if let Some(time) = point.time {
                window.check(time).map_err(|outside| Refused {
                    kind: RejectKind::Quarantine,
                    reason: outside.bound.label(),
                    detail: outside.to_string(),
                    samples,
                })?;
            }
            let source = self.routes.source(route, point.tags);
            self.sources.push(source.map_err(|error| Refused::dead("tags", &error, samples))?);
        }
        Ok(())
    }

    /// Lays the points of the message decoded last out by shard.
    fn lay_out(&mut self, publish: Publish, index: usize, now: Timestamp) {
        let Self { eras, decoder, message, sources, trays, .. } = self;
        for (point, source) in message.points().zip(sources.iter()) {
            let time = point.time.unwrap_or(now);
            let point = NamedPoint { source, time, values: point.values, names: decoder.names() };
            trays.add(eras.place(source, time).shard, &point);
        }
        trays.close_message(publish, index);
    }
}

fn rejection(refused: Refused, publish: Publish, message: usize, received_at: Timestamp) -> Rejection {
    let Refused { kind, reason, detail, samples } = refused;
    let Publish { topic, payload, .. } = publish;
    Rejection { message, samples, reject: Reject { kind, reason, detail, received_at, topic, payload } }
}

impl Rejection {
    /// How it is counted when its group is settled.
    pub(super) fn noted(&self) -> Rejected {
        let Reject { kind, reason, .. } = self.reject;
        Rejected { message: self.message, kind, reason, samples: number(self.samples) }
    }
}

impl Refused {
    fn dead(reason: &'static str, error: &impl std::fmt::Display, samples: usize) -> Self {
        Self { kind: RejectKind::DeadLetter, reason, detail: error.to_string(), samples }
    }
}
