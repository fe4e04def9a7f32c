//! The reference model of [`super::Wide`]: a map in memory, durable for as long as the process lives.
//!
//! Every operation takes effect at one moment, when its future is first polled. What the contract leaves to a
//! caller is asserted here, so that tests over this model find callers that rely on luck: an immutable row written
//! with other cells, or two versions of a row written at one time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::scan::PageFill;
use super::{
    Bounds, Datum, Deletion, Exchange, Expected, Expiry, Key, Order, Page, PageToken, ReadError, Row, Rows,
    Scan, Table, Wide, WriteError, WriteTime,
};
use crate::model::Timestamp;

/// A store in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    /// How often each table was changed.
    revisions: BTreeMap<&'static str, u64>,
}

type Tables = BTreeMap<&'static str, BTreeMap<Key, Partition>>;

type Partition = BTreeMap<Key, Stored>;

#[derive(Debug)]
struct Stored {
    at: WriteTime,
    cells: Vec<Datum>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes the rows of these tables that have expired at `now`; how many those were.
    pub fn expire(&self, tables: &[&'static Table], expiry: &Expiry, now: Timestamp) -> usize {
        let (mut state, mut removed) = (self.state(), 0);
        for table in tables {
            for (partition, rows) in state.changed(table).get_mut(table.name).into_iter().flatten() {
                let before = rows.len();
                rows.retain(|clustering, stored| {
                    let row = row(clustering, stored);
                    expiry.expires_at(table, partition, &row).is_none_or(|at| at > now)
                });
                removed += before - rows.len();
            }
        }
        removed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The tables, of which this one is about to be changed.
    fn changed(&mut self, table: &Table) -> &mut Tables {
        *self.revisions.entry(table.name).or_default() += 1;
        &mut self.tables
    }
}

impl Wide for Memory {
    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        table.assert_put_and_deleted();
        table.assert_partition(partition);
        for row in rows {
            table.assert_row(row);
        }
        let mut state = self.state();
        let stored =
            state.changed(table).entry(table.name).or_default().entry(partition.clone()).or_default();
        for row in rows {
            put_row(table, stored, row, at);
        }
        Ok(())
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        table.assert_partition(partition);
        table.assert_clustering(clustering);
        let state = self.state();
        let stored = partition_of(&state.tables, table, partition).and_then(|rows| rows.get(clustering));
        Ok(stored.map(|stored| row(clustering, stored)))
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        scan.assert_valid();
        let bounds = scan.remaining(from);
        let state = self.state();
        let Some(rows) = partition_of(&state.tables, scan.table, &scan.partition) else {
            return Ok(PageFill::new(scan).last());
        };
        let within = within(rows, &bounds);
        Ok(match scan.order {
            Order::Ascending => page(scan, within),
            Order::Descending => page(scan, within.rev()),
        })
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        table.assert_put_and_deleted();
        table.assert_partition(partition);
        match deletion {
            Deletion::Row(key) => table.assert_clustering(key),
            Deletion::Range(bounds) => table.assert_bounds(bounds),
        }
        let mut state = self.state();
        let tables = state.changed(table);
        let Some(rows) = tables.get_mut(table.name).and_then(|partitions| partitions.get_mut(partition))
        else {
            return Ok(());
        };
        rows.retain(|key, stored| {
            let hit = match deletion {
                Deletion::Row(row) => key == row,
                Deletion::Range(bounds) => bounds.contains(key),
            };
            !hit || stored.at > at
        });
        Ok(())
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        replacement: &Row,
    ) -> Result<Exchange, WriteError> {
        table.assert_exchanged();
        table.assert_partition(partition);
        table.assert_row(replacement);
        let mut state = self.state();
        let rows = state.changed(table).entry(table.name).or_default().entry(partition.clone()).or_default();
        let current = rows.get(&replacement.clustering).map(|stored| row(&replacement.clustering, stored));
        if !expected.is_met_by(table, current.as_ref()) {
            return Ok(Exchange::Refused(current));
        }
        let stored = Stored { at: WriteTime::from_micros(0), cells: replacement.cells.clone() };
        rows.insert(replacement.clustering.clone(), stored);
        Ok(Exchange::Applied)
    }

    fn revision(&self, table: &'static Table) -> Option<u64> {
        Some(self.state().revisions.get(table.name).copied().unwrap_or(0))
    }
}

fn put_row(table: &Table, rows: &mut Partition, row: &Row, at: WriteTime) {
    if let Some(before) = rows.get(&row.clustering) {
        let same = before.cells == row.cells;
        assert!(same || table.rows != Rows::Immutable, "an immutable row of {} was changed", table.name);
        assert!(same || before.at != at, "two versions of a row of {} have one write time", table.name);
        if before.at >= at {
            return;
        }
    }
    rows.insert(row.clustering.clone(), Stored { at, cells: row.cells.clone() });
}

fn partition_of<'a>(tables: &'a Tables, table: &Table, partition: &Key) -> Option<&'a Partition> {
    tables.get(table.name)?.get(partition)
}

