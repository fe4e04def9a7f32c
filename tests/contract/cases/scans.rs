//! Scans: bounds, order, pages.

use std::ops::Bound;

use anyhow::Result;
use tidemill_store::wide::{Bounds, Datum, Key, Order, Row, Scan, Wide};

use crate::fixture::{Fixture, at, body, ints, note, pages};
use crate::tables::{BODIES, NOTES};

const ORDERS: [Order; 2] = [Order::Ascending, Order::Descending];

/// Writers and sequence numbers around zero: 25 rows.
fn grid() -> Vec<Row> {
    (-2..3).flat_map(|writer| (-2..3).map(move |seq| body(writer, seq, format!("{writer} {seq}")))).collect()
}

async fn put_grid<W: Wide>(fixture: &Fixture<W>, partition: &Key) -> Result<Vec<Row>> {
    let rows = grid();
    fixture.store().put(&BODIES, partition, &rows, at(1)).await?;
    Ok(rows)
}

fn ordered(rows: &[Row], order: Order) -> Vec<Row> {
    match order {
        Order::Ascending => rows.to_vec(),
        Order::Descending => rows.iter().rev().cloned().collect(),
    }
}

fn expected(rows: &[Row], bounds: &Bounds, order: Order) -> Vec<Row> {
    let within: Vec<_> = rows.iter().filter(|row| bounds.contains(&row.clustering)).cloned().collect();
    ordered(&within, order)
}

/// Every kind of bound at every length, at and between rows, inverted ones included.
fn every_bounds() -> Vec<Bounds> {
    let keys =
        [ints(&[-1]), ints(&[1]), ints(&[9]), ints(&[-1, 1]), ints(&[0, 0]), ints(&[1, -1]), ints(&[-9, 5])];
    let mut edges = vec![Bound::Unbounded];
    edges.extend(keys.iter().cloned().map(Bound::Included));
    edges.extend(keys.iter().cloned().map(Bound::Excluded));
    let starts = edges.clone();
    starts
        .into_iter()
        .flat_map(|start| edges.iter().map(move |end| Bounds { start: start.clone(), end: end.clone() }))
        .collect()
}

pub(super) async fn both_orders_give_every_row<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.bodies(0);
    let rows = put_grid(fixture, &partition).await?;
    for order in ORDERS {
        let found = fixture.within(&BODIES, &partition, Bounds::ALL, order).await?;
        assert_eq!(found, ordered(&rows, order), "{order:?}");
    }
    Ok(())
}

pub(super) async fn bounds_cut_exactly<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.bodies(0);
    let rows = put_grid(fixture, &partition).await?;
    for bounds in every_bounds() {
        for order in ORDERS {
            let found = fixture.within(&BODIES, &partition, bounds.clone(), order).await?;
            assert_eq!(found, expected(&rows, &bounds, order), "{bounds:?} {order:?}");
        }
    }
    for writer in -3..4 {
        let bounds = Bounds::prefix(ints(&[writer]));
        let found = fixture.within(&BODIES, &partition, bounds.clone(), Order::Ascending).await?;
        assert_eq!(found, expected(&rows, &bounds, Order::Ascending), "prefix {writer}");
    }
    Ok(())
}

pub(super) async fn pages_of_every_size_add_up<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.bodies(0);
    let rows = put_grid(fixture, &partition).await?;
    let bounds = Bounds { start: Bound::Excluded(ints(&[-2, 0])), end: Bound::Included(ints(&[1])) };
    for size in [1, 2, 3, 7, 16, 25, 1000] {
        for order in ORDERS {
            let scan = Scan::partition(&BODIES, partition.clone()).in_order(order).in_pages_of(size);
            assert_eq!(pages(&**fixture.store(), &scan).await?, ordered(&rows, order), "{size} {order:?}");
            let cut = scan.within(bounds.clone());
            let found = pages(&**fixture.store(), &cut).await?;
            assert_eq!(found, expected(&rows, &bounds, order), "{size} {order:?} within bounds");
        }
    }
    Ok(())
}

