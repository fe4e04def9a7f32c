//! Topic templates: how a topic names a tenant, a device and tags, such as `{tenant}/{site}/devices/{device}`.
//!
//! A template is cut at `/`; a level is literal text or a whole placeholder: `{tenant}`, `{device}`, and any
//! other name for a tag of that name. Where payloads do not name their metric, `{metric}` does, or, as the last level,
//! `{metric*}`: all levels that are left, joined by points. Of several templates the first whose levels fit decides, and
//! with it how payloads are read. Pure: knows nothing of brokers; names that leave here are validated, so a hostile topic
//! is only a reject (I7).

use std::fmt;

use tidemill_store::model::{
    Device, Metric, NameError, Source, TAGS_MAX, TagKey, TagValue, Tags, TagsError, Tenant,
};

use crate::decode::{Format, Reading, TimeUnit};
use crate::policy::{TimeBasis, TimeRule};
use crate::sparkplug::{SparkplugTemplate, SparkplugTopic};

/// The tenant of topics that name none.
pub const TENANT_DEFAULT: &str = "default";

/// The template used where none is configured.
pub const TEMPLATE_DEFAULT: &str = "devices/{device}/telemetry";

/// Longest topic that MQTT can carry, in bytes.
const TOPIC_BYTES_MAX: usize = 65_535;

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is no template at all.
    #[error("no topic template is configured")]
    None,
    /// It does not say where the device is.
    #[error("the topic template {0:?} has no {{device}}")]
    NoDevice(String),
    /// A placeholder stands twice.
    #[error("the topic template {template:?} has {{{name}}} twice")]
    Repeated {
        /// The template.
        template: String,
        /// The placeholder.
        name: String,
    },
    /// A level is neither literal text nor one whole placeholder.
    #[error(
        "the level {level:?} of the topic template {template:?} must be text or one whole {{placeholder}}"
    )]
    Level {
        /// The template.
        template: String,
        /// The level.
        level: String,
    },
    /// Literal text holds a wildcard or a control character.
    #[error("the topic template {template:?} holds {character:?}; write a {{placeholder}} instead")]
    Character {
        /// The template.
        template: String,
        /// The character.
        character: char,
    },
    /// A placeholder is no possible tag key.
    #[error("a placeholder of the topic template {template:?} cannot name a tag")]
    Tag {
        /// The template.
        template: String,
        /// Why.
        source: NameError,
    },
    /// Payloads of its format name no metric, and it does not either.
    #[error(
        "payloads of the topic template {0:?} do not name their metric: it needs {{metric}}, or a metric"
    )]
    NoMetric(String),
    /// Payloads of its format have no time.
    #[error(
        "payloads of the topic template {0:?} need have no time, so time = \"payload\" would refuse all of them"
    )]
    NoTime(String),
    /// It is no template of Sparkplug topics.
    #[error(
        "the topic template {0:?} of format sparkplug must be spBv1.0/{{group}}/{{message}}/{{edge_node}}/{{device}}; \
         the group may be text or {{tenant}}"
    )]
    Sparkplug(String),
    /// `{metric*}` is not the last level.
    #[error("{{metric*}} must be the last level of the topic template {0:?}")]
    RestNotLast(String),
    /// It begins with `$share`, which a source adds by itself.
    #[error("the topic template {0:?} begins with $share; configure the share group instead")]
    Shared(String),
    /// It is longer than a topic can be, or has more tags than a source can carry.
    #[error("the topic template {0:?} is too long or has more than {TAGS_MAX} tags")]
    TooLong(String),
}

/// Why a topic gave no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not text.
    #[error("the topic is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// A character that no topic of a message may hold.
    #[error("the topic holds {0:?}, which no topic of a message may hold")]
    Character(char),
    /// No template fits.
    #[error("no topic template fits the topic")]
    NoTemplate,
    /// A template fits, but what it captures is no valid name.
    #[error("topic and tags name no valid source: {0}")]
    Name(#[from] NameError),
    /// A template fits, but its tags do not make a set.
    #[error("topic and tags name no valid source: {0}")]
    Tags(#[from] TagsError),
}

/// One checked template.
#[derive(Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    text: String,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(String),
    Tenant,
    Device,
    Metric,
    /// The metric, over all levels that are left.
    MetricRest,
    Tag(TagKey),
}

/// How the messages of a template are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How payloads are read.
    pub reading: Reading,
    /// How samples get their times.
    pub times: TimeRule,
    /// The metric of payloads that do not name theirs, where the topic does not either.
    pub metric: Option<Metric>,
}

impl Default for Rules {
    /// JSON with times in milliseconds.
    fn default() -> Self {
        let reading = Reading::new(Format::default(), Some(TimeUnit::default()));
        Self { reading, times: TimeRule::default(), metric: None }
    }
}

