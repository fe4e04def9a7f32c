//! A source's names and tags as labels. Pure.
//!
//! `__name__` is the metric, `device` and `tenant` are the source's, and its tags are labels of their own; one whose
//! key is taken already gets the prefix `exported_`, as Prometheus has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_store::catalog::{MetricEntry, SourceEntry};
use tidemill_store::model::{Metric, Source, ValueKind};

use crate::promql::{Labels, Matcher, NAME};

/// The labels that every source has.
pub(super) const RESERVED: [&str; 3] = [NAME, "device", "tenant"];

/// A source and those of its metrics that are wanted.
pub(super) type Known = (Arc<SourceEntry>, Vec<MetricEntry>);

/// The labels of a source's metric.
pub(super) fn labels_of(source: &Source, metric: &Metric) -> Labels {
    let mut names: BTreeSet<String> = RESERVED.map(str::to_owned).into();
    let mut pairs: Vec<(Arc<str>, Arc<str>)> = vec![
        (NAME.into(), metric.as_str().into()),
        ("device".into(), source.device().as_str().into()),
        ("tenant".into(), source.tenant().as_str().into()),
    ];
    // Keys that are free first, so that a tag keeps its name where it can.
    let (free, taken): (Vec<_>, Vec<_>) =
        source.tags().iter().partition(|(key, _)| !RESERVED.contains(&key.as_str()));
    for (key, value) in free.into_iter().chain(taken) {
        let mut name = key.as_str().to_owned();
        while !names.insert(name.clone()) {
            name.insert_str(0, "exported_");
        }
        pairs.push((name.into(), value.as_str().into()));
    }
    Labels::new(pairs)
}

/// Whether a metric has samples that are numbers here.
fn is_numeric(entry: &MetricEntry) -> bool {
    entry.kinds.iter().any(|kind| kind != ValueKind::Text)
}

/// The sources with those of their metrics that fit all matchers of the name and are numbers.
pub(super) fn fitting(entries: Vec<Arc<SourceEntry>>, matchers: &[Matcher]) -> Vec<Known> {
    let names: Vec<&Matcher> = matchers.iter().filter(|matcher| matcher.name == NAME).collect();
    let fits = |metric: &&MetricEntry| {
        is_numeric(metric) && names.iter().all(|matcher| matcher.fits(metric.metric.as_str()))
    };
    let known = entries.into_iter().map(|entry| {
        let metrics: Vec<MetricEntry> = entry.metrics.iter().filter(fits).cloned().collect();
        (entry, metrics)
    });
    known.filter(|(_, metrics)| !metrics.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use tidemill_store::catalog::MetricSet;
    use tidemill_store::layout::MetricFact;
    use tidemill_store::model::{Device, TagKey, TagValue, Tags, Tenant};

    use super::*;

    fn source(tags: &[(&str, &str)]) -> Source {
        let tag = |(key, value): &(&str, &str)| (TagKey::new(key).unwrap(), TagValue::new(value).unwrap());
        let tags = Tags::new(tags.iter().map(tag).collect()).unwrap();
        Source::new(Tenant::new("t").unwrap(), Device::new("d").unwrap(), tags)
    }

    #[test]
    fn a_tag_whose_name_is_taken_is_exported() {
        let source = source(&[("device", "x"), ("exported_device", "y"), ("site", "north")]);
        assert_eq!(
            labels_of(&source, &Metric::new("m").unwrap()).to_string(),
            r#"{__name__="m", device="d", exported_device="y", exported_exported_device="x", site="north", tenant="t"}"#
        );
    }

    #[test]
    fn matchers_choose_metrics_by_name_and_texts_are_none() {
        let fact = |name: &str, kind| MetricFact { metric: Metric::new(name).unwrap(), kind, unit: None };
        let entry = |tags: &[(&str, &str)]| {
            let facts = [fact("a", ValueKind::F64), fact("b", ValueKind::Bool), fact("c", ValueKind::Text)];
            Arc::new(SourceEntry { source: Arc::new(source(tags)), metrics: MetricSet::from_iter(facts) })
        };
        let count = |matchers: &[Matcher]| {
            let entries = vec![entry(&[("site", "north")]), entry(&[("device", "x")])];
            fitting(entries, matchers).iter().map(|(_, metrics)| metrics.len()).sum::<usize>()
        };
        assert_eq!(count(&[]), 4);
        assert_eq!(count(&[Matcher::equal(NAME, "a")]), 2);
        assert_eq!(count(&[Matcher::equal(NAME, "c")]), 0);
    }
}
