//! What one record says: writes to the store, in the order in which they must become durable.
//!
//! ```text
//! body   version u8, now 1 · count of writes u32 BE · writes
//! write  table: length u8, name · at i64 BE · partition · count of rows u32 BE · rows
//! row    clustering · cells
//! partition, clustering, cells: count u16 BE · datums, each as [`Datum::put`] says
//! ```
//!
//! Part of the format on disk: golden-tested. Knows the tables by name, and nothing of what is in them.

use bytes::{BufMut, Bytes};
use tidemill_store::append::PlannedWrite;
use tidemill_store::layout::tables;
use tidemill_store::wide::{Datum, Key, Row, Table, WriteTime};

const VERSION: u8 = 1;

/// How much of what was received a record makes durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u32,
    /// Samples.
    pub samples: u32,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.samples = self.samples.saturating_add(other.samples);
    }
}

/// Writes that become durable, and are carried out later, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The writes, in order.
    pub writes: Vec<PlannedWrite>,
    /// What they make durable.
    pub tally: Tally,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer version.
    #[error("it has version {0}, which this version of the program does not know")]
    Version(u8),
    /// A table that this version does not know.
    #[error("it writes to the table {0:?}, which this version of the program does not know")]
    Table(String),
    /// The bytes are not writes.
    #[error("it is not a list of writes")]
    Malformed,
}

/// The body of a record of `writes`.
pub(super) fn encode(writes: &[PlannedWrite]) -> Vec<u8> {
    let size: usize = writes.iter().flat_map(|write| &write.rows).map(Row::size_bytes).sum();
    let mut body = Vec::with_capacity(size + size / 4 + 64 * writes.len());
    body.put_u8(VERSION);
    put_count(writes.len(), &mut body);
    for write in writes {
        body.put_u8(u8::try_from(write.table.name.len()).unwrap_or(u8::MAX));
        body.put_slice(write.table.name.as_bytes());
        body.put_i64(write.at.micros());
        put_datums(write.partition.parts(), &mut body);
        put_count(write.rows.len(), &mut body);
        for row in &write.rows {
            put_datums(row.clustering.parts(), &mut body);
            put_datums(&row.cells, &mut body);
        }
    }
    body
}

fn put_count(count: usize, into: &mut Vec<u8>) {
    let short = u32::try_from(count);
    assert!(short.is_ok(), "{count} of something in one record passed every limit");
    into.put_u32(short.unwrap_or_default());
}

fn put_datums(datums: &[Datum], into: &mut Vec<u8>) {
    into.put_u16(u16::try_from(datums.len()).unwrap_or(u16::MAX));
    for datum in datums {
        datum.put(into);
    }
}

/// The writes of a body. Blobs share its memory.
pub(super) fn decode(body: Bytes) -> Result<Vec<PlannedWrite>, RecordError> {
    let mut rest = Reader(body);
    match rest.array::<1>().ok_or(RecordError::Malformed)? {
        [VERSION] => {}
        [newer] => return Err(RecordError::Version(newer)),
    }
    let mut writes = Vec::new();
    for _ in 0..rest.count().ok_or(RecordError::Malformed)? {
        let name = rest.name().ok_or(RecordError::Malformed)?;
        let table = tables::ALL.iter().find(|table| table.name == name);
        let table: &'static Table = table.ok_or(RecordError::Table(name))?;
        writes.push(rest.write(table).ok_or(RecordError::Malformed)?);
    }
    if rest.0.is_empty() { Ok(writes) } else { Err(RecordError::Malformed) }
}

struct Reader(Bytes);

impl Reader {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.0.first_chunk::<N>()?;
        let _ = self.0.split_to(N);
        Some(array)
    }

    fn count(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn bytes(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn name(&mut self) -> Option<String> {
        let [length] = self.array()?;
        String::from_utf8(self.bytes(usize::from(length))?.into()).ok()
    }

    fn write(&mut self, table: &'static Table) -> Option<PlannedWrite> {
        let at = WriteTime::from_micros(i64::from_be_bytes(self.array()?));
        let partition = Key::new(self.datums()?);
        let mut rows = Vec::new();
        for _ in 0..self.count()? {
            let clustering = Key::new(self.datums()?);
            rows.push(Row { clustering, cells: self.datums()? });
        }
        Some(PlannedWrite { table, partition, at, rows })
    }

    fn datums(&mut self) -> Option<Vec<Datum>> {
        let count = u16::from_be_bytes(self.array()?);
        (0..count).map(|_| Datum::take(&mut self.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidemill_store::layout::tables::{MARKS, SEGMENTS};

    fn write(table: &'static Table, at: i64, datums: Vec<Datum>) -> PlannedWrite {
        let row = Row { clustering: Key::new(datums.clone()), cells: datums.clone() };
        let at = WriteTime::from_micros(at);
        PlannedWrite { table, partition: Key::new(datums), at, rows: vec![row.clone(), row] }
    }

    #[test]
    fn a_body_has_the_bytes_that_older_versions_wrote() {
        let body = encode(&[write(&MARKS, -2, vec![Datum::Int(1)])]);
        let hex = body.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let key = "0001010000000000000001";
        let golden = format!("0100000001056d61726b73fffffffffffffffe{key}00000002{key}{key}{key}{key}");
        assert_eq!(hex, golden);
    }

    #[test]
    fn what_is_newer_or_cut_is_refused() {
        let body = encode(&[write(&SEGMENTS, 5, vec![Datum::Blob(Bytes::from_static(b"x"))])]);
        for cut in 0..body.len() {
            assert!(decode(Bytes::copy_from_slice(&body[..cut])).is_err(), "cut at {cut}");
        }
        assert_eq!(decode([2].to_vec().into()), Err(RecordError::Version(2)));
        let mut other = body.clone();
        other[6] = b'x';
        assert!(matches!(decode(other.into()), Err(RecordError::Table(_))));
        assert_eq!(decode([&body[..], b"x"].concat().into()), Err(RecordError::Malformed));
    }

    fn datum() -> impl Strategy<Value = Datum> {
        prop_oneof![
            any::<i64>().prop_map(Datum::Int),
            any::<i64>().prop_map(Datum::Instant),
            any::<u128>().prop_map(Datum::Uuid),
            any::<String>().prop_map(Datum::Text),
            any::<Vec<u8>>().prop_map(|bytes| Datum::Blob(bytes.into())),
        ]
    }

    proptest! {
        #[test]
        fn writes_come_back(
            writes in prop::collection::vec(
                (0..tables::ALL.len(), any::<i64>(), prop::collection::vec(datum(), 0..4)), 0..4),
        ) {
            let writes: Vec<_> =
                writes.into_iter().map(|(table, at, datums)| write(tables::ALL[table], at, datums)).collect();
            prop_assert_eq!(decode(encode(&writes).into()), Ok(writes));
        }

        #[test]
        fn any_bytes_are_refused_or_writes(bytes: Vec<u8>) {
            let _ = decode(bytes.into());
        }
    }
}