pub(super) async fn a_scan_of_nothing_ends<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.bodies(0);
    assert_eq!(fixture.all(&BODIES, &partition).await?, [], "no partition");
    put_grid(fixture, &partition).await?;
    let beyond = Bounds { start: Bound::Included(ints(&[100])), end: Bound::Unbounded };
    let between = Bounds { start: Bound::Excluded(ints(&[0, 2])), end: Bound::Excluded(ints(&[1])) };
    for bounds in [beyond, between] {
        for order in ORDERS {
            assert_eq!(fixture.within(&BODIES, &partition, bounds.clone(), order).await?, [], "{bounds:?}");
        }
    }
    Ok(())
}

pub(super) async fn more_rows_than_a_page_come_in_order<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.notes(0);
    let rows: Vec<_> = (0..1000).map(|n| note(n / 10, n % 10, "open", n)).collect();
    for chunk in rows.chunks(100) {
        fixture.store().put(&NOTES, &partition, chunk, at(1)).await?;
    }
    for order in ORDERS {
        let found = fixture.within(&NOTES, &partition, Bounds::ALL, order).await?;
        assert!(found == ordered(&rows, order), "{order:?}: {} rows, not as put", found.len());
    }
    Ok(())
}

pub(super) async fn a_page_is_bounded_by_what_was_asked_for<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.bodies(0);
    let rows = put_grid(fixture, &partition).await?;
    let scan = Scan::partition(&BODIES, partition).in_pages_of(4);
    let first = fixture.store().scan(&scan, None).await?;
    assert!(first.rows.len() <= 4 && first.rows == rows[..first.rows.len()]);
    assert!(first.next.is_some(), "there is more");
    let again = fixture.other().scan(&scan, first.next.clone()).await?;
    let seen = first.rows.len();
    assert_eq!(again.rows, rows[seen..seen + again.rows.len()], "a token is good for any handle");
    Ok(())
}

pub(super) async fn pages_of_several_partitions_are_those_of_as_many_scans<W: Wide>(
    fixture: &Fixture<W>,
) -> Result<()> {
    let store = fixture.store();
    // More than fit in one request, in no order; some are empty.
    let partitions: Vec<Key> = (0..19).map(|n| fixture.notes((n * 7) % 19)).collect();
    for (n, partition) in (0..).zip(&partitions).filter(|(n, _)| n % 5 != 3) {
        let rows: Vec<_> = (0..3 * n).map(|bucket| note(bucket - 4, n, "open", bucket)).collect();
        store.put(&NOTES, partition, &rows, at(1)).await?;
    }
    let bounds = Bounds { start: Bound::Included([Datum::Instant(-2)].into()), end: Bound::Unbounded };
    for bounds in [Bounds::ALL, bounds] {
        for (order, rows) in [(Order::Ascending, 1_000), (Order::Descending, 1_000), (Order::Ascending, 20)] {
            let scan = Scan::partition(&NOTES, fixture.notes(0));
            let scan = scan.within(bounds.clone()).in_order(order).in_pages_of(rows);
            for some in [&partitions[..], &partitions[..4], &partitions[2..3], &[]] {
                let pages = store.scan_each(&scan, some).await?;
                assert_eq!(pages.len(), some.len());
                for (page, partition) in pages.into_iter().zip(some) {
                    let of_one = store.scan(&scan.clone().of(partition.clone()), None).await?;
                    assert_eq!(page, of_one, "{order:?} {rows}");
                }
            }
        }
    }
    Ok(())
}

pub(super) async fn rows_that_stay_are_seen_once_while_others_come_and_go<W: Wide>(
    fixture: &Fixture<W>,
) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.notes(0));
    let stays: Vec<_> = (0..40).map(|n| note(n * 10, 0, "stays", n)).collect();
    store.put(&NOTES, &partition, &stays, at(1)).await?;
    for order in ORDERS {
        let scan = Scan::partition(&NOTES, partition.clone()).in_order(order).in_pages_of(3);
        let (mut found, mut from) = (Vec::new(), None);
        for n in 0.. {
            let page = store.scan(&scan, from).await?;
            found.extend(page.rows.into_iter().filter(|row| stays.contains(row)));
            let (behind, ahead) = (note(n * 7 + 1, 1, "comes", n), note(399 - n * 7, 1, "comes", n));
            store.put(&NOTES, &partition, &[behind, ahead], at(2)).await?;
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found, ordered(&stays, order), "{order:?}");
    }
    Ok(())
}
