//! Which of the series that were looked for are in a bucket that is complete, so that looking for the last sample of
//! what fell silent does not decode every bucket since, over and over.
//!
//! Learnt while a bucket is read for the latest samples, believed only for as long as the marks say that no writer
//! went on and the same generation is in force. Correctness does not depend on it, memory is bounded (I6).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lru::Lru;
use super::snapshot::BucketState;
use crate::catalog::{SourceIndex, SourceSet, SourceSpan};
use crate::model::{Generation, Metric, Seq, WriterId};

/// Series that are looked for.
pub(super) type SeriesSet = BTreeMap<Metric, SourceSet>;

/// What is known of a bucket.
#[derive(Debug, Default)]
struct Known {
    generation: Option<Generation>,
    /// How far each writer had been read: all of its segments up to and including this one.
    through: BTreeMap<WriterId, Seq>,
    metrics: BTreeMap<Metric, Looked>,
}

/// Who was looked for with a metric.
#[derive(Debug, Default)]
struct Looked {
    sources: SourceSpan,
    found: SourceSpan,
}

/// What is known of buckets.
#[derive(Debug)]
pub(super) struct Presence(Mutex<Lru<Known>>);

impl Presence {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Mutex::new(Lru::new(bytes_max)))
    }

    /// The sources for which one has to look into `bucket` to find `series`.
    pub(super) fn narrow(&self, bucket: &BucketState, series: &SeriesSet) -> SourceSet {
        let mut known = self.lock();
        let known = known.get(&bucket.place).filter(|known| known.is_of(bucket));
        let mut sources = SourceSet::default();
        for (metric, of_metric) in series {
            match known.and_then(|known| known.metrics.get(metric)) {
                Some(looked) => {
                    sources.extend_unless_absent(of_metric, &looked.sources, Some(&looked.found));
                }
                None => sources.extend(of_metric),
            }
        }
        sources
    }

    /// Takes in that `series` were looked for in all segments of `bucket`, as far as they are of `sources`, and that
    /// these were `found`. Forgets it at once where writers may go on. Of a source with a metric that is not in
    /// `series` nothing is learnt: it was found in a later bucket already, and may be here, too.
    pub(super) fn learn<'a>(
        &self,
        bucket: &BucketState,
        (series, sources): (&SeriesSet, &SourceSet),
        found: impl Iterator<Item = (SourceIndex, &'a Metric)>,
    ) {
        let Some(through) = bucket.closed_through() else { return };
        let mut by_metric = SeriesSet::new();
        for (source, metric) in found {
            by_metric.entry(metric.clone()).or_default().insert(source);
        }
        self.lock().update(&bucket.place, |known, _| {
            if known.through != through || known.generation != bucket.generation() {
                *known = Known { generation: bucket.generation(), through, metrics: BTreeMap::new() };
            }
            for (metric, of_metric) in series {
                let mut looked_for = of_metric.clone();
                looked_for.intersect(sources);
                let looked = known.metrics.entry(metric.clone()).or_default();
                looked.sources = looked.sources.with(&looked_for);
                if let Some(found) = by_metric.get(metric) {
                    looked.found = looked.found.with(found);
                }
            }
            known.size_bytes()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Lru<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether it still says all that there is to say of `bucket`.
    fn is_of(&self, bucket: &BucketState) -> bool {
        self.generation == bucket.generation()
            && bucket.closed_through().is_some_and(|through| through == self.through)
    }

    fn size_bytes(&self) -> usize {
        let metric = |(metric, looked): (&Metric, &Looked)| {
            let sets = looked.sources.size_bytes() + looked.found.size_bytes();
            size_of::<(Metric, Looked)>() + metric.as_str().len() + sets
        };
        let writers = self.through.len() * size_of::<(WriterId, Seq)>();
        size_of::<Self>() + writers + self.metrics.iter().map(metric).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::layout::{Bucket, BucketWidth, Era, MarkRow, MarkState, Place, ShardCount};
    use crate::model::{CatalogN, Shard, Timestamp};
    use crate::wide::WriteTime;

    fn bucket(states: &[MarkState]) -> BucketState {
        let bucket_width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let era = Era { starts_at: Timestamp::MIN, shards: ShardCount::new(1).unwrap(), bucket_width };
        let bucket = Bucket::at(Timestamp::EPOCH, bucket_width);
        let mark = |(state, writer): (&MarkState, u64)| MarkRow {
            bucket,
            writer: WriterId::from_random(writer * 2),
            state: *state,
            catalog: CatalogN::new(9),
            written_at: WriteTime::from_micros(0),
        };
        BucketState {
            era,
            place: Place { shard: Shard::new(0), bucket },
            marks: states.iter().zip(1..).map(mark).collect(),
            seal: None,
            taken_at: tokio::time::Instant::now(),
        }
    }

    fn closed(through: u32) -> MarkState {
        MarkState::Closed(Seq::new(through))
    }

    fn metric(name: &str) -> Metric {
        Metric::new(name).unwrap()
    }

    fn sources(numbers: &[u32]) -> SourceSet {
        let mut sources = SourceSet::default();
        numbers.iter().map(|&n| SourceIndex::new(n)).for_each(|source| sources.insert(source));
        sources
    }

    #[test]
    fn what_was_looked_for_in_vain_is_not_looked_for_again_until_a_writer_goes_on() {
        let presence = Presence::new(1 << 20);
        let seen = bucket(&[closed(3), closed(0)]);
        let series = SeriesSet::from([(metric("x"), sources(&[1, 2])), (metric("y"), sources(&[2]))]);
        assert_eq!(presence.narrow(&seen, &series), sources(&[1, 2]));
        let (x, y) = (metric("x"), metric("y"));
        presence.learn(&seen, (&series, &sources(&[1, 2])), [(SourceIndex::new(2), &y)].into_iter());
        let narrow = |bucket: &BucketState, series| presence.narrow(bucket, &SeriesSet::from([series]));
        assert!(narrow(&seen, (x.clone(), sources(&[1, 2]))).is_empty());
        assert_eq!(narrow(&seen, (y.clone(), sources(&[2]))), sources(&[2]));
        assert_eq!(
            narrow(&seen, (y.clone(), sources(&[1]))),
            sources(&[1]),
            "looked for with another metric only"
        );
        assert_eq!(narrow(&seen, (x.clone(), sources(&[1, 3]))), sources(&[3]), "never looked for");
        assert_eq!(narrow(&seen, (metric("z"), sources(&[1]))), sources(&[1]), "never looked for");
        for changed in
            [&[closed(4), closed(0)][..], &[MarkState::Open, closed(0)], &[closed(3), closed(0), closed(0)]]
        {
            assert_eq!(narrow(&bucket(changed), (x.clone(), sources(&[1]))), sources(&[1]));
        }
    }

    #[test]
    fn nothing_is_learnt_of_a_bucket_that_is_still_written_to() {
        let presence = Presence::new(1 << 20);
        let open = bucket(&[closed(3), MarkState::Open]);
        let series = SeriesSet::from([(metric("x"), sources(&[1]))]);
        presence.learn(&open, (&series, &sources(&[1])), std::iter::empty());
        assert_eq!(presence.narrow(&open, &series), sources(&[1]));
    }
}
