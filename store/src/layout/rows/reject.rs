//! Rows of `rejects`: a message that could not be taken, with its reason, kept so that it can be replayed (I7).

use bytes::Bytes;

use super::Parts;
use crate::layout::tables::REJECTS;
use crate::model::{Timestamp, WriterId};
use crate::wide::{Datum, Key, ReadError, Row};

/// Why a message is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// It could not be understood.
    DeadLetter,
    /// It was understood, and policy does not take it.
    Quarantine,
}

impl RejectKind {
    /// Its name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead_letter",
            Self::Quarantine => "quarantine",
        }
    }

    pub(super) fn from_str(name: &str) -> Option<Self> {
        [Self::DeadLetter, Self::Quarantine].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A row of `rejects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectRow {
    /// When the message came, in whole milliseconds.
    pub received_at: Timestamp,
    /// Who took it.
    pub writer: WriterId,
    /// Which of the writer's rejects this is; no two have the same.
    pub n: u32,
    /// Why it is kept apart.
    pub kind: RejectKind,
    /// The reason as a short stable word.
    pub reason: String,
    /// The reason as a sentence: what is wrong, and where.
    pub detail: String,
    /// The topic, as far as it is text.
    pub topic: String,
    /// The payload, unchanged.
    pub payload: Bytes,
}

const DAY_MILLIS: i64 = 86_400_000;

impl RejectRow {
    /// The partition of this row: its day, cut into slots to spread it.
    pub fn partition(&self, slot: u16) -> Key {
        let day = self.received_at.millis_floor().div_euclid(DAY_MILLIS) * DAY_MILLIS;
        Key::from([Datum::Instant(day), Datum::Int(i64::from(slot))])
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        Row {
            clustering: Key::from([
                Datum::Instant(self.received_at.millis_floor()),
                Datum::Int(self.writer.get()),
                Datum::Int(i64::from(self.n)),
            ]),
            cells: vec![
                Datum::Text(self.kind.as_str().into()),
                Datum::Text(self.reason.clone()),
                Datum::Text(self.detail.clone()),
                Datum::Text(self.topic.clone()),
                Datum::Blob(self.payload.clone()),
            ],
        }
    }

    /// From what is stored.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&REJECTS, row);
        let kind = parts.fit("kind", parts.cell("kind")?, |datum| RejectKind::from_str(datum.as_text()?))?;
        Ok(Self {
            received_at: parts.moment_key("received_at")?,
            writer: parts.writer_key()?,
            n: parts.u32_key("n")?,
            kind,
            reason: parts.text("reason")?.to_owned(),
            detail: parts.text("detail")?.to_owned(),
            topic: parts.text("topic")?.to_owned(),
            payload: parts.blob("payload")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{damaged, is_corrupt};
    use super::*;

    fn reject(received_at: Timestamp) -> RejectRow {
        RejectRow {
            received_at,
            writer: WriterId::from_random(9),
            n: 4,
            kind: RejectKind::DeadLetter,
            reason: "json".into(),
            detail: "no value at byte 3".into(),
            topic: "devices/d/telemetry".into(),
            payload: Bytes::from_static(b"{\xff"),
        }
    }

    #[test]
    fn a_reject_comes_back_as_written_and_lies_in_its_day() {
        let last = Timestamp::from_millis(-1).unwrap();
        REJECTS.assert_partition(&reject(last).partition(3));
        REJECTS.assert_row(&reject(last).to_row());
        assert_eq!(reject(last).partition(3).part(0), Some(&Datum::Instant(-DAY_MILLIS)));
        assert_eq!(RejectRow::from_row(&reject(last).to_row()).unwrap(), reject(last));
    }

    #[test]
    fn a_damaged_reject_is_corrupt_or_says_something_else() {
        let good = reject(Timestamp::EPOCH);
        for row in damaged(&good.to_row()) {
            let read = RejectRow::from_row(&row);
            assert!(is_corrupt(&read) || read.is_ok_and(|read| read != good), "{row:?}");
        }
    }
}