fn row(clustering: &Key, stored: &Stored) -> Row {
    Row { clustering: clustering.clone(), cells: stored.cells.clone() }
}

/// The rows within `bounds`: cut by the map where its order of shorter keys is that of bounds, filtered otherwise.
fn within<'a>(
    rows: &'a Partition,
    bounds: &'a Bounds,
) -> impl DoubleEndedIterator<Item = (&'a Key, &'a Stored)> {
    let start = match &bounds.start {
        Bound::Included(start) | Bound::Excluded(start) => Bound::Included(start),
        Bound::Unbounded => Bound::Unbounded,
    };
    let end = match &bounds.end {
        Bound::Excluded(end) if !bounds.hold_nothing() => Bound::Excluded(end),
        Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => Bound::Unbounded,
    };
    rows.range::<Key, _>((start, end)).filter(|(key, _)| bounds.contains(key))
}

fn page<'a>(scan: &Scan, rows: impl Iterator<Item = (&'a Key, &'a Stored)>) -> Page {
    let mut page = PageFill::new(scan);
    for (key, stored) in rows {
        if !page.has_room() {
            return page.cut();
        }
        page.push(row(key, stored));
    }
    page.last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tables::{MARKS, SEGMENTS};
    use bytes::Bytes;

    fn segment(seq: i64, body: &'static str) -> Row {
        let ints = [Datum::Instant(0), Datum::Int(0), Datum::Int(1), Datum::Int(0), Datum::Int(0)];
        let body = Datum::Blob(Bytes::from_static(body.as_bytes()));
        Row {
            clustering: [Datum::Int(1), Datum::Int(seq)].into(),
            cells: ints.into_iter().chain([body]).collect(),
        }
    }

    fn mark(through_seq: i64) -> Row {
        Row {
            clustering: [Datum::Instant(0), Datum::Int(1)].into(),
            cells: vec![Datum::Text("open".into()), Datum::Int(through_seq), Datum::Int(0), Datum::Int(0)],
        }
    }

    const AT: WriteTime = WriteTime::from_micros(7);

    #[tokio::test]
    async fn pages_follow_each_other_until_the_bounds_end() {
        let (store, partition) = (Memory::new(), Key::from([Datum::Int(0), Datum::Instant(0)]));
        let rows: Vec<_> = (0..5).map(|seq| segment(seq, "x")).collect();
        store.put(&SEGMENTS, &partition, &rows, AT).await.unwrap();
        let scan = Scan::partition(&SEGMENTS, partition).in_pages_of(2).in_order(Order::Descending);
        let (mut seen, mut from) = (Vec::new(), None);
        loop {
            let page = store.scan(&scan, from).await.unwrap();
            seen.extend(page.rows);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(seen, rows.into_iter().rev().collect::<Vec<_>>());
    }

    #[tokio::test]
    #[should_panic(expected = "an immutable row of segments was changed")]
    async fn changing_an_immutable_row_panics() {
        let (store, partition) = (Memory::new(), Key::from([Datum::Int(0), Datum::Instant(0)]));
        store.put(&SEGMENTS, &partition, &[segment(0, "x")], AT).await.unwrap();
        let _ = store.put(&SEGMENTS, &partition, &[segment(0, "y")], AT).await;
    }

    #[tokio::test]
    #[should_panic(expected = "have one write time")]
    async fn two_versions_at_one_time_panic() {
        let (store, partition) = (Memory::new(), Key::from([Datum::Int(0)]));
        store.put(&MARKS, &partition, &[mark(1)], AT).await.unwrap();
        let _ = store.put(&MARKS, &partition, &[mark(2)], AT).await;
    }

    #[tokio::test]
    async fn clones_share_the_store() {
        let (store, partition) = (Memory::new(), Key::from([Datum::Int(0)]));
        store.clone().put(&MARKS, &partition, &[mark(1)], AT).await.unwrap();
        let found = store.get(&MARKS, &partition, &mark(1).clustering).await.unwrap();
        assert_eq!(found, Some(mark(1)));
    }
}
