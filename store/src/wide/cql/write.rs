//! Puts, deletes and exchanges.
//!
//! Rows of one put go as unlogged batches of their one partition, which a server applies as one mutation, cut so
//! that no batch is larger than servers like; a row that is large by itself goes alone.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::deserialize::row::ColumnIterator;
use scylla::errors::{ExecutionError, RequestAttemptError};
use scylla::response::query_result::QueryResult;
use scylla::statement::batch::{Batch, BatchType};
use tokio::time::Instant;

use super::error::{Failure, Verdict};
use super::lifetime::Lifetime;
use super::slice::Slice;
use super::statement::Shape;
use super::value::{Marker, markers};
use super::{Cql, in_turn};
use crate::wide::{Deletion, Exchange, Expected, Key, ReadError, Row, Table, WriteError, WriteTime};

/// Most bytes of rows in a batch of several: below the 50 KiB at which Cassandra refuses batches by default, with
/// room for what rows take on the wire.
const BATCH_BYTES_MAX: usize = 40 * 1024;
/// Most rows in a batch: a request has fewer than 65,536 statements, and a shorter one is fairer to its neighbours.
const BATCH_ROWS_MAX: usize = 500;
/// What a row takes on the wire beside its values: the statement's id, lengths, its time.
const ROW_OVERHEAD_BYTES: usize = 96;
/// Batches of one put that may be in flight at once; each takes its turn among all requests.
const BATCHES_IN_FLIGHT: usize = 4;

impl Cql {
    pub(super) async fn put_rows(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), Failure> {
        let deadline = self.deadline();
        let now = self.lifetimes.now();
        let rows: Vec<Put<'_>> = rows
            .iter()
            .filter_map(|row| {
                let lives = self.lifetimes.of(table, partition, row, now)?;
                Some(Put { row, lives })
            })
            .collect();
        let batches = cut(&rows, partition.size_bytes());
        if let [only] = batches.as_slice() {
            return in_turn(&self.writes, deadline, self.put_batch(table, partition, only, at)).await;
        }
        let puts: Vec<_> = batches
            .into_iter()
            .map(|batch| in_turn(&self.writes, deadline, self.put_batch(table, partition, batch, at)))
            .collect();
        stream::iter(puts).buffer_unordered(BATCHES_IN_FLIGHT).try_collect().await.map_err(Failure::of_a_part)
    }

    async fn put_batch(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Put<'_>],
        at: WriteTime,
    ) -> Result<(), Failure> {
        let statement = self.prepared.get(&self.session, table, Shape::Put).await?;
        let outcome = match rows {
            [only] => self.session.execute_unpaged(&statement, put_values(partition, *only, at)).await,
            rows => {
                let mut batch = Batch::new(BatchType::Unlogged);
                batch.set_consistency(self.prepared.write_level());
                batch.set_is_idempotent(true);
                for _ in rows {
                    batch.append_statement(statement.clone());
                }
                let values: Vec<Vec<Marker<'_>>> =
                    rows.iter().map(|put| put_values(partition, *put, at)).collect();
                self.session.batch(&batch, values).await
            }
        };
        self.settle(table, Shape::Put, outcome).map(drop)
    }

    pub(super) async fn delete_rows(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), Failure> {
        let (shape, key) = match deletion {
            Deletion::Row(key) => (Shape::DeleteRow, key.parts().iter().collect()),
            Deletion::Range(bounds) => match Slice::of(bounds) {
                Some((slice, values)) => (Shape::DeleteRange(slice), values),
                None => return Ok(()),
            },
        };
        let time = std::iter::once(Marker::Time(at));
        let values = time.chain(markers(partition.parts().iter().chain(key))).collect();
        self.write(table, shape, values, self.deadline()).await.map(drop)
    }

    pub(super) async fn exchange(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        let deadline = self.deadline();
        let (shape, values) = exchange_values(table, partition, expected, row);
        let result = self.write(table, shape, values, deadline).await?;
        if applied(result)? {
            return Ok(Exchange::Applied);
        }
        // Servers differ in what they return of the row that refused, so it is read; serially, as this table is.
        let current = self
            .get_row(table, partition, &row.clustering, deadline)
            .await
            .map_err(|error| not_applied(&error))?;
        if expected.is_met_by(table, current.as_ref()) {
            let reason = "the row changed while the exchange was refused";
            return Err(Failure::new(Verdict::NotApplied, reason).into());
        }
        Ok(Exchange::Refused(current))
    }

    async fn write(
        &self,
        table: &'static Table,
        shape: Shape,
        values: Vec<Marker<'_>>,
        deadline: Instant,
    ) -> Result<QueryResult, Failure> {
        in_turn(&self.writes, deadline, async {
            let statement = self.prepared.get(&self.session, table, shape).await?;
            let outcome = self.session.execute_unpaged(&statement, values).await;
            self.settle(table, shape, outcome)
        })
        .await
    }

    /// A server that knows a statement by another id than it told first (while nodes of two versions run side by
    /// side) did not execute it; preparing it anew helps.
    pub(super) fn settle<T>(
        &self,
        table: &'static Table,
        shape: Shape,
        outcome: Result<T, ExecutionError>,
    ) -> Result<T, Failure> {
        if let Err(ExecutionError::LastAttemptError(RequestAttemptError::RepreparedIdChanged { .. })) =
            &outcome
        {
            self.prepared.forget(table, shape);
        }
        outcome.map_err(Failure::from)
    }
}

