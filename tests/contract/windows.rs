//! Windows of time in an embedded store: dropped whole, there after a restart, and their bytes given back.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use prometheus::Registry;
use tidemill_store::model::Timestamp;
use tidemill_store::wide::lsm::{Lsm, LsmOptions, OpenError};
use tidemill_store::wide::{Bounds, Datum, Deletion, Key, Row, Scan, Wide};
use tidemill_tests::wait;

use crate::backend::expiry;
use crate::embedded::bodies;
use crate::fixture::{at, body, ints, pages};
use crate::tables::{self, BODIES, EXPIRING};

/// A day of `EXPIRING`, with rows of 16 KiB that end with it.
fn day(day: i64) -> (Key, Vec<Row>) {
    let ends_at = (day + 1) * DAY_MILLIS;
    let row = |n| Row {
        clustering: [Datum::Int(n)].into(),
        cells: vec![
            Datum::Instant(ends_at),
            Datum::Blob(vec![u8::try_from(n % 251).unwrap_or(0); 16_384].into()),
        ],
    };
    ([Datum::Int(1), Datum::Instant(day * DAY_MILLIS)].into(), (0..64).map(row).collect())
}

const DAY_MILLIS: i64 = 86_400_000;
const MIB: u64 = 1024 * 1024;

fn of_day(day: i64) -> Result<Timestamp> {
    Ok(Timestamp::from_millis(day * DAY_MILLIS)?)
}

fn expiring(directory: &Path) -> Result<Lsm, OpenError> {
    let options = LsmOptions {
        write_buffer_bytes: MIB,
        window_buffers_bytes_max: 4 * MIB,
        reclaim_bytes_min: 4 * MIB,
        expiry: expiry(),
        ..LsmOptions::new(directory)
    };
    Lsm::open(options, &tables::ALL, &Registry::new())
}

/// Bytes of all files below.
fn bytes_on_disk(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // What is being removed meanwhile takes no space.
        let Ok(about) = entry.metadata() else { continue };
        bytes += if about.is_dir() { bytes_on_disk(&entry.path()).unwrap_or(0) } else { about.len() };
    }
    Ok(bytes)
}

fn until_below(directory: &Path, bytes_max: u64) -> Result<u64> {
    let what = format!("the disk to fall below {bytes_max} bytes");
    wait::until(&what, Duration::from_secs(20), || {
        let bytes = bytes_on_disk(directory)?;
        Ok((bytes < bytes_max).then_some(bytes))
    })
}

pub(crate) async fn windows_that_expire_give_their_bytes_back_to_the_disk(directory: &Path) -> Result<()> {
    let store = expiring(directory)?;
    for n in 0..40 {
        let (partition, rows) = day(n);
        store.put(&EXPIRING, &partition, &rows, at(1)).await?;
    }
    // Without the journals, which are bounded by themselves and hold what was written last.
    let keyspaces = directory.join("tree").join("keyspaces");
    let full = bytes_on_disk(&keyspaces)?;
    ensure!(full > 35 * MIB, "{full} bytes for 40 MiB of rows, of which 4 MiB may be in memory");
    // Ten days are kept: at the end of day 35 those up to day 25 have expired.
    let expired = store.expire(of_day(36)?).await?;
    ensure!(expired.windows.len() == 26, "{expired:?}");
    let left = until_below(&keyspaces, 16 * MIB)?;
    for n in 0..40 {
        let (partition, rows) = day(n);
        let found = pages(&store, &Scan::partition(&EXPIRING, partition)).await?;
        ensure!(if n < 26 { found.is_empty() } else { found == rows }, "day {n}: {} rows", found.len());
    }
    ensure!(left > 14 * MIB, "{left} bytes for 14 days");
    assert_eq!(store.expire(of_day(36)?).await?.windows, Vec::<String>::new());
    Ok(())
}

