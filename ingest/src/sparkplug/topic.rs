//! Topics of Sparkplug B: `spBv1.0/group/message/edge_node[/device]`.
//!
//! A source is a device (its tags: group and edge node) or the edge node itself (its tag: the group). What the namespace
//! says besides telemetry (commands, states of hosts) is not subscribed to and fits no template.

use std::fmt;
use std::sync::Arc;

use tidemill_store::model::{Device, Source, TagKey, TagValue, Tags, Tenant};

use crate::decode::sparkplug::Kind;
use crate::topic::{TENANT_DEFAULT, TopicError};

/// The first level of every topic.
pub(crate) const NAMESPACE: &str = "spBv1.0";

/// Messages of nodes and of devices.
const MESSAGES: [(&str, Kind, bool); 6] = [
    ("NBIRTH", Kind::Birth, false),
    ("NDATA", Kind::Data, false),
    ("NDEATH", Kind::Death, false),
    ("DBIRTH", Kind::Birth, true),
    ("DDATA", Kind::Data, true),
    ("DDEATH", Kind::Death, true),
];

/// The topic of the death of `device` of `node`, `group/edge_node`.
pub(super) fn of_device_death(node: &str, device: &str) -> Option<String> {
    let (group, edge_node) = node.split_once('/')?;
    Some(format!("{NAMESPACE}/{group}/DDEATH/{edge_node}/{device}"))
}

/// A template of Sparkplug topics: all groups, or one.
#[derive(Clone, PartialEq, Eq)]
pub struct SparkplugTemplate {
    text: String,
    group: Group,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    Literal(String),
    Tenant,
    Any,
}

/// What a Sparkplug topic says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparkplugTopic {
    /// What the message is about.
    pub kind: Kind,
    /// Group and edge node, `group/edge_node`: what a session is of.
    pub node: Arc<str>,
    /// The device, where the message is not about the node itself.
    pub device: Option<Arc<str>>,
}

impl SparkplugTemplate {
    /// Checks `text`: `spBv1.0/{group}/{message}/{edge_node}/{device}`, the group being text, `{group}` or `{tenant}`.
    pub fn new(text: &str) -> Option<Self> {
        let levels: Vec<&str> = text.split('/').collect();
        let &[NAMESPACE, group, "{message}", "{edge_node}", "{device}"] = levels.as_slice() else {
            return None;
        };
        let group = match group {
            "{tenant}" => Group::Tenant,
            "{group}" => Group::Any,
            literal if literal.is_empty() || literal.contains(['{', '}', '+', '#']) => return None,
            literal => Group::Literal(literal.to_owned()),
        };
        Some(Self { text: text.to_owned(), group })
    }

    /// The topic filters that bring the messages of telemetry, and nothing else.
    pub(crate) fn subscriptions(&self) -> Vec<String> {
        let group = if let Group::Literal(group) = &self.group { group } else { "+" };
        let filter = |&(message, _, of_device): &(&str, Kind, bool)| {
            format!("{NAMESPACE}/{group}/{message}/+{}", if of_device { "/+" } else { "" })
        };
        MESSAGES.iter().map(filter).collect()
    }

    /// What `topic` says, if it fits.
    pub(crate) fn capture(&self, topic: &str) -> Option<Result<(Source, SparkplugTopic), TopicError>> {
        let mut levels = topic.split('/');
        let (Some(NAMESPACE), Some(group), Some(message), Some(node)) =
            (levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return None;
        };
        let (device, rest) = (levels.next(), levels.next());
        let &(_, kind, of_device) = MESSAGES.iter().find(|(name, ..)| *name == message)?;
        let fits = of_device == device.is_some() && rest.is_none();
        let group_fits = !matches!(&self.group, Group::Literal(literal) if literal != group);
        (fits && group_fits).then(|| {
            Ok((
                self.source(group, node, device)?,
                SparkplugTopic {
                    kind,
                    node: format!("{group}/{node}").into(),
                    device: device.map(Arc::from),
                },
            ))
        })
    }

