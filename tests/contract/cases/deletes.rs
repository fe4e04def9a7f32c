//! Deletes at a write time.

use std::ops::Bound;

use anyhow::Result;
use tidemill_store::wide::{Bounds, Datum, Deletion, Key, Row, Wide};

use crate::fixture::{Fixture, at, body, ints, note};
use crate::tables::{BODIES, NOTES};

fn key(bucket: i64, writer: i64) -> Key {
    [Datum::Instant(bucket), Datum::Int(writer)].into()
}

pub(super) async fn deleting_a_row_spares_newer_writes<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.notes(0));
    let rows: Vec<_> = (0..4).map(|n| note(n, 0, "open", n)).collect();
    for (row, time) in rows.iter().zip(10..) {
        store.put(&NOTES, &partition, std::slice::from_ref(row), at(time)).await?;
    }
    for n in 0..4 {
        store.delete(&NOTES, &partition, &Deletion::Row(key(n, 0)), at(11)).await?;
    }
    assert_eq!(fixture.all(&NOTES, &partition).await?, rows[2..], "at or below 11 is gone, above it stays");
    assert_eq!(store.get(&NOTES, &partition, &key(1, 0)).await?, None);
    assert_eq!(store.get(&NOTES, &partition, &key(2, 0)).await?, Some(rows[2].clone()));
    Ok(())
}

pub(super) async fn deleting_a_range_spares_newer_writes<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.notes(0));
    let rows: Vec<_> = (0..20).map(|n| note(0, n, "open", n)).collect();
    for row in &rows {
        let time = row.cells[1].as_int().unwrap_or_default() % 5;
        store.put(&NOTES, &partition, std::slice::from_ref(row), at(time)).await?;
    }
    store.delete(&NOTES, &partition, &Deletion::Range(Bounds::ALL), at(2)).await?;
    let newer: Vec<Row> =
        rows.into_iter().filter(|row| row.cells[1].as_int().unwrap_or_default() % 5 > 2).collect();
    assert_eq!(fixture.all(&NOTES, &partition).await?, newer);
    Ok(())
}

pub(super) async fn deleting_a_range_keeps_to_its_bounds<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let store = fixture.store();
    let bounds = |start, end| Bounds { start, end };
    let through =
        |writer, seq| bounds(Bound::Included(ints(&[writer])), Bound::Included(ints(&[writer, seq])));
    let deletions = [
        Bounds::prefix(ints(&[1])),
        through(1, 2),
        bounds(Bound::Excluded(ints(&[0])), Bound::Excluded(ints(&[2, 1]))),
        bounds(Bound::Excluded(ints(&[0, 3])), Bound::Unbounded),
        bounds(Bound::Unbounded, Bound::Included(ints(&[1, 1]))),
        bounds(Bound::Included(ints(&[1, 1])), Bound::Included(ints(&[1, 1]))),
        bounds(Bound::Included(ints(&[2])), Bound::Included(ints(&[1]))),
        bounds(Bound::Included(ints(&[7])), Bound::Unbounded),
    ];
    for (place, bounds) in deletions.into_iter().enumerate() {
        let partition = fixture.bodies(i64::try_from(place)?);
        let rows: Vec<_> = (0..3).flat_map(|w| (0..4).map(move |seq| body(w, seq, "x"))).collect();
        store.put(&BODIES, &partition, &rows, at(1)).await?;
        store.delete(&BODIES, &partition, &Deletion::Range(bounds.clone()), at(1)).await?;
        let left: Vec<_> = rows.into_iter().filter(|row| !bounds.contains(&row.clustering)).collect();
        assert_eq!(fixture.all(&BODIES, &partition).await?, left, "{bounds:?}");
    }
    Ok(())
}

pub(super) async fn deleting_long_ranges_removes_all_of_them<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.bodies(0));
    let rows: Vec<_> = (0..2500).map(|seq| body(seq % 2, seq, "x")).collect();
    for chunk in rows.chunks(250) {
        store.put(&BODIES, &partition, chunk, at(1)).await?;
    }
    store.delete(&BODIES, &partition, &Deletion::Range(Bounds::prefix(ints(&[0]))), at(1)).await?;
    let left = fixture.all(&BODIES, &partition).await?;
    assert_eq!(left.len(), 1250);
    assert!(left.iter().all(|row| row.clustering.part(0) == Some(&Datum::Int(1))));
    store.delete(&BODIES, &partition, &Deletion::Range(Bounds::ALL), at(1)).await?;
    assert_eq!(fixture.all(&BODIES, &partition).await?, []);
    Ok(())
}

pub(super) async fn deleting_nothing_is_no_error<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.notes(0));
    for _ in 0..2 {
        store.delete(&NOTES, &partition, &Deletion::Row(key(0, 0)), at(5)).await?;
        store.delete(&NOTES, &partition, &Deletion::Range(Bounds::ALL), at(5)).await?;
    }
    assert_eq!(fixture.all(&NOTES, &partition).await?, []);
    Ok(())
}

pub(super) async fn what_is_put_after_a_delete_is_there<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.notes(0));
    let deletions =
        [Deletion::Row(key(0, 0)), Deletion::Range(Bounds::prefix(Key::from([Datum::Instant(0)])))];
    for (round, deletion) in deletions.into_iter().enumerate() {
        let time = 10 * i64::try_from(round)?;
        store.put(&NOTES, &partition, &[note(0, 0, "old", time)], at(time)).await?;
        store.delete(&NOTES, &partition, &deletion, at(time + 1)).await?;
        assert_eq!(fixture.all(&NOTES, &partition).await?, [], "{deletion:?}");
        let new = note(0, 0, "new", time + 2);
        store.put(&NOTES, &partition, std::slice::from_ref(&new), at(time + 2)).await?;
        assert_eq!(fixture.all(&NOTES, &partition).await?, [new], "{deletion:?}");
    }
    Ok(())
}
