//! Rows that go away by themselves: when their retention has ended, and never before.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidemill_store::model::{Clock as _, Timestamp};
use tidemill_store::wide::{Datum, Key, Row, Wide};

use crate::backend::{Backend, SystemClock};
use crate::fixture::{Fixture, at, ints};
use crate::tables::{EXPIRING, EXPIRING_KEPT, ROLLUPS, ROLLUPS_KEPT};

/// How long a case has to write and read what is about to expire. A store that goes by the real time makes it wait.
const AHEAD: Duration = Duration::from_secs(8);
const HOUR: Duration = Duration::from_hours(1);

fn row(n: i64, ends_at: Timestamp) -> Row {
    let cells = vec![Datum::Instant(ends_at.millis_floor()), Datum::Blob("body".into())];
    Row { clustering: ints(&[n]), cells }
}

fn expiring(place: i64, ends_at: Timestamp) -> Key {
    [Datum::Int(place), Datum::Instant(ends_at.saturating_sub(HOUR).millis_floor())].into()
}

fn rollups(resolution: i64, place: i64, ends_at: Timestamp) -> Key {
    let period = Datum::Instant(ends_at.saturating_sub(HOUR).millis_floor());
    [Datum::Int(resolution), Datum::Int(place), period].into()
}

pub(super) async fn what_has_expired_goes_and_the_rest_stays<B: Backend>(
    fixture: &Fixture<B::Store>,
) -> Result<()> {
    let (store, now) = (fixture.store(), SystemClock.now().floor_to_millis());
    let soon = now.saturating_add(AHEAD);
    let place = fixture.place(0);
    let (raw_end, frames_end) = (soon.saturating_sub(EXPIRING_KEPT), soon.saturating_sub(ROLLUPS_KEPT));
    let goes = expiring(place, raw_end);
    let (minutes, hours) = (rollups(60, place, frames_end), rollups(3600, place, frames_end));
    let stays = expiring(place, now);
    let half = raw_end.saturating_add(EXPIRING_KEPT / 2);
    let middle = expiring(place, half);
    let written = [
        (&EXPIRING, &goes, row(1, raw_end)),
        (&EXPIRING, &stays, row(1, now)),
        (&EXPIRING, &middle, row(1, half)),
        (&ROLLUPS, &minutes, row(1, frames_end)),
        (&ROLLUPS, &hours, row(1, frames_end)),
    ];
    for (table, partition, row) in &written {
        store.put(table, partition, std::slice::from_ref(row), at(1)).await?;
    }
    for (table, partition, row) in &written {
        ensure!(fixture.all(table, partition).await? == [row.clone()], "{partition:?} before its time");
    }
    B::expire(store, soon).await?;
    for (index, (table, partition, row)) in written.iter().enumerate() {
        let found = fixture.all(table, partition).await?;
        let got = store.get(table, partition, &row.clustering).await?;
        if index == 0 || index == 3 {
            ensure!(found.is_empty() && got.is_none(), "{partition:?} outlived its time: {found:?}");
        } else {
            ensure!(found == [row.clone()] && got.as_ref() == Some(row), "{partition:?} is gone: {found:?}");
        }
    }
    Ok(())
}

pub(super) async fn a_row_that_was_written_late_lives_no_longer<B: Backend>(
    fixture: &Fixture<B::Store>,
) -> Result<()> {
    let (store, now) = (fixture.store(), SystemClock.now().floor_to_millis());
    let past = now.saturating_sub(EXPIRING_KEPT).saturating_sub(HOUR);
    let partition = expiring(fixture.place(0), past);
    store.put(&EXPIRING, &partition, &[row(1, past), row(2, past)], at(1)).await?;
    B::expire(store, now).await?;
    assert_eq!(fixture.all(&EXPIRING, &partition).await?, []);
    Ok(())
}

pub(super) async fn expiring_again_spares_what_came_later<B: Backend>(
    fixture: &Fixture<B::Store>,
) -> Result<()> {
    let (store, now) = (fixture.store(), SystemClock.now().floor_to_millis());
    let past = now.saturating_sub(EXPIRING_KEPT).saturating_sub(HOUR);
    let partition = expiring(fixture.place(0), past);
    store.put(&EXPIRING, &partition, &[row(1, past)], at(1)).await?;
    B::expire(store, now).await?;
    // As of a bucket so wide that it has just ended.
    store.put(&EXPIRING, &partition, &[row(2, now)], at(1)).await?;
    B::expire(store, now).await?;
    assert_eq!(fixture.all(&EXPIRING, &partition).await?, [row(2, now)]);
    Ok(())
}
