//! What is followed of each (shard, bucket), kept between queries: what was used longest ago goes first (I6).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::few::Few;
use super::place::Live;
use super::series::Grid;
use crate::layout::Place;
use crate::read::lru::Lru;
use crate::read::snapshot::BucketState;

/// A place may take such a part of all memory; of a larger one only the last samples are kept, and of one that has too
/// many series for that, nothing.
const SHARE: usize = 8;
/// For so long after a query a place is followed, in case of another.
const WARM_FOR: Duration = Duration::from_secs(10);

/// What several queries follow together.
#[derive(Debug, Clone, Default)]
pub(in crate::read) struct SharedLive(Arc<Mutex<Live>>);

impl SharedLive {
    fn new(grid: Option<Grid>) -> Self {
        Self(Arc::new(Mutex::new(Live::new(grid))))
    }

    /// To be held for a moment only: never over an await.
    pub(in crate::read) fn lock(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of `few`, to be followed apart from the rest.
    pub(super) fn apart(&self, few: Arc<Few>) -> Self {
        Self(Arc::new(Mutex::new(self.lock().apart(few))))
    }

    /// What is kept, to be held as shortly; `None` where it was given up, which another query may do at any time: so
    /// that is asked for where what is kept is taken, and not before.
    pub(in crate::read) fn kept(&self) -> Option<MutexGuard<'_, Live>> {
        Some(self.lock()).filter(|live| !live.is_given_up())
    }
}

/// What is kept of a place: behind which seal, and who asked for it when.
#[derive(Debug, Default)]
struct Kept {
    of: Option<(BucketState, SharedLive)>,
    asked_at: Option<Instant>,
}

/// All places.
#[derive(Debug)]
pub(in crate::read) struct Tails {
    places: Mutex<Lru<Kept>>,
    bytes_max: usize,
    /// Told when a query asks.
    pub(super) asked: Notify,
}

impl Tails {
    pub(in crate::read) fn new(bytes_max: usize) -> Self {
        Self { places: Mutex::new(Lru::new(bytes_max)), bytes_max, asked: Notify::new() }
    }

    /// What is followed behind the seal of `bucket`; begun anew where another is kept. Behind a seal that is out of
    /// force nothing is kept any more.
    pub(super) fn of(&self, bucket: &BucketState, grid: Option<Grid>) -> SharedLive {
        let mut places = self.lock();
        let kept = places.get(&bucket.place).and_then(|kept| kept.of.as_ref());
        let in_force = kept.map(|(of, live)| (of.generation(), live.clone()));
        let live = match in_force {
            Some((generation, live)) if generation == bucket.generation() => live,
            Some((generation, _)) if generation > bucket.generation() => return SharedLive::new(grid),
            Some(_) | None => SharedLive::new(grid),
        };
        places.update(&bucket.place, |kept, bytes| {
            let is_new = kept.of.as_ref().is_none_or(|(_, known)| !Arc::ptr_eq(&known.0, &live.0));
            kept.of = Some((bucket.clone(), live.clone()));
            kept.asked_at = Some(Instant::now());
            if is_new { size_of::<Live>() } else { bytes }
        });
        drop(places);
        self.asked.notify_one();
        live
    }

    /// How many bytes a place may take.
    pub(super) const fn share(&self) -> usize {
        self.bytes_max / SHARE
    }

    /// Takes note of how large it is now.
    pub(super) fn measure(&self, place: Place, live: &SharedLive) {
        let bytes = {
            let mut live = live.lock();
            let bytes = live.size_bytes();
            if bytes > self.share() {
                live.make_lean();
                live.size_bytes()
            } else {
                bytes
            }
        };
        self.lock().update(&place, |kept, before| {
            let is_kept = kept.of.as_ref().is_some_and(|(_, known)| Arc::ptr_eq(&known.0, &live.0));
            if is_kept { bytes } else { before }
        });
    }

    /// What was asked for lately.
    pub(super) fn warm(&self) -> Vec<(BucketState, SharedLive)> {
        let is_warm = |kept: &&Kept| kept.asked_at.is_some_and(|at| at.elapsed() < WARM_FOR);
        self.lock().values().filter(is_warm).filter_map(|kept| kept.of.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Lru<Kept>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::layout::{Bucket, BucketWidth, Era, SealRow, SealSummary, ShardCount};
    use crate::model::{Generation, SealVersion, Shard, Timestamp};

    /// A bucket before it is sealed, or behind a seal.
    fn bucket(version: Option<u32>) -> BucketState {
        let bucket_width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let era = Era { starts_at: Timestamp::MIN, shards: ShardCount::new(1).unwrap(), bucket_width };
        let bucket = Bucket::at(Timestamp::EPOCH, bucket_width);
        let seal = |version| SealRow {
            bucket,
            version: SealVersion::new(version),
            generation: Generation { version: SealVersion::new(version), attempt: 1 },
            sealed_at: Timestamp::EPOCH,
            covered: BTreeMap::new(),
            summary: SealSummary::default(),
        };
        let place = Place { shard: Shard::new(0), bucket };
        let seal = version.map(|version| Arc::new(seal(version)));
        BucketState { era, place, marks: Vec::new(), seal, taken_at: Instant::now() }
    }

    #[tokio::test]
    async fn what_is_given_up_is_tried_anew_behind_the_next_seal() {
        let tails = Tails::new(1 << 20);
        let live = tails.of(&bucket(None), None);
        assert!(live.kept().is_some());
        live.lock().give_up();
        assert!(tails.of(&bucket(None), None).kept().is_none(), "not over and over before it");
        let behind = tails.of(&bucket(Some(1)), None);
        assert!(behind.kept().is_some());
        assert!(live.kept().is_none(), "a query that goes on is not told otherwise");
        behind.lock().give_up();
        assert!(tails.of(&bucket(Some(1)), None).kept().is_none());
        assert!(tails.of(&bucket(Some(2)), None).kept().is_some());
    }
}
