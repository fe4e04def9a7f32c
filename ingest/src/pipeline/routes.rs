//! Sources that a connection has named: topic and tags → [`Source`], so that a message of a known device costs a
//! comparison. Pure; bounded by forgetting everything where too much is known (I6).

use std::sync::Arc;

use hashbrown::HashMap;
use tidemill_store::model::{Metric, Source, TagKey, TagValue, Tags};

use crate::metrics::IngestMetrics;
use crate::skews::SkewCell;
use crate::sparkplug::SparkplugTopic;
use crate::topic::{Captured, TopicError, TopicTemplates};

/// The topics of a connection.
#[derive(Debug)]
pub(super) struct Routes {
    templates: Arc<TopicTemplates>,
    metrics: IngestMetrics,
    topics: HashMap<Box<[u8]>, usize>,
    entries: Vec<Entry>,
    known: usize,
    known_max: usize,
    last: usize,
}

/// A topic by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route(usize);

#[derive(Debug)]
struct Entry {
    topic: Box<[u8]>,
    template: usize,
    source: Arc<Source>,
    skew: SkewCell,
    metric: Option<Metric>,
    sparkplug: Option<SparkplugTopic>,
    /// By the tags that messages carry, as [`crate::decode::MessagePoint::tags`] gives them.
    tagged: HashMap<Box<str>, Arc<Source>>,
}

impl Routes {
    pub(super) fn new(templates: Arc<TopicTemplates>, metrics: IngestMetrics, known_max: usize) -> Self {
        Self { templates, metrics, topics: HashMap::new(), entries: Vec::new(), known: 0, known_max, last: 0 }
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
        if self.entries.get(self.last).is_none_or(|entry| *entry.topic != *topic) {
            self.last = match self.topics.get(topic) {
                Some(&index) => index,
                None => self.add(topic)?,
            };
        }
        Ok(Route(self.last))
    }

    fn add(&mut self, topic: &[u8]) -> Result<usize, TopicError> {
        let Captured { template, source, metric, sparkplug } = self.templates.capture(topic)?;
        let (index, skew) = (self.entries.len(), self.metrics.skew_cell(&source));
        let (topic_text, source, tagged) = (topic.into(), Arc::new(source), HashMap::new());
        let entry = Entry { topic: topic_text, template, source, skew, metric, sparkplug, tagged };
        self.entries.push(entry);
        self.topics.insert(topic.into(), index);
        self.known += 1;
        Ok(index)
    }

    /// The template of `route`, and the metric that it names.
    pub(super) fn template(&self, route: Route) -> (usize, Option<&str>) {
        let entry = self.entries.get(route.0);
        assert!(entry.is_some(), "a route was used after its topics were forgotten");
        entry.map_or((0, None), |entry| (entry.template, entry.metric.as_ref().map(Metric::as_str)))
    }

    /// Notes how far the times of the device of `route` are off.
    pub(super) fn note_skew(&self, route: Route, seconds: f64) {
        if let Some(entry) = self.entries.get(route.0) {
            entry.skew.note(seconds);
        }
    }

    /// What the topic of `route` says of Sparkplug B, if it does.
    pub(super) fn sparkplug(&self, route: Route) -> Option<&SparkplugTopic> {
        self.entries.get(route.0)?.sparkplug.as_ref()
    }

    /// The source of a message of `route` that carries `tags`.
    pub(super) fn source(&mut self, route: Route, tags: &str) -> Result<Arc<Source>, TopicError> {
        let entry = self.entries.get_mut(route.0);
        assert!(entry.is_some(), "a route was used after its topics were forgotten");
        let Some(entry) = entry else { return Err(TopicError::NoTemplate) };
        if tags.is_empty() {
            return Ok(Arc::clone(&entry.source));
        }
        if let Some(source) = entry.tagged.get(tags) {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(with_tags(&entry.source, tags)?);
        entry.tagged.insert(tags.into(), Arc::clone(&source));
        self.known += 1;
        Ok(source)
    }
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
    }
}
