//! How large buckets are and how much comes in: what the next era is chosen by.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MillFailure;
use super::miller::Mill;
use super::survey::{Known, ShardView, all_seals};
use crate::layout::{Bucket, Era, Measured, SealRow};
use crate::model::Timestamp;
use crate::wide::Wide;

/// Buckets of time that are looked at: the latest ones that are over.
const BUCKETS_MAX: usize = 16;
/// A bucket that was written to for less says nothing about its rate.
const OPEN_FOR_MIN: Duration = Duration::from_secs(10);

/// What a measurement was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// So many buckets of time that are over.
    Over(usize),
    /// None is over: the present one, which has been written to for so long, scaled up to its width.
    Open(Duration),
    /// There are no samples to measure.
    Nothing,
}

/// What a (shard, bucket) holds, ground or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    bucket: Bucket,
    samples: u64,
    sources: u64,
    /// The larger of the two forms that a bucket has: what came in, and what it was ground into.
    bytes: u64,
    /// Its earliest sample where that is known, else its start.
    since: Timestamp,
}

impl<W: Wide> Mill<W> {
    /// Measures the latest buckets of `era` that are over, or where none is, the present one.
    pub async fn measure(&self, era: &Era) -> Result<(Measured, Basis), MillFailure> {
        let (store, eras, now) = (&self.grinder.store, self.eras(), self.grinder.clock.now());
        let mut parts = Vec::new();
        for shard in era.shards.shards() {
            let mut of_shard: BTreeMap<Bucket, Part> = BTreeMap::new();
            for seal in all_seals(store, &eras, shard, Some((era.starts_at, now))).await? {
                of_shard.insert(seal.bucket, Part::sealed(&seal));
            }
            let mut view = ShardView::default();
            view.look(store, &eras, shard).await?;
            for (&bucket, known) in &view.buckets {
                let part = of_shard.entry(bucket).or_insert(Part::empty(bucket));
                part.add_unground(known);
            }
            let is_of_era = |part: &Part| eras.at(part.bucket.start()) == *era && part.samples > 0;
            parts.extend(of_shard.into_values().filter(is_of_era));
        }
        Ok(measured(era, parts, now))
    }
}

impl Part {
    fn empty(bucket: Bucket) -> Self {
        Self { bucket, samples: 0, sources: 0, bytes: 0, since: Timestamp::MAX }
    }

    fn sealed(seal: &SealRow) -> Self {
        let summary = &seal.summary;
        Self {
            bucket: seal.bucket,
            samples: summary.samples,
            sources: summary.sources,
            bytes: summary.segment_bytes.max(summary.block_bytes),
            since: seal.bucket.start(),
        }
    }

    fn add_unground(&mut self, known: &Known) {
        self.bytes += known.unground_bytes();
        self.since = self.since.min(known.oldest_unground().unwrap_or(Timestamp::MAX));
        let heads = known.writers.iter().flat_map(|marked| &marked.heads);
        for head in heads {
            self.samples += u64::from(head.samples);
            // About a row for each source, for each writer that met it.
            self.sources = self.sources.max(u64::from(head.catalog.get()));
        }
    }
}

fn measured(era: &Era, mut parts: Vec<Part>, now: Timestamp) -> (Measured, Basis) {
    let width = era.bucket_width.get();
    let mut over: Vec<Bucket> = parts.iter().map(|part| part.bucket).filter(|of| of.end() <= now).collect();
    over.sort_unstable_by_key(|bucket| std::cmp::Reverse(*bucket));
    over.dedup();
    over.truncate(BUCKETS_MAX);
    let (basis, span) = if over.is_empty() {
        parts.retain(|part| part.bucket.contains(now));
        let since = parts.iter().map(|part| part.since).min();
        let open = since.map(|since| now.saturating_since(since).clamp(OPEN_FOR_MIN.min(width), width));
        (open.map_or(Basis::Nothing, Basis::Open), open.unwrap_or(width))
    } else {
        parts.retain(|part| over.contains(&part.bucket));
        (Basis::Over(over.len()), width)
    };
    let scale = width.as_secs_f64() / span.as_secs_f64();
    let mut slices: BTreeMap<Bucket, (u64, u64)> = BTreeMap::new();
    for part in &parts {
        let (samples, sources) = slices.entry(part.bucket).or_default();
        (*samples, *sources) = (*samples + part.samples, *sources + part.sources);
    }
    let mut bytes: Vec<u64> = parts.iter().map(|part| part.bytes).collect();
    bytes.sort_unstable();
    let p99 = bytes.len().saturating_sub(1) * 99 / 100;
    let busiest = slices.values().map(|(samples, _)| *samples).max().unwrap_or(0);
    let measured = Measured {
        samples_per_second: double(busiest) / span.as_secs_f64(),
        partition_bytes_p99: double(bytes.get(p99).copied().unwrap_or(0)) * scale,
        partition_bytes_max: double(bytes.last().copied().unwrap_or(0)) * scale,
        sources: slices.values().map(|(_, sources)| *sources).max().unwrap_or(0),
    };
    (measured, basis)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a measurement: the last digits mean nothing"
)]
fn double(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{BucketWidth, ShardCount};

    fn hour() -> BucketWidth {
        BucketWidth::new(Duration::from_hours(1)).unwrap()
    }

    fn era() -> Era {
        Era { starts_at: Timestamp::MIN, shards: ShardCount::new(2).unwrap(), bucket_width: hour() }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000).unwrap()
    }

    fn part(hours: i64, samples: u64, bytes: u64) -> Part {
        let bucket = Bucket::at(at(hours * 60), hour());
        Part { bucket, samples, sources: 3, bytes, since: bucket.start() }
    }

    #[test]
    fn the_busiest_bucket_of_time_gives_the_rate_and_the_largest_partition_the_size() {
        let parts = vec![part(0, 3_600, 10), part(1, 7_000, 30), part(1, 200, 20), part(2, 90_000, 900)];
        let (measured, basis) = measured(&era(), parts, at(130));
        assert_eq!(basis, Basis::Over(2));
        assert!((measured.samples_per_second - 2.0).abs() < 1e-9);
        assert!((measured.partition_bytes_max - 30.0).abs() < 1e-9);
        assert!((measured.partition_bytes_p99 - 20.0).abs() < 1e-9);
        assert_eq!(measured.sources, 6);
    }

    #[test]
    fn where_no_bucket_is_over_the_present_one_is_scaled_up() {
        let late = Part { since: at(45), ..part(0, 900, 10) };
        let (measured, basis) =
            super::measured(&era(), vec![late], at(60).saturating_sub(Duration::from_secs(1)));
        assert_eq!(basis, Basis::Open(Duration::from_secs(899)));
        assert!((measured.samples_per_second - 900.0 / 899.0).abs() < 1e-9);
        assert!((measured.partition_bytes_max - 10.0 * 3_600.0 / 899.0).abs() < 1e-9);
        let (none, basis) = super::measured(&era(), Vec::new(), at(60));
        assert_eq!((none.sources, basis), (0, Basis::Nothing));
    }
}
