//! Gets and scans.
//!
//! A page is asked for in pieces: the server counts rows, a page here is bounded in bytes as well. The first piece
//! of a table with bodies is small, the next ones as large as the rows before show them to fit. The token of a page
//! is its last clustering key, which becomes the next one's bound: the server's own paging state never leaves here.

use scylla::deserialize::row::ColumnIterator;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::response::{PagingState, PagingStateResponse};
use tokio::time::Instant;

use super::slice::Slice;
use super::statement::Shape;
use super::value::{Marker, check_columns, markers, take, whole_row};
use super::{Cql, in_turn};
use crate::wide::{ColumnType, Datum, Key, Page, PageToken, ReadError, Row, Scan, Table};

/// Rows in the first piece of a page of a table with bodies: with the largest bodies that is a full page.
const FIRST_ROWS: u32 = 16;

impl Cql {
    pub(super) async fn get_row(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
        deadline: Instant,
    ) -> Result<Option<Row>, ReadError> {
        let key = partition.parts().iter().chain(clustering.parts());
        let values: Vec<Marker<'_>> = markers(key).collect();
        in_turn(&self.reads, deadline, async {
            let statement = self.prepared.get(&self.session, table, Shape::Get).await?;
            let outcome = self.session.execute_unpaged(&statement, values).await;
            let result = self.settle(table, Shape::Get, outcome)?;
            let cells = only_row(table, result)?;
            Ok(cells.map(|cells| Row { clustering: clustering.clone(), cells }))
        })
        .await
    }

    pub(super) async fn scan_page(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        let bounds = scan.remaining(from);
        let Some((slice, values)) = Slice::of(&bounds) else {
            return Ok(Page { rows: Vec::new(), next: None });
        };
        in_turn(&self.reads, self.deadline(), self.fill_page(scan, slice, values)).await
    }

    async fn fill_page(&self, scan: &Scan, slice: Slice, bounds: Vec<&Datum>) -> Result<Page, ReadError> {
        let (table, shape) = (scan.table, Shape::Scan(slice, scan.order.into()));
        let mut statement = self.prepared.get(&self.session, table, shape).await?;
        let values: Vec<Marker<'_>> = markers(scan.partition.parts().iter().chain(bounds)).collect();
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        let mut state = PagingState::start();
        loop {
            let wanted = next_rows(table, scan.page_rows_max, rows.len(), bytes);
            statement.set_page_size(i32::try_from(wanted).unwrap_or(i32::MAX));
            let outcome = self.session.execute_single_page(&statement, &values, state).await;
            let (result, following) = self.settle(table, shape, outcome)?;
            bytes += append_rows(table, result, &mut rows)?;
            match following {
                PagingStateResponse::NoMorePages => return Ok(Page { rows, next: None }),
                PagingStateResponse::HasMorePages { state: next } => state = next,
            }
            let full = next_rows(table, scan.page_rows_max, rows.len(), bytes) == 0;
            if let (true, Some(last)) = (full, rows.last()) {
                let next = Some(PageToken(last.clustering.clone()));
                return Ok(Page { rows, next });
            }
        }
    }
}

/// How many rows to ask for next; none where the page is full.
fn next_rows(table: &Table, rows_max: u32, rows: usize, bytes: usize) -> u32 {
    let have = u32::try_from(rows).unwrap_or(u32::MAX);
    let left = rows_max.saturating_sub(have);
    let has_bodies = table.cells.iter().any(|column| column.kind == ColumnType::Blob);
    if !has_bodies && bytes < Page::BYTES_MAX {
        return left;
    }
    if rows == 0 {
        return left.min(FIRST_ROWS);
    }
    let fitting = Page::BYTES_MAX.saturating_sub(bytes).saturating_mul(rows) / bytes.max(1);
    left.min(u32::try_from(fitting).unwrap_or(u32::MAX))
}

/// Adds the rows of an answer; returns their bytes.
fn append_rows(table: &'static Table, result: QueryResult, rows: &mut Vec<Row>) -> Result<usize, ReadError> {
    let result = rows_of(table, result)?;
    let found = result.column_specs();
    check_columns(table.clustering.iter().chain(table.cells), found.as_slice())
        .map_err(|reason| corrupt(table, &reason))?;
    let answers = result.rows::<ColumnIterator<'_, '_>>().map_err(|error| corrupt(table, &error))?;
    let mut bytes = 0;
    rows.reserve(result.rows_num());
    for answer in answers {
        let columns = answer.map_err(|error| corrupt(table, &error))?;
        let row = whole_row(table, columns).map_err(|reason| corrupt(table, &reason))?;
        bytes += row.size_bytes();
        rows.push(row);
    }
    Ok(bytes)
}

/// The cells of the one row of an answer, or that there is none.
fn only_row(table: &'static Table, result: QueryResult) -> Result<Option<Vec<Datum>>, ReadError> {
    let result = rows_of(table, result)?;
    check_columns(table.cells, result.column_specs().as_slice()).map_err(|reason| corrupt(table, &reason))?;
    let row = result.maybe_first_row::<ColumnIterator<'_, '_>>().map_err(|error| corrupt(table, &error))?;
    row.map(|mut columns| take(table.cells, &mut columns))
        .transpose()
        .map_err(|reason| corrupt(table, &reason))
}

pub(super) fn rows_of(table: &'static Table, result: QueryResult) -> Result<QueryRowsResult, ReadError> {
    result.into_rows_result().map_err(|error| corrupt(table, &error))
}

pub(super) fn corrupt(table: &'static Table, reason: &impl ToString) -> ReadError {
    ReadError::Corrupt { table: table.name, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tables::{MARKS, SEGMENTS};

    #[test]
    fn small_rows_come_in_one_piece() {
        assert_eq!(next_rows(&MARKS, 256, 0, 0), 256);
        assert_eq!(next_rows(&MARKS, 256, 256, 9_000), 0);
    }

    #[test]
    fn bodies_are_asked_for_by_what_their_size_turns_out_to_be() {
        assert_eq!(next_rows(&SEGMENTS, 256, 0, 0), 16);
        assert_eq!(next_rows(&SEGMENTS, 8, 0, 0), 8);
        assert_eq!(next_rows(&SEGMENTS, 256, 16, 16 * 1_000), 240);
        assert_eq!(next_rows(&SEGMENTS, 256, 16, 16 * 100_000), 25);
        assert_eq!(next_rows(&SEGMENTS, 256, 16, Page::BYTES_MAX), 0);
    }

    #[test]
    fn a_page_of_large_rows_without_bodies_ends_too() {
        assert_eq!(next_rows(&MARKS, 256, 10, Page::BYTES_MAX), 0);
    }
}
