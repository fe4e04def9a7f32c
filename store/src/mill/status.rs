//! What an operator asks first: per shard how many buckets wait for what, and how much is stored in which form.

use super::MillFailure;
use super::miller::Mill;
use super::survey::{ShardView, all_seals, width_of};
use crate::layout::Place;
use crate::model::{Shard, Timestamp};
use crate::wide::Wide;

/// How a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardStatus {
    /// The shard.
    pub shard: Shard,
    /// Buckets with marks that are not over yet.
    pub open: usize,
    /// Buckets that are over and were never ground.
    pub closed_unground: usize,
    /// Buckets that are over, were ground, and have got samples since.
    pub dirty: usize,
    /// The time of the oldest sample that is not ground.
    pub oldest_unground: Option<Timestamp>,
    /// Bytes of segments that are not ground.
    pub segment_bytes: u64,
    /// Bytes of blocks in force, those that have expired left out.
    pub block_bytes: u64,
    /// Bytes of frames in force, as they were written, until those of the last resolution have expired: they expire
    /// one resolution after another.
    pub frame_bytes: u64,
    /// Bytes that were replaced and wait to be deleted.
    pub garbage_bytes: u64,
    /// Buckets that were ground.
    pub sealed: usize,
    /// Samples in blocks, those that have expired left out.
    pub samples: u64,
}

impl<W: Wide> Mill<W> {
    /// How each shard is, whoever has its lease. Reads all marks, all seals, and every segment that is not ground.
    pub async fn status(&self) -> Result<Vec<ShardStatus>, MillFailure> {
        let mut all = Vec::new();
        for shard in (0..self.eras().shards_max()).map(Shard::new) {
            all.push(self.shard_status(shard).await?);
        }
        Ok(all)
    }

    /// How one shard is.
    pub async fn shard_status(&self, shard: Shard) -> Result<ShardStatus, MillFailure> {
        let (store, eras, now) = (&self.grinder.store, self.eras(), self.grinder.clock.now());
        let mut view = ShardView::default();
        view.look(store, &eras, shard).await?;
        let mut status = ShardStatus::of(shard);
        for (bucket, known) in view.buckets.iter().filter(|(_, known)| known.is_marked()) {
            status.segment_bytes += known.unground_bytes();
            status.oldest_unground =
                [status.oldest_unground, known.oldest_unground()].into_iter().flatten().min();
            if bucket.end() > now {
                status.open += 1;
            } else if known.is_dirty() {
                *(if known.seal.is_some() { &mut status.dirty } else { &mut status.closed_unground }) += 1;
            }
        }
        let retention = &self.grinder.options.retention;
        for seal in all_seals(store, &eras, shard, None).await? {
            let is_kept = !retention.raw_expired(seal.bucket, now);
            let kept = |number: u64| if is_kept { number } else { 0 };
            status.sealed += 1;
            status.block_bytes += kept(seal.summary.block_bytes);
            status.samples += kept(seal.summary.samples);
            let width = width_of(&eras, seal.bucket);
            let mut resolutions = self.grinder.options.resolutions_of(width).into_iter();
            if resolutions.any(|resolution| !retention.frames_expired(seal.bucket, resolution, now)) {
                status.frame_bytes += seal.summary.frame_bytes;
            }
            status.garbage_bytes += seal.summary.garbage_bytes;
        }
        Ok(status)
    }
}

impl<W: Wide> Mill<W> {
    /// Every bucket with marks, oldest first: what may have something to grind, whoever has its lease.
    pub async fn waiting(&self) -> Result<Vec<Place>, MillFailure> {
        let (store, eras) = (&self.grinder.store, self.eras());
        let mut places = Vec::new();
        for shard in (0..eras.shards_max()).map(Shard::new) {
            let mut view = ShardView::default();
            view.look(store, &eras, shard).await?;
            let marked = view.buckets.iter().filter(|(_, known)| known.is_marked());
            places.extend(marked.map(|(&bucket, _)| Place { shard, bucket }));
        }
        places.sort_unstable_by_key(|place| (place.bucket, place.shard));
        Ok(places)
    }
}

impl ShardStatus {
    fn of(shard: Shard) -> Self {
        Self {
            shard,
            open: 0,
            closed_unground: 0,
            dirty: 0,
            oldest_unground: None,
            segment_bytes: 0,
            block_bytes: 0,
            frame_bytes: 0,
            garbage_bytes: 0,
            sealed: 0,
            samples: 0,
        }
    }
}
