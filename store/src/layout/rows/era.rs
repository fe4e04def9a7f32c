//! Rows of `eras`: when an era starts, how many shards it has, how wide its buckets are.

use std::time::Duration;

use super::Parts;
use crate::layout::tables::ERAS;
use crate::layout::{BucketWidth, Era, ShardCount};
use crate::wide::{Datum, Key, ReadError, Row};

/// A row of `eras`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EraRow(pub Era);

impl EraRow {
    /// The one partition that holds all eras.
    pub fn partition() -> Key {
        Key::from([Datum::Int(0)])
    }

    /// As stored.
    pub fn to_row(self) -> Row {
        let width = self.0.bucket_width.get().as_millis();
        Row {
            clustering: Key::from([Datum::Instant(self.0.starts_at.millis_floor())]),
            cells: vec![
                Datum::Int(i64::from(self.0.shards.get())),
                Datum::Int(i64::try_from(width).unwrap_or(i64::MAX)),
            ],
        }
    }

    /// From what is stored.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&ERAS, row);
        let starts_at = parts.moment_key("starts_at")?;
        let shards = parts.fit("shards", parts.cell("shards")?, |datum| {
            ShardCount::new(u64::try_from(datum.as_int()?).ok()?).ok()
        })?;
        let bucket_width = parts.fit("bucket_millis", parts.cell("bucket_millis")?, |datum| {
            BucketWidth::new(Duration::from_millis(u64::try_from(datum.as_int()?).ok()?)).ok()
        })?;
        Ok(Self(Era { starts_at, shards, bucket_width }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{damaged, is_corrupt};
    use super::*;
    use crate::model::Timestamp;

    fn era() -> EraRow {
        EraRow(Era {
            starts_at: Timestamp::MIN,
            shards: ShardCount::new(16).unwrap(),
            bucket_width: BucketWidth::new(Duration::from_hours(1)).unwrap(),
        })
    }

    #[test]
    fn an_era_comes_back_as_written() {
        ERAS.assert_row(&era().to_row());
        assert_eq!(EraRow::from_row(&era().to_row()).unwrap(), era());
    }

    #[test]
    fn a_damaged_era_is_corrupt() {
        for row in damaged(&era().to_row()) {
            assert!(is_corrupt(&EraRow::from_row(&row)), "{row:?}");
        }
    }
}
