//! Rows of `writers`: how many rows of a writer's catalog seals carry.

use super::{Parts, count_datum};
use crate::layout::tables::WRITERS;
use crate::model::{CatalogN, Shard, WriterId};
use crate::wide::{Datum, Key, ReadError, Row, WriteTime};

/// A row of `writers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterRow {
    /// The writer.
    pub writer: WriterId,
    /// How many of its catalog rows; all are durable.
    pub catalog: CatalogN,
}

impl WriterRow {
    /// The partition of a shard's writers.
    pub fn partition(shard: Shard) -> Key {
        Key::from([super::shard_datum(shard)])
    }

    /// When it is written: the greatest count wins.
    pub fn written_at(&self) -> WriteTime {
        WriteTime::from_micros(i64::from(self.catalog.get()))
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        Row { clustering: Key::from([Datum::Int(self.writer.get())]), cells: vec![count_datum(self.catalog)] }
    }

    /// From what is stored.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&WRITERS, row);
        Ok(Self { writer: parts.writer_key()?, catalog: parts.catalog_count("catalog_n")? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{damaged, is_corrupt};
    use super::*;

    #[test]
    fn a_writer_comes_back_as_written_and_damage_is_seen() {
        let good = WriterRow { writer: WriterId::from_random(8), catalog: CatalogN::new(7) };
        WRITERS.assert_row(&good.to_row());
        assert_eq!(WriterRow::from_row(&good.to_row()).unwrap(), good);
        for row in damaged(&good.to_row()) {
            let read = WriterRow::from_row(&row);
            assert!(is_corrupt(&read) || read.is_ok_and(|read| read != good), "{row:?}");
        }
    }
}
