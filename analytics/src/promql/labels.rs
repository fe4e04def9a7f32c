//! Label sets: what identifies a series in PromQL.
//!
//! Sorted by name, each name once, no empty values (an empty value is the same as no label). Cheap to clone.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Default;

/// The label that holds the metric.
pub const NAME: &str = "__name__";
/// The label of a classic histogram's bucket: its upper bound.
pub const BUCKET: &str = "le";

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The name.
    pub name: Arc<str>,
    /// The value, never empty.
    pub value: Arc<str>,
}

/// A set of labels, ordered as Prometheus orders series: by the first name or value that differs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[Label]>);

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl Labels {
    /// A set of `pairs`; of a name given twice the last counts, and empty values are left out.
    pub fn new(pairs: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Self {
        let mut labels: Vec<Label> = pairs.into_iter().map(|(name, value)| Label { name, value }).collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels.reverse();
        labels.dedup_by(|a, b| a.name == b.name);
        labels.reverse();
        labels.retain(|label| !label.value.is_empty());
        Self(labels.into())
    }

    /// A set of text pairs, as [`Labels::new`].
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self::new(pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))))
    }

    /// The labels in the order of their names.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// The value of `name`; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|label| &*label.name == name).map_or("", |label| &label.value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Only the labels that `wanted` holds of.
    #[must_use]
    pub fn filtered(&self, wanted: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|label| wanted(&label.name)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|label| wanted(&label.name)).cloned().collect())
    }

    /// Without the metric's name.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.filtered(|name| name != NAME)
    }

    /// With `name` set to `value`, or taken out where that is empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let others = self.0.iter().filter(|label| &*label.name != name);
        let all = others.map(|label| (Arc::clone(&label.name), Arc::clone(&label.value)));
        Self::new(all.chain([(Arc::from(name), Arc::from(value))]))
    }

    /// A hash that is the same in every process and release.
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        for label in self {
            hasher.update(label.name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(label.value.as_bytes());
            hasher.update(&[0xff]);
        }
        hasher.digest()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// `{a="1", b="2"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, label) in self.iter().enumerate() {
            let gap = if n > 0 { ", " } else { "" };
            write!(f, "{gap}{}={:?}", label.name, label.value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_each_once_and_never_empty() {
        let labels = Labels::of(&[("b", "1"), ("a", "x"), ("b", "2"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"{a="x", b="2"}"#);
        assert_eq!(labels.with("a", "").to_string(), r#"{b="2"}"#);
        assert_eq!((labels.get("b"), labels.get("none")), ("2", ""));
    }

    #[test]
    fn names_and_values_that_run_together_hash_apart() {
        assert_ne!(Labels::of(&[("a", "bc")]).stable_hash(), Labels::of(&[("ab", "c")]).stable_hash());
    }
}
