//! Rows of `births`: what an edge node or one of its devices said of itself when it was born or died last, so that data
//! which refers to it can be read after a restart.

use bytes::Bytes;

use super::Parts;
use crate::layout::tables::BIRTHS;
use crate::model::Timestamp;
use crate::wide::{Datum, Key, ReadError, Row};

/// Whether it was born or has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BirthState {
    /// Its birth is in force.
    Born,
    /// It has died since.
    Dead,
}

impl BirthState {
    /// Its name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Born => "born",
            Self::Dead => "dead",
        }
    }

    fn from_str(name: &str) -> Option<Self> {
        [Self::Born, Self::Dead].into_iter().find(|state| state.as_str() == name)
    }
}

/// A row of `births`. A later one of the same node and device takes its place: its write time is the time of receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BirthRow {
    /// The node, by a name that is unique in the fleet.
    pub node: String,
    /// Its device; empty for the node itself.
    pub device: String,
    /// When the message came, in whole milliseconds.
    pub received_at: Timestamp,
    /// What it said.
    pub state: BirthState,
    /// The payload of a birth, unchanged.
    pub payload: Bytes,
}

impl BirthRow {
    /// The partition of `node` and its devices.
    pub fn partition(node: &str) -> Key {
        Key::from([Datum::Text(node.into())])
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        Row {
            clustering: Key::from([Datum::Text(self.device.clone())]),
            cells: vec![
                Datum::Instant(self.received_at.millis_floor()),
                Datum::Text(self.state.as_str().into()),
                Datum::Blob(self.payload.clone()),
            ],
        }
    }

    /// From what is stored in the partition of `node`.
    pub fn from_row(node: &str, row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&BIRTHS, row);
        let device = parts.fit("device", parts.key("device")?, Datum::as_text)?;
        let state =
            parts.fit("state", parts.cell("state")?, |datum| BirthState::from_str(datum.as_text()?))?;
        Ok(Self {
            node: node.to_owned(),
            device: device.to_owned(),
            received_at: parts.moment("received_at")?,
            state,
            payload: parts.blob("payload")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{damaged, is_corrupt};
    use super::*;

    fn birth() -> BirthRow {
        BirthRow {
            node: "plant/edge".into(),
            device: "pump".into(),
            received_at: Timestamp::from_millis(5).unwrap(),
            state: BirthState::Born,
            payload: Bytes::from_static(b"\x08\xff"),
        }
    }

    #[test]
    fn a_birth_comes_back_as_written() {
        BIRTHS.assert_partition(&BirthRow::partition("plant/edge"));
        BIRTHS.assert_row(&birth().to_row());
        assert_eq!(BirthRow::from_row("plant/edge", &birth().to_row()).unwrap(), birth());
    }

    #[test]
    fn a_damaged_birth_is_corrupt_or_says_something_else() {
        for row in damaged(&birth().to_row()) {
            let read = BirthRow::from_row("plant/edge", &row);
            assert!(is_corrupt(&read) || read.is_ok_and(|read| read != birth()), "{row:?}");
        }
    }
}
