//! How large buckets are and how much comes in: what the next era is chosen by.

use std::collections::BTreeMap;

use super::MillFailure;
use super::miller::Mill;
use super::survey::all_seals;
use crate::layout::{Bucket, Era, Measured, SealRow};
use crate::model::Timestamp;
use crate::wide::Wide;

/// Buckets of time that are looked at: the latest ones that are ground.
const BUCKETS_MAX: usize = 16;

/// What one bucket of time holds, over all shards.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    samples: u64,
    sources: u64,
}

impl<W: Wide> Mill<W> {
    /// Measures the latest ground buckets of `era` that are over.
    pub async fn measure(&self, era: &Era) -> Result<Measured, MillFailure> {
        let (store, eras, now) = (&self.grinder.store, self.eras(), self.grinder.clock.now());
        let mut sizes: Vec<(Bucket, u64)> = Vec::new();
        let mut slices: BTreeMap<Bucket, Slice> = BTreeMap::new();
        for shard in era.shards.shards() {
            let seals = latest(all_seals(store, &eras, shard, Some((era.starts_at, now))).await?, now);
            for seal in seals {
                sizes.push((seal.bucket, partition_bytes(&seal)));
                let slice = slices.entry(seal.bucket).or_default();
                slice.samples += seal.summary.samples;
                slice.sources += seal.summary.sources;
            }
        }
        Ok(measured(era, sizes, &slices))
    }
}

/// The latest buckets that are over.
fn latest(mut seals: Vec<SealRow>, now: Timestamp) -> Vec<SealRow> {
    seals.retain(|seal| seal.bucket.end() <= now);
    seals.sort_unstable_by_key(|seal| std::cmp::Reverse(seal.bucket));
    seals.truncate(BUCKETS_MAX);
    seals
}

/// The larger of the two forms that a bucket has: what came in, and what it was ground into.
fn partition_bytes(seal: &SealRow) -> u64 {
    seal.summary.segment_bytes.max(seal.summary.block_bytes)
}

fn measured(era: &Era, sizes: Vec<(Bucket, u64)>, slices: &BTreeMap<Bucket, Slice>) -> Measured {
    let mut bytes: Vec<u64> = sizes.into_iter().map(|(_, bytes)| bytes).collect();
    bytes.sort_unstable();
    let p99 = bytes.len().saturating_sub(1) * 99 / 100;
    let busiest = slices.values().map(|slice| slice.samples).max().unwrap_or(0);
    Measured {
        samples_per_second: double(busiest) / era.bucket_width.get().as_secs_f64(),
        partition_bytes_p99: double(bytes.get(p99).copied().unwrap_or(0)),
        partition_bytes_max: double(bytes.last().copied().unwrap_or(0)),
        sources: slices.values().map(|slice| slice.sources).max().unwrap_or(0),
    }
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
    use std::time::Duration;

    use super::*;
    use crate::layout::{BucketWidth, ShardCount};

    #[test]
    fn the_busiest_bucket_of_time_gives_the_rate_and_the_largest_partition_the_size() {
        let bucket_width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let era = Era { starts_at: Timestamp::MIN, shards: ShardCount::new(2).unwrap(), bucket_width };
        let at = |hours: i64| Bucket::at(Timestamp::from_millis(hours * 3_600_000).unwrap(), bucket_width);
        let slices = BTreeMap::from([
            (at(0), Slice { samples: 3_600, sources: 4 }),
            (at(1), Slice { samples: 7_200, sources: 3 }),
        ]);
        let measured = measured(&era, vec![(at(0), 10), (at(1), 30), (at(1), 20)], &slices);
        assert!((measured.samples_per_second - 2.0).abs() < 1e-9);
        assert!((measured.partition_bytes_max - 30.0).abs() < 1e-9);
        assert!((measured.partition_bytes_p99 - 20.0).abs() < 1e-9);
        assert_eq!(measured.sources, 4);
    }
}
