//! What JSON payloads mean, a second time: over a tree that `serde_json` builds, slowly and plainly, and trees
//! to try both on.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use tidemill_store::model::{Timestamp, Value};

use crate::decode::testing::Said;

/// JSON as a tree that keeps the order of members, duplicates, and how numbers were written.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::decode) enum Node {
    Null,
    Bool(bool),
    I64(i64),
    F64(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Build;
        impl<'de> Visitor<'de> for Build {
            type Value = Node;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::I64(value))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
                i64::try_from(value).map(Node::I64).map_err(|_| E::custom("beyond i64"))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::F64(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(node) = seq.next_element()? {
                    list.push(node);
                }
                Ok(Node::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Object(members))
            }
        }
        deserializer.deserialize_any(Build)
    }
}

/// What the shapes mean, spelled out over a tree; `None` for a reject.
pub(in crate::decode) fn oracle(node: &Node) -> Option<Vec<Said>> {
    let points = if let Node::List(list) = node {
        list.iter().map(oracle_point).collect::<Option<Vec<_>>>()?
    } else {
        vec![oracle_point(node)?]
    };
    let points: Vec<Said> = points.into_iter().filter(|point| !point.values.is_empty()).collect();
    (!points.is_empty()).then_some(points)
}

fn oracle_point(node: &Node) -> Option<Said> {
    let Node::Object(members) = node else { return None };
    let (mut said, mut flat) = (Said { time: None, tags: vec![], values: vec![] }, vec![]);
    let once = |name: &str| members.iter().filter(|(key, _)| key == name).count() <= 1;
    if members.is_empty() || !once("ts") || !once("tags") {
        return None;
    }
    let mut wrapped = None;
    for (key, value) in members {
        match (key.as_str(), value) {
            ("ts", Node::I64(millis)) => said.time = Some(Timestamp::from_millis(*millis).ok()?),
            ("ts" | "tags", Node::Null) => {}
            ("tags", Node::Object(tags)) => {
                for (key, value) in tags {
                    if key.is_empty() {
                        return None;
                    }
                    if let Node::Text(text) = value {
                        let control = |text: &str| text.chars().any(char::is_control);
                        if text.is_empty() || control(text) || control(key) {
                            return None;
                        }
                        said.tags.push((key.clone(), text.clone()));
                    } else if *value != Node::Null {
                        return None;
                    }
                }
            }
            ("values", Node::Object(inner)) if wrapped.is_none() => wrapped = Some(inner.clone()),
            ("ts" | "tags", _) | ("values", Node::Object(_)) => return None,
            _ => flat.push((key.clone(), value.clone())),
        }
    }
    flatten("", &flat, &mut said.values)?;
    if let Some(inner) = wrapped {
        if inner.is_empty() || !said.values.is_empty() || flat.iter().any(|(_, value)| *value != Node::Null) {
            return None;
        }
        flatten("", &inner, &mut said.values)?;
    }
    Some(said)
}

fn flatten(prefix: &str, members: &[(String, Node)], out: &mut Vec<(String, Value)>) -> Option<()> {
    for (key, value) in members {
        if key.is_empty() {
            return None;
        }
        let name = format!("{prefix}{key}");
        let value = match value {
            Node::Null => continue,
            Node::Bool(value) => Value::Bool(*value),
            Node::I64(value) => Value::I64(*value),
            Node::F64(value) => Value::F64(*value),
            Node::Text(text) => Value::Text(text.as_str().into()),
            Node::List(_) => return None,
            Node::Object(inner) if inner.is_empty() => return None,
            Node::Object(inner) => {
                flatten(&format!("{name}."), inner, out)?;
                continue;
            }
        };
        if out.iter().any(|(other, _)| *other == name) {
            return None;
        }
        out.push((name, value));
    }
    Some(())
}

/// `node` with every `ts` of a point that is a fraction or text made whole milliseconds: other tests cover those.
pub(in crate::decode) fn with_whole_times(node: Node) -> Node {
    let member = |(key, value): (String, Node)| match (key.as_str(), &value) {
        ("ts", Node::F64(_) | Node::Text(_)) => (key, Node::I64(1_700_000_000_123)),
        _ => (key, value),
    };
    if let Node::List(list) = node {
        Node::List(list.into_iter().map(with_whole_times).collect())
    } else if let Node::Object(members) = node {
        Node::Object(members.into_iter().map(member).collect())
    } else {
        node
    }
}

pub(in crate::decode) fn write_json(node: &Node, out: &mut String) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(value) => write!(out, "{value}").unwrap(),
        Node::I64(value) => write!(out, "{value}").unwrap(),
        Node::F64(value) => write!(out, "{value:?}").unwrap(),
        Node::Text(text) => out.push_str(&serde_json::to_string(text).unwrap()),
        Node::List(list) => {
            for (index, node) in list.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                write_json(node, out);
            }
            out.push_str(if list.is_empty() { "[]" } else { " ]" });
        }
        Node::Object(members) => {
            out.push_str("{ ");
            for (index, (key, node)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "\n, " });
                write!(out, "{}:\t", serde_json::to_string(key).unwrap()).unwrap();
                write_json(node, out);
            }
            out.push('}');
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-d]{1,2}",
        2 => prop::sample::select(vec!["ts", "tags", "values"]).prop_map(str::to_owned),
        1 => "[a-c]\\.[a-c]",
        1 => "[ -~é😀]{0,3}",
    ]
}

fn leaf() -> impl Strategy<Value = Node> {
    let finite = any::<f64>().prop_filter("finite", |value| value.is_finite());
    prop_oneof![
        Just(Node::Null),
        any::<bool>().prop_map(Node::Bool),
        any::<i64>().prop_map(Node::I64),
        (0..9_000_000_000_000_i64).prop_map(Node::I64),
        finite.prop_map(Node::F64),
        "[ -~é😀\"\\\\\n]{0,4}".prop_map(Node::Text),
    ]
}

pub(in crate::decode) fn tree() -> impl Strategy<Value = Node> {
    let inner = leaf().prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            8 => prop::collection::vec((key(), inner.clone()), 0..5).prop_map(Node::Object),
            1 => prop::collection::vec(inner, 0..2).prop_map(Node::List),
        ]
    });
    let point = prop::collection::vec((key(), inner), 0..6).prop_map(Node::Object).boxed();
    prop_oneof![3 => point.clone(), 1 => prop::collection::vec(point, 0..4).prop_map(Node::List)]
}
