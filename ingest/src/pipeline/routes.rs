//! Sources that connections have named: topic and tags → [`Source`], so that a message of a known device costs a
//! comparison. Pure; bounded by forgetting everything where too much is known, long names counted as several (I6).

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use tidemill_store::model::{Metric, Source, TagKey, TagValue, Tags};

use crate::metrics::IngestMetrics;
use crate::skews::SkewCell;
use crate::sparkplug::SparkplugTopic;
use crate::topic::{Captured, TopicError, TopicTemplates};

/// A topic of fewer bytes counts one.
const ORDINARY_BYTES: usize = 256;

/// Topics that are at hand.
#[derive(Debug)]
pub(super) struct Routes {
    templates: Arc<TopicTemplates>,
    metrics: IngestMetrics,
    hasher: DefaultHashBuilder,
    topics: HashTable<u32>,
    entries: Vec<Entry>,
    /// How many topics and tags are known, by [`weight`].
    known: usize,
    known_max: usize,
    /// The topic that came last.
    last: usize,
}

/// A topic by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route(usize);

/// What every message of a topic needs: a line of cache. A gateway with many devices comes back to each when it is out
/// of the cache.
#[derive(Debug)]
struct Entry {
    topic: Box<[u8]>,
    source: Arc<Source>,
    skew: SkewCell,
    template: u32,
    /// The topic that came next the last time: gateways ask their devices in turn.
    follower: u32,
    metric: Option<Metric>,
    seldom: Option<Box<Seldom>>,
}

/// What few topics have.
#[derive(Debug, Default)]
struct Seldom {
    sparkplug: Option<SparkplugTopic>,
    /// By the tags that messages carry, as [`crate::decode::MessagePoint::tags`] gives them.
    tagged: HashMap<Box<str>, Arc<Source>>,
}

impl Routes {
    pub(super) fn new(templates: Arc<TopicTemplates>, metrics: IngestMetrics, known_max: usize) -> Self {
        Self {
            templates,
            metrics,
            hasher: DefaultHashBuilder::default(),
            topics: HashTable::new(),
            entries: Vec::new(),
            known: 0,
            known_max,
            last: 0,
        }
    }

    /// Makes room: routes given before mean nothing after.
    pub(super) fn trim(&mut self) {
        if self.known > self.known_max {
            self.topics.clear();
            self.entries.clear();
            self.known = 0;
        }
    }

    /// The route of `topic`.
    pub(super) fn route(&mut self, topic: &[u8]) -> Result<Route, TopicError> {
        let last = self.entries.get(self.last);
        if last.is_some_and(|last| *last.topic == *topic) {
            return Ok(Route(self.last));
        }
        let expected = last.map_or(0, |last| at(last.follower));
        let index = if self.entries.get(expected).is_some_and(|entry| *entry.topic == *topic) {
            expected
        } else {
            self.look_up(topic)?
        };
        self.last = index;
        Ok(Route(index))
    }

    /// Finds `topic` wherever it is, and expects it after the last one from now on.
    fn look_up(&mut self, topic: &[u8]) -> Result<usize, TopicError> {
        let hash = self.hasher.hash_one(topic);
        let is_it = |&index: &u32| self.entries.get(at(index)).is_some_and(|entry| *entry.topic == *topic);
        let index = match self.topics.find(hash, is_it) {
            Some(&index) => index,
            None => self.add(topic, hash)?,
        };
        if let Some(last) = self.entries.get_mut(self.last) {
            last.follower = index;
        }
        Ok(at(index))
    }

    fn add(&mut self, topic: &[u8], hash: u64) -> Result<u32, TopicError> {
        let Captured { template, source, metric, sparkplug } = self.templates.capture(topic)?;
        let seldom =
            sparkplug.map(|sparkplug| Box::new(Seldom { sparkplug: Some(sparkplug), ..Seldom::default() }));
        let entry = Entry {
            topic: topic.into(),
            skew: self.metrics.skew_cell(&source),
            source: Arc::new(source),
            template: number(template),
            follower: 0,
            metric,
            seldom,
        };
        let index = number(self.entries.len());
        self.entries.push(entry);
        let Self { topics, entries, hasher, .. } = self;
        topics.insert_unique(hash, index, |&index| {
            entries.get(at(index)).map_or(0, |entry| hasher.hash_one(&*entry.topic))
        });
        self.known += weight(topic.len());
        Ok(index)
    }

    /// The template of `route`, and the metric that it names.
    pub(super) fn template(&self, route: Route) -> (usize, Option<&str>) {
        let entry = self.entries.get(route.0);
        assert!(entry.is_some(), "a route was used after its topics were forgotten");
        entry.map_or((0, None), |entry| (at(entry.template), entry.metric.as_ref().map(Metric::as_str)))
    }

    /// Notes how far the times of the device of `route` are off.
    pub(super) fn note_skew(&self, route: Route, seconds: f64) {
        if let Some(entry) = self.entries.get(route.0) {
            entry.skew.note(seconds);
        }
    }

