//! Sorts messages: decodes each, checks its times, and lays the points of a group into the batches of their shards.
//!
//! Serves one group at a time, of whatever connection, and keeps what repeats: topics and names. No I/O, no waiting:
//! the time is given. A message is atomic: all of its points are laid out, or it is refused (I7).

use std::sync::Arc;
use std::time::Duration;

use tidemill_store::layout::{BirthRow, EraWatch, Eras, KnownEras, RejectKind};
use tidemill_store::model::{Source, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::group::Group;
use super::intake::number;
use super::placed::{Laid, Placed, Whole};
use super::queue::cost;
use super::routes::{Route, Routes};
use super::shards::Shards;
use crate::config::IngestConfig;
use crate::decode::sparkplug::{Kind, Session};
use crate::decode::{DecodeError, Decoder, Fault, Message, NamePool, Payload};
use crate::ledger::Share;
use crate::metrics::{IngestMetrics, SparkplugNoted};
use crate::policy::{Civil, OutOfWindow, TimeBasis, TimeWindow};
use crate::rejects::Reject;
use crate::source::{Command, Publish};
use crate::sparkplug::{Arrived, Occasion, Sessions, Why};
use crate::topic::{Rules, TopicError, TopicTemplates};

/// Sorts the messages of a group.
#[derive(Debug)]
pub(super) struct Sorter {
    watch: Arc<EraWatch>,
    /// As of the current group.
    eras: Arc<Eras>,
    templates: Arc<TopicTemplates>,
    /// What each template accepts of the current group.
    windows: Vec<TimeWindow>,
    metrics_max: usize,
    metrics_per_message_max: usize,
    payload_bytes_max: usize,
    routes: Routes,
    decoder: Decoder,
    scratch: Scratch,
    sessions: Arc<Sessions>,
    /// Whether messages are taken again.
    replays: bool,
    effects: Option<Effects>,
}

/// What is known of a group while it is sorted; its memory is used again for the next one.
#[derive(Debug, Default)]
struct Scratch {
    message: Message,
    /// The sources of the points in `message`, until they are placed.
    sources: Vec<Arc<Source>>,
    /// Those of its last points that are other sources than its topic names: the devices of a node that is gone.
    offline: Vec<Arc<Source>>,
    placed: Placed,
    skews: Vec<f64>,
}

/// What a message of a Sparkplug node asks for besides its samples.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// To be written before the message is settled.
    pub(super) row: Option<BirthRow>,
    pub(super) rebirth: Option<Command>,
    pub(super) noted: SparkplugNoted,
    /// Why some of the message is kept apart though the rest of it is taken.
    pub(super) in_part: Option<Refused>,
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
    pub(super) publish: &'g Publish,
    /// Its position in its group.
    pub(super) index: usize,
    pub(super) received_at: Timestamp,
    pub(super) group: &'g Share<Group>,
    /// Whether a part of it is kept as a reject.
    pub(super) is_kept_in_part: bool,
}

impl Sorter {
    pub(super) fn new(
        config: &IngestConfig,
        templates: Arc<TopicTemplates>,
        watch: Arc<EraWatch>,
        (pool, sessions, metrics): (Arc<NamePool>, Arc<Sessions>, IngestMetrics),
    ) -> Self {
        Self {
            eras: watch.current().eras,
            watch,
            templates: Arc::clone(&templates),
            windows: Vec::new(),
            metrics_max: config.memory.metrics_max,
            metrics_per_message_max: config.decode.metrics_max,
            payload_bytes_max: config.memory.payload_bytes_max,
            routes: Routes::new(templates, metrics, config.memory.topics_max),
            decoder: Decoder::new(config.decode).sharing(pool),
            scratch: Scratch::default(),
            sessions,
            replays: false,
            effects: None,
        }
    }