/// A row to write.
#[derive(Debug, Clone, Copy)]
struct Put<'a> {
    row: &'a Row,
    lives: Lifetime,
}

fn put_values<'a>(partition: &'a Key, put: Put<'a>, at: WriteTime) -> Vec<Marker<'a>> {
    let row = put.row.clustering.parts().iter().chain(&put.row.cells);
    let lives = match put.lives {
        Lifetime::OfTable => None,
        Lifetime::OfRow(seconds) => Some(Marker::TimeToLive(seconds)),
    };
    markers(partition.parts().iter().chain(row)).chain([Marker::Time(at)]).chain(lives).collect()
}

fn exchange_values<'a>(
    table: &Table,
    partition: &'a Key,
    expected: &'a Expected,
    row: &'a Row,
) -> (Shape, Vec<Marker<'a>>) {
    let key = partition.parts().iter().chain(row.clustering.parts());
    match expected {
        Expected::Absent => (Shape::InsertIfAbsent, markers(key.chain(&row.cells)).collect()),
        Expected::Cell(name, value) => {
            let index = table.cell_index(name);
            assert!(index.is_some(), "{} has no cell {name}", table.name);
            let values = row.cells.iter().chain(key).chain([value]);
            (Shape::UpdateIfCell(index.unwrap_or_default()), markers(values).collect())
        }
    }
}

/// The first column of an exchange's result says whether it was applied; what follows differs between servers.
fn applied(result: QueryResult) -> Result<bool, Failure> {
    let unclear = |reason: String| Failure::new(Verdict::Unknown, format!("an exchange's result: {reason}"));
    let rows = result.into_rows_result().map_err(|error| unclear(error.to_string()))?;
    let mut columns: ColumnIterator<'_, '_> = rows.first_row().map_err(|error| unclear(error.to_string()))?;
    let column = columns.next().ok_or_else(|| unclear("it has no column".to_owned()))?;
    let column = column.map_err(|error| unclear(error.to_string()))?;
    match column.slice.map(|slice| slice.as_slice()) {
        Some([0]) => Ok(false),
        Some([1]) => Ok(true),
        other => Err(unclear(format!("it begins with {other:?}"))),
    }
}

/// An exchange that was refused was not applied, whatever reading back gave.
fn not_applied(error: &ReadError) -> WriteError {
    Failure::new(Verdict::NotApplied, format!("refused, and reading back: {error}")).into()
}

/// Rows in batches, in order, each within the bounds unless it is one row.
fn cut<'a, 'b>(rows: &'b [Put<'a>], partition_bytes: usize) -> Vec<&'b [Put<'a>]> {
    let mut batches = Vec::new();
    let (mut rest, mut count, mut bytes) = (rows, 0, 0);
    for put in rows {
        let row_bytes = put.row.size_bytes() + partition_bytes + ROW_OVERHEAD_BYTES;
        if count > 0 && (bytes + row_bytes > BATCH_BYTES_MAX || count == BATCH_ROWS_MAX) {
            let (batch, after) = rest.split_at(count);
            batches.push(batch);
            (rest, count, bytes) = (after, 0, 0);
        }
        count += 1;
        bytes += row_bytes;
    }
    if !rest.is_empty() {
        batches.push(rest);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wide::Datum;

    fn row(n: i64, body_bytes: usize) -> Row {
        Row { clustering: Key::from([Datum::Int(n)]), cells: vec![Datum::Blob(vec![7; body_bytes].into())] }
    }

    fn puts(rows: &[Row]) -> Vec<Put<'_>> {
        rows.iter().map(|row| Put { row, lives: Lifetime::OfTable }).collect()
    }

    #[test]
    fn rows_are_cut_into_batches_in_order_and_none_is_lost() {
        let rows: Vec<Row> = (0..2_000).map(|n| row(n, 10 + usize::try_from(n % 900).unwrap())).collect();
        let puts = puts(&rows);
        let batches = cut(&puts, 16);
        assert!(batches.concat().iter().map(|put| put.row).eq(rows.iter()));
        for batch in batches {
            let bytes: usize = batch.iter().map(|put| put.row.size_bytes() + 16 + ROW_OVERHEAD_BYTES).sum();
            assert!(bytes <= BATCH_BYTES_MAX && batch.len() <= BATCH_ROWS_MAX);
        }
    }

    #[test]
    fn a_row_larger_than_a_batch_goes_alone() {
        let rows = [row(0, 10), row(1, 200_000), row(2, 10), row(3, 10)];
        let lengths: Vec<usize> = cut(&puts(&rows), 8).iter().map(|batch| batch.len()).collect();
        assert_eq!(lengths, [1, 1, 2]);
        assert!(cut(&[], 8).is_empty());
    }

    #[test]
    fn many_small_rows_are_cut_by_their_number() {
        let rows: Vec<Row> =
            (0..1_200).map(|n| Row { clustering: Key::from([Datum::Int(n)]), cells: vec![] }).collect();
        let puts = puts(&rows);
        let batches = cut(&puts, 0);
        assert!(batches.iter().all(|batch| batch.len() <= BATCH_ROWS_MAX));
        assert!(rows.len() / BATCH_ROWS_MAX < batches.len());
    }
}
