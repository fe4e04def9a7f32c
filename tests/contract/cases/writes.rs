//! Writing and reading single rows.

use anyhow::Result;
use bytes::Bytes;
use tidemill_store::wide::{Datum, Key, Row, Wide};

use crate::fixture::{Fixture, at, body, ints, note};
use crate::tables::{BODIES, KINDS, NOTES};

fn kinds() -> Row {
    let uuid = 0xFFFF_FFFF_FFFF_8FFF_BFFF_FFFF_FFFF_FFFF;
    let clustering =
        [Datum::Text("é\0".into()), Datum::Int(i64::MIN), Datum::Instant(i64::MAX), Datum::Uuid(uuid)];
    let cells = vec![
        Datum::Int(i64::MAX),
        Datum::Instant(i64::MIN),
        Datum::Uuid(u128::MAX),
        Datum::Text("ü\0\n'\"".into()),
        Datum::Blob(Bytes::from_static(&[0, 255, 0])),
    ];
    Row { clustering: clustering.into(), cells }
}

fn kinds_partition(place: i64) -> Key {
    [Datum::Int(place), Datum::Text("a".into()), Datum::Uuid(7)].into()
}

pub(super) async fn what_was_put_comes_back<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition, row) = (fixture.store(), kinds_partition(fixture.place(0)), kinds());
    store.put(&KINDS, &partition, std::slice::from_ref(&row), at(1)).await?;
    assert_eq!(store.get(&KINDS, &partition, &row.clustering).await?, Some(row.clone()));
    assert_eq!(fixture.all(&KINDS, &partition).await?, [row]);
    Ok(())
}

pub(super) async fn what_was_never_put_is_absent<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.bodies(0));
    assert_eq!(store.get(&BODIES, &partition, &ints(&[1, 1])).await?, None, "no partition");
    store.put(&BODIES, &partition, &[body(1, 1, "x")], at(1)).await?;
    for absent in [[1, 0], [1, 2], [0, 1], [2, 1]] {
        assert_eq!(store.get(&BODIES, &partition, &ints(&absent)).await?, None, "{absent:?}");
    }
    Ok(())
}

pub(super) async fn putting_no_rows_does_nothing<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    fixture.store().put(&BODIES, &fixture.bodies(0), &[], at(1)).await?;
    assert_eq!(fixture.all(&BODIES, &fixture.bodies(0)).await?, []);
    Ok(())
}

pub(super) async fn putting_again_changes_nothing<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.bodies(0));
    let rows: Vec<_> = (0..5).map(|seq| body(1, seq, vec![7; 100])).collect();
    for _ in 0..3 {
        store.put(&BODIES, &partition, &rows, at(1)).await?;
        assert_eq!(fixture.all(&BODIES, &partition).await?, rows);
    }
    Ok(())
}

pub(super) async fn the_highest_write_time_wins_whatever_arrives_last<W: Wide>(
    fixture: &Fixture<W>,
) -> Result<()> {
    let store = fixture.store();
    for (place, times) in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 3, 2]].into_iter().enumerate() {
        let partition = fixture.notes(i64::try_from(place)?);
        for time in times {
            let row = note(0, 0, &format!("state {time}"), time);
            store.put(&NOTES, &partition, &[row], at(time)).await?;
        }
        assert_eq!(fixture.all(&NOTES, &partition).await?, [note(0, 0, "state 3", 3)], "{times:?}");
    }
    Ok(())
}

pub(super) async fn equal_writes_at_equal_times_are_one<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition, row) = (fixture.store(), fixture.notes(0), note(-5, 1, "open", 1));
    for _ in 0..3 {
        store.put(&NOTES, &partition, std::slice::from_ref(&row), at(7)).await?;
    }
    assert_eq!(fixture.all(&NOTES, &partition).await?, [row]);
    Ok(())
}

pub(super) async fn bodies_may_be_large_and_cells_empty<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.bodies(0));
    let large: Vec<u8> = (0..256 * 1024_u32).map(|n| n.wrapping_mul(31).to_le_bytes()[0]).collect();
    let rows = [body(1, 0, Bytes::new()), body(1, 1, large.clone()), body(1, 2, large)];
    for row in &rows {
        store.put(&BODIES, &partition, std::slice::from_ref(row), at(1)).await?;
    }
    assert!(fixture.all(&BODIES, &partition).await? == rows, "bodies differ");
    store.put(&NOTES, &fixture.notes(1), &[note(0, 0, "", 0)], at(1)).await?;
    assert_eq!(fixture.all(&NOTES, &fixture.notes(1)).await?, [note(0, 0, "", 0)]);
    Ok(())
}

pub(super) async fn another_handle_sees_what_was_acknowledged<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.notes(0);
    for n in 0..50 {
        let (row, key) = (note(n, 0, "open", n), note(n, 0, "", 0).clustering);
        fixture.store().put(&NOTES, &partition, std::slice::from_ref(&row), at(1)).await?;
        assert_eq!(fixture.other().get(&NOTES, &partition, &key).await?, Some(row));
    }
    Ok(())
}

pub(super) async fn tables_are_apart<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let store = fixture.store();
    let (place, row) = (fixture.notes(0), note(0, 0, "open", 0));
    store.put(&NOTES, &place, std::slice::from_ref(&row), at(1)).await?;
    store.put(&BODIES, &fixture.bodies(0), &[body(0, 0, "x")], at(2)).await?;
    assert_eq!(fixture.all(&NOTES, &place).await?, [row]);
    assert_eq!(fixture.all(&BODIES, &fixture.bodies(0)).await?, [body(0, 0, "x")]);
    Ok(())
}

pub(super) async fn neighbouring_partitions_are_apart<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let store = fixture.store();
    let place = Datum::Int(fixture.place(0));
    let next = Datum::Int(fixture.place(1));
    let partition = |place: &Datum, name: &str, id| -> Key {
        [place.clone(), Datum::Text(name.to_owned()), Datum::Uuid(id)].into()
    };
    let partitions = [
        partition(&place, "a", 1),
        partition(&place, "a", 2),
        partition(&place, "ab", 1),
        partition(&place, "a\0", 1),
        partition(&next, "a", 1),
    ];
    for (n, partition) in partitions.iter().enumerate() {
        let mut row = kinds();
        row.cells[0] = Datum::Int(i64::try_from(n)?);
        store.put(&KINDS, partition, &[row], at(1)).await?;
    }
    for (n, partition) in partitions.iter().enumerate() {
        let rows = fixture.all(&KINDS, partition).await?;
        let numbers: Vec<_> = rows.iter().map(|row| row.cells[0].clone()).collect();
        assert_eq!(numbers, [Datum::Int(i64::try_from(n)?)], "{partition:?}");
    }
    Ok(())
}
