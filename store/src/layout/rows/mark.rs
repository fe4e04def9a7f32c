//! Rows of `marks`: this writer touches this bucket, and how far a reader has to know its catalog.

use super::{Parts, count_datum};
use crate::layout::tables::MARKS;
use crate::layout::{Bucket, BucketWidth};
use crate::model::{CatalogN, Seq, Shard, WriterId};
use crate::wide::{Bounds, Datum, Key, ReadError, Row, WriteTime};

/// Whether the writer may add segments to the bucket without a new mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkState {
    /// It may.
    Open,
    /// It has written all segments up to and including this one, and none after it.
    Closed(Seq),
}

/// A row of `marks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRow {
    /// The bucket.
    pub bucket: Bucket,
    /// The writer.
    pub writer: WriterId,
    /// Whether the writer goes on.
    pub state: MarkState,
    /// How many of the writer's catalog rows a reader of the bucket needs; all are durable.
    pub catalog: CatalogN,
    /// The write time of this row; it only grows for one (writer, shard, bucket).
    pub written_at: WriteTime,
}

const OPEN: &str = "open";
const CLOSED: &str = "closed";

impl MarkRow {
    /// The partition of a shard's marks.
    pub fn partition(shard: Shard) -> Key {
        Key::from([Datum::Int(i64::from(shard.get()))])
    }

    /// All marks of the buckets from `first` to `last`, both included.
    pub fn between(first: Bucket, last: Bucket) -> Bounds {
        let at = |bucket: Bucket| Key::from([Datum::Instant(bucket.start_millis())]);
        Bounds { start: std::ops::Bound::Included(at(first)), end: std::ops::Bound::Included(at(last)) }
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        let (state, through) = match self.state {
            MarkState::Open => (OPEN, -1),
            MarkState::Closed(through) => (CLOSED, i64::from(through.get())),
        };
        Row {
            clustering: Key::from([
                Datum::Instant(self.bucket.start_millis()),
                Datum::Int(self.writer.get()),
            ]),
            cells: vec![
                Datum::Text(state.into()),
                Datum::Int(through),
                count_datum(self.catalog),
                Datum::Int(self.written_at.micros()),
            ],
        }
    }

    /// From what is stored; `width` is that of the bucket's era.
    pub fn from_row(row: &Row, width: BucketWidth) -> Result<Self, ReadError> {
        let parts = Parts::new(&MARKS, row);
        let bucket = parts.fit("bucket", parts.key("bucket")?, |datum| {
            Bucket::from_start_millis(datum.as_instant()?, width)
        })?;
        let through = parts.int("through_seq")?;
        let state = match (parts.text("state")?, u32::try_from(through)) {
            (OPEN, _) if through >= -1 => MarkState::Open,
            (CLOSED, Ok(through)) => MarkState::Closed(Seq::new(through)),
            (state, _) => return Err(parts.corrupt("state", format_args!("{state:?} through {through}"))),
        };
        Ok(Self {
            bucket,
            writer: parts.writer_key()?,
            state,
            catalog: parts.catalog_count("catalog_n")?,
            written_at: WriteTime::from_micros(parts.int("written_at")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{damaged, is_corrupt};
    use super::*;
    use crate::model::Timestamp;

    fn width() -> BucketWidth {
        BucketWidth::new(Duration::from_hours(9600)).unwrap()
    }

    fn mark(time: Timestamp, state: MarkState) -> MarkRow {
        MarkRow {
            bucket: Bucket::at(time, width()),
            writer: WriterId::from_random(u64::MAX),
            state,
            catalog: CatalogN::new(3),
            written_at: WriteTime::from_micros(5),
        }
    }

    #[test]
    fn a_mark_comes_back_as_written_even_in_the_first_bucket_of_all() {
        for time in [Timestamp::MIN, Timestamp::EPOCH, Timestamp::MAX] {
            for state in [MarkState::Open, MarkState::Closed(Seq::new(0))] {
                let mark = mark(time, state);
                MARKS.assert_row(&mark.to_row());
                assert_eq!(MarkRow::from_row(&mark.to_row(), width()).unwrap(), mark);
            }
        }
    }

    #[test]
    fn a_damaged_mark_is_corrupt_or_another_mark() {
        let good = mark(Timestamp::EPOCH, MarkState::Closed(Seq::new(7)));
        for row in damaged(&good.to_row()) {
            let read = MarkRow::from_row(&row, width());
            // Any integer is a write time, so a damaged one cannot be told.
            assert!(is_corrupt(&read) || read.unwrap().written_at != good.written_at, "{row:?}");
        }
    }

    #[test]
    fn a_mark_off_the_bucket_grid_is_corrupt() {
        let mut row = mark(Timestamp::EPOCH, MarkState::Open).to_row();
        row.clustering = Key::from([Datum::Instant(1), Datum::Int(1)]);
        assert!(is_corrupt(&MarkRow::from_row(&row, width())));
    }
}
