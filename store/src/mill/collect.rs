//! Step 5 of design §7: deletes what the seal in force replaced, once nobody can need it any more.
//!
//! The caller has seen the seal in force for longer than the grace, by its own monotonic clock. First the seal's
//! version is changed once more, same generation, so that no older attempt can still win; then the segments that it
//! covers go, and generations of versions up to its own that it does not name; then the seal is told that nothing is
//! left. A crash between any two leaves the rest to the next collection, which starts from the first again.

use super::grind::Grinder;
use super::miller::Mill;
use super::output::{frames_partition, write_time};
use super::persistent::Swap;
use super::survey::{all_seals, width_of};
use super::{MillFailure, Site};
use crate::layout::tables::{BLOCKS, FRAMES, SEGMENTS};
use crate::layout::{BlockRow, FrameRow, Place, SealRow, SealSummary, SegmentRow};
use crate::model::{Generation, SealVersion, Seq, Shard, WriterId};
use crate::wide::{Bounds, Datum, Deletion, Key, Table, Wide, WriteTime};

/// How far writers' clocks may be ahead: a segment is written at the time when it was received.
const SKEW_MICROS: i64 = 86_400_000_000;

impl<W: Wide> Mill<W> {
    /// Deletes what grinding replaced in a shard, without the grace: only for who knows that nobody reads the store, or
    /// works on it, meanwhile. Gives how many bytes.
    pub async fn collect_now(&self, shard: Shard) -> Result<u64, MillFailure> {
        let (grinder, eras) = (&self.grinder, self.eras());
        let mut bytes = 0;
        for seal in all_seals(&grinder.store, &eras, shard, None).await? {
            let replaced = seal.summary.garbage_bytes;
            let site =
                Site { place: Place { shard, bucket: seal.bucket }, width: width_of(&eras, seal.bucket) };
            if replaced > 0 && grinder.collect(site, seal.version).await? {
                bytes += replaced;
            }
        }
        Ok(bytes)
    }
}

impl<W: Wide> Grinder<W> {
    /// Collects what the seal of `version` replaced; `false` where another seal is in force.
    pub(super) async fn collect(&self, site: Site, version: SealVersion) -> Result<bool, MillFailure> {
        let seal = self.store.seal(site.place, site.width).await?;
        let Some(seal) = seal.filter(|seal| seal.version == version) else { return Ok(false) };
        let bumped = SealRow { version: seal.version.next(), ..seal.clone() };
        if !self.advance(site, &seal, &bumped).await? {
            return Ok(false);
        }
        self.delete_segments(site, &bumped).await?;
        self.delete_generations(site, &bumped).await?;
        let summary = SealSummary { garbage_bytes: 0, ..bumped.summary };
        let collected = SealRow { version: bumped.version.next(), summary, ..bumped.clone() };
        self.advance(site, &bumped, &collected).await
    }

    async fn advance(&self, site: Site, from: &SealRow, to: &SealRow) -> Result<bool, MillFailure> {
        let swap = self.store.swap_seal((site.place, site.width), Some(from.version), to).await?;
        Ok(swap == Swap::Won)
    }

    async fn delete_segments(&self, site: Site, seal: &SealRow) -> Result<(), MillFailure> {
        let partition = SegmentRow::partition(site.place);
        let at = WriteTime::from_micros(self.clock.now().micros_floor().saturating_add(SKEW_MICROS));
        for (writer, covered) in &seal.covered {
            let Some(through) = covered.segments.checked_sub(1) else { continue };
            let deletion = Deletion::Range(through_seq(*writer, Seq::new(through)));
            self.store.delete(&SEGMENTS, &partition, &deletion, at).await?;
        }
        Ok(())
    }

    async fn delete_generations(&self, site: Site, seal: &SealRow) -> Result<(), MillFailure> {
        let named = seal.generation;
        let last = Generation { version: seal.version, attempt: i64::MAX };
        let at = write_time(site);
        let delete = async |table: &'static Table, partition: &Key, bounds: Vec<Bounds>| {
            for bounds in bounds {
                self.store.delete(table, partition, &Deletion::Range(bounds), at).await?;
            }
            Ok::<(), MillFailure>(())
        };
        let blocks = between(BlockRow::before(named), BlockRow::of(named), BlockRow::of(last));
        delete(&BLOCKS, &BlockRow::partition(site.place), blocks).await?;
        let bucket = site.place.bucket;
        let frames = || {
            between(FrameRow::before(bucket, named), FrameRow::of(bucket, named), FrameRow::of(bucket, last))
        };
        for resolution in self.options.resolutions_of(site.width) {
            delete(&FRAMES, &frames_partition(site, resolution), frames()).await?;
        }
        Ok(())
    }
}

/// All segments of `writer` up to `seq`.
fn through_seq(writer: WriterId, seq: Seq) -> Bounds {
    let end = Key::from([Datum::Int(writer.get()), Datum::Int(i64::from(seq.get()))]);
    Bounds { end: std::ops::Bound::Included(end), ..SegmentRow::from_seq(writer, Seq::new(0)) }
}

/// What lies before the generation that is named, and what lies after it up to the last.
fn between(before: Bounds, named: Bounds, last: Bounds) -> Vec<Bounds> {
    let std::ops::Bound::Included(named) = named.end else { return vec![before] };
    vec![before, Bounds { start: std::ops::Bound::Excluded(named), end: last.end }]
}
