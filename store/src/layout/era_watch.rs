//! The eras as a process that writes knows them: shared, and read again now and then.
//!
//! Whoever places points by eras must know all that start before the point. An era is announced
//! [`ANNOUNCED_AHEAD`](super::ANNOUNCED_AHEAD) of its start, so eras read at one moment are all that there are up to
//! [`KnownEras::complete_until`]; what lies later must not be placed (I3). Knows no queue and no shard.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::era_add::{ANNOUNCED_AHEAD, CLOCK_SKEW_MAX};
use super::eras_log::{ErasFailure, load_eras};
use super::{Eras, ErasError};
use crate::model::{Clock, Timestamp};
use crate::wide::Wide;

/// How often they are read again: often enough that a new era is known long before it starts, and next to nothing
/// for the store.
const READ_EVERY: Duration = Duration::from_secs(30);

/// How often it is tried where that fails.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// Eras that are known at least so far ahead were read a moment ago.
const FRESH: Duration = ANNOUNCED_AHEAD.saturating_sub(CLOCK_SKEW_MAX).saturating_sub(READ_EVERY);

/// Eras, and how far they are known.
#[derive(Debug, Clone)]
pub struct KnownEras {
    /// The eras.
    pub eras: Arc<Eras>,
    /// No era starts before this that is not among them.
    pub complete_until: Timestamp,
}

/// Eras that are read again now and then.
#[derive(Debug)]
pub struct EraWatch(RwLock<KnownEras>);

impl KnownEras {
    /// Eras whose reading began at `read_at`, by the clock of this process.
    pub fn read_at(eras: Arc<Eras>, read_at: Timestamp) -> Self {
        let complete_until = read_at.saturating_add(ANNOUNCED_AHEAD).saturating_sub(CLOCK_SKEW_MAX);
        Self { eras, complete_until }
    }
}

impl EraWatch {
    /// Knows this to begin with.
    pub const fn new(known: KnownEras) -> Self {
        Self(RwLock::new(known))
    }

    /// What is known. Later answers know as much or more.
    pub fn current(&self) -> KnownEras {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the eras again; whether they changed. After an error what was known before is still known.
    pub async fn refresh<W: Wide>(&self, wide: &W, clock: &dyn Clock) -> Result<bool, ErasFailure> {
        let read_at = clock.now();
        let eras = load_eras(wide).await?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = known.eras.contradicted_by(&eras, known.complete_until) {
            return Err(ErasError::Changed(changed.starts_at).into());
        }
        let is_new = *known.eras != eras;
        let eras = if is_new { Arc::new(eras) } else { Arc::clone(&known.eras) };
        *known = KnownEras::read_at(eras, read_at);
        Ok(is_new)
    }

    /// Reads them again and again, for ever.
    pub async fn keep<W: Wide>(&self, wide: &W, clock: &dyn Clock) {
        // What was known before this process began may be old.
        let known_for = self.current().complete_until.saturating_since(clock.now());
        let mut pause = if known_for < FRESH { Duration::ZERO } else { READ_EVERY };
        loop {
            tokio::time::sleep(pause).await;
            pause = READ_EVERY;
            match self.refresh(wide, clock).await {
                Ok(true) => {
                    let eras = self.current().eras;
                    let last = eras.iter().next_back().map(|era| era.starts_at);
                    tracing::info!(eras = eras.iter().count(), ?last, "an era was announced");
                }
                Ok(false) => {}
                Err(error) => {
                    pause = RETRY_EVERY;
                    let until = self.current().complete_until;
                    tracing::warn!(%error, ?until, "the eras were not read; what is later than known waits");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{BucketWidth, ShardCount, add_era, install_eras};
    use crate::wide::Memory;

    struct At(Timestamp);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    fn minutes(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000).unwrap()
    }

    fn hour() -> BucketWidth {
        BucketWidth::new(Duration::from_hours(1)).unwrap()
    }

    #[tokio::test]
    async fn an_era_is_known_to_who_read_after_it_was_added_and_starts_later_than_who_read_before_knows() {
        let wide = Memory::new();
        let eras = Arc::new(install_eras(&wide, ShardCount::new(4).unwrap(), hour()).await.unwrap());
        // Its clock is as far ahead as clocks may be.
        let watch = EraWatch::new(KnownEras::read_at(Arc::clone(&eras), minutes(5)));
        let start = minutes(120);
        let added = add_era(&wide, start, ShardCount::new(8).unwrap(), hour(), minutes(0)).await.unwrap();
        assert!(watch.current().complete_until <= start);
        assert!(watch.refresh(&wide, &At(minutes(6))).await.unwrap());
        assert_eq!(*watch.current().eras, added);
        assert!(!watch.refresh(&wide, &At(minutes(30))).await.unwrap());
        assert_eq!(watch.current().complete_until, minutes(145));
    }

    #[tokio::test]
    async fn eras_that_contradict_what_was_placed_are_not_taken() {
        let (one, other) = (Memory::new(), Memory::new());
        let eras = Arc::new(install_eras(&one, ShardCount::new(4).unwrap(), hour()).await.unwrap());
        install_eras(&other, ShardCount::new(5).unwrap(), hour()).await.unwrap();
        let watch = EraWatch::new(KnownEras::read_at(Arc::clone(&eras), minutes(0)));
        let failure = watch.refresh(&other, &At(minutes(9))).await.unwrap_err();
        assert!(matches!(failure, ErasFailure::Invalid(ErasError::Changed(_))), "{failure}");
        assert!(watch.refresh(&Memory::new(), &At(minutes(9))).await.is_err());
        assert_eq!((watch.current().eras, watch.current().complete_until), (eras, minutes(115)));
    }
}
