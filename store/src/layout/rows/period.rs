//! Rows of `periods`: in this period there are seals.

use super::{Parts, shard_datum};
use crate::layout::tables::PERIODS;
use crate::layout::{Bucket, BucketWidth, Period};
use crate::model::Shard;
use crate::wide::{Bounds, Datum, Key, ReadError, Row};

/// A row of `periods`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodRow {
    /// The period.
    pub period: Period,
    /// The width of the buckets whose seals it holds.
    pub width: BucketWidth,
}

impl PeriodRow {
    /// The row that a seal of `bucket` needs.
    pub fn of(bucket: Bucket, width: BucketWidth) -> Self {
        Self { period: Period::of_seal(bucket, width), width }
    }

    /// The partition of a shard's periods.
    pub fn partition(shard: Shard) -> Key {
        Key::from([shard_datum(shard)])
    }

    /// All periods from `first` to `last`, both included.
    pub fn between(first: Period, last: Period) -> Bounds {
        let at = |period: Period| Key::from([Datum::Instant(period.start_millis())]);
        Bounds { start: std::ops::Bound::Included(at(first)), end: std::ops::Bound::Included(at(last)) }
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        let start = Datum::Instant(self.period.start_millis());
        let width_millis = i64::try_from(self.width.get().as_millis()).unwrap_or(i64::MAX);
        Row {
            clustering: Key::from([start, Datum::Int(width_millis)]),
            cells: vec![Datum::Instant(self.period.end_of_seals_millis(self.width))],
        }
    }

    /// From what is stored.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&PERIODS, row);
        let width = parts.fit("bucket_millis", parts.key("bucket_millis")?, |datum| {
            let millis = u64::try_from(datum.as_int()?).ok()?;
            BucketWidth::new(std::time::Duration::from_millis(millis)).ok()
        })?;
        let period = parts.fit("period", parts.key("period")?, |datum| {
            Period::of_seals_from_start_millis(datum.as_instant()?, width)
        })?;
        Ok(Self { period, width })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Timestamp;

    fn row(hours: i64, width_hours: u64) -> PeriodRow {
        let width = BucketWidth::new(Duration::from_hours(width_hours)).unwrap();
        PeriodRow::of(Bucket::at(Timestamp::from_millis(hours * 3_600_000).unwrap(), width), width)
    }

    #[test]
    fn a_period_comes_back_as_written_for_each_width() {
        for period in [row(70, 1), row(-1, 24), row(0, 1)] {
            PERIODS.assert_row(&period.to_row());
            assert_eq!(PeriodRow::from_row(&period.to_row()).unwrap(), period);
        }
        assert_ne!(row(0, 1).to_row().clustering, row(0, 24).to_row().clustering);
    }

    #[test]
    fn a_period_that_starts_elsewhere_is_corrupt() {
        let mut stored = row(70, 1).to_row();
        stored.clustering = Key::from([Datum::Instant(5), Datum::Int(3_600_000)]);
        assert!(PeriodRow::from_row(&stored).is_err());
    }

    #[test]
    fn bounds_hold_their_first_and_last_period_of_any_width() {
        let bounds = PeriodRow::between(row(0, 1).period, row(64, 1).period);
        assert!(bounds.contains(&row(0, 24).to_row().clustering));
        assert!(bounds.contains(&row(127, 1).to_row().clustering));
        assert!(!bounds.contains(&row(128, 1).to_row().clustering));
    }
}
