//! What keys and cells are made of, and how one stands in bytes, wherever bytes are kept:
//!
//! ```text
//! datum  a tag and its value: 1 Int i64 BE · 2 Instant i64 BE · 3 Uuid u128 BE · 4 Text, 5 Blob: length u32 BE, bytes
//! ```

use bytes::{BufMut, Bytes};

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

    /// The bytes that [`Datum::put`] adds.
    pub fn encoded_bytes(&self) -> usize {
        match self {
            Self::Int(_) | Self::Instant(_) => 9,
            Self::Uuid(_) => 17,
            Self::Text(text) => 5 + text.len(),
            Self::Blob(bytes) => 5 + bytes.len(),
        }
    }

    /// Adds it to `into`: part of formats on disk. Text and bytes stay below 4 GiB: their limits are far lower.
    pub fn put(&self, into: &mut Vec<u8>) {
        match self {
            Self::Int(number) => {
                into.put_u8(1);
                into.put_i64(*number);
            }
            Self::Instant(millis) => {
                into.put_u8(2);
                into.put_i64(*millis);
            }
            Self::Uuid(bits) => {
                into.put_u8(3);
                into.put_u128(*bits);
            }
            Self::Text(text) => put_bytes(4, text.as_bytes(), into),
            Self::Blob(bytes) => put_bytes(5, bytes, into),
        }
    }

    /// Takes one from the front of `rest`, where one stands there. Blobs share its memory.
    pub fn take(rest: &mut Bytes) -> Option<Self> {
        let [tag] = take(rest)?;
        match tag {
            1 => Some(Self::Int(i64::from_be_bytes(take(rest)?))),
            2 => Some(Self::Instant(i64::from_be_bytes(take(rest)?))),
            3 => Some(Self::Uuid(u128::from_be_bytes(take(rest)?))),
            4 => Some(Self::Text(String::from_utf8(take_bytes(rest)?.into()).ok()?)),
            5 => Some(Self::Blob(take_bytes(rest)?)),
            _ => None,
        }
    }

    /// The bytes, where they are some.
    pub fn as_blob(&self) -> Option<&Bytes> {
        if let Self::Blob(bytes) = self { Some(bytes) } else { None }
    }
}

fn put_bytes(tag: u8, bytes: &[u8], into: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len());
    assert!(length.is_ok(), "a datum of {} bytes passed every limit", bytes.len());
    into.put_u8(tag);
    into.put_u32(length.unwrap_or_default());
    into.put_slice(bytes);
}

fn take<const N: usize>(rest: &mut Bytes) -> Option<[u8; N]> {
    let chunk = *rest.first_chunk::<N>()?;
    let _ = rest.split_to(N);
    Some(chunk)
}

fn take_bytes(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(u32::from_be_bytes(take(rest)?)).ok()?;
    (length <= rest.len()).then(|| rest.split_to(length))
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
