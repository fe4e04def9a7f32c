//! Adding an era: another shard count or bucket width, for later buckets.
//!
//! Pure checks, then one compare-and-set. Every process must know an era before anything is written that falls into
//! it, or a writer would go on by the old one where no reader looks (I3). So an era is announced: it starts no sooner
//! than [`ANNOUNCED_AHEAD`], and who writes places nothing so far ahead of when it last read the eras
//! ([`super::EraWatch`]).

use std::time::Duration;

use super::eras_log::{ErasFailure, load_eras};
use super::tables::ERAS;
use super::{BucketWidth, Era, EraRow, Eras, ShardCount};
use crate::model::Timestamp;
use crate::wide::{Exchange, Expected, Wide};

/// How far ahead of its start an era is known to all. Far more than it takes to read it: the rest is how long a
/// writer may be without the eras before it must refuse what it cannot place.
pub const ANNOUNCED_AHEAD: Duration = Duration::from_hours(2);
/// How far apart the clocks of any two processes may be.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// Why an era was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddEraError {
    /// It would start before everybody knows of it.
    #[error(
        "an era from {starts_at:?} on is too near: every process must know it {} minutes ahead; the next good start \
         is {suggested:?}", ANNOUNCED_AHEAD.as_secs() / 60
    )]
    TooNear {
        /// The start that was asked for.
        starts_at: Timestamp,
        /// The first start that is not too near and on a boundary.
        suggested: Timestamp,
    },
    /// It would cut a bucket in two.
    #[error("{starts_at:?} lies inside of a bucket; the next boundary of both widths is {suggested:?}")]
    Boundary {
        /// The start that was asked for.
        starts_at: Timestamp,
        /// The next start that is on a boundary.
        suggested: Timestamp,
    },
    /// The widths share no boundary in reach.
    #[error("buckets of {before:?} and of {after:?} share no boundary; take a width that divides the other")]
    NoBoundary {
        /// The width before.
        before: Duration,
        /// The width that was asked for.
        after: Duration,
    },
    /// There is an era that starts later.
    #[error("an era from {0:?} on is there already; a new one must start after it")]
    NotLast(Timestamp),
    /// It would change nothing.
    #[error("the era before has as many shards and the same bucket width")]
    Unchanged,
    /// Somebody else added one at the same time that stands in the way.
    #[error("another era was added at the same time; look at them and try again")]
    Raced,
    /// The eras could not be read or written. Adding again is harmless.
    #[error(transparent)]
    Eras(#[from] ErasFailure),
}

/// Adds an era from `starts_at` on, at `now`; the eras that are in force with it. May be repeated after any error, and
/// adding what is there already succeeds.
pub async fn add_era<W: Wide>(
    wide: &W,
    starts_at: Timestamp,
    shards: ShardCount,
    bucket_width: BucketWidth,
    now: Timestamp,
) -> Result<Eras, AddEraError> {
    let era = Era { starts_at, shards, bucket_width };
    let known = load_eras(wide).await?;
    if known.iter().any(|other| *other == era) {
        return Ok(known);
    }
    check(&known, era, now)?;
    let row = EraRow(era).to_row();
    let exchange = wide
        .compare_and_set(&ERAS, &EraRow::partition(), &Expected::Absent, &row)
        .await
        .map_err(ErasFailure::from)?;
    let eras = load_eras(wide).await?;
    let in_force = eras.iter().any(|other| *other == era);
    match exchange {
        Exchange::Applied | Exchange::Refused(_) if in_force => Ok(eras),
        Exchange::Applied | Exchange::Refused(_) => Err(AddEraError::Raced),
    }
}