pub(crate) async fn deleted_rows_give_their_bytes_back_to_the_disk(directory: &Path) -> Result<()> {
    let store = expiring(directory)?;
    for writer in 0..8 {
        for seq in 0..40 {
            let rows = [body(writer, seq, vec![u8::try_from(seq)?; 128 * 1024])];
            store.put(&BODIES, &bodies(), &rows, at(1)).await?;
        }
    }
    // Of every file something stays, and then nothing is written any more.
    for writer in 0..8 {
        let rest =
            Bounds { start: Bound::Included(ints(&[writer, 4])), end: Bound::Included(ints(&[writer])) };
        store.delete(&BODIES, &bodies(), &Deletion::Range(rest), at(1)).await?;
    }
    let keyspaces = directory.join("tree").join("keyspaces");
    until_below(&keyspaces, 12 * MIB)?;
    let found = pages(&store, &Scan::partition(&BODIES, bodies())).await?;
    ensure!(found.len() == 32, "{} rows are left", found.len());
    Ok(())
}

pub(crate) async fn reads_beside_an_expiry_give_rows_or_none(directory: &Path) -> Result<()> {
    let store = Arc::new(expiring(directory)?);
    for n in 0..30 {
        let (partition, rows) = day(n);
        store.put(&EXPIRING, &partition, &rows, at(1)).await?;
    }
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for round in 0..120 {
                    let (partition, rows) = day((round * 7 + reader) % 30);
                    let scan = Scan::partition(&EXPIRING, partition).in_pages_of(10);
                    let found = pages(&*store, &scan).await?;
                    ensure!(found == rows[..found.len()], "rows that were never written");
                }
                Ok(())
            })
        })
        .collect();
    for n in 11..41 {
        store.expire(of_day(n)?).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for reader in readers {
        reader.await??;
    }
    let (partition, _) = day(29);
    assert_eq!(pages(&*store, &Scan::partition(&EXPIRING, partition)).await?, []);
    Ok(())
}

pub(crate) async fn windows_are_there_after_a_close(directory: &Path) -> Result<()> {
    for round in 0..3 {
        let store = expiring(directory)?;
        for n in 0..12 {
            let (partition, rows) = day(n);
            if round == 0 {
                store.put(&EXPIRING, &partition, &rows, at(1)).await?;
            }
            ensure!(pages(&store, &Scan::partition(&EXPIRING, partition)).await? == rows, "day {n}");
        }
        store.close().await?;
    }
    let store = expiring(directory)?;
    // What a window's last row is was written with it: the end of day 11 is known, and day 11 stays.
    let expired = store.expire(of_day(22)?.saturating_sub(Duration::from_secs(1))).await?;
    ensure!(expired.windows.len() == 11, "{expired:?}");
    Ok(())
}

pub(crate) async fn a_window_made_after_all_others_were_dropped_is_there_after_a_close(
    directory: &Path,
) -> Result<()> {
    for first in [0, 100, 200] {
        // Enough for the journal to be made small at the close: then nothing but the windows knows their numbers.
        let days = first..first + 10;
        {
            let store = expiring(directory)?;
            for (partition, rows) in days.clone().map(day) {
                store.put(&EXPIRING, &partition, &rows, at(1)).await?;
            }
            store.close().await?;
        }
        // Nothing else is written between a drop and the next start.
        let store = expiring(directory)?;
        for n in days {
            let (partition, rows) = day(n);
            let found = pages(&store, &Scan::partition(&EXPIRING, partition)).await?;
            ensure!(found == rows, "day {n} is lost");
        }
        let expired = store.expire(of_day(first + 50)?).await?;
        ensure!(expired.windows.len() == 10, "{expired:?}");
        store.close().await?;
    }
    Ok(())
}

pub(crate) async fn many_windows_at_once_wait_in_little_memory(directory: &Path) -> Result<()> {
    let store = expiring(directory)?;
    for round in 0..20_i64 {
        for n in 0..60 {
            let (partition, mut rows) = day(n);
            rows.truncate(1);
            rows[0].clustering = ints(&[round]);
            store.put(&EXPIRING, &partition, &rows, at(1)).await?;
        }
    }
    // Sixty windows of 320 KiB: none fills its own buffer of 1 MiB, all together five times what may wait.
    let keyspaces = bytes_on_disk(&directory.join("tree").join("keyspaces"))?;
    ensure!(keyspaces > 12 * MIB, "{keyspaces} bytes of 19 MiB are in files");
    Ok(())
}
