//! How a keyspace differs from what this program expects.
//!
//! Pure: compares what the server's own tables say with ours. Only what is wrong is reported; columns and tables
//! that this program does not know are an operator's business.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::super::value::cql_type;
use super::ddl::Strategy;
use crate::wide::{Column, Table};

/// A column as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) table: String,
    pub(super) column: String,
    pub(super) place: Place,
    pub(super) kind: String,
}

/// Which part of a row a column belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Partition(usize),
    Clustering(usize),
    Cell,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// A table is missing.
    Table(&'static str),
    /// A column is missing.
    Column {
        /// Its table.
        table: &'static str,
        /// Its name.
        column: &'static str,
    },
    /// A column has another type, or another place in the key.
    Shape {
        /// Its table.
        table: &'static str,
        /// Its name.
        column: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Rows expire at another age than is configured.
    Retention {
        /// The table.
        table: &'static str,
        /// Seconds, as the table has them; 0 for never.
        found: u64,
        /// Seconds, as configured.
        expected: u64,
    },
    /// A table is compacted in other windows than go with what is configured.
    Window {
        /// The table.
        table: &'static str,
        /// As the table has it.
        found: String,
        /// As it should be.
        expected: String,
    },
    /// The keyspace is replicated in another way than is configured.
    Replication {
        /// As the keyspace has it.
        found: String,
        /// As configured.
        expected: String,
    },
}

impl Drift {
    /// The table that applying the schema puts right; `None` where only an operator can.
    pub(super) const fn of_settings(&self) -> Option<&'static str> {
        match self {
            Self::Retention { table, .. } | Self::Window { table, .. } => Some(table),
            Self::Table(_) | Self::Column { .. } | Self::Shape { .. } | Self::Replication { .. } => None,
        }
    }

    /// Whether the program cannot work with it.
    pub const fn breaks(&self) -> bool {
        match self {
            Self::Table(_) | Self::Column { .. } | Self::Shape { .. } => true,
            Self::Retention { .. } | Self::Window { .. } | Self::Replication { .. } => false,
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table} is missing"),
            Self::Column { table, column } => write!(f, "column {column} of {table} is missing"),
            Self::Shape { table, column, found, expected } => {
                write!(f, "column {column} of {table} is {found}, not {expected}")
            }
            Self::Retention { table, found, expected } => {
                write!(
                    f,
                    "rows of {table} are kept for {found} s, not {expected} s; run `tidemill schema apply`"
                )
            }
            Self::Window { table, found, expected } => {
                write!(f, "{table} is compacted {found}, not {expected}; run `tidemill schema apply`")
            }
            Self::Replication { found, expected } => write!(
                f,
                "the keyspace is replicated as {found}, not {expected}; change it with ALTER KEYSPACE and repair"
            ),
        }
    }
}

/// How the compaction that was found differs. A strategy that an operator chose is left alone where any would do.
pub(super) fn windows(
    table: &'static Table,
    expected: Strategy,
    found: &HashMap<String, String>,
) -> Option<Drift> {
    let value = |name: &str| found.get(name).map(String::as_str).unwrap_or_default();
    let windowed = value("class").ends_with("TimeWindowCompactionStrategy");
    let (unit, size) = (value("compaction_window_unit"), value("compaction_window_size"));
    let as_expected = match expected {
        Strategy::Merging => !windowed,
        Strategy::Windows(window) => windowed && unit == window.unit && size == window.size.to_string(),
    };
    (!as_expected).then(|| Drift::Window {
        table: table.name,
        found: if windowed { format!("in windows of {size} {unit}") } else { Strategy::Merging.to_string() },
        expected: expected.to_string(),
    })
}

