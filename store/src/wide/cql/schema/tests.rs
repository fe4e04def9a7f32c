//! Golden files of the schema: what operators have in their clusters must not change unnoticed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::layout::{Resolution, RetentionTimes, tables};

fn options() -> CqlOptions {
    let keyspace = Keyspace::new("tidemill").unwrap();
    let mut options = CqlOptions::new(vec!["db1:9042".to_owned()], keyspace, "north", 3);
    options.replication.insert("south".to_owned(), 2);
    let days = |days: u64| Duration::from_hours(24 * days);
    let frames = [(60, days(90)), (3600, days(730))];
    options.retention.raw = Some(days(30));
    options.retention.frames =
        frames.map(|(seconds, retention)| (Resolution::from_seconds(seconds).unwrap(), retention)).into();
    options
}

fn printed(server: &str) -> String {
    // The record names this program's version, which changes with every release; the schema does not.
    let script = print(&options(), server.parse().unwrap());
    script.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn cassandra_5_gets_unified_compaction() {
    assert_eq!(printed("cassandra-5.0"), include_str!("golden/cassandra-5.0.cql"));
}

#[test]
fn cassandra_4_gets_size_tiered_compaction() {
    assert_eq!(printed("cassandra-4.1"), include_str!("golden/cassandra-4.1.cql"));
}

#[test]
fn scylladb_gets_its_own_words() {
    assert_eq!(printed("scylladb-2025.1"), include_str!("golden/scylladb-2025.1.cql"));
    let earlier = printed("scylladb-5.4");
    assert!(earlier.contains("SizeTieredCompactionStrategy") && !earlier.contains("tablets"), "{earlier}");
}

#[test]
fn what_is_kept_for_ever_is_merged_and_not_cut_into_windows() {
    let mut options = options();
    options.retention = RetentionTimes::FOREVER;
    let ddl = Ddl::new(&options, "cassandra-5.0".parse().unwrap());
    assert_eq!(ddl.strategy(&BLOCKS), ddl::Strategy::Merging);
    assert_eq!(ddl.strategy(&FRAMES), ddl::Strategy::Merging);
    assert_ne!(ddl.strategy(&REJECTS), ddl::Strategy::Merging);
}

#[test]
fn versions_are_dense_and_create_every_table_once() {
    let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    assert_eq!(versions, (1..=VERSION).collect::<Vec<_>>());
    let created: Vec<&str> = super::tables().iter().map(|table| table.name).collect();
    let once: BTreeSet<&str> = created.iter().copied().collect();
    assert_eq!(once.len(), created.len());
    assert_eq!(once, tables::ALL.iter().map(|table| table.name).collect());
}

#[test]
fn no_name_is_a_reserved_word() {
    // Words that every supported server reserves; a name among them would have to be quoted everywhere.
    let reserved = "add allow alter and apply asc authorize batch begin by columnfamily create delete desc describe \
                    drop entries execute from full grant if in index infinity insert into is keyspace limit \
                    materialized mbean mbeans modify nan norecursive not null of on or order password primary \
                    rename replace revoke schema select set table to token truncate unlogged unset update use \
                    using view where with";
    let reserved: BTreeSet<&str> = reserved.split_whitespace().collect();
    for table in super::tables().into_iter().chain([&SCHEMA_VERSION]) {
        let columns = table.partition.iter().chain(table.clustering).chain(table.cells);
        for name in columns.map(|column| column.name).chain([table.name]) {
            assert!(!reserved.contains(name), "{name} of {}", table.name);
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name} of {}", table.name);
        }
    }
}
