//! What a backend is told of a table: its columns, and how its rows are written and kept.

use std::ops::Bound;

use super::{Bounds, Datum, Key, Row};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// [`Datum::Int`].
    Int,
    /// [`Datum::Instant`].
    Instant,
    /// [`Datum::Uuid`]. In a clustering key all values of a column must share one version that is not time-based
    /// (8 is meant for this): stores order UUIDs by their version first, and only then by their bits.
    Uuid,
    /// [`Datum::Text`]. A partition key that is one text must not be empty.
    Text,
    /// [`Datum::Blob`].
    Blob,
}

/// A named, typed column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name in the store's own shell.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnType,
}

/// Whether a row of a table may ever change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// A key is only ever written with the same cells.
    Immutable,
    /// The write with the highest time wins.
    Versioned,
    /// Changed by compare-and-set alone: never put, never deleted.
    Exchanged,
}

/// How a table is used: backends choose compaction and compression by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Small rows, read often, mostly merged.
    Index,
    /// Bodies that are compressed already, written once and deleted by range soon after.
    Log,
    /// Bodies that are compressed already, written once and kept until their retention ends.
    Archive,
}

/// When rows go away by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Never.
    Forever,
    /// By the retention that configuration gives for rejects.
    Rejects,
    /// By the retention of raw samples, counted from the row's cell `ends_at`.
    Blocks,
    /// By the retention of the resolution that the partition begins with, counted from the row's cell `ends_at`.
    Frames,
}

/// A table. Defined once, in `layout::tables`; compared by name.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Columns of the partition key.
    pub partition: &'static [Column],
    /// Columns of the clustering key, in order; all ascending.
    pub clustering: &'static [Column],
    /// Cell columns.
    pub cells: &'static [Column],
    /// Whether rows change.
    pub rows: Rows,
    /// How it is used.
    pub workload: Workload,
    /// When rows expire.
    pub retention: Retention,
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Table {}

impl Column {
    /// A column of this name and type.
    pub const fn new(name: &'static str, kind: ColumnType) -> Self {
        Self { name, kind }
    }

    /// Whether `datum` may stand in this column.
    pub const fn admits(&self, datum: &Datum) -> bool {
        matches!(
            (self.kind, datum),
            (ColumnType::Int, Datum::Int(_))
                | (ColumnType::Instant, Datum::Instant(_))
                | (ColumnType::Uuid, Datum::Uuid(_))
                | (ColumnType::Text, Datum::Text(_))
                | (ColumnType::Blob, Datum::Blob(_))
        )
    }
}

impl Table {
    /// Panics unless `partition` is a whole partition key of this table: a caller's bug, never input.
    pub fn assert_partition(&self, partition: &Key) {
        assert!(fits(self.partition, partition.parts(), Whole::Yes), "not a partition key of {}", self.name);
    }

    /// Panics unless `key` is a clustering key of this table, or a leading part of one.
    pub fn assert_clustering_prefix(&self, key: &Key) {
        assert!(fits(self.clustering, key.parts(), Whole::No), "not a clustering prefix of {}", self.name);
    }

    /// Panics unless `key` is a whole clustering key of this table.
    pub fn assert_clustering(&self, key: &Key) {
        assert!(fits(self.clustering, key.parts(), Whole::Yes), "not a clustering key of {}", self.name);
    }

    /// Panics unless both bounds are clustering keys of this table, or leading parts of some.
    pub fn assert_bounds(&self, bounds: &Bounds) {
        for bound in [&bounds.start, &bounds.end] {
            if let Bound::Included(key) | Bound::Excluded(key) = bound {
                assert!(!key.parts().is_empty(), "a bound of {} without parts", self.name);
                self.assert_clustering_prefix(key);
            }
        }
    }

    /// Panics where rows of this table are changed by compare-and-set alone.
    pub fn assert_put_and_deleted(&self) {
        assert!(self.rows != Rows::Exchanged, "{} is changed by compare-and-set alone", self.name);
    }

    /// Panics unless rows of this table are changed by compare-and-set alone.
    pub fn assert_exchanged(&self) {
        assert!(self.rows == Rows::Exchanged, "{} is not changed by compare-and-set", self.name);
    }

    /// Panics unless `row` has a whole clustering key and all cells of this table.
    pub fn assert_row(&self, row: &Row) {
        assert!(fits(self.clustering, row.clustering.parts(), Whole::Yes), "not a row key of {}", self.name);
        assert!(fits(self.cells, &row.cells, Whole::Yes), "not the cells of {}", self.name);
    }

    /// Position of the cell column `name`.
    pub fn cell_index(&self, name: &str) -> Option<usize> {
        self.cells.iter().position(|column| column.name == name)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

fn fits(columns: &[Column], parts: &[Datum], whole: Whole) -> bool {
    (parts.len() == columns.len() || (whole == Whole::No && parts.len() < columns.len()))
        && columns.iter().zip(parts).all(|(column, datum)| column.admits(datum))
}