/// A template of whatever shape.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Levels(TopicTemplate),
    Sparkplug(SparkplugTemplate),
}

/// What a topic says by the template that it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The position of the template.
    pub template: usize,
    /// The source.
    pub source: Source,
    /// The metric, where topic or template name one.
    pub metric: Option<Metric>,
    /// What a topic of Sparkplug B says besides.
    pub sparkplug: Option<SparkplugTopic>,
}

impl TopicTemplate {
    /// Checks `text`, in which every placeholder but tenant and device is a tag.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        Self::of_levels(
            text,
            text.split('/').map(|level| parse_level(text, level)).collect::<Result<_, _>>()?,
        )
    }

    /// Checks `text`, in which `{metric}` or `{metric*}` is the metric.
    pub fn naming_metric(text: &str) -> Result<Self, TemplateError> {
        let level = |level: &str| match level {
            "{metric}" => Ok(Level::Metric),
            "{metric*}" => Ok(Level::MetricRest),
            level => parse_level(text, level),
        };
        let levels = text.split('/').map(level).collect::<Result<Vec<_>, _>>()?;
        if levels.iter().rev().skip(1).any(|level| *level == Level::MetricRest) {
            return Err(TemplateError::RestNotLast(text.to_owned()));
        }
        Self::of_levels(text, levels)
    }

    fn of_levels(text: &str, levels: Vec<Level>) -> Result<Self, TemplateError> {
        for (index, level) in levels.iter().enumerate() {
            if !matches!(level, Level::Literal(_)) && levels.iter().take(index).any(|other| other == level) {
                return Err(TemplateError::Repeated { template: text.to_owned(), name: level.to_string() });
            }
        }
        if !levels.contains(&Level::Device) {
            return Err(TemplateError::NoDevice(text.to_owned()));
        }
        if levels.first() == Some(&Level::Literal("$share".to_owned())) {
            return Err(TemplateError::Shared(text.to_owned()));
        }
        let tags = levels.iter().filter(|level| matches!(level, Level::Tag(_))).count();
        if text.len() > TOPIC_BYTES_MAX || tags > TAGS_MAX {
            return Err(TemplateError::TooLong(text.chars().take(80).collect()));
        }
        Ok(Self { text: text.to_owned(), levels })
    }

    /// The template as configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The topic filter that brings every topic this template fits, without `$share`.
    pub fn subscription(&self) -> String {
        let levels: Vec<&str> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Literal(text) => text.as_str(),
                Level::Tenant | Level::Device | Level::Metric | Level::Tag(_) => "+",
                Level::MetricRest => "#",
            })
            .collect();
        levels.join("/")
    }

    fn names_metric(&self) -> bool {
        self.levels.iter().any(|level| matches!(level, Level::Metric | Level::MetricRest))
    }

    /// Whether the levels of `topic` fit. Allocates nothing.
    fn fits(&self, topic: &str) -> bool {
        let mut given = topic.split('/');
        let fits = self.levels.iter().all(|level| match (level, given.next()) {
            (Level::Literal(text), Some(part)) => text == part,
            (Level::MetricRest, Some(_)) => {
                given.by_ref().for_each(drop);
                true
            }
            (Level::Tenant | Level::Device | Level::Metric | Level::Tag(_), Some(_)) => true,
            (_, None) => false,
        });
        fits && given.next().is_none()
    }

    /// The source that `topic`, which fits, names, and the metric.
    fn capture(&self, topic: &str) -> Result<(Source, Option<Metric>), TopicError> {
        let (mut tenant, mut device, mut metric, mut tags) = (None, None, None, Vec::new());
        let mut parts = topic.split('/');
        for level in &self.levels {
            let part = parts.next().unwrap_or_default();
            match level {
                Level::Literal(_) => {}
                Level::Tenant => tenant = Some(Tenant::new(part)?),
                Level::Device => device = Some(Device::new(part)?),
                Level::Metric => metric = Some(Metric::new(part)?),
                Level::MetricRest => {
                    let rest = parts.by_ref().fold(part.to_owned(), |all, next| all + "." + next);
                    metric = Some(Metric::new(&rest)?);
                }
                Level::Tag(key) => tags.push((key.clone(), TagValue::new(part)?)),
            }
        }
        let tenant = tenant.map_or_else(|| Tenant::new(TENANT_DEFAULT), Ok)?;
        // Every template has a device: without one the empty name gives the error that fits best.
        let device = device.map_or_else(|| Device::new(""), Ok)?;
        Ok((Source::new(tenant, device, Tags::new(tags)?), metric))
    }
}

