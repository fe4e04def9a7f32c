//! Which era would suit a fleet better: pure arithmetic over what was measured.
//!
//! The aim is the size of a (shard, bucket), which readers and mills take as one: its 99th percentile between 2 and
//! 10 MiB, none above 64 MiB. A suggestion is made only where the present era misses that clearly, never for a fleet
//! that is small anyway, and never one that would spread few sources over many shards.

use std::time::Duration;

use super::{BucketWidth, Era, ShardCount};

const MIB: f64 = 1024.0 * 1024.0;
/// The 99th percentile is to be between these, and best where both are equally far.
const LOW_BYTES: f64 = 2.0 * MIB;
const HIGH_BYTES: f64 = 10.0 * MIB;
/// What no partition may exceed. The largest is taken to be some times the 99th percentile.
const CEILING_BYTES: f64 = 64.0 * MIB;
/// Fewer sources in a shard share too little: rows of a metric hold few of them.
const SOURCES_PER_SHARD_MIN: u64 = 16;
/// Shards up to which a fleet is small: fewer of them gain nothing.
const SHARDS_SMALL: u16 = 4;
/// Samples a second that one shard takes with ease; fewer shards than that needs would stand in line for each other.
const SAMPLES_PER_SHARD_MAX: f64 = 100_000.0;
/// Widths to choose from, in hours: all divide or are made of days, so that eras share boundaries.
const HOURS: [u64; 8] = [1, 2, 3, 6, 12, 24, 72, 168];
/// A partition this many times too small or too large is worth a new era.
const MISSED_BY_MIN: f64 = 1.5;

/// What was measured of the present era.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Samples a second of the whole fleet.
    pub samples_per_second: f64,
    /// Bytes of a (shard, bucket), the 99th percentile.
    pub partition_bytes_p99: f64,
    /// Bytes of the largest (shard, bucket).
    pub partition_bytes_max: f64,
    /// Sources of the whole fleet.
    pub sources: u64,
}

/// An era that would suit better.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// Shards.
    pub shards: ShardCount,
    /// Bucket width.
    pub bucket_width: BucketWidth,
    /// The 99th percentile of a (shard, bucket) to expect, in bytes.
    pub partition_bytes_p99: f64,
    /// Why, in sentences.
    pub reasons: Vec<String>,
}

/// An era that would suit better than `present`; `None` where it does well enough, or nothing is known.
pub fn suggest_era(present: &Era, measured: &Measured) -> Option<Suggestion> {
    let known = [measured.samples_per_second, measured.partition_bytes_p99, measured.partition_bytes_max];
    if !known.iter().all(|number| number.is_finite() && *number > 0.0) {
        return None;
    }
    let fewest = shards_for_rate(measured.samples_per_second);
    let is_small =
        measured.partition_bytes_p99 < LOW_BYTES && present.shards.get() <= SHARDS_SMALL.max(fewest);
    if is_small && width_hours(present.bucket_width) >= 24.0 {
        return None;
    }
    if missed_by(present, present, measured) < MISSED_BY_MIN && present.shards.get() >= fewest {
        return None;
    }
    let best = candidates(measured, fewest)
        .map(|era| (cost(present, &era, measured), era))
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, era)| era)?;
    let same = (best.shards, best.bucket_width) == (present.shards, present.bucket_width);
    let better = missed_by(present, &best, measured) * 1.25 < missed_by(present, present, measured);
    let too_slow = present.shards.get() < fewest;
    (!same && (better || too_slow)).then(|| Suggestion {
        shards: best.shards,
        bucket_width: best.bucket_width,
        partition_bytes_p99: expected(present, &best, measured.partition_bytes_p99),
        reasons: reasons(present, &best, measured, fewest),
    })
}

fn candidates(measured: &Measured, fewest: u16) -> impl Iterator<Item = Era> {
    let most = (measured.sources / SOURCES_PER_SHARD_MIN).max(u64::from(SHARDS_SMALL)).max(u64::from(fewest));
    let counts = (0..=12).map(|power| 1_u16 << power);
    let counts = counts.filter(move |&count| count >= fewest && u64::from(count) <= most);
    counts.flat_map(|count| {
        HOURS.iter().filter_map(move |&hours| {
            let shards = ShardCount::new(u64::from(count)).ok()?;
            let bucket_width = BucketWidth::new(Duration::from_hours(hours)).ok()?;
            Some(Era { starts_at: crate::model::Timestamp::MIN, shards, bucket_width })
        })
    })
}

/// How many shards a rate needs at least: a power of two.
fn shards_for_rate(samples_per_second: f64) -> u16 {
    (0..12)
        .map(|power| 1_u16 << power)
        .find(|&count| f64::from(count) * SAMPLES_PER_SHARD_MAX >= samples_per_second)
        .unwrap_or(1 << 12)
}

/// What a size of a partition of `present` would be in `other`.
fn expected(present: &Era, other: &Era, bytes: f64) -> f64 {
    let width = width_hours(other.bucket_width) / width_hours(present.bucket_width);
    bytes * width * f64::from(present.shards.get()) / f64::from(other.shards.get())
}

/// By how much sizes would be wrong: 1 is right, 2 is twice too small or too large.
fn missed_by(present: &Era, other: &Era, measured: &Measured) -> f64 {
    let p99 = expected(present, other, measured.partition_bytes_p99);
    let largest = expected(present, other, measured.partition_bytes_max);
    (LOW_BYTES / p99).max(p99 / HIGH_BYTES).max(largest / CEILING_BYTES).max(1.0)
}