    /// Forgets what has grown too much, and opens the windows of time for messages received at `now`: what lies beyond
    /// the eras that are known cannot be placed.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.routes.trim();
        if self.decoder.names().len() > self.metrics_max {
            self.decoder.forget_names();
            self.scratch.placed.forget_names();
        }
        self.scratch.message.forget_all();
        self.scratch.skews.clear();
        self.windows.clear();
        self.replays = false;
        let KnownEras { eras, complete_until } = self.watch.current();
        self.eras = eras;
        let accepted = |rules: &Rules| rules.times.accepted.window(now).until(complete_until);
        self.windows.extend(self.templates.rules().map(accepted));
    }

    /// Begins with messages that were received at `now` and are taken again.
    pub(super) fn begin_again(&mut self, now: Timestamp) {
        self.begin(now);
        self.replays = true;
    }

    /// Decodes a message and checks all of it. Gives how many samples it has; [`Sorter::lay_out`] takes them.
    pub(super) fn check(&mut self, publish: &Publish) -> Result<usize, Refused> {
        self.effects = None;
        let (bytes, bytes_max) = (publish.payload.len(), self.payload_bytes_max);
        if bytes > bytes_max {
            return Err(Refused::dead(
                "size",
                &format_args!("{bytes} bytes; at most {bytes_max} are taken"),
                0,
            ));
        }
        let route = self.routes.route(&publish.topic).map_err(|error| Refused::dead("topic", &error, 0))?;
        let (template, metric) = self.routes.template(route);
        let (Some(rules), Some(window)) = (self.templates.rules_at(template), self.windows.get(template))
        else {
            return Err(Refused::dead("topic", &TopicError::NoTemplate, 0));
        };
        let (received_at, basis) = (window.received_at(), rules.times.basis);
        self.scratch.offline.clear();
        if self.routes.sparkplug(route).is_some() {
            let reads_times = rules.reading.unit.is_some();
            self.read_sparkplug(route, publish, (received_at, reads_times))?;
        } else {
            let payload = Payload { bytes: &publish.payload, metric, received_at };
            self.decoder
                .decode(&rules.reading, payload, &mut self.scratch.message)
                .map_err(|error| Refused::unread(&error, received_at))?;
        }
        self.judge(route, basis)
    }

    /// Checks times and sources of the message that was decoded.
    fn judge(&mut self, route: Route, basis: TimeBasis) -> Result<usize, Refused> {
        let Self { windows, routes, scratch, .. } = self;
        let Scratch { message, sources, offline, skews, .. } = scratch;
        let (template, _) = routes.template(route);
        let Some(window) = windows.get(template) else {
            return Err(Refused::dead("topic", &TopicError::NoTemplate, 0));
        };
        let (samples, points) = (message.samples(), message.points().count());
        if let Some(newest) = message.points().filter_map(|point| point.time).max() {
            let skew = window.skew(newest);
            skews.push(skew);
            routes.note_skew(route, skew);
        }
        sources.clear();
        let of_topic = points.saturating_sub(offline.len());
        for (position, point) in message.points().take(of_topic).enumerate() {
            let refused = |refused: Refused| Refused { samples, ..refused.of_point(position, points) };
            check_time(point.time, basis, window).map_err(refused)?;
            let source = routes.source(route, point.tags);
            sources.push(source.map_err(|error| refused(Refused::dead("tags", &error, samples)))?);
        }
        sources.append(offline);
        Ok(samples)
    }

    /// For each message of the current group that has a time of its own: how long before its receipt its newest time is.
    pub(super) fn skews(&self) -> &[f64] {
        &self.scratch.skews
    }

    /// Decodes a message of a Sparkplug node by its session, and notes what it says about that.
    fn read_sparkplug(
        &mut self,
        route: Route,
        publish: &Publish,
        (received_at, reads_times): (Timestamp, bool),
    ) -> Result<(), Refused> {
        let Self { routes, sessions, decoder, scratch, effects, metrics_per_message_max, replays, .. } = self;
        let Some(topic) = routes.sparkplug(route) else { return Ok(()) };
        let dead = |error: DecodeError| Refused::dead(error.fault.label(), &error, 0);
        let opened = sessions.open(topic, &publish.payload, *metrics_per_message_max).map_err(dead)?;
        let session =
            Session { kind: topic.kind, birth: opened.birth.as_deref(), online: opened.online, reads_times };
        let decoded = decoder.decode_sparkplug(session, &publish.payload, &mut scratch.message);
        let facts = decoded.map_err(|error| {
            if !matches!(error.fault, Fault::NoBirth(_)) {
                return dead(error);
            }
            if !*replays {
                let rebirth = sessions.ask_for_rebirth(&topic.node, Why::NoBirth, received_at);
                *effects = Some(Effects { rebirth, ..Effects::default() });
            }
            Refused { kind: RejectKind::Quarantine, ..dead(error) }
        })?;
        let occasion = if *replays { Occasion::Replay } else { Occasion::Live(publish.qos) };
        let arrived = Arrived { payload: &publish.payload, received_at, occasion };
        let change = sessions.note(topic, &opened, &facts, arrived);
        let rebirth =
            if change.is_gap { sessions.ask_for_rebirth(&topic.node, Why::Gap, received_at) } else { None };
        let noted = SparkplugNoted {
            births: u64::from(topic.kind == Kind::Birth),
            deaths: u64::from(topic.kind == Kind::Death),
            gaps: u64::from(change.is_gap),
            historical: facts.historical,
            passed_over: facts.passed_over,
        };
        if change.row.is_some() || noted != SparkplugNoted::default() {
            let in_part = facts.unstorable.map(dead);
            *effects = Some(Effects { row: change.row, rebirth, noted, in_part });
        }
        let devices = change.buried.iter().filter_map(|topic| routes.source_of_topic(topic.as_bytes()).ok());
        scratch.offline.extend(devices);
        decoder.add_offline(scratch.offline.len(), &mut scratch.message);
        Ok(())
    }

    /// Whose a message of `topic` is, as a number: the device's where the topic names one, else the topic's own.
    pub(super) fn sender(&mut self, topic: &[u8]) -> u64 {
        self.routes.source_of_topic(topic).map_or_else(
            |_| sender_of_topic(topic),
            |source| xxh3_64([source.tenant().as_str(), source.device().as_str()].join("\0").as_bytes()),
        )
    }

    /// What the message checked last asks for besides its samples.
    pub(super) fn effects(&mut self) -> Option<Effects> {
        self.effects.take()
    }

    /// The Sparkplug node whose birth must be known to read messages of `topic`: every one but its own birth.
    pub(super) fn node_to_know(&mut self, topic: &[u8]) -> Option<Arc<str>> {
        let route = self.routes.route(topic).ok()?;
        let said = self.routes.sparkplug(route)?;
        (said.kind != Kind::Birth).then(|| Arc::clone(&said.node))
    }

    /// Whether messages of `topic` give those that follow them their meaning, and so may not be left out.
    pub(super) fn gives_meaning(&mut self, topic: &[u8]) -> bool {
        let Ok(route) = self.routes.route(topic) else { return false };
        self.routes.sparkplug(route).is_some_and(|said| said.kind != Kind::Data)
    }

    /// How long after the message checked last the next one may be taken to have come: each of its points that has no time
    /// of its own takes a nanosecond.
    pub(super) fn span(&self) -> Duration {
        let untimed = self.scratch.message.points().filter(|point| point.time.is_none()).count();
        Duration::from_nanos(number(untimed))
    }

    /// Takes the message checked last in, to be laid out with its group. Points of one message go to different shards
    /// only where an era changes between them.
    pub(super) fn place(&mut self, checked: &Checked<'_>) {
        let Self { eras, scratch, .. } = self;
        let Scratch { message, sources, placed, .. } = scratch;
        let Checked { publish, index, received_at, group, is_kept_in_part } = *checked;
        let mut untimed = received_at;
        let points = message.places().zip(sources.drain(..)).map(|((time, values), source)| {
            let at = time.unwrap_or(untimed);
            if time.is_none() {
                untimed = untimed.saturating_add(Duration::from_nanos(1));
            }
            (eras.at(at).shard(&source), source, at, values)
        });
        let whole = Whole { index, received_at, bytes: cost(publish), is_spread: is_kept_in_part };
        // Where there is nothing to write nobody counts it, and what is kept in part would count twice.
        if placed.add(points, whole) || is_kept_in_part {
            group.owed().into_iter().for_each(|group| group.spread(index));
        }
        message.keep();
    }

    /// Lays the points of all messages that were placed into the batches of their shards.
    pub(super) fn lay_out(&mut self, group: &Share<Group>, shards: &mut Shards<'_>) {
        let Scratch { message, placed, .. } = &mut self.scratch;
        let names = self.decoder.names();
        placed.lay_out(|shard, entered, points| {
            let laid = shards.lay(shard, |batch| {
                batch.open_part(group);
                for Laid { source, time, values, ends } in points {
                    batch.add(source, time, message.values_at(values), entered, |slot| names.metric(slot));
                    if let Some(Whole { index, received_at, bytes, is_spread }) = ends {
                        batch.close_message((index, is_spread), received_at, bytes);
                    }
                }
            });
            if laid.is_none() {
                // Nobody writes this shard any more: the pipeline has failed, and the group is abandoned.
                drop(group.another());
            }
        });
    }
}