    /// What the topic of `route` says of Sparkplug B, if it does.
    pub(super) fn sparkplug(&self, route: Route) -> Option<&SparkplugTopic> {
        self.entries.get(route.0)?.seldom.as_ref()?.sparkplug.as_ref()
    }

    /// The source that `topic` names.
    pub(super) fn source_of_topic(&mut self, topic: &[u8]) -> Result<Arc<Source>, TopicError> {
        let route = self.route(topic)?;
        self.source(route, "")
    }

    /// The source of a message of `route` that carries `tags`.
    pub(super) fn source(&mut self, route: Route, tags: &str) -> Result<Arc<Source>, TopicError> {
        let entry = self.entries.get_mut(route.0);
        assert!(entry.is_some(), "a route was used after its topics were forgotten");
        let Some(entry) = entry else { return Err(TopicError::NoTemplate) };
        if tags.is_empty() {
            return Ok(Arc::clone(&entry.source));
        }
        let known = entry.seldom.as_ref().and_then(|seldom| seldom.tagged.get(tags));
        if let Some(source) = known {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(with_tags(&entry.source, tags)?);
        entry.seldom.get_or_insert_default().tagged.insert(tags.into(), Arc::clone(&source));
        self.known += weight(tags.len());
        Ok(source)
    }
}

/// How much a topic of so many bytes counts, or tags: those of ordinary length count one.
const fn weight(bytes: usize) -> usize {
    1 + bytes / ORDINARY_BYTES
}

/// A position in 32 bits: there are at most as many topics as configuration allows (I6).
fn number(position: usize) -> u32 {
    let number = u32::try_from(position);
    assert!(number.is_ok(), "more topics than 32 bits can tell apart");
    number.unwrap_or(u32::MAX)
}

fn at(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// `source` with the tags of a message besides those of its topic.
fn with_tags(source: &Source, text: &str) -> Result<Source, TopicError> {
    let mut tags: Vec<(TagKey, TagValue)> =
        source.tags().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut parts = text.split_terminator('\0');
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        tags.push((TagKey::new(key)?, TagValue::new(value)?));
    }
    Ok(Source::new(source.tenant().clone(), source.device().clone(), Tags::new(tags)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(known_max: usize) -> Routes {
        let templates = TopicTemplates::new(["{site}/{device}"]).unwrap();
        Routes::new(Arc::new(templates), IngestMetrics::default(), known_max)
    }

    #[test]
    fn a_topic_gives_the_same_source_each_time_and_tags_another() {
        let mut routes = routes(100);
        let first = routes.route(b"n/d1").unwrap();
        let plain = routes.source(first, "").unwrap();
        let other = routes.route(b"n/d2").unwrap();
        assert_ne!(routes.source(other, "").unwrap().device(), plain.device());
        let again = routes.route(b"n/d1").unwrap();
        assert!(Arc::ptr_eq(&plain, &routes.source(again, "").unwrap()));
        let tagged = routes.source(again, "k\0v\0").unwrap();
        assert!(Arc::ptr_eq(&tagged, &routes.source(again, "k\0v\0").unwrap()));
        assert_eq!(tagged.tags().iter().count(), 2);
    }

    #[test]
    fn topics_are_found_in_any_order() {
        let mut routes = routes(1000);
        let topic = |n: usize| format!("n/d{n}");
        let first: Vec<Route> = (0..100).map(|n| routes.route(topic(n).as_bytes()).unwrap()).collect();
        let in_turn = (0..100).chain(0..100);
        let jumping = (0..300).map(|n| n * 37 % 100);
        for n in in_turn.chain(jumping).chain((0..100).rev()) {
            assert_eq!(routes.route(topic(n).as_bytes()), Ok(first[n]), "{n}");
        }
        assert_eq!(routes.entries.len(), 100);
    }

    #[test]
    fn a_tag_of_topic_and_message_both_is_refused() {
        let mut routes = routes(100);
        let route = routes.route(b"n/d1").unwrap();
        assert!(matches!(routes.source(route, "site\0n\0"), Err(TopicError::Tags(_))));
        assert!(matches!(routes.source(route, "k\0v\0k\0w\0"), Err(TopicError::Tags(_))));
    }

    #[test]
    fn what_is_known_stays_bounded() {
        let mut routes = routes(10);
        for i in 0..1000 {
            routes.trim();
            let route = routes.route(format!("n/d{i}").as_bytes()).unwrap();
            routes.source(route, "k\0v\0").unwrap();
            assert!(routes.known <= 12 && routes.entries.len() <= 12, "{}", routes.known);
        }
        for i in 0..100 {
            routes.trim();
            let long = format!("{}/{}{i}", "n".repeat(250), "d".repeat(250));
            routes.route(long.as_bytes()).unwrap();
            assert!(routes.entries.len() <= 6, "long topics count as several: {}", routes.entries.len());
        }
    }
}
