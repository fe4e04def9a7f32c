//! The series that a query means, laid out as buckets need them: by era and shard, sources in the order of their ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::snapshot::BucketState;
use crate::catalog::{CatalogIndex, Selection, SourceIndex, SourceSet};
use crate::layout::Era;
use crate::model::{Metric, Shard, SourceId};

/// Sources of one shard, ascending by id.
#[derive(Debug, Default)]
pub(super) struct ShardSources {
    pub(super) sources: Vec<(SourceId, SourceIndex)>,
    pub(super) ids: Vec<SourceId>,
}

/// The series of one query.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) selection: Arc<Selection>,
    /// The series as far as they are known: for each metric its sources.
    pub(super) series: BTreeMap<Metric, SourceSet>,
    pub(super) metrics: Vec<Metric>,
    eras: BTreeMap<i64, BTreeMap<Shard, Arc<ShardSources>>>,
}

impl Chosen {
    /// The series of `selection`, ready for buckets of `eras`.
    pub(super) fn new(
        catalog: &CatalogIndex,
        selection: Arc<Selection>,
        eras: impl Iterator<Item = Era>,
    ) -> Self {
        let series = catalog.series(&selection);
        let metrics = series.keys().cloned().collect();
        let mut by_era = BTreeMap::new();
        for era in eras {
            by_era.entry(era.starts_at.nanos()).or_insert_with(|| shards(catalog, &selection.sources, &era));
        }
        Self { selection, series, metrics, eras: by_era }
    }

    /// The sources that lie in the shard of `bucket`.
    pub(super) fn of(&self, bucket: &BucketState) -> Arc<ShardSources> {
        let shards = self.eras.get(&bucket.era.starts_at.nanos());
        shards.and_then(|shards| shards.get(&bucket.place.shard)).cloned().unwrap_or_default()
    }

    /// The shards of an era with their sources.
    pub(super) fn shards(&self, era: &Era) -> impl Iterator<Item = (Shard, &Arc<ShardSources>)> {
        let shards = self.eras.get(&era.starts_at.nanos());
        shards.into_iter().flatten().map(|(shard, sources)| (*shard, sources))
    }

    /// How many series there are.
    pub(super) fn series_count(&self) -> usize {
        self.series.values().map(SourceSet::len).sum()
    }
}

fn shards(catalog: &CatalogIndex, sources: &SourceSet, era: &Era) -> BTreeMap<Shard, Arc<ShardSources>> {
    let of_shard = |(shard, sources): (Shard, Vec<(SourceId, SourceIndex)>)| {
        let ids = sources.iter().map(|(id, _)| *id).collect();
        (shard, Arc::new(ShardSources { sources, ids }))
    };
    catalog.by_shard(sources, era).into_iter().map(of_shard).collect()
}