/// A number for who sends to `topic`.
pub(super) fn sender_of_topic(topic: &[u8]) -> u64 {
    xxh3_64(topic)
}

impl Refused {
    /// The refused message as it is kept.
    pub(super) fn reject(self, publish: Publish, received_at: Timestamp) -> Reject {
        let (Self { kind, reason, detail, .. }, Publish { topic, payload, .. }) = (self, publish);
        Reject { kind, reason, detail, received_at, topic, payload, is_in_part: false }
    }

    fn dead(reason: &'static str, error: &impl std::fmt::Display, samples: usize) -> Self {
        Self { kind: RejectKind::DeadLetter, reason, detail: error.to_string(), samples }
    }

    /// A payload that cannot be read: in quarantine with both times where it says a time that nothing can store.
    fn unread(error: &DecodeError, received_at: Timestamp) -> Self {
        let dead = Self::dead(error.fault.label(), error, 0);
        if error.fault != Fault::TimeOutOfRange {
            return dead;
        }
        let detail = format!("{} (received at {})", dead.detail, Civil(received_at));
        Self { kind: RejectKind::Quarantine, detail, ..dead }
    }

    fn outside(outside: OutOfWindow) -> Self {
        let (reason, detail) = (outside.bound.label(), outside.to_string());
        Self { kind: RejectKind::Quarantine, reason, detail, samples: 0 }
    }

    /// The same, said of the point at `position` where there are several.
    fn of_point(self, position: usize, points: usize) -> Self {
        if points < 2 {
            return self;
        }
        let detail = format!("point {} of {points}: {}", position + 1, self.detail);
        Self { detail, ..self }
    }
}

/// Whether a point of `time` is taken.
fn check_time(time: Option<Timestamp>, basis: TimeBasis, window: &TimeWindow) -> Result<(), Refused> {
    if time.is_none() && basis == TimeBasis::Payload {
        return Err(Refused::dead("time", &"the point has no time, and the template asks for one", 0));
    }
    // Beyond the eras that are known not even what comes now can be placed.
    window.check(time.unwrap_or(window.received_at())).map_err(Refused::outside)
}
