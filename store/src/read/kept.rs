//! Rows of blocks and frames, kept from query to query: what a generation holds never changes, so a row that was read
//! once is right for as long as a seal names its generation (I4).
//!
//! Rows are kept only while the seal that led to them was trusted: then nothing of its generation was deleted yet.
//! Correctness does not depend on what is kept; memory is bounded (I6).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::lru::Lru;
use super::packed::Packed;
use crate::layout::{BlockRow, FrameRow, Place, Resolution};
use crate::model::{Generation, Metric, SourceId};

/// Which rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PackKey {
    pub(super) place: Place,
    pub(super) generation: Generation,
    /// Of frames the resolution, and the metric where one alone was asked for.
    pub(super) of: Option<(Resolution, Option<Metric>)>,
}

/// Rows of one kind.
#[derive(Debug)]
pub(super) struct KeptRows<R> {
    kept: Mutex<Lru<Known<R>, PackKey>>,
    one_max: usize,
}

/// Where a row stands among those of its key: frames by metric, then by the first source and the part.
type Standing = (Option<Metric>, SourceId, u32);

/// Rows of one key, in order.
#[derive(Debug)]
struct Known<R> {
    rows: BTreeMap<Standing, R>,
    bytes: usize,
    is_all: bool,
}

impl<R> Default for Known<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), bytes: 0, is_all: false }
    }
}

/// Blocks and frames.
#[derive(Debug)]
pub(super) struct KeptPacks {
    pub(super) blocks: KeptRows<BlockRow>,
    pub(super) frames: KeptRows<FrameRow>,
}

impl KeptPacks {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { blocks: KeptRows::new(bytes_max / 2), frames: KeptRows::new(bytes_max / 2) }
    }
}

/// Where rows come from: what is kept, or else the store.
#[derive(Debug)]
pub(super) struct Stock<'a, W, R> {
    pub(super) wide: &'a W,
    pub(super) kept: &'a KeptRows<R>,
    /// Until when the seal that names the rows is trusted.
    pub(super) trusted_until: Instant,
}

impl<W, R> Clone for Stock<'_, W, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, R> Copy for Stock<'_, W, R> {}

impl<W, R: Packed> Stock<'_, W, R> {
    /// Keeps rows that were just read, all parts of each source among them.
    pub(super) fn keep(&self, key: &PackKey, rows: &[R], is_all: bool) {
        if Instant::now() < self.trusted_until {
            self.kept.keep(key, rows, is_all);
        }
    }
}

impl<R: Packed> KeptRows<R> {
    fn new(bytes_max: usize) -> Self {
        // A single key that is larger than this would drive out all others.
        Self { kept: Mutex::new(Lru::new(bytes_max)), one_max: bytes_max / 4 }
    }

    /// All rows, where all are kept.
    pub(super) fn all(&self, key: &PackKey) -> Option<Vec<R>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.get(key).filter(|known| known.is_all)?;
        Some(known.rows.values().cloned().collect())
    }

    /// The row that may hold `source`, in all its parts; none where it is known that there is none.
    pub(super) fn holding(&self, key: &PackKey, source: SourceId) -> Option<Vec<R>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.get(key)?;
        let metric = key.of.as_ref().and_then(|(_, metric)| metric.clone());
        let standing = |source, part| (metric.clone(), source, part);
        let last = known.rows.range(..=standing(source, u32::MAX)).next_back();
        match last.map(|(_, row)| row.sources()).filter(|(_, last)| *last >= source) {
            Some((first, _)) => {
                let parts = known.rows.range(standing(first, 0)..=standing(first, u32::MAX));
                Some(parts.map(|(_, row)| row.clone()).collect())
            }
            None => known.is_all.then(Vec::new),
        }
    }

    fn keep(&self, key: &PackKey, rows: &[R], is_all: bool) {
        let new: usize = rows.iter().map(|row| row.bytes() + size_of::<R>()).sum();
        if new > self.one_max {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.update(key, |known, _| {
            for row in rows {
                let more = row.bytes() + size_of::<R>();
                let before =
                    known.rows.insert((row.metric().cloned(), row.sources().0, row.part()), row.dense());
                let less = before.map_or(0, |before| before.bytes() + size_of::<R>());
                known.bytes = known.bytes + more - less;
            }
            known.is_all |= is_all;
            known.bytes
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::layout::{Bucket, BucketWidth};
    use crate::model::{SealVersion, Shard, Timestamp};

    fn key(version: u32) -> PackKey {
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let place = Place { shard: Shard::new(0), bucket: Bucket::at(Timestamp::EPOCH, width) };
        PackKey { place, generation: Generation { version: SealVersion::new(version), attempt: 0 }, of: None }
    }

    fn row(sources: (u128, u128), part: u32) -> BlockRow {
        BlockRow {
            generation: Generation { version: SealVersion::new(1), attempt: 0 },
            first_source: SourceId::new(sources.0),
            last_source: SourceId::new(sources.1),
            part,
            min_time: Timestamp::EPOCH,
            max_time: Timestamp::EPOCH,
            samples: 1,
            ends_at: Timestamp::EPOCH,
            body: Bytes::from(vec![0; 100]),
        }
    }

    fn parts(kept: &KeptRows<BlockRow>, version: u32, source: u128) -> Option<usize> {
        kept.holding(&key(version), SourceId::new(source)).map(|rows| rows.len())
    }

    #[test]
    fn a_row_answers_for_its_sources_and_all_rows_for_those_that_are_in_none() {
        let kept = KeptRows::new(100_000);
        kept.keep(&key(1), &[row((3, 5), 0), row((9, 9), 0), row((9, 9), 1)], false);
        assert_eq!([3, 4, 5].map(|source| parts(&kept, 1, source)), [Some(1); 3]);
        assert_eq!([2, 6, 10].map(|source| parts(&kept, 1, source)), [None; 3], "perhaps in rows not read");
        assert_eq!(parts(&kept, 1, 9), Some(2), "in all its parts");
        assert_eq!((parts(&kept, 2, 4), kept.all(&key(1)).is_none()), (None, true));
        kept.keep(&key(1), &[row((3, 5), 0), row((9, 9), 0), row((9, 9), 1)], true);
        assert_eq!((parts(&kept, 1, 6), kept.all(&key(1)).map(|rows| rows.len())), (Some(0), Some(3)));
    }

    #[test]
    fn what_is_large_drives_nothing_out() {
        let kept = KeptRows::new(3_000);
        kept.keep(&key(1), &[row((1, 1), 0)], true);
        let large: Vec<BlockRow> = (2..9).map(|source| row((source, source), 0)).collect();
        kept.keep(&key(2), &large, true);
        assert_eq!((parts(&kept, 1, 1), parts(&kept, 2, 2)), (Some(1), None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_when_its_seal_was_no_longer_trusted_is_not_kept() {
        let kept = KeptRows::new(100_000);
        let trusted_until = Instant::now() + Duration::from_secs(1);
        let stock = Stock { wide: &(), kept: &kept, trusted_until };
        tokio::time::advance(Duration::from_secs(2)).await;
        stock.keep(&key(1), &[row((1, 1), 0)], true);
        assert_eq!(parts(&kept, 1, 1), None);
    }
}
