//! Rows of `blocks`: a pack of the samples of consecutive sources, of one bucket and one generation.

use std::ops::Bound;

use bytes::Bytes;

use super::{Parts, generation_data, shard_datum, source_datum};
use crate::layout::Place;
use crate::layout::tables::BLOCKS;
use crate::model::{Generation, SourceId, Timestamp};
use crate::wide::{Bounds, Datum, Key, ReadError, Row};

/// A row of `blocks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// The grind that made it.
    pub generation: Generation,
    /// The first source in it.
    pub first_source: SourceId,
    /// Which part of its source it is; above 0 only where one source needs several rows.
    pub part: u32,
    /// The last source in it.
    pub last_source: SourceId,
    /// The earliest time in it.
    pub min_time: Timestamp,
    /// The latest time in it; inclusive.
    pub max_time: Timestamp,
    /// How many samples are in it.
    pub samples: u32,
    /// The bucket's end.
    pub ends_at: Timestamp,
    /// The pack.
    pub body: Bytes,
}

impl BlockRow {
    /// The partition of a bucket's blocks.
    pub fn partition(place: Place) -> Key {
        Key::from([shard_datum(place.shard), Datum::Instant(place.bucket.start_millis())])
    }

    /// All rows of a generation.
    pub fn of(generation: Generation) -> Bounds {
        Bounds::prefix(Key::from(generation_data(generation)))
    }

    /// All rows of a generation whose first source is at most `source`: scanned in descending order, what may hold
    /// `source` comes first.
    pub fn up_to(generation: Generation, source: SourceId) -> Bounds {
        let [version, attempt] = generation_data(generation);
        let end = Key::from([version.clone(), attempt.clone(), source_datum(source)]);
        Bounds { start: Bound::Included(Key::from([version, attempt])), end: Bound::Included(end) }
    }

    /// All rows of generations before `generation`.
    pub fn before(generation: Generation) -> Bounds {
        Bounds { start: Bound::Unbounded, end: Bound::Excluded(Key::from(generation_data(generation))) }
    }

    /// All rows of generations after `generation`, up to those of its version.
    pub fn after_in_version(generation: Generation) -> Bounds {
        let [version, attempt] = generation_data(generation);
        Bounds {
            start: Bound::Excluded(Key::from([version.clone(), attempt])),
            end: Bound::Included(Key::from([version])),
        }
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        let [version, attempt] = generation_data(self.generation);
        let part = Datum::Int(i64::from(self.part));
        Row {
            clustering: Key::from([version, attempt, source_datum(self.first_source), part]),
            cells: vec![
                source_datum(self.last_source),
                Datum::Int(self.min_time.nanos()),
                Datum::Int(self.max_time.nanos()),
                Datum::Int(i64::from(self.samples)),
                Datum::Instant(self.ends_at.millis_floor()),
                Datum::Blob(self.body.clone()),
            ],
        }
    }

    /// From what is stored.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&BLOCKS, row);
        Ok(Self {
            generation: parts.generation_key()?,
            first_source: parts.source_key("first_source")?,
            part: parts.u32_key("part")?,
            last_source: parts.source_cell("last_source")?,
            min_time: parts.time("min_time")?,
            max_time: parts.time("max_time")?,
            samples: parts.u32("samples")?,
            ends_at: parts.moment("ends_at")?,
            body: parts.blob("body")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{damaged, is_corrupt};
    use super::*;
    use crate::model::SealVersion;

    fn generation(version: u32, attempt: i64) -> Generation {
        Generation { version: SealVersion::new(version), attempt }
    }

    fn block(generation: Generation) -> BlockRow {
        BlockRow {
            generation,
            first_source: SourceId::new(7),
            part: 0,
            last_source: SourceId::new(u128::MAX),
            min_time: Timestamp::EPOCH,
            max_time: Timestamp::from_nanos(5).unwrap(),
            samples: 2,
            ends_at: Timestamp::from_millis(3_600_000).unwrap(),
            body: Bytes::from_static(b"pack"),
        }
    }

    #[test]
    fn a_block_comes_back_as_written() {
        let block = block(generation(3, 9));
        BLOCKS.assert_row(&block.to_row());
        assert_eq!(BlockRow::from_row(&block.to_row()).unwrap(), block);
    }

    #[test]
    fn a_damaged_block_is_corrupt_or_says_something_else() {
        let good = block(generation(3, 9));
        for row in damaged(&good.to_row()) {
            let read = BlockRow::from_row(&row);
            assert!(is_corrupt(&read) || read.is_ok_and(|read| read != good), "{row:?}");
        }
    }

    #[test]
    fn bounds_hold_the_generations_that_they_name() {
        let key = |version, attempt| block(generation(version, attempt)).to_row().clustering;
        let this = generation(3, 9);
        assert!(BlockRow::of(this).contains(&key(3, 9)) && !BlockRow::of(this).contains(&key(3, 8)));
        assert!(BlockRow::up_to(this, SourceId::new(7)).contains(&key(3, 9)));
        assert!(!BlockRow::up_to(this, SourceId::new(6)).contains(&key(3, 9)));
        let (before, after) = (BlockRow::before(this), BlockRow::after_in_version(this));
        assert!(before.contains(&key(2, 99)) && before.contains(&key(3, 8)) && !before.contains(&key(3, 9)));
        assert!(after.contains(&key(3, 10)) && !after.contains(&key(3, 9)) && !after.contains(&key(4, 0)));
    }
}
