//! The text of every statement that the backend sends.
//!
//! Pure. A statement is known by its table and [`Shape`]; there are finitely many shapes for a table, so that what
//! is prepared stays bounded (I6). Writes carry their time (`USING TIMESTAMP`), so that repeating one is harmless
//! (I5); exchanges cannot, their time is the ballot's.

use super::options::Keyspace;
use super::slice::Slice;
use crate::wide::{Column, Order, Retention, Table};

/// What a statement does. The order of its markers is documented at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// Write one row: partition key, clustering key, cells, time; then its time to live, where the table's rows have
    /// one each.
    Put,
    /// Read the cells of one row: partition key, clustering key.
    Get,
    /// Read rows: partition key, values of the slice.
    Scan(Slice, Direction),
    /// Read rows of several partitions, which differ in their first column alone: that column of each, the rest of the
    /// partition key, values of the slice. Selects the partition key, too.
    ScanEach(Slice, usize),
    /// Delete one row: time, partition key, clustering key.
    DeleteRow,
    /// Delete rows: time, partition key, values of the slice.
    DeleteRange(Slice),
    /// Write one row unless it is there: partition key, clustering key, cells.
    InsertIfAbsent,
    /// Write one row if the cell at this index equals: cells, partition key, clustering key, expected value.
    UpdateIfCell(usize),
}

/// [`Order`], hashable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    /// As the table is clustered.
    Forward,
    /// Against it.
    Backward,
}

impl From<Order> for Direction {
    fn from(order: Order) -> Self {
        match order {
            Order::Ascending => Self::Forward,
            Order::Descending => Self::Backward,
        }
    }
}

/// The statement of `shape` on `table`.
pub(super) fn text(keyspace: &Keyspace, table: &Table, shape: Shape) -> String {
    let name = format!("{keyspace}.{}", table.name);
    let (partition, clustering, cells) =
        (names(table.partition), names(table.clustering), names(table.cells));
    let key = || equal_all(partition.iter().chain(&clustering), " AND ");
    let partition_key = || equal_all(&partition, " AND ");
    match shape {
        Shape::Put => {
            let time_to_live = if lives_by_row(table) { " AND TTL ?" } else { "" };
            format!("{} USING TIMESTAMP ?{time_to_live}", insert(&name, table))
        }
        Shape::Get => {
            let selected = if cells.is_empty() { &clustering } else { &cells };
            format!("SELECT {} FROM {name} WHERE {}", selected.join(", "), key())
        }
        Shape::Scan(slice, direction) => {
            let selected: Vec<&str> = clustering.iter().chain(&cells).copied().collect();
            let conditions = slice.conditions(&clustering);
            let order = descending(&clustering, direction);
            format!("SELECT {} FROM {name} WHERE {}{conditions}{order}", selected.join(", "), partition_key())
        }
        Shape::ScanEach(slice, count) => {
            let selected: Vec<&str> =
                [&partition, &clustering, &cells].into_iter().flatten().copied().collect();
            let (first, rest) = partition.split_first().unwrap_or((&"", &[]));
            let each = format!("{first} IN ({})", vec!["?"; count].join(", "));
            let partitions: Vec<String> =
                std::iter::once(each).chain(rest.iter().map(|name| format!("{name} = ?"))).collect();
            format!(
                "SELECT {} FROM {name} WHERE {}{}",
                selected.join(", "),
                partitions.join(" AND "),
                slice.conditions(&clustering)
            )
        }
        Shape::DeleteRow => format!("DELETE FROM {name} USING TIMESTAMP ? WHERE {}", key()),
        Shape::DeleteRange(slice) => {
            let conditions = slice.conditions(&clustering);
            format!("DELETE FROM {name} USING TIMESTAMP ? WHERE {}{conditions}", partition_key())
        }
        Shape::InsertIfAbsent => format!("{} IF NOT EXISTS", insert(&name, table)),
        Shape::UpdateIfCell(index) => {
            let expected = cells.get(index).copied().unwrap_or_default();
            format!("UPDATE {name} SET {} WHERE {} IF {expected} = ?", equal_all(&cells, ", "), key())
        }
    }
}

