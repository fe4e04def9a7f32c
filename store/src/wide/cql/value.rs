//! Between [`Datum`] and what goes over the wire.
//!
//! `Int` is `bigint`, `Instant` is `timestamp` (whole milliseconds, every `i64`), `Uuid` is `uuid`, `Text` is `text`,
//! `Blob` is `blob`. A blob that is read shares the memory of the response it came in. What a column does not admit
//! is an error and never guessed at.

use bytes::Bytes;
use scylla::cluster::metadata::{ColumnType as WireType, NativeType};
use scylla::deserialize::row::{ColumnIterator, RawColumn};
use scylla::deserialize::value::DeserializeValue;
use scylla::frame::response::result::ColumnSpec;
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::wide::{Column, ColumnType, Datum, Key, Row, Table, WriteTime};

/// A value for a statement's marker.
#[derive(Debug, Clone, Copy)]
pub(super) enum Marker<'a> {
    /// A key's or a cell's.
    Datum(&'a Datum),
    /// The write time.
    Time(WriteTime),
    /// Seconds after which what is written goes away; 0 for never.
    TimeToLive(i32),
}

impl SerializeValue for Marker<'_> {
    fn serialize<'b>(
        &self,
        kind: &WireType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::TimeToLive(seconds) => seconds.serialize(kind, writer),
            Self::Time(time) => time.micros().serialize(kind, writer),
            Self::Datum(Datum::Int(number)) => number.serialize(kind, writer),
            Self::Datum(Datum::Instant(millis)) => CqlTimestamp(*millis).serialize(kind, writer),
            Self::Datum(Datum::Uuid(bits)) => Uuid::from_u128(*bits).serialize(kind, writer),
            Self::Datum(Datum::Text(text)) => text.as_str().serialize(kind, writer),
            Self::Datum(Datum::Blob(bytes)) => bytes.serialize(kind, writer),
        }
    }
}

/// Markers for these values.
pub(super) fn markers<'a>(values: impl IntoIterator<Item = &'a Datum>) -> impl Iterator<Item = Marker<'a>> {
    values.into_iter().map(Marker::Datum)
}

/// The type that a column has in CQL.
pub(super) const fn cql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Int => "bigint",
        ColumnType::Instant => "timestamp",
        ColumnType::Uuid => "uuid",
        ColumnType::Text => "text",
        ColumnType::Blob => "blob",
    }
}

/// Whether a response has exactly these columns, in this order; the reason where it has not.
pub(super) fn check_columns<'a>(
    expected: impl IntoIterator<Item = &'a Column>,
    found: &[ColumnSpec<'_>],
) -> Result<(), String> {
    let mut found = found.iter();
    for column in expected {
        let Some(spec) = found.next() else {
            return Err(format!("column {} is missing", column.name));
        };
        let fits = matches!(spec.typ(), WireType::Native(native) if *native == native_type(column.kind));
        if spec.name() != column.name || !fits {
            return Err(format!(
                "column {} of type {:?} where {} of type {} belongs",
                spec.name(),
                spec.typ(),
                column.name,
                cql_type(column.kind)
            ));
        }
    }
    found.next().map_or(Ok(()), |spec| Err(format!("column {} is unknown", spec.name())))
}

/// The row of a response that selects the clustering key and the cells of `table`.
pub(super) fn whole_row(table: &Table, columns: ColumnIterator<'_, '_>) -> Result<Row, String> {
    let mut columns = columns;
    let clustering = take(table.clustering, &mut columns)?;
    let cells = take(table.cells, &mut columns)?;
    Ok(Row { clustering: Key::new(clustering), cells })
}

/// The values of the next columns of a response.
pub(super) fn take(expected: &[Column], columns: &mut ColumnIterator<'_, '_>) -> Result<Vec<Datum>, String> {
    let mut values = Vec::with_capacity(expected.len());
    for column in expected {
        let raw = columns.next().ok_or_else(|| format!("column {} is missing", column.name))?;
        let raw = raw.map_err(|error| error.to_string())?;
        values.push(datum(*column, &raw)?);
    }
    Ok(values)
}

const fn native_type(kind: ColumnType) -> NativeType {
    match kind {
        ColumnType::Int => NativeType::BigInt,
        ColumnType::Instant => NativeType::Timestamp,
        ColumnType::Uuid => NativeType::Uuid,
        ColumnType::Text => NativeType::Text,
        ColumnType::Blob => NativeType::Blob,
    }
}

fn datum(column: Column, raw: &RawColumn<'_, '_>) -> Result<Datum, String> {
    match column.kind {
        ColumnType::Int => value(column, raw).map(Datum::Int),
        ColumnType::Instant => value(column, raw).map(|CqlTimestamp(millis)| Datum::Instant(millis)),
        ColumnType::Uuid => value(column, raw).map(|id: Uuid| Datum::Uuid(id.as_u128())),
        ColumnType::Text => value(column, raw).map(Datum::Text),
        ColumnType::Blob => value(column, raw).map(|bytes: Bytes| Datum::Blob(bytes)),
    }
}

fn value<'frame, 'metadata, T: DeserializeValue<'frame, 'metadata>>(
    column: Column,
    raw: &RawColumn<'frame, 'metadata>,
) -> Result<T, String> {
    let value = Option::<T>::deserialize(raw.spec.typ(), raw.slice)
        .map_err(|error| format!("column {}: {error}", column.name))?;
    value.ok_or_else(|| format!("column {} is null", column.name))
}
