//! From format 1, in which every table was one keyspace, to windows of time.
//!
//! The rows of such a keyspace are copied, then it is dropped, then the format is written. A crash in between leaves
//! the old keyspace to be copied again, over rows that are the same.

use fjall::Database;

use super::super::expiry::ends_at_millis;
use super::super::{Column, Key, Row, Table};
use super::key;
use super::pending::{Commit, DiskError, Item};
use super::spaces::disk_error;
use super::tree::Tree;
use super::value;

/// Rows that are copied at a time, and bytes after which a copy ends.
const ROWS_MAX: usize = 1024;
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Moves the rows of tables that are cut by time out of keyspaces that are not.
pub(super) fn cut_by_time(
    database: &Database,
    tree: &Tree,
    tables: &[&'static Table],
) -> Result<(), DiskError> {
    for table in tables.iter().filter(|table| super::windows::Cut::of(table).is_some()) {
        if database.keyspace_exists(table.name) {
            copy(database, tree, table)?;
        }
    }
    Ok(())
}

fn copy(database: &Database, tree: &Tree, table: &'static Table) -> Result<(), DiskError> {
    let whole = database.keyspace(table.name, fjall::KeyspaceCreateOptions::default).map_err(disk_error)?;
    let mut commit = Commit::default();
    let mut bytes = 0;
    for guard in whole.iter() {
        let (key, value) = guard.into_inner().map_err(disk_error)?;
        if !tree.places(table, &key) {
            tracing::error!(table = table.name, "a row under a damaged key is left behind");
            continue;
        }
        bytes += value.len();
        if let Some(ends_at) = ends_at(table, &key, &value.clone().into()) {
            commit.ends.push((tree.id(table), key.clone().into(), ends_at));
        }
        let item = Item { table: tree.id(table), key: key.into(), value: Some(value.into()), frees: 0 };
        commit.items.push(item);
        if commit.items.len() == ROWS_MAX || bytes >= BYTES_MAX {
            tree.commit(std::mem::take(&mut commit))?;
            bytes = 0;
        }
    }
    tree.commit(commit)?;
    tracing::info!(table = table.name, "rows lie in windows of time now");
    database.delete_keyspace(whole).map_err(disk_error)
}

/// The end of a row; `None` where it is damaged, which those who read it will find out.
fn ends_at(table: &Table, key: &[u8], value: &bytes::Bytes) -> Option<i64> {
    let columns: Vec<Column> = table.partition.iter().chain(table.clustering).copied().collect();
    let mut parts = key::decode(&columns, key, 0).ok()?.parts().to_vec();
    let clustering = parts.split_off(table.partition.len());
    let cells = value::decode(table.cells, key, value).ok()?;
    ends_at_millis(table, &Key::new(parts), &Row { clustering: Key::new(clustering), cells })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use prometheus::Registry;

    use super::super::super::{Scan, Wide as _, WriteTime};
    use super::super::{Lsm, LsmOptions};
    use super::*;
    use crate::layout::tables::{MARKS, REJECTS};
    use crate::layout::{RejectKind, RejectRow};
    use crate::model::{Timestamp, WriterId};

    const DAYS: i64 = 40;

    fn reject(n: u32) -> RejectRow {
        RejectRow {
            received_at: Timestamp::from_millis(i64::from(n % 40) * 86_400_000 + 5).unwrap(),
            writer: WriterId::from_random(1),
            n,
            kind: RejectKind::DeadLetter,
            reason: "json".into(),
            detail: String::new(),
            topic: "devices/d".into(),
            payload: vec![7; 6000].into(),
        }
    }

    /// A directory as format 1 left it, with rejects of forty days.
    fn older(dir: &std::path::Path) {
        fs::write(dir.join("format"), "tidemill-lsm 1\n").unwrap();
        let database = Database::builder(dir.join("tree")).open().unwrap();
        let whole = database.keyspace(REJECTS.name, fjall::KeyspaceCreateOptions::default).unwrap();
        for n in 0..2000 {
            let (row, partition) = (reject(n).to_row(), reject(n).partition(0));
            let key = key::encode(&partition, &row.clustering);
            let value = value::encode(&key, &row, WriteTime::from_micros(1));
            whole.insert(key, value).unwrap();
        }
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }

    async fn days_with_rejects(store: &Lsm) -> Vec<(i64, usize)> {
        let mut days = Vec::new();
        for day in 0..DAYS {
            let partition = reject(u32::try_from(day).unwrap()).partition(0);
            let page = store.scan(&Scan::partition(&REJECTS, partition), None).await.unwrap();
            days.push((day, page.rows.len()));
        }
        days
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_directory_of_the_format_before_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        older(dir.path());
        let expected: Vec<(i64, usize)> = (0..DAYS).map(|day| (day, 50)).collect();
        for _ in 0..2 {
            let store =
                Lsm::open(LsmOptions::new(dir.path()), &[&REJECTS, &MARKS], &Registry::new()).unwrap();
            assert_eq!(days_with_rejects(&store).await, expected);
        }
        assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "tidemill-lsm 2\n");
        let mut options = LsmOptions::new(dir.path());
        options.expiry.rejects = Some(std::time::Duration::from_hours(24));
        let store = Lsm::open(options, &[&REJECTS], &Registry::new()).unwrap();
        let now = Timestamp::from_millis((DAYS - 5) * 86_400_000).unwrap();
        let expired = store.expire(now).await.unwrap();
        assert_eq!(expired.windows, ["rejects@0..720"], "windows of 30 days, made when nothing expired");
        assert_eq!(days_with_rejects(&store).await.iter().filter(|(_, rows)| *rows > 0).count(), 10);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_takeover_that_was_cut_short_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        older(dir.path());
        drop(Lsm::open(LsmOptions::new(dir.path()), &[&REJECTS], &Registry::new()).unwrap());
        // As if the process had ended before the old rows were dropped.
        older(dir.path());
        let store = Lsm::open(LsmOptions::new(dir.path()), &[&REJECTS], &Registry::new()).unwrap();
        assert!(days_with_rejects(&store).await.iter().all(|(_, rows)| *rows == 50));
    }
}
