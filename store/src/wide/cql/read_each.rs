//! Pages of several partitions in one request.
//!
//! What a query asks of every shard at once is small, and a request costs more than what it brings: so partitions that
//! differ in their first column alone are named in one statement, up to [`AT_ONCE`]. Whoever coordinates it asks the
//! replicas of each partition, as many as for a scan. Where the rows do not fit in one page, or the table has bodies,
//! each partition is scanned by itself.

use scylla::deserialize::row::ColumnIterator;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};

use super::read::{corrupt, rows_of};
use super::slice::Slice;
use super::statement::Shape;
use super::value::{Marker, check_columns, markers, take, whole_row};
use super::{Cql, in_turn};
use crate::wide::scan::scan_one_by_one;
use crate::wide::{ColumnType, Datum, Key, Order, Page, ReadError, Row, Scan, Table};

/// Partitions in one statement: few enough for the limits that servers have.
const AT_ONCE: usize = 16;

impl Cql {
    pub(super) async fn scan_pages(&self, scan: &Scan, partitions: &[Key]) -> Result<Vec<Page>, ReadError> {
        let mut pages = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(AT_ONCE) {
            let together = match Together::of(scan, some) {
                Some(together) => self.pages_together(&together).await?,
                None => None,
            };
            match together {
                Some(of_some) => pages.extend(of_some),
                None => pages.extend(scan_one_by_one(self, scan, some).await?),
            }
        }
        Ok(pages)
    }

    /// `None` where they do not fit in one page.
    async fn pages_together(&self, together: &Together<'_>) -> Result<Option<Vec<Page>>, ReadError> {
        let Together { scan, partitions, shape, values } = together;
        let values: Vec<Marker<'_>> = markers(values.iter().copied()).collect();
        in_turn(&self.reads, self.deadline(), async {
            let mut statement = self.prepared.get(&self.session, scan.table, *shape).await?;
            statement.set_page_size(i32::try_from(scan.page_rows_max).unwrap_or(i32::MAX));
            let outcome = self.session.execute_single_page(&statement, &values, PagingState::start()).await;
            let (result, following) = self.settle(scan.table, *shape, outcome)?;
            match following {
                PagingStateResponse::HasMorePages { .. } => Ok(None),
                PagingStateResponse::NoMorePages => apart(scan.table, result, partitions).map(Some),
            }
        })
        .await
    }
}

/// Scans that one statement can say.
struct Together<'a> {
    scan: &'a Scan,
    partitions: &'a [Key],
    shape: Shape,
    values: Vec<&'a Datum>,
}

impl<'a> Together<'a> {
    fn of(scan: &'a Scan, partitions: &'a [Key]) -> Option<Self> {
        let has_bodies = scan.table.cells.iter().any(|column| column.kind == ColumnType::Blob);
        let (first, last) = (partitions.first()?, partitions.last()?);
        let rest = first.parts().get(1..)?;
        let is_alike = partitions.iter().all(|partition| partition.parts().get(1..) == Some(rest));
        if partitions.len() < 2 || !is_alike || has_bodies || scan.order == Order::Descending {
            return None;
        }
        let (slice, bounds) = Slice::of(&scan.bounds)?;
        // Few statements are enough where the last partition is named again and again.
        let count = partitions.len().next_power_of_two();
        let named = partitions.iter().chain(std::iter::repeat(last)).take(count);
        let values = named.filter_map(|partition| partition.parts().first()).chain(rest).chain(bounds);
        let values = values.collect();
        Some(Self { scan, partitions, shape: Shape::ScanEach(slice, count), values })
    }
}

/// The rows of an answer, by their partitions.
fn apart(table: &'static Table, result: QueryResult, partitions: &[Key]) -> Result<Vec<Page>, ReadError> {
    let result = rows_of(table, result)?;
    let expected = [table.partition, table.clustering, table.cells].into_iter().flatten();
    check_columns(expected, result.column_specs().as_slice()).map_err(|reason| corrupt(table, &reason))?;
    let mut pages: Vec<Page> = partitions.iter().map(|_| Page { rows: Vec::new(), next: None }).collect();
    for columns in result.rows::<ColumnIterator<'_, '_>>().map_err(|error| corrupt(table, &error))? {
        let columns = columns.map_err(|error| corrupt(table, &error))?;
        let (partition, row) = owned_row(table, columns).map_err(|reason| corrupt(table, &reason))?;
        let owner = partitions.iter().position(|one| one.parts() == partition);
        let Some(page) = owner.and_then(|owner| pages.get_mut(owner)) else {
            return Err(corrupt(table, &"a row of a partition that was not asked for"));
        };
        page.rows.push(row);
    }
    Ok(pages)
}

/// A row of a response that selects the whole key and the cells, and whose it is.
fn owned_row(table: &Table, mut columns: ColumnIterator<'_, '_>) -> Result<(Vec<Datum>, Row), String> {
    let partition = take(table.partition, &mut columns)?;
    Ok((partition, whole_row(table, columns)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tables::{BLOCKS, MARKS, SEALS};
    use crate::wide::{Bounds, Scan};

    fn key(parts: &[i64]) -> Key {
        let [shard, rest @ ..] = parts else { panic!("no shard") };
        let first = std::iter::once(Datum::Int(*shard));
        Key::new(first.chain(rest.iter().map(|&period| Datum::Instant(period))).collect::<Vec<_>>())
    }

    fn numbers(scan: &Scan, partitions: &[Key]) -> Option<(Shape, usize)> {
        Together::of(scan, partitions).map(|together| (together.shape, together.values.len()))
    }

    #[test]
    fn partitions_that_differ_in_their_first_column_are_asked_for_together() {
        let (slice, _) = Slice::of(&Bounds::ALL).unwrap();
        let marks = Scan::partition(&MARKS, key(&[0]));
        let three = [key(&[0]), key(&[1]), key(&[2])];
        assert_eq!(numbers(&marks, &three), Some((Shape::ScanEach(slice, 4), 4)), "one of them twice");
        assert_eq!(numbers(&marks, &three[..1]), None, "one is a scan");
        let seals = Scan::partition(&SEALS, key(&[0, 5]));
        assert_eq!(numbers(&seals, &[key(&[0, 5]), key(&[1, 5])]), Some((Shape::ScanEach(slice, 2), 3)));
        assert_eq!(numbers(&seals, &[key(&[0, 5]), key(&[0, 6])]), None, "of other periods");
        let blocks = Scan::partition(&BLOCKS, key(&[0, 5]));
        assert_eq!(numbers(&blocks, &[key(&[0, 5]), key(&[1, 5])]), None, "bodies are bounded in bytes");
        assert_eq!(numbers(&marks.in_order(Order::Descending), &three), None);
    }
}
