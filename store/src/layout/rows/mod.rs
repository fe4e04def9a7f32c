//! Rows of each table as types, and back. One file a table; every conversion is total: what a store gives is
//! checked cell by cell, and what this version would not have written is [`ReadError::Corrupt`], never a panic.

mod birth;
mod block;
mod catalog;
mod era;
mod frame;
mod lease;
mod mark;
mod period;
mod reject;
mod reject_count;
mod seal;
mod segment;
mod writer;

use bytes::Bytes;

use crate::model::{CatalogN, Generation, SealVersion, Seq, Shard, SourceId, Timestamp, WriterId};
use crate::wide::{Datum, ReadError, Row, Table};

pub use birth::{BirthRow, BirthState};
pub use block::BlockRow;
pub use catalog::{CatalogRow, MetricFact};
pub use era::EraRow;
pub use frame::FrameRow;
pub use lease::LeaseRow;
pub use mark::{MarkRow, MarkState};
pub use period::PeriodRow;
pub use reject::{RejectKind, RejectRow};
pub use reject_count::RejectCountRow;
pub use seal::{Covered, SealRow, SealSummary};
pub use segment::SegmentRow;
pub use writer::WriterRow;

/// A row of a table whose parts are read by position, with an error that names the column.
struct Parts<'a> {
    table: &'static Table,
    row: &'a Row,
}

impl<'a> Parts<'a> {
    fn new(table: &'static Table, row: &'a Row) -> Self {
        Self { table, row }
    }

    fn corrupt(&self, column: &str, reason: impl std::fmt::Display) -> ReadError {
        ReadError::Corrupt { table: self.table.name, reason: format!("{column}: {reason}") }
    }