/// Wrong sizes above all; then the least change, in which a width weighs more than a count: queries know widths.
fn cost(present: &Era, other: &Era, measured: &Measured) -> f64 {
    let p99 = expected(present, other, measured.partition_bytes_p99);
    let off_centre = (p99 / (LOW_BYTES * HIGH_BYTES).sqrt()).log2().abs();
    let count = (f64::from(other.shards.get()) / f64::from(present.shards.get())).log2().abs();
    let width = (width_hours(other.bucket_width) / width_hours(present.bucket_width)).log2().abs();
    missed_by(present, other, measured).log2() * 100.0 + off_centre * 2.0 + count + width * 1.5
}

fn width_hours(width: BucketWidth) -> f64 {
    width.get().as_secs_f64() / 3600.0
}

fn reasons(present: &Era, best: &Era, measured: &Measured, fewest: u16) -> Vec<String> {
    let mib = |bytes: f64| format!("{:.1} MiB", bytes / MIB);
    let (p99, largest) = (measured.partition_bytes_p99, measured.partition_bytes_max);
    let mut reasons = Vec::new();
    if p99 < LOW_BYTES {
        reasons.push(format!(
            "a shard's bucket has {} at the 99th percentile; below 2 MiB is much ado",
            mib(p99)
        ));
    }
    if p99 > HIGH_BYTES {
        reasons
            .push(format!("a shard's bucket has {} at the 99th percentile; above 10 MiB is slow", mib(p99)));
    }
    if largest > CEILING_BYTES {
        reasons
            .push(format!("the largest bucket of a shard has {}; it must stay below 64 MiB", mib(largest)));
    }
    if present.shards.get() < fewest {
        let rate = measured.samples_per_second;
        reasons.push(format!("{rate:.0} samples/s are much for {} shards", present.shards.get()));
    }
    let then = expected(present, best, p99);
    let hours = width_hours(best.bucket_width);
    reasons.push(format!(
        "{} shards and buckets of {hours} h would make it {}",
        best.shards.get(),
        mib(then)
    ));
    reasons
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    fn era(shards: u64, hours: u64) -> Era {
        Era {
            starts_at: Timestamp::MIN,
            shards: ShardCount::new(shards).unwrap(),
            bucket_width: BucketWidth::new(Duration::from_hours(hours)).unwrap(),
        }
    }

    fn measured(samples_per_second: f64, p99_mib: f64, sources: u64) -> Measured {
        Measured {
            samples_per_second,
            partition_bytes_p99: p99_mib * MIB,
            partition_bytes_max: p99_mib * MIB * 1.5,
            sources,
        }
    }

    #[test]
    fn an_era_that_does_well_stays() {
        for p99 in [2.0, 4.0, 10.0, 12.0] {
            assert_eq!(suggest_era(&era(16, 24), &measured(5000.0, p99, 10_000)), None, "{p99}");
        }
        assert_eq!(suggest_era(&era(16, 24), &measured(0.0, 4.0, 10)), None, "nothing is known yet");
        assert_eq!(suggest_era(&era(4, 24), &measured(10.0, 0.01, 10)), None, "a small fleet is left alone");
    }

    #[test]
    fn a_fleet_that_has_grown_gets_more_shards() {
        let suggestion = suggest_era(&era(16, 24), &measured(50_000.0, 40.0, 100_000)).unwrap();
        assert_eq!((suggestion.shards.get(), suggestion.bucket_width.get()), (128, Duration::from_hours(24)));
        assert!(
            suggestion.reasons[0].contains("40.0 MiB at the 99th percentile"),
            "{:?}",
            suggestion.reasons
        );
    }

    #[test]
    fn few_sources_that_say_much_get_narrower_buckets() {
        let suggestion = suggest_era(&era(4, 24), &measured(50_000.0, 200.0, 40)).unwrap();
        assert!(suggestion.shards.get() <= 4 && suggestion.bucket_width.get() <= Duration::from_hours(2));
    }

    #[test]
    fn too_many_shards_for_too_little_become_fewer() {
        let suggestion = suggest_era(&era(1024, 24), &measured(500.0, 0.05, 5000)).unwrap();
        assert!(suggestion.shards.get() <= 64, "{suggestion:?}");
    }

    proptest! {
        #[test]
        fn a_suggestion_is_never_absurd(
            shards in 1..4096_u64, hours in 1..200_u64, rate in 0.001..1e8_f64, p99 in 1e-6..1e5_f64,
            sources in 1..10_000_000_u64,
        ) {
            let (present, measured) = (era(shards, hours), measured(rate, p99, sources));
            if let Some(suggestion) = suggest_era(&present, &measured) {
                let next = Era { shards: suggestion.shards, bucket_width: suggestion.bucket_width, ..present };
                let most = (sources / SOURCES_PER_SHARD_MIN).max(4).max(u64::from(shards_for_rate(rate)));
                prop_assert!(u64::from(suggestion.shards.get()) <= most);
                prop_assert!(!suggestion.reasons.is_empty());
                prop_assert!(
                    missed_by(&present, &next, &measured) < missed_by(&present, &present, &measured)
                        || present.shards.get() < shards_for_rate(rate)
                );
                let then = Measured {
                    partition_bytes_p99: expected(&present, &next, measured.partition_bytes_p99),
                    partition_bytes_max: expected(&present, &next, measured.partition_bytes_max),
                    ..measured
                };
                let after = suggest_era(&next, &then);
                prop_assert_eq!(after, None, "once it is in force it is let alone");
            }
        }
    }
}
