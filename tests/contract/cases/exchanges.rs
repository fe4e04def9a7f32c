//! Compare-and-set.

use std::sync::Arc;

use anyhow::{Result, ensure};
use tidemill_store::wide::{Datum, Deletion, Exchange, Expected, Key, Row, Scan, Wide};

use crate::fixture::{Fixture, at, body, ints, pages, seal};
use crate::tables::{BODIES, LEASES, SEALS};

fn version(version: i64) -> Expected {
    Expected::Cell("version", Datum::Int(version))
}

fn lease(holder: &str, epoch: i64) -> Row {
    Row { clustering: Key::default(), cells: vec![Datum::Text(holder.to_owned()), Datum::Int(epoch)] }
}

pub(super) async fn an_absent_row_can_be_made_once<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.seals(0));
    let (first, second) = (seal(0, 1, "first"), seal(0, 1, "second"));
    let applied = store.compare_and_set(&SEALS, &partition, &Expected::Absent, &first).await?;
    assert_eq!(applied, Exchange::Applied);
    let refused = store.compare_and_set(&SEALS, &partition, &Expected::Absent, &second).await?;
    assert_eq!(refused, Exchange::Refused(Some(first.clone())));
    assert_eq!(fixture.all(&SEALS, &partition).await?, [first]);
    Ok(())
}

pub(super) async fn a_row_changes_only_from_what_was_expected<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.seals(0));
    store.compare_and_set(&SEALS, &partition, &Expected::Absent, &seal(-7, 1, "a")).await?;
    for (expected, next, applies) in [(1, 2, true), (1, 3, false), (2, 3, true), (9, 10, false)] {
        let row = seal(-7, next, "b");
        let exchange = store.compare_and_set(&SEALS, &partition, &version(expected), &row).await?;
        assert_eq!(exchange == Exchange::Applied, applies, "from {expected} to {next}");
    }
    assert_eq!(fixture.all(&SEALS, &partition).await?, [seal(-7, 3, "b")]);
    let by_text = Expected::Cell("covered", Datum::Text("b".into()));
    let exchange = store.compare_and_set(&SEALS, &partition, &by_text, &seal(-7, 4, "c")).await?;
    assert_eq!(exchange, Exchange::Applied, "any cell can be compared");
    assert_eq!(fixture.all(&SEALS, &partition).await?, [seal(-7, 4, "c")]);
    Ok(())
}

pub(super) async fn a_refusal_shows_what_is_there<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.seals(0));
    let nothing = store.compare_and_set(&SEALS, &partition, &version(1), &seal(0, 2, "x")).await?;
    assert_eq!(nothing, Exchange::Refused(None));
    assert_eq!(fixture.all(&SEALS, &partition).await?, []);
    store.compare_and_set(&SEALS, &partition, &Expected::Absent, &seal(1, 7, "other row")).await?;
    let nothing = store.compare_and_set(&SEALS, &partition, &version(7), &seal(0, 2, "x")).await?;
    assert_eq!(nothing, Exchange::Refused(None), "another row of the partition does not count");
    store.compare_and_set(&SEALS, &partition, &Expected::Absent, &seal(0, 5, "there")).await?;
    let there = store.compare_and_set(&SEALS, &partition, &version(1), &seal(0, 2, "x")).await?;
    assert_eq!(there, Exchange::Refused(Some(seal(0, 5, "there"))));
    Ok(())
}

/// A store that knows of every change says so before it acknowledges one, whoever made it.
pub(super) async fn what_is_acknowledged_is_a_new_revision<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, other) = (fixture.store(), fixture.other());
    let (bodies, seals) = (fixture.bodies(0), fixture.seals(0));
    let revisions = || [&BODIES, &SEALS].map(|table| store.revision(table));
    let Some(first) = revisions()[0] else {
        ensure!(revisions() == [None; 2], "some tables are known and others not");
        return Ok(());
    };
    other.put(&BODIES, &bodies, &[body(1, 1, "x")], at(1)).await?;
    let second = revisions()[0];
    ensure!(second != Some(first), "a row was put");
    store.delete(&BODIES, &bodies, &Deletion::Row(ints(&[1, 1])), at(1)).await?;
    ensure!(revisions()[0] != second, "a row was deleted");
    let before = revisions()[1];
    store.compare_and_set(&SEALS, &seals, &Expected::Absent, &seal(0, 1, "a")).await?;
    ensure!(revisions()[1] != before, "a row was exchanged");
    Ok(())
}

