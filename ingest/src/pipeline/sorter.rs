//! Sorts messages: decodes each, checks its times, and lays its points into the batches of their shards.
//!
//! Belongs to one connection and keeps what repeats there: topics, names, memory. No I/O, no waiting: the time is
//! given. A message is atomic: all of its points are laid out, or it is refused (I7).

use std::sync::Arc;

use hashbrown::HashMap;
use tidemill_store::layout::{EraWatch, Eras, KnownEras, RejectKind};
use tidemill_store::model::{Shard, Source, Timestamp};

use super::group::Group;
use super::queue::{Entered, cost};
use super::routes::Routes;
use super::shards::Shards;
use crate::config::IngestConfig;
use crate::decode::{Decoder, Message, NamePool, Payload};
use crate::ledger::Share;
use crate::policy::{OutOfWindow, TimeBasis, TimeWindow};
use crate::source::Publish;
use crate::topic::{Rules, TopicError, TopicTemplates};

/// Sorts the messages of one connection.
#[derive(Debug)]
pub(super) struct Sorter {
    watch: Arc<EraWatch>,
    /// As of the current group.
    eras: Arc<Eras>,
    templates: Arc<TopicTemplates>,
    /// What each template accepts of the current group.
    windows: Vec<TimeWindow>,
    metrics_max: usize,
    routes: Routes,
    decoder: Decoder,
    message: Message,
    /// The sources of the points in `message`.
    sources: Vec<Arc<Source>>,
    entered: HashMap<Shard, Entered>,
    skews: Vec<f64>,
}

/// Why a message is not taken.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) kind: RejectKind,
    pub(super) reason: &'static str,
    pub(super) detail: String,
    /// Samples of it that were decoded.
    pub(super) samples: usize,
}

/// A message that was checked, with where it stands.
#[derive(Debug)]
pub(super) struct Checked<'g> {
    pub(super) publish: Publish,
    /// Its position in its group.
    pub(super) index: usize,
    pub(super) received_at: Timestamp,
    pub(super) group: &'g Share<Group>,
}

impl Sorter {
    pub(super) fn new(
        config: &IngestConfig,
        templates: Arc<TopicTemplates>,
        watch: Arc<EraWatch>,
        pool: Arc<NamePool>,
    ) -> Self {
        Self {
            eras: watch.current().eras,
            watch,
            templates: Arc::clone(&templates),
            windows: Vec::new(),
            metrics_max: config.memory.metrics_max,
            routes: Routes::new(templates, config.memory.topics_max),
            decoder: Decoder::new(config.decode).sharing(pool),
            message: Message::default(),
            sources: Vec::new(),
            entered: HashMap::new(),
            skews: Vec::new(),
        }
    }

    /// Forgets what has grown too much, and opens the windows of time for messages received at `now`: what lies beyond
    /// the eras that are known cannot be placed.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.routes.trim();
        if self.decoder.names().len() > self.metrics_max {
            self.decoder.forget_names();
            self.entered.clear();
        }
        self.skews.clear();
        self.windows.clear();
        let KnownEras { eras, complete_until } = self.watch.current();
        self.eras = eras;
        let accepted = |rules: &Rules| rules.times.accepted.window(now).until(complete_until);
        self.windows.extend(self.templates.rules().map(accepted));
    }

    /// Decodes a message and checks all of it. Gives how many samples it has; [`Sorter::lay_out`] takes them.
    pub(super) fn check(&mut self, publish: &Publish) -> Result<usize, Refused> {
        let Self { templates, windows, routes, decoder, message, sources, skews, .. } = self;
        let route = routes.route(&publish.topic).map_err(|error| Refused::dead("topic", &error, 0))?;
        let (template, metric) = routes.template(route);
        let (Some(rules), Some(window)) = (templates.rules_at(template), windows.get(template)) else {
            return Err(Refused::dead("topic", &TopicError::NoTemplate, 0));
        };
        let payload = Payload { bytes: &publish.payload, metric, received_at: window.received_at() };
        decoder
            .decode(&rules.reading, payload, message)
            .map_err(|error| Refused::dead(error.fault.label(), &error, 0))?;
        let samples = message.samples();
        skews.extend(message.points().filter_map(|point| point.time).max().map(|newest| window.skew(newest)));
        sources.clear();
        for point in message.points() {
            match point.time {
                Some(time) => window.check(time).map_err(|outside| Refused::outside(outside, samples))?,
                None if rules.times.basis == TimeBasis::Payload => {
                    return Err(Refused::dead(
                        "time",
                        &"a point has no time, and the template asks for one",
                        samples,
                    ));
                }
                // Beyond the eras that are known not even what comes now can be placed.
                None => window
                    .check(window.received_at())
                    .map_err(|outside| Refused::outside(outside, samples))?,
            }
            let source = routes.source(route, point.tags);
            sources.push(source.map_err(|error| Refused::dead("tags", &error, samples))?);
        }
        Ok(samples)
    }

    /// For each message of the current group that has a time of its own: how long before its receipt its newest time is.
    pub(super) fn skews(&self) -> &[f64] {
        &self.skews
    }

    /// Lays the points of the message checked last into the batches of their shards. Points of one message go to
    /// different shards only where an era changes between them.
    pub(super) fn lay_out(&mut self, checked: Checked<'_>, shards: &mut Shards<'_>) {
        let Self { eras, decoder, message, sources, entered, .. } = self;
        let Checked { publish, index, received_at, group } = checked;
        let (bytes, mut publish) = (cost(&publish), Some(publish));
        let placed = message.points().zip(sources.iter()).map(|(point, source)| {
            let time = point.time.unwrap_or(received_at);
            (eras.place(source, time).shard, time, source, point.values)
        });
        let mut placed = placed.peekable();
        while let Some(&(shard, ..)) = placed.peek() {
            let (names, entered) = (decoder.names(), entered.entry(shard).or_default());
            let is_new = shards.lay(shard, bytes, |batch| {
                while let Some((_, time, source, values)) = placed.next_if(|next| next.0 == shard) {
                    batch.add(source, time, values, entered, |slot| names.metric(slot));
                }
                let origin = if placed.peek().is_some() { publish.clone() } else { publish.take() };
                origin.is_some_and(|origin| batch.close_message(index, origin, received_at, group))
            });
            if is_new.is_none() {
                // Nobody writes this shard any more: the pipeline has failed, and the group is abandoned.
                drop(group.another());
                return;
            }
        }
    }
}

impl Refused {
    fn dead(reason: &'static str, error: &impl std::fmt::Display, samples: usize) -> Self {
        Self { kind: RejectKind::DeadLetter, reason, detail: error.to_string(), samples }
    }

    fn outside(outside: OutOfWindow, samples: usize) -> Self {
        let (reason, detail) = (outside.bound.label(), outside.to_string());
        Self { kind: RejectKind::Quarantine, reason, detail, samples }
    }
}
