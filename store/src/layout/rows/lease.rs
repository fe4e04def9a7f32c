//! Rows of `leases`: who works on which shard of a work.

use super::{Parts, shard_datum};
use crate::layout::tables::LEASES;
use crate::model::Shard;
use crate::wide::{Datum, Expected, Key, ReadError, Row};

/// A row of `leases`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The shard.
    pub shard: Shard,
    /// Who has it: a name that no other process has or will have; empty where it was given back.
    pub holder: String,
    /// Grows each time it changes hands.
    pub epoch: u32,
    /// Grows with every change of the row: what a compare-and-set expects.
    pub beat: i64,
}

impl LeaseRow {
    /// The partition of all leases of the work `name`.
    pub fn partition(name: &str) -> Key {
        Key::from([Datum::Text(name.into())])
    }

    /// The lease as it was read, unchanged.
    pub fn expected(&self) -> Expected {
        Expected::Cell("beat", Datum::Int(self.beat))
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        Row {
            clustering: Key::from([shard_datum(self.shard)]),
            cells: vec![
                Datum::Text(self.holder.clone()),
                Datum::Int(i64::from(self.epoch)),
                Datum::Int(self.beat),
            ],
        }
    }

    /// From what is stored.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&LEASES, row);
        let shard = parts
            .fit("shard", parts.key("shard")?, |datum| u16::try_from(datum.as_int()?).ok().map(Shard::new))?;
        Ok(Self {
            shard,
            holder: parts.text("holder")?.to_owned(),
            epoch: parts.u32("epoch")?,
            beat: parts.int("beat")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{damaged, is_corrupt};
    use super::*;

    fn lease() -> LeaseRow {
        LeaseRow { shard: Shard::new(5), holder: "mill-1".into(), epoch: 2, beat: 40 }
    }

    #[test]
    fn a_lease_comes_back_as_written() {
        LEASES.assert_partition(&LeaseRow::partition("mill"));
        LEASES.assert_row(&lease().to_row());
        assert_eq!(LeaseRow::from_row(&lease().to_row()).unwrap(), lease());
        assert!(lease().expected().is_met_by(&LEASES, Some(&lease().to_row())));
        let later = LeaseRow { beat: 41, ..lease() };
        assert!(!lease().expected().is_met_by(&LEASES, Some(&later.to_row())));
    }

    #[test]
    fn a_damaged_lease_is_corrupt_or_says_something_else() {
        for row in damaged(&lease().to_row()) {
            let read = LeaseRow::from_row(&row);
            assert!(is_corrupt(&read) || read.is_ok_and(|read| read != lease()), "{row:?}");
        }
    }
}
