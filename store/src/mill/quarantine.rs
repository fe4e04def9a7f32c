//! Segments that cannot be ground, kept as rejects with their bytes (I7): those that are not what was written, and
//! those of buckets whose raw samples have expired, from which no rollup could be made without the samples that are
//! gone (I4).
//!
//! The seal covers them as if they were ground, so that they neither hold back what comes after them nor are read
//! again; they are durable as rejects before it does. Their key follows from theirs: setting one aside again writes
//! the same row (I5).

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::persistent::Persistent;
use super::{MillFailure, Site};
use crate::layout::tables::REJECTS;
use crate::layout::{RejectKind, RejectRow, SegmentRow};
use crate::model::{Seq, WriterId};
use crate::wide::{Wide, WriteTime};

/// The slot of a day's rejects that the mill writes to; there are few of them.
const SLOT: u16 = 0;
/// The reason of a segment that is not what was written.
const CORRUPT: &str = "corrupt_segment";
/// The reason of a segment that came after the raw samples of its bucket had expired.
const EXPIRED: &str = "raw_expired";
/// Every reason.
pub(super) const REASONS: [&str; 2] = [CORRUPT, EXPIRED];

/// Why a segment is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// It is not what was written.
    Corrupt(String),
    /// The raw samples of its bucket have expired.
    Expired,
}

impl Cause {
    /// The reason as a short stable word.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Corrupt(_) => CORRUPT,
            Self::Expired => EXPIRED,
        }
    }
}

/// Keeps `row` as a reject; `Ok`: it is durable.
pub(super) async fn set_aside<W: Wide>(
    store: &Persistent<W>,
    site: Site,
    row: &SegmentRow,
    cause: &Cause,
) -> Result<(), MillFailure> {
    let reject = reject(site, row, cause);
    let at = WriteTime::from_micros(reject.received_at.micros_floor());
    store.put(&REJECTS, &reject.partition(SLOT), &[reject.to_row()], at).await?;
    Ok(())
}

fn reject(site: Site, row: &SegmentRow, cause: &Cause) -> RejectRow {
    let (shard, bucket) = (site.place.shard, site.place.bucket.start_millis());
    let (kind, said) = match cause {
        Cause::Corrupt(error) => (RejectKind::DeadLetter, error.as_str()),
        Cause::Expired => (RejectKind::Quarantine, "the raw samples of its bucket have expired"),
    };
    let (writer, seq) = (row.writer, row.seq);
    RejectRow {
        received_at: row.received_at,
        writer: stand_in(site, writer, seq),
        n: 0,
        kind,
        reason: cause.as_str().to_owned(),
        detail: format!("segment {seq} of writer {writer}, {} samples: {said}", row.samples),
        topic: format!("segments/{shard}/{bucket}/{writer}/{seq}"),
        payload: Bytes::clone(&row.body),
    }
}

/// A writer numbers its own rejects from 0 on, so that a segment of its cannot be entered among them: it is under a
/// writer id of its own, made from its key.
fn stand_in(site: Site, writer: WriterId, seq: Seq) -> WriterId {
    let key = format!("{} {} {writer} {seq}", site.place.shard, site.place.bucket.start_millis());
    WriterId::from_random(xxh3_64(key.as_bytes()))
}
