//! Rows as bytes: what stands beside a key.
//!
//! ```text
//! version  u8, now 1
//! at       i64 BE, the write time in microseconds
//! cells    in the order of the table's columns, each as [`Datum::put`] says
//! crc      u32 BE, CRC-32 of the key and of all bytes before it
//! ```
//!
//! Part of the format on disk: golden-tested. The CRC covers the key, so a row under the wrong key is found out.

use bytes::{BufMut, Bytes};

use super::super::{Column, Datum, Row, WriteTime};

/// Largest encoded row, in bytes: far above any body, far below what the tree takes.
pub(super) const BYTES_MAX: usize = 64 * 1024 * 1024;

const VERSION: u8 = 1;
const CELLS_AT: usize = 9;
const CRC_BYTES: usize = 4;

/// Why a stored row was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValueError {
    /// Too short.
    #[error("it ends early")]
    Short,
    /// Written by a newer version.
    #[error("it has version {0}, which this version of the program does not know")]
    Version(u8),
    /// The bytes are not those that were written.
    #[error("its checksum does not match")]
    Checksum,
    /// The cells are not those of the table.
    #[error("its cell {0} is not what the table says")]
    Cell(usize),
}

/// The row under `key`. The caller keeps it below [`BYTES_MAX`].
pub(super) fn encode(key: &[u8], row: &Row, at: WriteTime) -> Vec<u8> {
    let mut value = Vec::with_capacity(size(row));
    value.put_u8(VERSION);
    value.put_i64(at.micros());
    row.cells.iter().for_each(|cell| cell.put(&mut value));
    value.put_u32(checksum(key, &value));
    value
}

/// The bytes that a row takes.
pub(super) fn size(row: &Row) -> usize {
    CELLS_AT + CRC_BYTES + row.cells.iter().map(Datum::encoded_bytes).sum::<usize>()
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize()
}

/// When a row was written, without a look at the rest of it.
pub(super) fn write_time(value: &[u8]) -> Result<WriteTime, ValueError> {
    let (&version, rest) = value.split_first().ok_or(ValueError::Short)?;
    if version != VERSION {
        return Err(ValueError::Version(version));
    }
    let micros = rest.first_chunk().ok_or(ValueError::Short)?;
    Ok(WriteTime::from_micros(i64::from_be_bytes(*micros)))
}

/// The cells of the row under `key`. Blobs share the memory of `value`.
pub(super) fn decode(columns: &[Column], key: &[u8], value: &Bytes) -> Result<Vec<Datum>, ValueError> {
    write_time(value)?;
    let (body, crc) = value.split_last_chunk::<CRC_BYTES>().ok_or(ValueError::Short)?;
    if checksum(key, body) != u32::from_be_bytes(*crc) {
        return Err(ValueError::Checksum);
    }
    let mut rest =
        value.get(CELLS_AT..body.len()).map(|cells| value.slice_ref(cells)).ok_or(ValueError::Short)?;
    let mut cells = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let cell = Datum::take(&mut rest).filter(|cell| column.admits(cell));
        cells.push(cell.ok_or(ValueError::Cell(index))?);
    }
    if rest.is_empty() { Ok(cells) } else { Err(ValueError::Cell(columns.len())) }
}

#[cfg(test)]
mod tests {
    use super::super::super::{ColumnType, Key};
    use super::*;
    use proptest::prelude::*;

    const COLUMNS: [Column; 5] = [
        Column::new("int", ColumnType::Int),
        Column::new("instant", ColumnType::Instant),
        Column::new("uuid", ColumnType::Uuid),
        Column::new("text", ColumnType::Text),
        Column::new("blob", ColumnType::Blob),
    ];

    fn row(int: i64, instant: i64, uuid: u128, text: &str, blob: Vec<u8>) -> Row {
        let text = Datum::Text(text.into());
        let cells =
            vec![Datum::Int(int), Datum::Instant(instant), Datum::Uuid(uuid), text, Datum::Blob(blob.into())];
        Row { clustering: Key::default(), cells }
    }

    fn sample() -> (Row, Bytes) {
        let row = row(-1, 2, 3, "é", vec![0, 255]);
        let value = encode(b"key", &row, WriteTime::from_micros(7));
        (row, value.into())
    }

    #[test]
    fn rows_have_the_bytes_that_older_versions_wrote() {
        let (_, value) = sample();
        let golden = "01000000000000000701ffffffffffffffff02000000000000000203\
                      000000000000000000000000000000030400000002c3a9050000000200ff";
        let hex = value.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let (body, crc) = hex.split_at(hex.len() - 8);
        assert_eq!(body, golden);
        assert_eq!(crc, "11308a88");
    }

    #[test]
    fn every_damaged_bit_and_every_cut_is_found() {
        let (_, value) = sample();
        for bit in 0..value.len() * 8 {
            let mut damaged = value.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&COLUMNS, b"key", &damaged.into()).is_err(), "bit {bit}");
        }
        for cut in 0..value.len() {
            assert!(decode(&COLUMNS, b"key", &value.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_row_under_another_key_or_of_other_columns_is_refused() {
        let (_, value) = sample();
        assert_eq!(decode(&COLUMNS, b"kez", &value), Err(ValueError::Checksum));
        assert_eq!(decode(&COLUMNS[..4], b"key", &value), Err(ValueError::Cell(4)));
        assert_eq!(decode(&COLUMNS[1..], b"key", &value), Err(ValueError::Cell(0)));
    }

    #[test]
    fn a_row_of_a_newer_version_is_named_as_such() {
        let (_, value) = sample();
        let mut newer = value.to_vec();
        newer[0] = 2;
        assert_eq!(decode(&COLUMNS, b"key", &newer.into()), Err(ValueError::Version(2)));
    }

    proptest! {
        #[test]
        fn rows_come_back(
            int: i64, instant: i64, uuid: u128, text: String, blob: Vec<u8>, at: i64, key: Vec<u8>,
        ) {
            let row = row(int, instant, uuid, &text, blob);
            let value = Bytes::from(encode(&key, &row, WriteTime::from_micros(at)));
            prop_assert_eq!(value.len(), size(&row));
            prop_assert_eq!(write_time(&value), Ok(WriteTime::from_micros(at)));
            prop_assert_eq!(decode(&COLUMNS, &key, &value), Ok(row.cells));
        }
    }
}
