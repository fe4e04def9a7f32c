//! Rows of `segments`: one columnar batch as ingested, with what a reader wants to know before it decodes it.

use bytes::Bytes;

use super::{Parts, count_datum, seq_datum};
use crate::layout::Place;
use crate::layout::tables::SEGMENTS;
use crate::model::{CatalogN, Seq, Timestamp, WriterId};
use crate::wide::{Bounds, Datum, Key, ReadError, Row};

/// A row of `segments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Who wrote it.
    pub writer: WriterId,
    /// Its position among the writer's segments of its (shard, bucket).
    pub seq: Seq,
    /// When it was received, in whole milliseconds; it never goes back for one (writer, shard).
    pub received_at: Timestamp,
    /// How many of the writer's catalog rows its body needs.
    pub catalog: CatalogN,
    /// How many samples it holds.
    pub samples: u32,
    /// Its earliest sample.
    pub min_time: Timestamp,
    /// Its latest sample.
    pub max_time: Timestamp,
    /// The samples; see [`crate::codec`].
    pub body: Bytes,
}

impl SegmentRow {
    /// The partition of a (shard, bucket).
    pub fn partition(place: Place) -> Key {
        Key::from([Datum::Int(i64::from(place.shard.get())), Datum::Instant(place.bucket.start_millis())])
    }

    /// All segments of `writer` from `seq` on.
    pub fn from_seq(writer: WriterId, seq: Seq) -> Bounds {
        Bounds {
            start: std::ops::Bound::Included(Key::from([Datum::Int(writer.get()), seq_datum(seq)])),
            end: std::ops::Bound::Included(Key::from([Datum::Int(writer.get())])),
        }
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        Row {
            clustering: Key::from([Datum::Int(self.writer.get()), seq_datum(self.seq)]),
            cells: vec![
                Datum::Instant(self.received_at.millis_floor()),
                count_datum(self.catalog),
                Datum::Int(i64::from(self.samples)),
                Datum::Int(self.min_time.nanos()),
                Datum::Int(self.max_time.nanos()),
                Datum::Blob(self.body.clone()),
            ],
        }
    }

    /// From what is stored.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&SEGMENTS, row);
        let received_at = parts.fit("received_at", parts.cell("received_at")?, |datum| {
            Timestamp::from_millis(datum.as_instant()?).ok()
        })?;
        let samples =
            parts.fit("samples", parts.cell("samples")?, |datum| u32::try_from(datum.as_int()?).ok())?;
        Ok(Self {
            writer: parts.writer_key()?,
            seq: Seq::new(parts.u32_key("seq")?),
            received_at,
            catalog: parts.catalog_count("catalog_n")?,
            samples,
            min_time: parts.time("min_time")?,
            max_time: parts.time("max_time")?,
            body: parts.blob("body")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{damaged, is_corrupt};
    use super::*;

    fn moment() -> impl Strategy<Value = Timestamp> {
        (Timestamp::MIN.nanos()..=Timestamp::MAX.nanos()).prop_map(|n| Timestamp::from_nanos(n).unwrap())
    }

    proptest! {
        #[test]
        fn a_segment_comes_back_as_written(
            (writer, seq, catalog, samples) in any::<(u64, u32, u32, u32)>(),
            (received_at, min_time, max_time) in (moment(), moment(), moment()),
            body in any::<Vec<u8>>(),
        ) {
            let segment = SegmentRow {
                writer: WriterId::from_random(writer),
                seq: Seq::new(seq),
                received_at: received_at.floor_to_millis(),
                catalog: CatalogN::new(catalog),
                samples,
                min_time,
                max_time,
                body: body.into(),
            };
            SEGMENTS.assert_row(&segment.to_row());
            prop_assert_eq!(SegmentRow::from_row(&segment.to_row()).unwrap(), segment);
        }
    }

    #[test]
    fn a_damaged_segment_is_corrupt_or_has_another_time() {
        let good = SegmentRow {
            writer: WriterId::from_random(1),
            seq: Seq::new(0),
            received_at: Timestamp::EPOCH,
            catalog: CatalogN::new(1),
            samples: 1,
            min_time: Timestamp::EPOCH,
            max_time: Timestamp::EPOCH,
            body: Bytes::from_static(b"x"),
        };
        for row in damaged(&good.to_row()) {
            let read = SegmentRow::from_row(&row);
            let moved = |read: &SegmentRow| (read.min_time, read.max_time) != (good.min_time, good.max_time);
            assert!(is_corrupt(&read) || read.as_ref().is_ok_and(moved), "{row:?}");
        }
    }
}
