//! What keys and cells are made of.

use bytes::Bytes;

/// One typed value of a key or a cell. Its variant must be that of the column's [`super::ColumnType`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datum {
    /// A 64-bit integer.
    Int(i64),
    /// A moment in whole milliseconds since the epoch, so that the store's own shell shows it as a date.
    Instant(i64),
    /// A 128-bit identifier, shown as a UUID.
    Uuid(u128),
    /// Text; orders by its bytes.
    Text(String),
    /// Bytes; only in cells.
    Blob(Bytes),
}

impl Datum {
    /// The integer, where it is one.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// The milliseconds of the moment, where it is one.
    pub fn as_instant(&self) -> Option<i64> {
        if let Self::Instant(millis) = self { Some(*millis) } else { None }
    }

    /// The identifier, where it is one.
    pub fn as_uuid(&self) -> Option<u128> {
        if let Self::Uuid(bits) = self { Some(*bits) } else { None }
    }

    /// The text, where it is some.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Roughly the bytes it takes in memory, to bound pages and queues by.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Int(_) | Self::Instant(_) => 8,
            Self::Uuid(_) => 16,
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
        }
    }

    /// The bytes, where they are some.
    pub fn as_blob(&self) -> Option<&Bytes> {
        if let Self::Blob(bytes) = self { Some(bytes) } else { None }
    }
}

/// A partition key, a clustering key, or a leading part of a clustering key; ordered like its parts in turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<Datum>);

impl Key {
    /// A key of these parts.
    pub fn new(parts: impl Into<Vec<Datum>>) -> Self {
        Self(parts.into())
    }

    /// Its parts.
    pub fn parts(&self) -> &[Datum] {
        &self.0
    }

    /// Roughly the bytes it takes in memory.
    pub fn size_bytes(&self) -> usize {
        self.0.iter().map(Datum::size_bytes).sum()
    }

    /// The part at `index`.
    pub fn part(&self, index: usize) -> Option<&Datum> {
        self.0.get(index)
    }
}

impl<const N: usize> From<[Datum; N]> for Key {
    fn from(parts: [Datum; N]) -> Self {
        Self(parts.into())
    }
}

/// A row without its partition key: its whole clustering key and all cells, in the order of the table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The clustering key.
    pub clustering: Key,
    /// One value for each cell column of the table.
    pub cells: Vec<Datum>,
}

impl Row {
    /// Roughly the bytes it takes in memory.
    pub fn size_bytes(&self) -> usize {
        self.clustering.size_bytes() + self.cells.iter().map(Datum::size_bytes).sum::<usize>()
    }
}
