//! The order of keys, at their extremes.

use anyhow::Result;
use tidemill_store::wide::{Bounds, Datum, Key, Order, Row, Wide};

use crate::fixture::{Fixture, at, body, ints, note};
use crate::tables::{BODIES, KINDS, NOTES};

fn kinds(label: &str, source: u128) -> Row {
    Row {
        clustering: [Datum::Text(label.to_owned()), Datum::Int(0), Datum::Instant(0), Datum::Uuid(source)]
            .into(),
        cells: vec![
            Datum::Int(0),
            Datum::Instant(0),
            Datum::Uuid(source),
            Datum::Text(label.to_owned()),
            Datum::Blob(bytes::Bytes::new()),
        ],
    }
}

fn kinds_partition<W: Wide>(fixture: &Fixture<W>) -> Key {
    [Datum::Int(fixture.place(0)), Datum::Text(String::new()), Datum::Uuid(u128::MAX)].into()
}

/// A UUID of version 8 with these bits around the version.
fn uuid(high: u64, low: u64) -> u128 {
    let bits = (u128::from(high) << 64) | u128::from(low);
    (bits & !(0xF << 76)) | (8 << 76)
}

pub(super) async fn extreme_numbers_keep_their_order<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let numbers = [i64::MIN, i64::MIN + 1, -256, -1, 0, 1, 255, 256, i64::MAX - 1, i64::MAX];
    for (place, edge) in [i64::MIN, -1, i64::MAX].into_iter().enumerate() {
        let partition = Key::from([Datum::Int(fixture.place(i64::try_from(place)?)), Datum::Instant(edge)]);
        let rows: Vec<_> = numbers.iter().map(|&n| body(n, n, "x")).collect();
        for row in rows.iter().rev() {
            fixture.store().put(&BODIES, &partition, std::slice::from_ref(row), at(1)).await?;
        }
        assert_eq!(fixture.all(&BODIES, &partition).await?, rows, "bucket {edge}");
        let last = Bounds::prefix(ints(&[i64::MAX]));
        let found = fixture.within(&BODIES, &partition, last, Order::Descending).await?;
        assert_eq!(found, rows[numbers.len() - 1..]);
    }
    Ok(())
}

pub(super) async fn texts_order_by_their_bytes<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let mut labels =
        ["", "\0", "\0a", "a", "a\0", "a\0b", "a\u{1}", "aa", "ab", "b", "z", "é", "中", "\u{10FFFF}"];
    labels.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    let rows: Vec<_> = labels.iter().map(|label| kinds(label, uuid(0, 0))).collect();
    let partition = kinds_partition(fixture);
    for row in rows.iter().rev() {
        fixture.store().put(&KINDS, &partition, std::slice::from_ref(row), at(1)).await?;
    }
    assert_eq!(fixture.all(&KINDS, &partition).await?, rows);
    Ok(())
}

pub(super) async fn a_text_is_not_taken_for_a_longer_one<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = kinds_partition(fixture);
    let rows: Vec<_> = ["", "a", "a\0", "ab"].iter().map(|label| kinds(label, uuid(0, 0))).collect();
    fixture.store().put(&KINDS, &partition, &rows, at(1)).await?;
    for row in &rows {
        let label = Key::from([row.clustering.parts()[0].clone()]);
        let found = fixture.within(&KINDS, &partition, Bounds::prefix(label), Order::Ascending).await?;
        assert_eq!(found, std::slice::from_ref(row));
    }
    Ok(())
}

pub(super) async fn instants_before_the_epoch_come_first<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.notes(0);
    let instants = [-9_223_372_036_854, -1000, -1, 0, 1, 1_700_000_000_000, 9_223_372_036_854];
    let rows: Vec<_> = instants.iter().map(|&bucket| note(bucket, -1, "open", bucket)).collect();
    fixture.store().put(&NOTES, &partition, &rows, at(1)).await?;
    assert_eq!(fixture.all(&NOTES, &partition).await?, rows);
    Ok(())
}

pub(super) async fn uuids_keep_their_order<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = kinds_partition(fixture);
    let halves = [0, 1, 0x00FF, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, u64::MAX];
    let mut uuids: Vec<_> = halves.iter().flat_map(|&high| halves.map(|low| uuid(high, low))).collect();
    uuids.sort_unstable();
    uuids.dedup();
    let rows: Vec<_> = uuids.iter().map(|&bits| kinds("same", bits)).collect();
    fixture.store().put(&KINDS, &partition, &rows, at(1)).await?;
    assert_eq!(fixture.all(&KINDS, &partition).await?, rows);
    Ok(())
}