/// Whether each row of a table is written with a time to live of its own.
pub(super) const fn lives_by_row(table: &Table) -> bool {
    match table.retention {
        Retention::Blocks | Retention::Frames => true,
        // Rejects are counted from when they are written: their table says it once.
        Retention::Forever | Retention::Rejects => false,
    }
}

fn insert(name: &str, table: &Table) -> String {
    let columns: Vec<&str> =
        [table.partition, table.clustering, table.cells].into_iter().flat_map(names).collect();
    let markers = vec!["?"; columns.len()].join(", ");
    format!("INSERT INTO {name} ({}) VALUES ({markers})", columns.join(", "))
}

/// The whole clustering order must be named, or a server would not take it.
fn descending(clustering: &[&str], direction: Direction) -> String {
    match direction {
        Direction::Backward if !clustering.is_empty() => {
            let columns: Vec<String> = clustering.iter().map(|name| format!("{name} DESC")).collect();
            format!(" ORDER BY {}", columns.join(", "))
        }
        Direction::Backward | Direction::Forward => String::new(),
    }
}

fn names(columns: &'static [Column]) -> Vec<&'static str> {
    columns.iter().map(|column| column.name).collect()
}

fn equal_all<'a>(names: impl IntoIterator<Item = &'a &'static str>, between: &str) -> String {
    let parts: Vec<String> = names.into_iter().map(|name| format!("{name} = ?")).collect();
    parts.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tables::{BLOCKS, MARKS, SEALS, SEGMENTS};
    use crate::wide::{Bounds, Datum, Key};

    fn said(table: &Table, shape: Shape) -> String {
        text(&Keyspace::new("mill").unwrap(), table, shape)
    }

    #[test]
    fn a_put_carries_its_time() {
        assert_eq!(
            said(&MARKS, Shape::Put),
            "INSERT INTO mill.marks (shard, bucket, writer, state, through_seq, catalog_n, written_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        );
    }

    #[test]
    fn a_put_of_what_expires_carries_its_time_to_live() {
        assert!(said(&BLOCKS, Shape::Put).ends_with("?) USING TIMESTAMP ? AND TTL ?"));
    }

    #[test]
    fn a_scan_against_the_clustering_names_the_whole_order() {
        let bounds = Bounds::prefix(Key::from([Datum::Int(7)]));
        let (slice, _) = Slice::of(&bounds).unwrap();
        assert_eq!(
            said(&SEGMENTS, Shape::Scan(slice, Direction::Backward)),
            "SELECT writer, seq, received_at, catalog_n, samples, min_time, max_time, body FROM mill.segments \
             WHERE shard = ? AND bucket = ? AND writer = ? ORDER BY writer DESC, seq DESC"
        );
    }

    #[test]
    fn a_scan_of_several_partitions_says_which_row_is_whose() {
        let bounds = Bounds::prefix(Key::from([Datum::Instant(7)]));
        let (slice, _) = Slice::of(&bounds).unwrap();
        assert_eq!(
            said(&SEALS, Shape::ScanEach(slice, 3)),
            "SELECT shard, period, bucket, version, generation_version, generation_attempt, sealed_at, covered, \
             summary, checksum FROM mill.seals WHERE shard IN (?, ?, ?) AND period = ? AND bucket = ?"
        );
    }

    #[test]
    fn deletes_carry_their_time_and_exchanges_their_condition() {
        assert_eq!(
            said(&SEGMENTS, Shape::DeleteRow),
            "DELETE FROM mill.segments USING TIMESTAMP ? WHERE shard = ? AND bucket = ? AND writer = ? AND seq = ?"
        );
        assert_eq!(
            said(&MARKS, Shape::UpdateIfCell(1)),
            "UPDATE mill.marks SET state = ?, through_seq = ?, catalog_n = ?, written_at = ? \
             WHERE shard = ? AND bucket = ? AND writer = ? IF through_seq = ?"
        );
        assert!(said(&MARKS, Shape::InsertIfAbsent).ends_with("VALUES (?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS"));
    }
}