fn parse_level(template: &str, level: &str) -> Result<Level, TemplateError> {
    let template = || template.to_owned();
    if let Some(name) = level.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        if name.contains(['{', '}']) {
            return Err(TemplateError::Level { template: template(), level: level.to_owned() });
        }
        return match name {
            "tenant" => Ok(Level::Tenant),
            "device" => Ok(Level::Device),
            _ => TagKey::new(name)
                .map(Level::Tag)
                .map_err(|source| TemplateError::Tag { template: template(), source }),
        };
    }
    if level.contains(['{', '}']) {
        return Err(TemplateError::Level { template: template(), level: level.to_owned() });
    }
    match level.chars().find(|c| c.is_control() || matches!(c, '+' | '#')) {
        Some(character) => Err(TemplateError::Character { template: template(), character }),
        None => Ok(Level::Literal(level.to_owned())),
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Tenant => f.write_str("tenant"),
            Self::Device => f.write_str("device"),
            Self::Metric => f.write_str("metric"),
            Self::MetricRest => f.write_str("metric*"),
            Self::Tag(key) => fmt::Display::fmt(key, f),
        }
    }
}

impl fmt::Debug for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The templates of a pipeline with their rules, in the order of configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplates(Vec<(Shape, Rules)>);

impl TopicTemplates {
    /// Checks each of `texts`; payloads are JSON.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, TemplateError> {
        Self::with_rules(texts.into_iter().map(|text| (text, Rules::default())))
    }

    /// Checks each of `templates` with its rules.
    pub fn with_rules<T: AsRef<str>>(
        templates: impl IntoIterator<Item = (T, Rules)>,
    ) -> Result<Self, TemplateError> {
        let template = |(text, rules): (T, Rules)| ruled(text.as_ref(), rules);
        let templates = templates.into_iter().map(template).collect::<Result<Vec<_>, _>>()?;
        if templates.is_empty() { Err(TemplateError::None) } else { Ok(Self(templates)) }
    }

    /// The rules of the templates in order.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rules> {
        self.0.iter().map(|(_, rules)| rules)
    }

    /// The rules of the template at `position`.
    pub fn rules_at(&self, position: usize) -> Option<&Rules> {
        self.0.get(position).map(|(_, rules)| rules)
    }

    /// Whether some template is of Sparkplug B.
    pub fn has_sparkplug(&self) -> bool {
        self.0.iter().any(|(shape, _)| matches!(shape, Shape::Sparkplug(_)))
    }

    /// The topic filters to subscribe to, each once, in order.
    pub fn subscriptions(&self) -> Vec<String> {
        let mut filters = Vec::new();
        let of_shape = |(shape, _): &(Shape, Rules)| match shape {
            Shape::Levels(template) => vec![template.subscription()],
            Shape::Sparkplug(template) => template.subscriptions(),
        };
        for filter in self.0.iter().flat_map(of_shape) {
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        filters
    }

    /// What `topic` says by the first template that fits. A template that fits decides, even where what it captures is
    /// refused.
    pub fn capture(&self, topic: &[u8]) -> Result<Captured, TopicError> {
        let topic = std::str::from_utf8(topic).map_err(|error| TopicError::NotUtf8(error.valid_up_to()))?;
        if let Some(character) = topic.chars().find(|c| matches!(c, '\0' | '+' | '#')) {
            return Err(TopicError::Character(character));
        }
        for (template, (shape, rules)) in self.0.iter().enumerate() {
            match shape {
                Shape::Levels(levels) if levels.fits(topic) => {
                    let (source, metric) = levels.capture(topic)?;
                    let metric = metric.or_else(|| rules.metric.clone());
                    return Ok(Captured { template, source, metric, sparkplug: None });
                }
                Shape::Sparkplug(namespace) => {
                    if let Some(captured) = namespace.capture(topic) {
                        let (source, said) = captured?;
                        return Ok(Captured { template, source, metric: None, sparkplug: Some(said) });
                    }
                }
                Shape::Levels(_) => {}
            }
        }
        Err(TopicError::NoTemplate)
    }
}

/// A template that goes with its rules.
fn ruled(text: &str, rules: Rules) -> Result<(Shape, Rules), TemplateError> {
    let format = &rules.reading.format;
    if *format == Format::Sparkplug {
        if rules.times.basis == TimeBasis::Payload {
            return Err(TemplateError::NoTime(text.to_owned()));
        }
        let template =
            SparkplugTemplate::new(text).ok_or_else(|| TemplateError::Sparkplug(text.to_owned()))?;
        return Ok((Shape::Sparkplug(template), rules));
    }
    let template = if format.takes_metric_from_topic() {
        TopicTemplate::naming_metric(text)?
    } else {
        TopicTemplate::new(text)?
    };
    if *format == Format::Scalar {
        if !template.names_metric() && rules.metric.is_none() {
            return Err(TemplateError::NoMetric(text.to_owned()));
        }
        if rules.times.basis == TimeBasis::Payload {
            return Err(TemplateError::NoTime(text.to_owned()));
        }
    }
    Ok((Shape::Levels(template), rules))
}

#[cfg(test)]
mod tests;