    fn key(&self, name: &'static str) -> Result<&'a Datum, ReadError> {
        let index = self.table.clustering.iter().position(|column| column.name == name);
        index.and_then(|index| self.row.clustering.part(index)).ok_or_else(|| self.corrupt(name, "missing"))
    }

    fn cell(&self, name: &'static str) -> Result<&'a Datum, ReadError> {
        self.table
            .cell_index(name)
            .and_then(|index| self.row.cells.get(index))
            .ok_or_else(|| self.corrupt(name, "missing"))
    }

    /// `convert` applied to a datum of column `name`; `None` says that it does not fit.
    fn fit<T>(
        &self,
        name: &'static str,
        datum: &'a Datum,
        convert: impl FnOnce(&'a Datum) -> Option<T>,
    ) -> Result<T, ReadError> {
        convert(datum).ok_or_else(|| self.corrupt(name, format_args!("{datum:?} does not fit")))
    }

    fn int(&self, name: &'static str) -> Result<i64, ReadError> {
        self.fit(name, self.cell(name)?, Datum::as_int)
    }

    fn text(&self, name: &'static str) -> Result<&'a str, ReadError> {
        self.fit(name, self.cell(name)?, Datum::as_text)
    }

    fn blob(&self, name: &'static str) -> Result<Bytes, ReadError> {
        self.fit(name, self.cell(name)?, |datum| datum.as_blob().cloned())
    }

    /// A cell that holds nanoseconds.
    fn time(&self, name: &'static str) -> Result<Timestamp, ReadError> {
        self.fit(name, self.cell(name)?, |datum| Timestamp::from_nanos(datum.as_int()?).ok())
    }

    /// A cell that holds a count of catalog rows.
    fn catalog_count(&self, name: &'static str) -> Result<CatalogN, ReadError> {
        self.fit(name, self.cell(name)?, |datum| u32::try_from(datum.as_int()?).ok().map(CatalogN::new))
    }

    fn writer_key(&self) -> Result<WriterId, ReadError> {
        self.fit("writer", self.key("writer")?, |datum| WriterId::from_stored(datum.as_int()?))
    }

    fn u32_key(&self, name: &'static str) -> Result<u32, ReadError> {
        self.fit(name, self.key(name)?, |datum| u32::try_from(datum.as_int()?).ok())
    }

    /// The generation that a key begins with, or names after the bucket.
    fn generation_key(&self) -> Result<Generation, ReadError> {
        let attempt = self
            .fit("attempt", self.key("attempt")?, |datum| datum.as_int().filter(|&attempt| attempt >= 0))?;
        Ok(Generation { version: SealVersion::new(self.u32_key("version")?), attempt })
    }

    fn source_key(&self, name: &'static str) -> Result<SourceId, ReadError> {
        self.fit(name, self.key(name)?, source_id)
    }

    fn source_cell(&self, name: &'static str) -> Result<SourceId, ReadError> {
        self.fit(name, self.cell(name)?, source_id)
    }

    /// A cell that holds milliseconds.
    fn moment(&self, name: &'static str) -> Result<Timestamp, ReadError> {
        self.fit(name, self.cell(name)?, |datum| Timestamp::from_millis(datum.as_instant()?).ok())
    }

    fn u32(&self, name: &'static str) -> Result<u32, ReadError> {
        self.fit(name, self.cell(name)?, |datum| u32::try_from(datum.as_int()?).ok())
    }

    /// A part of the key that holds milliseconds.
    fn moment_key(&self, name: &'static str) -> Result<Timestamp, ReadError> {
        self.fit(name, self.key(name)?, |datum| Timestamp::from_millis(datum.as_instant()?).ok())
    }
}

fn seq_datum(seq: Seq) -> Datum {
    Datum::Int(i64::from(seq.get()))
}

/// Big-endian, so that bytes are ordered as the ids are.
fn source_datum(source: SourceId) -> Datum {
    Datum::Blob(Bytes::copy_from_slice(&source.get().to_be_bytes()))
}

fn source_id(datum: &Datum) -> Option<SourceId> {
    let bytes: [u8; 16] = datum.as_blob()?.as_ref().try_into().ok()?;
    Some(SourceId::new(u128::from_be_bytes(bytes)))
}

fn generation_data(generation: Generation) -> [Datum; 2] {
    [Datum::Int(i64::from(generation.version.get())), Datum::Int(generation.attempt)]
}

fn shard_datum(shard: Shard) -> Datum {
    Datum::Int(i64::from(shard.get()))
}

fn count_datum(count: CatalogN) -> Datum {
    Datum::Int(i64::from(count.get()))
}

#[cfg(test)]
mod testing {
    use proptest::prelude::*;

    use crate::wide::{Datum, Key, ReadError, Row};

    /// Rows that no version wrote: each part of a good row in turn replaced by each kind of nonsense, or cut off.
    pub(super) fn damaged(good: &Row) -> impl Iterator<Item = Row> {
        let nonsense = [
            Datum::Int(i64::MIN),
            Datum::Int(-2),
            Datum::Instant(i64::MAX),
            Datum::Uuid(7),
            Datum::Text("{\"a\":[1}".into()),
            Datum::Text("[1]".into()),
            Datum::Text(String::new()),
        ];
        let (keys, cells) = (good.clustering.parts().len(), good.cells.len());
        let good = good.clone();
        let cut_good = good.clone();
        let replaced = (0..keys + cells).flat_map(move |at| {
            let good = good.clone();
            nonsense.clone().into_iter().map(move |datum| {
                let mut key = good.clustering.parts().to_vec();
                let mut row = good.clone();
                if at < keys {
                    key[at] = datum;
                } else {
                    row.cells[at - keys] = datum;
                }
                Row { clustering: Key::new(key), ..row }
            })
        });
        let cut = (0..cells).map(move |keep| {
            let mut row = cut_good.clone();
            row.cells.truncate(keep);
            row
        });
        replaced.chain(cut).chain([Row { clustering: Key::default(), cells: Vec::new() }])
    }

    pub(super) fn is_corrupt<T>(result: &Result<T, ReadError>) -> bool {
        matches!(result, Err(ReadError::Corrupt { .. }))
    }

    /// Text as a name may hold it: quotes, backslashes and other scripts included.
    pub(super) fn name() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9 \"\\\\{}\\[\\],:é漢]{1,12}"
    }
}