    fn source(&self, group: &str, node: &str, device: Option<&str>) -> Result<Source, TopicError> {
        let mut tags = Vec::new();
        let mut tag = |key, value| -> Result<(), TopicError> {
            tags.push((TagKey::new(key)?, TagValue::new(value)?));
            Ok(())
        };
        let tenant = if self.group == Group::Tenant {
            Tenant::new(group)?
        } else {
            tag("group", group)?;
            Tenant::new(TENANT_DEFAULT)?
        };
        if device.is_some() {
            tag("edge_node", node)?;
        }
        Ok(Source::new(tenant, Device::new(device.unwrap_or(node))?, Tags::new(tags)?))
    }
}

impl fmt::Debug for SparkplugTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tenant, device, tags, and the rest.
    type Captured = (String, String, Vec<(String, String)>, SparkplugTopic);

    fn capture(template: &str, topic: &str) -> Option<Captured> {
        let (source, said) = SparkplugTemplate::new(template).unwrap().capture(topic)?.unwrap();
        let tags = source.tags().iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Some((source.tenant().to_string(), source.device().to_string(), tags, said))
    }

    const ANY: &str = "spBv1.0/{group}/{message}/{edge_node}/{device}";

    #[test]
    fn nodes_and_devices_are_sources_of_their_own() {
        let (tenant, device, tags, topic) = capture(ANY, "spBv1.0/plant/DDATA/edge/pump").unwrap();
        assert_eq!((tenant.as_str(), device.as_str()), ("default", "pump"));
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(tags, [tag("edge_node", "edge"), tag("group", "plant")]);
        let expected =
            SparkplugTopic { kind: Kind::Data, node: "plant/edge".into(), device: Some("pump".into()) };
        assert_eq!(topic, expected);
        let (_, device, tags, topic) = capture(ANY, "spBv1.0/plant/NBIRTH/edge").unwrap();
        assert_eq!((device.as_str(), tags), ("edge", vec![tag("group", "plant")]));
        assert_eq!((topic.kind, topic.device), (Kind::Birth, None));
        let by_tenant = ANY.replace("{group}", "{tenant}");
        let (tenant, _, tags, _) = capture(&by_tenant, "spBv1.0/plant/NDEATH/edge").unwrap();
        assert_eq!((tenant.as_str(), tags), ("plant", vec![]));
    }

    #[test]
    fn only_telemetry_of_the_group_fits() {
        for topic in [
            "spBv1.0/plant/NCMD/edge",
            "spBv1.0/plant/NDATA/edge/pump",
            "spBv1.0/plant/DDATA/edge",
            "spBv1.0/plant/DDATA/edge/pump/x",
            "spBv1.0/STATE/host",
            "spAv1.0/plant/NDATA/edge",
        ] {
            assert_eq!(capture(ANY, topic), None, "{topic}");
        }
        let one = ANY.replace("{group}", "plant");
        assert!(capture(&one, "spBv1.0/plant/NDATA/edge").is_some());
        assert_eq!(capture(&one, "spBv1.0/other/NDATA/edge"), None);
        let filters = SparkplugTemplate::new(&one).unwrap().subscriptions();
        assert_eq!(filters.first().map(String::as_str), Some("spBv1.0/plant/NBIRTH/+"));
        assert!(filters.contains(&"spBv1.0/plant/DDATA/+/+".to_owned()) && filters.len() == 6);
    }

    #[test]
    fn other_shapes_of_a_template_are_refused() {
        for text in ["spBv1.0/{group}/{message}/{edge_node}", "a/{group}/{message}/{edge_node}/{device}", ""]
        {
            assert_eq!(SparkplugTemplate::new(text), None, "{text}");
        }
        assert_eq!(SparkplugTemplate::new(&ANY.replace("{group}", "+")), None);
    }
}