fn check(known: &Eras, era: Era, now: Timestamp) -> Result<(), AddEraError> {
    let Some(last) = known.iter().next_back() else { return Err(AddEraError::Raced) };
    if era.starts_at <= last.starts_at {
        return Err(AddEraError::NotLast(last.starts_at));
    }
    if (era.shards, era.bucket_width) == (last.shards, last.bucket_width) {
        return Err(AddEraError::Unchanged);
    }
    let earliest = now.saturating_add(ANNOUNCED_AHEAD);
    let suggested = last
        .bucket_width
        .common_boundary(era.bucket_width, era.starts_at.max(earliest))
        .ok_or(AddEraError::NoBoundary { before: last.bucket_width.get(), after: era.bucket_width.get() })?;
    if era.starts_at < earliest {
        return Err(AddEraError::TooNear { starts_at: era.starts_at, suggested });
    }
    if era.starts_at != suggested {
        return Err(AddEraError::Boundary { starts_at: era.starts_at, suggested });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::install_eras;
    use crate::wide::Memory;

    fn width(minutes: u64) -> BucketWidth {
        BucketWidth::new(Duration::from_mins(minutes)).unwrap()
    }

    fn shards(count: u64) -> ShardCount {
        ShardCount::new(count).unwrap()
    }

    fn hours(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000).unwrap()
    }

    async fn installed() -> Memory {
        let wide = Memory::new();
        install_eras(&wide, shards(4), width(60)).await.unwrap();
        wide
    }

    #[tokio::test]
    async fn an_era_takes_effect_from_its_start_and_not_before() {
        let wide = installed().await;
        let eras = add_era(&wide, hours(24), shards(16), width(360), hours(1)).await.unwrap();
        assert_eq!((eras.at(hours(23)).shards.get(), eras.at(hours(24)).shards.get()), (4, 16));
        assert_eq!(load_eras(&wide).await.unwrap(), eras);
        let again = add_era(&wide, hours(24), shards(16), width(360), hours(23)).await.unwrap();
        assert_eq!(again, eras, "adding what is there is no error, however late");
    }

    #[tokio::test]
    async fn the_past_and_the_near_future_are_refused_with_the_next_good_start() {
        let wide = installed().await;
        for start in [hours(-24), hours(10), hours(11)] {
            let refused = add_era(&wide, start, shards(16), width(360), hours(10)).await.unwrap_err();
            let AddEraError::TooNear { suggested, .. } = refused else { panic!("{refused}") };
            assert_eq!(suggested, hours(12));
        }
        assert!(add_era(&wide, hours(12), shards(16), width(360), hours(10)).await.is_ok());
    }

    #[tokio::test]
    async fn a_start_inside_of_a_bucket_is_refused_with_the_next_boundary() {
        let wide = installed().await;
        let refused = add_era(&wide, hours(25), shards(4), width(360), hours(1)).await.unwrap_err();
        assert!(refused.to_string().contains("the next boundary of both widths is 108000."), "{refused}");
        let refused = add_era(&wide, hours(25), shards(4), width(61), hours(1)).await.unwrap_err();
        let AddEraError::Boundary { suggested, .. } = refused else { panic!("{refused}") };
        assert_eq!(suggested, hours(61));
    }

    #[tokio::test]
    async fn an_era_must_be_the_last_and_differ() {
        let wide = installed().await;
        add_era(&wide, hours(48), shards(8), width(60), hours(1)).await.unwrap();
        let earlier = add_era(&wide, hours(24), shards(2), width(60), hours(1)).await.unwrap_err();
        assert!(matches!(earlier, AddEraError::NotLast(at) if at == hours(48)));
        let other = add_era(&wide, hours(48), shards(2), width(60), hours(1)).await.unwrap_err();
        assert!(matches!(other, AddEraError::NotLast(_)));
        let same = add_era(&wide, hours(72), shards(8), width(60), hours(1)).await.unwrap_err();
        assert!(matches!(same, AddEraError::Unchanged));
    }

    #[tokio::test]
    async fn of_two_that_do_not_fit_together_all_take_the_same_one() {
        let wide = installed().await;
        // Two operators, neither of whom has seen the other's era: each fits behind the first era.
        for (start, minutes) in [(70, 420), (48, 1440)] {
            let era = Era { starts_at: hours(start), shards: shards(4), bucket_width: width(minutes) };
            let row = EraRow(era).to_row();
            wide.compare_and_set(&ERAS, &EraRow::partition(), &Expected::Absent, &row).await.unwrap();
        }
        let eras = load_eras(&wide).await.unwrap();
        let starts: Vec<Timestamp> = eras.iter().skip(1).map(|era| era.starts_at).collect();
        assert_eq!(starts, [hours(48)], "hour 70 lies inside of a day");
    }
}
