//! Random operations on a backend and on the reference model: both must show the same rows at every step.
//!
//! What the contract leaves open is kept out: cells follow from (key, write time), and nothing is written at or
//! below the time of an earlier delete.

use std::ops::Bound;

use anyhow::Result;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tidemill_store::wide::{Bounds, Datum, Deletion, Key, Memory, Order, Row, Scan, Wide};

use crate::fixture::{Fixture, at, note, pages};
use crate::tables::NOTES;

#[derive(Debug, Clone)]
enum Action {
    Put { keys: Vec<(i64, i64)>, time: i64 },
    DeleteRow { key: (i64, i64), time: i64 },
    DeleteRange { bounds: Bounds, time: i64 },
    Get { key: (i64, i64) },
    Scan { bounds: Bounds, order: Order, page_rows: u32 },
}

fn key() -> impl Strategy<Value = (i64, i64)> {
    (-2..3_i64, -2..3_i64)
}

fn bound() -> impl Strategy<Value = Bound<Key>> {
    (key(), 1..=2_usize, 0..3).prop_map(|(key, parts, kind)| {
        let prefix = Key::new(clustering(key).parts()[..parts].to_vec());
        match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(prefix),
            _ => Bound::Excluded(prefix),
        }
    })
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (bound(), bound()).prop_map(|(start, end)| Bounds { start, end })
}

fn action() -> impl Strategy<Value = Action> {
    let time = 0..100_i64;
    let order = prop_oneof![Just(Order::Ascending), Just(Order::Descending)];
    prop_oneof![
        5 => (prop::collection::vec(key(), 1..6), time.clone()).prop_map(|(keys, time)| Action::Put { keys, time }),
        1 => (key(), time.clone()).prop_map(|(key, time)| Action::DeleteRow { key, time }),
        1 => (bounds(), time).prop_map(|(bounds, time)| Action::DeleteRange { bounds, time }),
        1 => key().prop_map(|key| Action::Get { key }),
        3 => (bounds(), order, 1..6_u32)
            .prop_map(|(bounds, order, page_rows)| Action::Scan { bounds, order, page_rows }),
    ]
}

fn clustering((bucket, writer): (i64, i64)) -> Key {
    [Datum::Instant(bucket), Datum::Int(writer)].into()
}

fn row((bucket, writer): (i64, i64), time: i64) -> Row {
    note(bucket, writer, &format!("at {time}"), time)
}

/// A backend and the model, side by side.
struct Pair<'a, W> {
    store: &'a W,
    model: Memory,
    partition: Key,
    deleted_through: i64,
}

impl<W: Wide> Pair<'_, W> {
    async fn apply(&mut self, action: Action) -> Result<()> {
        let (store, model, partition) = (self.store, &self.model, &self.partition);
        match action {
            Action::Put { keys, time } => {
                let time = time.max(self.deleted_through + 1);
                let rows: Vec<_> = keys.into_iter().map(|key| row(key, time)).collect();
                store.put(&NOTES, partition, &rows, at(time)).await?;
                model.put(&NOTES, partition, &rows, at(time)).await?;
            }
            Action::DeleteRow { key, time } => self.delete(Deletion::Row(clustering(key)), time).await?,
            Action::DeleteRange { bounds, time } => self.delete(Deletion::Range(bounds), time).await?,
            Action::Get { key } => {
                let found = store.get(&NOTES, partition, &clustering(key)).await?;
                assert_eq!(found, model.get(&NOTES, partition, &clustering(key)).await?, "get {key:?}");
            }
            Action::Scan { bounds, order, page_rows } => {
                let scan = Scan::partition(&NOTES, partition.clone()).in_pages_of(page_rows);
                let scan = scan.within(bounds).in_order(order);
                assert_eq!(pages(store, &scan).await?, pages(model, &scan).await?, "{scan:?}");
            }
        }
        Ok(())
    }

    async fn delete(&mut self, deletion: Deletion, time: i64) -> Result<()> {
        self.deleted_through = self.deleted_through.max(time);
        self.store.delete(&NOTES, &self.partition, &deletion, at(time)).await?;
        self.model.delete(&NOTES, &self.partition, &deletion, at(time)).await?;
        Ok(())
    }
}

pub(super) async fn random_operations_agree_with_the_model<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let mut places = 0..i64::MAX;
    let runtime = tokio::runtime::Handle::current();
    let run = std::cell::RefCell::new(&mut places);
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&prop::collection::vec(action(), 1..60), |actions| {
            let place = run.borrow_mut().next().unwrap_or_default();
            // Beyond the places of other cases: shrinking may need many.
            let partition = Key::from([Datum::Int(fixture.place(0) + 1_000_000_000 * (place + 1))]);
            let mut pair =
                Pair { store: &**fixture.store(), model: Memory::new(), partition, deleted_through: -1 };
            runtime
                .block_on(async {
                    for action in actions {
                        pair.apply(action).await?;
                    }
                    let everything = Scan::partition(&NOTES, pair.partition.clone());
                    assert_eq!(pages(pair.store, &everything).await?, pages(&pair.model, &everything).await?);
                    anyhow::Ok(())
                })
                .map_err(|error| TestCaseError::fail(format!("{error:?}")))
        })
    });
    outcome.map_err(|error| anyhow::anyhow!("{error}"))
}
