//! Topic templates: how a topic names a tenant, a device and tags, such as `{tenant}/{site}/devices/{device}`.
//!
//! A template is cut at `/`; a level is literal text or a whole placeholder: `{tenant}`, `{device}`, and any
//! other name for a tag of that name. Of several templates the first whose levels fit decides. Pure: knows
//! nothing of brokers; names that leave here are validated, so a hostile topic is only a reject (I7).

use std::fmt;

use tidemill_store::model::{Device, NameError, Source, TAGS_MAX, TagKey, TagValue, Tags, TagsError, Tenant};

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
    Tag(TagKey),
}

impl TopicTemplate {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let levels = text.split('/').map(|level| parse_level(text, level)).collect::<Result<Vec<_>, _>>()?;
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
                Level::Tenant | Level::Device | Level::Tag(_) => "+",
            })
            .collect();
        levels.join("/")
    }

    /// Whether the levels of `topic` fit. Allocates nothing.
    fn fits(&self, topic: &str) -> bool {
        let mut given = topic.split('/');
        let fits = self.levels.iter().all(|level| match (level, given.next()) {
            (Level::Literal(text), Some(part)) => text == part,
            (Level::Tenant | Level::Device | Level::Tag(_), Some(_)) => true,
            (_, None) => false,
        });
        fits && given.next().is_none()
    }

    /// The source that `topic`, which fits, names.
    fn capture(&self, topic: &str) -> Result<Source, TopicError> {
        let (mut tenant, mut device, mut tags) = (None, None, Vec::new());
        for (level, part) in self.levels.iter().zip(topic.split('/')) {
            match level {
                Level::Literal(_) => {}
                Level::Tenant => tenant = Some(Tenant::new(part)?),
                Level::Device => device = Some(Device::new(part)?),
                Level::Tag(key) => tags.push((key.clone(), TagValue::new(part)?)),
            }
        }
        let tenant = tenant.map_or_else(|| Tenant::new(TENANT_DEFAULT), Ok)?;
        // Every template has a device: without one the empty name gives the error that fits best.
        let device = device.map_or_else(|| Device::new(""), Ok)?;
        Ok(Source::new(tenant, device, Tags::new(tags)?))
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
            Self::Tag(key) => fmt::Display::fmt(key, f),
        }
    }
}

impl fmt::Debug for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The templates of a pipeline in the order of configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplates(Vec<TopicTemplate>);

impl TopicTemplates {
    /// Checks each of `texts`.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, TemplateError> {
        let templates =
            texts.into_iter().map(|text| TopicTemplate::new(text.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if templates.is_empty() { Err(TemplateError::None) } else { Ok(Self(templates)) }
    }

    /// The templates in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TopicTemplate> {
        self.0.iter()
    }

    /// The topic filters to subscribe to, each once, in order.
    pub fn subscriptions(&self) -> Vec<String> {
        let mut filters = Vec::new();
        for filter in self.iter().map(TopicTemplate::subscription) {
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        filters
    }

    /// The source that `topic` names by the first template that fits. A template that fits decides, even where
    /// what it captures is refused.
    pub fn source(&self, topic: &[u8]) -> Result<Source, TopicError> {
        let topic = std::str::from_utf8(topic).map_err(|error| TopicError::NotUtf8(error.valid_up_to()))?;
        if let Some(character) = topic.chars().find(|c| matches!(c, '\0' | '+' | '#')) {
            return Err(TopicError::Character(character));
        }
        match self.iter().find(|template| template.fits(topic)) {
            Some(template) => template.capture(topic),
            None => Err(TopicError::NoTemplate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(texts: &[&str]) -> TopicTemplates {
        TopicTemplates::new(texts).unwrap()
    }

    #[test]
    fn placeholders_become_tenant_device_and_tags() {
        let templates = templates(&["{tenant}/{site}/devices/{device}/{line}"]);
        let source = templates.source(b"acme/north/devices/pump-7/l2").unwrap();
        assert_eq!((source.tenant().as_str(), source.device().as_str()), ("acme", "pump-7"));
        let tags: Vec<_> = source.tags().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(tags, [("line", "l2"), ("site", "north")]);
    }

    #[test]
    fn a_topic_without_a_tenant_belongs_to_the_default_one() {
        let source = templates(&[TEMPLATE_DEFAULT]).source(b"devices/d1/telemetry").unwrap();
        assert_eq!((source.tenant().as_str(), source.device().as_str()), ("default", "d1"));
        assert!(source.tags().is_empty());
    }

    #[test]
    fn the_first_template_that_fits_decides_even_when_its_capture_is_refused() {
        let both = templates(&["a/{device}/{x}", "a/{x}/{device}"]);
        assert_eq!(both.source(b"a/b/c").unwrap().device().as_str(), "b");
        assert!(matches!(both.source(b"a//c"), Err(TopicError::Name(_))));
    }

    #[test]
    fn topics_with_more_or_fewer_levels_fit_no_template() {
        let one = templates(&[TEMPLATE_DEFAULT]);
        for topic in ["devices/d1", "devices/d1/telemetry/", "/devices/d1/telemetry", "", "devices/d1/status"]
        {
            assert_eq!(one.source(topic.as_bytes()), Err(TopicError::NoTemplate), "{topic:?}");
        }
    }

    #[test]
    fn hostile_topics_are_errors_and_not_sources() {
        let one = templates(&["{device}/{tag}"]);
        assert_eq!(one.source(b"d/\xff"), Err(TopicError::NotUtf8(2)));
        assert_eq!(one.source(b"d/+"), Err(TopicError::Character('+')));
        assert_eq!(one.source(b"d\0/x"), Err(TopicError::Character('\0')));
        assert!(matches!(one.source(b"d\n/x"), Err(TopicError::Name(_))));
        let long = format!("{}/x", "d".repeat(257));
        assert!(matches!(one.source(long.as_bytes()), Err(TopicError::Name(_))));
    }

    #[test]
    fn templates_that_cannot_work_are_refused_at_configuration() {
        use TemplateError as E;
        assert!(matches!(TopicTemplate::new("devices/telemetry"), Err(E::NoDevice(_))));
        assert!(matches!(TopicTemplate::new("{device}/{device}"), Err(E::Repeated { .. })));
        assert!(matches!(TopicTemplate::new("{a}/{device}/{a}"), Err(E::Repeated { .. })));
        assert!(matches!(TopicTemplate::new("dev-{device}"), Err(E::Level { .. })));
        assert!(matches!(TopicTemplate::new("{device}/{{x}}"), Err(E::Level { .. })));
        assert!(matches!(TopicTemplate::new("+/{device}"), Err(E::Character { character: '+', .. })));
        assert!(matches!(TopicTemplate::new("{device}/#"), Err(E::Character { character: '#', .. })));
        assert!(matches!(TopicTemplate::new("{device}/{}"), Err(E::Tag { .. })));
        assert!(matches!(TopicTemplate::new("$share/g/{device}"), Err(E::Shared(_))));
        let many: Vec<String> = (0..33).map(|i| format!("{{t{i}}}")).collect();
        assert!(matches!(TopicTemplate::new(&format!("{{device}}/{}", many.join("/"))), Err(E::TooLong(_))));
        assert_eq!(TopicTemplates::new(Vec::<String>::new()), Err(E::None));
    }

    #[test]
    fn subscriptions_bring_every_topic_once() {
        let all = templates(&["{tenant}/d/{device}", "{site}/d/{device}", TEMPLATE_DEFAULT]);
        assert_eq!(all.subscriptions(), ["+/d/+", "devices/+/telemetry"]);
    }
}
