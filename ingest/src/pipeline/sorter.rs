//! Sorts messages: decodes each, checks its times, and lays its points into the batches of their shards.
//!
//! Belongs to one connection and keeps what repeats there: topics, names, memory. No I/O, no waiting: the time is
//! given. A message is atomic: all of its points are laid out, or it is refused (I7).

use std::sync::Arc;

use hashbrown::HashMap;
use tidemill_store::layout::{EraWatch, Eras, RejectKind};
use tidemill_store::model::{Shard, Source, Timestamp};

use super::group::Group;
use super::queue::{Entered, cost};
use super::routes::Routes;
use super::shards::Shards;
use crate::config::IngestConfig;
use crate::decode::{JsonDecoder, Message, NamePool};
use crate::ledger::Share;
use crate::policy::{TimePolicy, TimeWindow};
use crate::source::Publish;
use crate::topic::TopicTemplates;

/// Sorts the messages of one connection.
#[derive(Debug)]
pub(super) struct Sorter {
    watch: Arc<EraWatch>,
    /// As of the current group.
    eras: Arc<Eras>,
    times: TimePolicy,
    metrics_max: usize,
    routes: Routes,
    decoder: JsonDecoder,
    message: Message,
    /// The sources of the points in `message`.
    sources: Vec<Arc<Source>>,
    entered: HashMap<Shard, Entered>,
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
            times: config.times,
            metrics_max: config.memory.metrics_max,
            routes: Routes::new(templates, config.memory.topics_max),
            decoder: JsonDecoder::new(config.decode, config.time_unit).sharing(pool),
            message: Message::default(),
            sources: Vec::new(),
            entered: HashMap::new(),
        }
    }

    /// Forgets what has grown too much, and gives the window of time for messages received at `now`: what lies beyond
    /// the eras that are known cannot be placed.
    pub(super) fn begin(&mut self, now: Timestamp) -> TimeWindow {
        self.routes.trim();
        if self.decoder.names().len() > self.metrics_max {
            self.decoder.forget_names();
            self.entered.clear();
        }
        let known = self.watch.current();
        self.eras = known.eras;
        self.times.window(now).until(known.complete_until)
    }

    /// Decodes a message and checks all of it. Gives how many samples it has; [`Sorter::lay_out`] takes them.
    pub(super) fn check(&mut self, publish: &Publish, window: &TimeWindow) -> Result<usize, Refused> {
        let route = self.routes.route(&publish.topic).map_err(|error| Refused::dead("topic", &error, 0))?;
        self.decoder
            .decode(&publish.payload, &mut self.message)
            .map_err(|error| Refused::dead(error.fault.label(), &error, 0))?;
        let samples = self.message.samples();
        self.sources.clear();
        for point in self.message.points() {
            let time = point.time.unwrap_or(window.received_at());
            window.check(time).map_err(|outside| Refused {
                kind: RejectKind::Quarantine,
                reason: outside.bound.label(),
                detail: outside.to_string(),
                samples,
            })?;
            let source = self.routes.source(route, point.tags);
            self.sources.push(source.map_err(|error| Refused::dead("tags", &error, samples))?);
        }
        Ok(samples)
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
}
