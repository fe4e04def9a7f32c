//! The eras as stored: reading them, and installing the first.
//!
//! Every process must place a point alike, or a reader looks where no writer wrote (I3). So the first era is
//! decided by compare-and-set, and whoever comes second takes what it finds, whatever its own settings say.

use super::tables::ERAS;
use super::{BucketWidth, Era, EraRow, Eras, ErasError, ShardCount};
use crate::model::Timestamp;
use crate::wide::{Expected, ReadError, Scan, Wide, WriteError};

/// Why there are no eras to work with.
#[derive(Debug, thiserror::Error)]
pub enum ErasFailure {
    /// They could not be read.
    #[error("the eras could not be read")]
    Read(#[from] ReadError),
    /// The first could not be written; its outcome may be unknown. Installing again is harmless.
    #[error("the first era could not be written")]
    Write(#[from] WriteError),
    /// What is stored makes no sense.
    #[error("the stored eras cannot be used")]
    Invalid(#[from] ErasError),
}

impl ErasFailure {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(error) => error.is_transient(),
            Self::Write(error) => error.is_transient(),
            Self::Invalid(_) => false,
        }
    }
}

/// The eras in force. [`ErasError::None`] where none is installed.
pub async fn load_eras<W: Wide>(wide: &W) -> Result<Eras, ErasFailure> {
    let scan = Scan::partition(&ERAS, EraRow::partition());
    let (mut eras, mut from) = (Vec::new(), None);
    loop {
        let page = wide.scan(&scan, from).await?;
        for row in &page.rows {
            eras.push(EraRow::from_row(row)?.0);
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(Eras::in_force(eras)?),
        }
    }
}

/// The eras in force, after installing a first one where there was none. Any number of processes may call this at
/// once, with different arguments: all get the same answer. May be repeated after any error.
pub async fn install_eras<W: Wide>(
    wide: &W,
    shards: ShardCount,
    bucket_width: BucketWidth,
) -> Result<Eras, ErasFailure> {
    match load_eras(wide).await {
        Err(ErasFailure::Invalid(ErasError::None)) => {}
        found => return found,
    }
    let first = EraRow(Era { starts_at: Timestamp::MIN, shards, bucket_width }).to_row();
    // Applied or refused: either way there is a first era now.
    wide.compare_and_set(&ERAS, &EraRow::partition(), &Expected::Absent, &first).await?;
    load_eras(wide).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wide::memory::Memory;

    fn width(minutes: u64) -> BucketWidth {
        BucketWidth::new(Duration::from_mins(minutes)).unwrap()
    }

    #[tokio::test]
    async fn who_installs_second_takes_what_it_finds() {
        let wide = Memory::default();
        assert!(matches!(load_eras(&wide).await, Err(ErasFailure::Invalid(ErasError::None))));
        let (four, eight) = (ShardCount::new(4).unwrap(), ShardCount::new(8).unwrap());
        let (first, second) =
            tokio::join!(install_eras(&wide, four, width(5)), install_eras(&wide, eight, width(60)));
        assert_eq!(first.unwrap(), second.unwrap());
        let third = install_eras(&wide, eight, width(60)).await.unwrap();
        assert_eq!(third, load_eras(&wide).await.unwrap());
    }
}