pub(super) async fn rows_without_a_clustering_key_work<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let store = fixture.store();
    let partition = Key::from([Datum::Text(format!("lease é {}", fixture.place(0)))]);
    assert_eq!(store.get(&LEASES, &partition, &Key::default()).await?, None);
    store.compare_and_set(&LEASES, &partition, &Expected::Absent, &lease("a", 1)).await?;
    let held = Expected::Cell("holder", Datum::Text("a".into()));
    let taken = store.compare_and_set(&LEASES, &partition, &held, &lease("b", 2)).await?;
    assert_eq!(taken, Exchange::Applied);
    let late = store.compare_and_set(&LEASES, &partition, &held, &lease("c", 3)).await?;
    assert_eq!(late, Exchange::Refused(Some(lease("b", 2))));
    assert_eq!(store.get(&LEASES, &partition, &Key::default()).await?, Some(lease("b", 2)));
    let rows = pages(&**store, &Scan::partition(&LEASES, partition)).await?;
    assert_eq!(rows, [lease("b", 2)]);
    Ok(())
}

pub(super) async fn one_of_many_exchanges_wins<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    for round in 0..5 {
        let partition = fixture.seals(round);
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let store = Arc::clone(if n % 2 == 0 { fixture.store() } else { fixture.other() });
                let (partition, row) = (partition.clone(), seal(0, n, &format!("contender {n}")));
                tokio::spawn(async move {
                    (n, exchange_until_known(&*store, &partition, &Expected::Absent, &row).await)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            let (n, exchange) = task.await?;
            if exchange? == Exchange::Applied {
                winners.push(n);
            }
        }
        let rows = fixture.all(&SEALS, &partition).await?;
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(rows, [seal(0, winners[0], &format!("contender {}", winners[0]))], "round {round}");
    }
    Ok(())
}

pub(super) async fn exchanges_never_lose_an_increment<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    const TASKS: i64 = 4;
    const INCREMENTS: i64 = 10;
    let partition = fixture.seals(0);
    fixture.store().compare_and_set(&SEALS, &partition, &Expected::Absent, &seal(0, 0, "")).await?;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (store, partition) = (Arc::clone(fixture.store()), partition.clone());
            tokio::spawn(async move {
                for n in 0..INCREMENTS {
                    increment(&*store, &partition, &format!("increment {n} of task {task}")).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let rows = fixture.all(&SEALS, &partition).await?;
    assert_eq!(rows[0].cells[0], Datum::Int(TASKS * INCREMENTS));
    Ok(())
}

/// Adds one. `name` is that of no other increment.
async fn increment<W: Wide>(store: &W, partition: &Key, name: &str) -> Result<()> {
    let mut from = 0;
    loop {
        let row = seal(0, from + 1, name);
        match exchange_until_known(store, partition, &version(from), &row).await? {
            Exchange::Applied => return Ok(()),
            Exchange::Refused(current) => {
                let there = current.as_ref().and_then(|row| row.cells[0].as_int());
                ensure!(there.is_some_and(|there| there > from), "refused with {current:?}, not with {from}");
                from = there.unwrap_or_default();
            }
        }
    }
}

/// A contended exchange may fail with an unknown outcome: the row that is there then tells, as every row here
/// says who wrote it.
async fn exchange_until_known<W: Wide>(
    store: &W,
    partition: &Key,
    expected: &Expected,
    row: &Row,
) -> Result<Exchange> {
    for _ in 0..20 {
        match store.compare_and_set(&SEALS, partition, expected, row).await {
            Ok(Exchange::Refused(Some(there))) if there == *row => return Ok(Exchange::Applied),
            Ok(exchange) => return Ok(exchange),
            Err(error) => ensure!(error.is_transient(), "{error}"),
        }
    }
    anyhow::bail!("no exchange came to an end")
}