/// How the columns that were found differ from these tables.
pub(super) fn columns(tables: &[&'static Table], found: &[Found]) -> Vec<Drift> {
    let mut drift = Vec::new();
    for table in tables {
        let there: BTreeMap<&str, &Found> = found
            .iter()
            .filter(|column| column.table == table.name)
            .map(|column| (column.column.as_str(), column))
            .collect();
        if there.is_empty() {
            drift.push(Drift::Table(table.name));
        } else {
            drift.extend(expected(table).filter_map(|(column, place)| differs(table, column, place, &there)));
        }
    }
    drift
}

fn expected(table: &'static Table) -> impl Iterator<Item = (&'static Column, Place)> {
    let partition = table.partition.iter().enumerate().map(|(at, column)| (column, Place::Partition(at)));
    let clustering = table.clustering.iter().enumerate().map(|(at, column)| (column, Place::Clustering(at)));
    partition.chain(clustering).chain(table.cells.iter().map(|column| (column, Place::Cell)))
}

fn differs(
    table: &'static Table,
    column: &'static Column,
    place: Place,
    there: &BTreeMap<&str, &Found>,
) -> Option<Drift> {
    let Some(found) = there.get(column.name) else {
        return Some(Drift::Column { table: table.name, column: column.name });
    };
    let kind = cql_type(column.kind);
    (found.kind != kind || found.place != place).then(|| Drift::Shape {
        table: table.name,
        column: column.name,
        found: described(&found.kind, found.place),
        expected: described(kind, place),
    })
}

fn described(kind: &str, place: Place) -> String {
    match place {
        Place::Partition(at) => format!("{kind} at {at} of the partition key"),
        Place::Clustering(at) => format!("{kind} at {at} of the clustering key"),
        Place::Cell => format!("{kind} outside of the key"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ddl::Window;
    use super::*;
    use crate::layout::tables::{ALL, MARKS};

    fn as_created(table: &'static Table) -> Vec<Found> {
        expected(table)
            .map(|(column, place)| Found {
                table: table.name.to_owned(),
                column: column.name.to_owned(),
                place,
                kind: cql_type(column.kind).to_owned(),
            })
            .collect()
    }

    #[test]
    fn tables_as_they_were_created_do_not_differ() {
        let found: Vec<Found> = ALL.iter().flat_map(|table| as_created(table)).collect();
        assert_eq!(columns(&ALL, &found), []);
    }

    #[test]
    fn a_missing_table_or_column_is_reported() {
        assert_eq!(columns(&[&MARKS], &[]), [Drift::Table("marks")]);
        let mut found = as_created(&MARKS);
        found.retain(|column| column.column != "catalog_n");
        assert_eq!(columns(&[&MARKS], &found), [Drift::Column { table: "marks", column: "catalog_n" }]);
    }

    #[test]
    fn another_type_or_another_place_in_the_key_is_reported() {
        let mut found = as_created(&MARKS);
        found[1].kind = "bigint".to_owned();
        found[2].place = Place::Cell;
        let said: Vec<String> = columns(&[&MARKS], &found).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "column bucket of marks is bigint at 0 of the clustering key, \
                 not timestamp at 0 of the clustering key",
                "column writer of marks is bigint outside of the key, not bigint at 1 of the clustering key",
            ]
        );
    }

    #[test]
    fn other_windows_are_reported_and_a_strategy_of_the_operators_is_not() {
        let compaction = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let days = |size: &'static str| {
            compaction(&[
                ("class", "org.apache.cassandra.db.compaction.TimeWindowCompactionStrategy"),
                ("compaction_window_unit", "DAYS"),
                ("compaction_window_size", size),
            ])
        };
        let leveled = compaction(&[("class", "LeveledCompactionStrategy")]);
        let two_days = Strategy::Windows(Window { unit: "DAYS", size: 2 });
        assert_eq!(windows(&MARKS, two_days, &days("2")), None);
        assert_eq!(windows(&MARKS, Strategy::Merging, &leveled), None);
        let said =
            |expected, found: &HashMap<String, String>| windows(&MARKS, expected, found).unwrap().to_string();
        let run = "run `tidemill schema apply`";
        assert_eq!(
            said(two_days, &days("3")),
            format!("marks is compacted in windows of 3 DAYS, not in windows of 2 DAYS; {run}")
        );
        assert!(said(two_days, &leveled).contains("without windows, not in windows of 2 DAYS"));
        assert!(said(Strategy::Merging, &days("3")).contains("in windows of 3 DAYS, not without windows"));
    }

    #[test]
    fn columns_of_others_are_left_alone() {
        let mut found = as_created(&MARKS);
        let own = Found { column: "note".to_owned(), ..found[4].clone() };
        found.push(own);
        assert_eq!(columns(&[&MARKS], &found), []);
    }
}
