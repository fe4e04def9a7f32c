//! The text of the schema.
//!
//! Pure: tables in, statements out. Compaction follows how a table is used: what is merged or deleted by range gets
//! the server's merging strategy, what expires as a whole gets time windows, so that expired files go without being
//! rewritten. Bodies are compressed already, so their tables are not compressed again.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::options::CqlOptions;
use super::super::value::cql_type;
use super::server::Server;
use crate::wide::{Column, Retention, Table, Workload};

/// For how long a delete must be remembered where forgetting one would bring back what it removed: the servers' own
/// default, within which every replica must be repaired.
const GC_GRACE: Duration = Duration::from_hours(10 * 24);
/// The same for logs, whose seals remember what they cover, so that a row which comes back is ignored. Not shorter,
/// because hints for a node that was away are kept no longer than this, and servers store them for 3 hours.
const GC_GRACE_LOG: Duration = Duration::from_hours(4);
/// Time windows within a retention: few enough to keep files few, many enough that little outlives it.
const WINDOWS: u64 = 30;

/// Renders statements for one keyspace on one kind of server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ddl<'a> {
    options: &'a CqlOptions,
    server: Server,
}

impl<'a> Ddl<'a> {
    pub(super) const fn new(options: &'a CqlOptions, server: Server) -> Self {
        Self { options, server }
    }

    /// Creates the keyspace.
    pub(super) fn keyspace(self) -> String {
        let keyspace = &self.options.keyspace;
        let mut replicas = String::new();
        for (datacenter, factor) in &self.options.replication {
            _ = write!(replicas, ", '{datacenter}': {factor}");
        }
        let tablets =
            if self.server.must_decline_tablets() { "\n  AND tablets = {'enabled': false}" } else { "" };
        format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace}\n  WITH replication = {{'class': \
             'NetworkTopologyStrategy'{replicas}}}\n  AND durable_writes = true{tablets}"
        )
    }

    /// Creates a table.
    pub(super) fn table(self, table: &Table) -> String {
        let mut text = format!("CREATE TABLE IF NOT EXISTS {}.{} (\n", self.options.keyspace, table.name);
        for column in table.partition.iter().chain(table.clustering).chain(table.cells) {
            _ = writeln!(text, "  {} {},", column.name, cql_type(column.kind));
        }
        let partition = format!("({})", names(table.partition));
        let key = if table.clustering.is_empty() {
            partition
        } else {
            format!("{partition}, {}", names(table.clustering))
        };
        let settings: Vec<String> =
            self.settings(table).into_iter().map(|(name, value)| format!("{name} = {value}")).collect();
        _ = write!(text, "  PRIMARY KEY ({key})\n) WITH {}", settings.join("\n  AND "));
        text
    }

    /// Gives an existing table the retention that is configured now.
    pub(super) fn retention(self, table: &Table) -> String {
        format!(
            "ALTER TABLE {}.{} WITH compaction = {}\n  AND default_time_to_live = {}",
            self.options.keyspace,
            table.name,
            self.compaction(table),
            self.time_to_live(table).unwrap_or_default()
        )
    }

    /// Seconds after which rows of a table expire; `None` where they do not.
    pub(super) fn time_to_live(self, table: &Table) -> Option<u64> {
        match table.retention {
            Retention::Forever | Retention::Blocks | Retention::Frames => None,
            Retention::Rejects => Some(self.options.rejects_retention.as_secs()),
        }
    }

    fn settings(self, table: &Table) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("comment", format!("'{}'", comment(table).replace('\'', "''"))),
            ("compaction", self.compaction(table)),
            ("compression", self.compression(table)),
            ("gc_grace_seconds", gc_grace(table).as_secs().to_string()),
        ];
        if let Some(seconds) = self.time_to_live(table) {
            settings.push(("default_time_to_live", seconds.to_string()));
        }
        settings
    }

    fn compaction(self, table: &Table) -> String {
        match (table.workload, self.time_to_live(table)) {
            (Workload::Archive, Some(seconds)) => {
                let (unit, size) = window(seconds);
                format!(
                    "{{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '{unit}', \
                     'compaction_window_size': '{size}'}}"
                )
            }
            (Workload::Index | Workload::Log | Workload::Archive, _) => {
                format!("{{'class': '{}'}}", self.server.merging_compaction())
            }
        }
    }

    fn compression(self, table: &Table) -> String {
        match table.workload {
            Workload::Index => format!("{{'{}': 'LZ4Compressor'}}", self.server.compression_key()),
            Workload::Log | Workload::Archive => self.server.no_compression().to_owned(),
        }
    }
}

const fn gc_grace(table: &Table) -> Duration {
    match table.workload {
        Workload::Index | Workload::Archive => GC_GRACE,
        Workload::Log => GC_GRACE_LOG,
    }
}

/// The window of time-window compaction: unit and how many of it.
const fn window(time_to_live_seconds: u64) -> (&'static str, u64) {
    let hours = time_to_live_seconds.div_ceil(3600 * WINDOWS);
    if hours < 24 { ("HOURS", hours) } else { ("DAYS", hours.div_ceil(24)) }
}

/// What an operator reads at a table.
fn comment(table: &Table) -> &'static str {
    match table.name {
        "eras" => "From a time on: how many shards, and how wide a bucket is",
        "catalog" => "Sources and their metrics, as each writer met them; dense in n",
        "marks" => "Which writer touches which bucket of a shard",
        "segments" => "Batches of samples as they came in; a body is columnar and compressed",
        "seals" => "Which grind of a bucket is in force, and which segments it covers",
        "periods" => "Which periods of a shard have seals",
        "writers" => "How many rows of a writer's catalog seals carry",
        "blocks" => "Ground samples: columnar and compressed, by source",
        "frames" => "Rollups of ground samples: one metric, one resolution, many sources",
        "leases" => "Which process grinds which shard",
        "rejects" => "Messages that could not be taken, with the reason",
        "schema_version" => "Which versions of the schema were applied, when and by what",
        _ => "A table of Tidemill",
    }
}

fn names(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_some_thirty_in_a_retention() {
        assert_eq!(window(3600), ("HOURS", 1));
        assert_eq!(window(7 * 86_400), ("HOURS", 6));
        assert_eq!(window(30 * 86_400), ("DAYS", 1));
        assert_eq!(window(365 * 86_400), ("DAYS", 13));
    }
}
