//! Rows of `reject_counts`: how many rejects of a sender were not kept in an hour, and one of them as an example, so that
//! nothing vanishes without a trace (I2).

use bytes::Bytes;

use super::{Parts, RejectKind};
use crate::layout::tables::REJECT_COUNTS;
use crate::model::{Timestamp, WriterId};
use crate::wide::{Datum, Key, ReadError, Row};

const DAY_MILLIS: i64 = 86_400_000;
const HOUR_MILLIS: i64 = 3_600_000;

/// A row of `reject_counts`. One that is written later takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectCountRow {
    /// Who took them.
    pub writer: WriterId,
    /// Who sent them, as a number.
    pub sender: i64,
    /// The kind of all of them.
    pub kind: RejectKind,
    /// The reason of all of them.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the first of them came, in whole milliseconds; its hour is that of all of them.
    pub first: Timestamp,
    /// When the last of them came, in whole milliseconds.
    pub last: Timestamp,
    /// The topic of the first.
    pub topic: String,
    /// What was wrong with it.
    pub detail: String,
    /// The beginning of its payload.
    pub payload: Bytes,
}

impl RejectCountRow {
    /// The partition of the day that holds `time`.
    pub fn partition(time: Timestamp) -> Key {
        Key::from([Datum::Instant(time.millis_floor().div_euclid(DAY_MILLIS) * DAY_MILLIS)])
    }

    /// The hour that holds `time`, in milliseconds.
    pub fn hour(time: Timestamp) -> i64 {
        time.millis_floor().div_euclid(HOUR_MILLIS) * HOUR_MILLIS
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        Row {
            clustering: Key::from([
                Datum::Instant(Self::hour(self.first)),
                Datum::Int(self.writer.get()),
                Datum::Int(self.sender),
                Datum::Text(self.reason.clone()),
            ]),
            cells: vec![
                Datum::Text(self.kind.as_str().into()),
                Datum::Int(i64::try_from(self.count).unwrap_or(i64::MAX)),
                Datum::Instant(self.first.millis_floor()),
                Datum::Instant(self.last.millis_floor()),
                Datum::Text(self.topic.clone()),
                Datum::Text(self.detail.clone()),
                Datum::Blob(self.payload.clone()),
            ],
        }
    }

    /// From what is stored.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&REJECT_COUNTS, row);
        Ok(Self {
            writer: parts.writer_key()?,
            sender: parts.fit("sender", parts.key("sender")?, Datum::as_int)?,
            reason: parts.fit("reason", parts.key("reason")?, Datum::as_text)?.to_owned(),
            kind: parts.fit("kind", parts.cell("kind")?, |datum| RejectKind::from_str(datum.as_text()?))?,
            count: parts.fit("count", parts.cell("count")?, |datum| u64::try_from(datum.as_int()?).ok())?,
            first: parts.moment("first")?,
            last: parts.moment("last")?,
            topic: parts.text("topic")?.to_owned(),
            detail: parts.text("detail")?.to_owned(),
            payload: parts.blob("payload")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{damaged, is_corrupt};
    use super::*;

    fn count() -> RejectCountRow {
        RejectCountRow {
            writer: WriterId::from_random(9),
            sender: -5,
            kind: RejectKind::Quarantine,
            reason: "too_old".into(),
            count: 1 << 40,
            first: Timestamp::from_millis(3_700_000).unwrap(),
            last: Timestamp::from_millis(3_900_000).unwrap(),
            topic: "devices/d/telemetry".into(),
            detail: "the earliest is 2020".into(),
            payload: Bytes::from_static(b"{\xff"),
        }
    }

    #[test]
    fn a_count_comes_back_as_written_and_lies_in_its_day_and_hour() {
        REJECT_COUNTS.assert_partition(&RejectCountRow::partition(count().first));
        REJECT_COUNTS.assert_row(&count().to_row());
        assert_eq!(RejectCountRow::from_row(&count().to_row()).unwrap(), count());
        assert_eq!(count().to_row().clustering.part(0), Some(&Datum::Instant(HOUR_MILLIS)));
        let before = Timestamp::from_millis(-1).unwrap();
        assert_eq!(RejectCountRow::partition(before).part(0), Some(&Datum::Instant(-DAY_MILLIS)));
    }

    #[test]
    fn a_damaged_count_is_corrupt_or_says_something_else() {
        for row in damaged(&count().to_row()) {
            let read = RejectCountRow::from_row(&row);
            // The hour stands in the key as well; nothing else is made from it.
            assert!(
                is_corrupt(&read)
                    || row.clustering != count().to_row().clustering
                    || read.is_ok_and(|read| read != count()),
                "{row:?}"
            );
        }
    }
}
