//! Which sources and labels there are: from the catalog, as far as marks and seals count it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::compute::{Work, compute};
use super::named::names;
use super::reader::Reader;
use super::{Excess, ReadFailure, Selector};
use crate::catalog::{Condition, Label, SourceEntry, Test};
use crate::layout::Era;
use crate::model::{Shard, Source, TimeRange};
use crate::wide::Wide;

impl<W: Wide> Reader<W> {
    /// The sources that have at least one of the selected metrics, by tenant, device and tags.
    pub async fn sources(&self, selector: &Selector) -> Result<Vec<Arc<SourceEntry>>, ReadFailure> {
        self.sources_within(selector, TimeRange::ALL).await
    }

    /// As [`Reader::sources`], without those of which it is cheap to tell that they have no sample in `range`: no
    /// device of their shard has.
    pub async fn sources_within(
        &self,
        selector: &Selector,
        range: TimeRange,
    ) -> Result<Vec<Arc<SourceEntry>>, ReadFailure> {
        let selector = self.within(selector, range).await?;
        let selected = self.catalog().select(&selector).sources;
        let limit = self.limits.sources_max;
        if selected.len() > limit {
            return Err(ReadFailure::TooLarge { what: Excess::Sources, limit });
        }
        let catalog = Arc::clone(self.catalog());
        compute(Work::Sort(selected.len()), move || {
            let mut entries = catalog.entries(&selected);
            entries.sort_unstable_by(|a, b| names(&a.source).cmp(&names(&b.source)));
            entries
        })
        .await
    }

    /// The values of a label among the sources of [`Reader::sources_within`], in order.
    pub async fn label_values(
        &self,
        selector: &Selector,
        label: &Label,
        range: TimeRange,
    ) -> Result<Vec<String>, ReadFailure> {
        let (selector, label) = (self.within(selector, range).await?, label.clone());
        let catalog = Arc::clone(self.catalog());
        compute(Work::Sort(catalog.len()), move || catalog.values(&selector, &label)).await
    }

    /// The keys of the tags of the sources of [`Reader::sources_within`], in order.
    pub async fn tag_keys(&self, selector: &Selector, range: TimeRange) -> Result<Vec<String>, ReadFailure> {
        let selector = self.within(selector, range).await?;
        let catalog = Arc::clone(self.catalog());
        compute(Work::Sort(catalog.len()), move || catalog.tag_keys(&selector)).await
    }

    /// The selector with what is cheap to tell of `range`. All that it means is known then.
    async fn within(&self, selector: &Selector, range: TimeRange) -> Result<Selector, ReadFailure> {
        if range == TimeRange::ALL {
            self.snapshot_of_marks(selector).await?;
            return Ok(selector.clone());
        }
        let snapshot = self.snapshot(selector, range).await?;
        let eras: Vec<Era> =
            self.eras.get(&*self.wide).await?.split(range).into_iter().map(|(era, _)| era).collect();
        let written: BTreeSet<(i64, Shard)> = snapshot
            .buckets
            .iter()
            .map(|bucket| (bucket.era.starts_at.nanos(), bucket.place.shard))
            .collect();
        let all: usize = eras.iter().map(|era| usize::from(era.shards.get())).sum();
        let mut selector = selector.clone();
        if written.len() < all {
            let is_there = move |source: &Source| {
                eras.iter().any(|era| written.contains(&(era.starts_at.nanos(), era.shard(source))))
            };
            selector.conditions.push(Condition::Source(Test::new(is_there)));
        }
        Ok(selector)
    }
}
