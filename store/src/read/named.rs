//! Puts names to series and series in the order of their names. Pure.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::catalog::{CatalogIndex, SourceIndex};
use crate::model::{Metric, Source};

/// What sources are ordered by.
pub(super) fn names(source: &Source) -> impl Ord + '_ {
    (source.tenant(), source.device(), source.tags())
}

/// What was found of series, in the order of tenant, device, tags and metric. Sources are compared once each, not once
/// for each of their series.
pub(super) fn named<T>(
    catalog: &CatalogIndex,
    found: impl Iterator<Item = (SourceIndex, Metric, T)>,
) -> Vec<(Arc<Source>, Metric, T)> {
    let mut by_source: HashMap<SourceIndex, Vec<(Metric, T)>> = HashMap::new();
    for (source, metric, one) in found {
        by_source.entry(source).or_default().push((metric, one));
    }
    let by_source: Vec<(SourceIndex, Vec<(Metric, T)>)> = by_source.into_iter().collect();
    let sources = catalog.sources(by_source.iter().map(|(source, _)| *source));
    let known = sources.into_iter().zip(by_source);
    let mut named: Vec<_> = known.filter_map(|(source, (_, of_source))| Some((source?, of_source))).collect();
    named.sort_unstable_by(|(a, _), (b, _)| names(a).cmp(&names(b)));
    let each = |(source, mut of_source): (Arc<Source>, Vec<(Metric, T)>)| {
        of_source.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        of_source.into_iter().map(move |(metric, one)| (Arc::clone(&source), metric, one))
    };
    named.into_iter().flat_map(each).collect()
}
