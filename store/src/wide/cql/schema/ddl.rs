//! The text of the schema.
//!
//! Pure: tables in, statements out. Compaction follows how a table is used: what is merged or deleted by range gets
//! the server's merging strategy, what expires gets time windows, so that expired files go without being rewritten.
//! Blocks and frames are written at the time of their bucket, so windows are of event time and late data finds its
//! own. Bodies are compressed already, so their tables are not compressed again.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::super::options::CqlOptions;
use super::super::value::cql_type;
use super::server::Server;
use crate::layout::tables::MARKS;
use crate::wide::{Column, Retention, Table, Workload};

/// For how long a delete must be remembered where forgetting one would bring back what it removed: the servers' own
/// default, within which every replica must be repaired. For tables from which nothing is deleted.
const GC_GRACE: Duration = Duration::from_hours(10 * 24);
/// The same where a row that comes back does no harm, because nothing is believed that a seal does not name:
///
/// - a segment that comes back is one that the seal in force covers, so that readers and the mill pass it over;
/// - a mark was deleted because the seal covers all that it counts: one that comes back, whichever of its versions,
///   sends a reader to a bucket where nothing is left to find, until the mill deletes it again or it is a day old;
/// - blocks and frames that come back belong to a generation that no seal names and none will name again;
/// - what expires carries its time in every copy, so that no copy can outlive it; the grace only keeps it on disk.
///
/// Not shorter, because hints for a node that was away are kept no longer than this, and servers store them for
/// 3 hours.
const GC_GRACE_SHORT: Duration = Duration::from_hours(4);
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

    /// Gives an existing table the settings that go with the retention that is configured now.
    pub(super) fn retention(self, table: &Table) -> String {
        format!(
            "ALTER TABLE {}.{} WITH compaction = {}\n  AND gc_grace_seconds = {}\n  AND default_time_to_live = {}",
            self.options.keyspace,
            table.name,
            self.compaction(table),
            gc_grace(table).as_secs(),
            self.time_to_live(table).unwrap_or_default()
        )
    }

    /// Seconds after which rows of a table expire that bring no time of their own; `None` where they do not.
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

    /// How a table is to be compacted.
    pub(super) fn strategy(self, table: &Table) -> Strategy {
        match (table.workload, self.options.expiry().longest(table.retention)) {
            (Workload::Archive, Some(retention)) => Strategy::Windows(Window::of(retention)),
            // Without an end nothing expires as a whole, and generations that were replaced are to be merged away.
            (Workload::Index | Workload::Log | Workload::Archive, _) => Strategy::Merging,
        }
    }

    fn compaction(self, table: &Table) -> String {
        match self.strategy(table) {
            Strategy::Merging => format!("{{'class': '{}'}}", self.server.merging_compaction()),
            Strategy::Windows(Window { unit, size }) => format!(
                "{{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '{unit}', \
                 'compaction_window_size': '{size}'{}}}",
                self.tombstones(table)
            ),
        }
    }

    /// Where rows of one file live differently long, files do not expire as a whole before the last of them: what
    /// has expired earlier is then to be taken out of each file by itself.
    fn tombstones(self, table: &Table) -> &'static str {
        match table.retention {
            Retention::Frames => self.server.single_file_purge(),
            Retention::Forever | Retention::Rejects | Retention::Blocks => "",
        }
    }

    fn compression(self, table: &Table) -> String {
        match table.workload {
            Workload::Index => format!("{{'{}': 'LZ4Compressor'}}", self.server.compression_key()),
            Workload::Log | Workload::Archive => self.server.no_compression().to_owned(),
        }
    }
}

fn gc_grace(table: &Table) -> Duration {
    let harmless = table.name == MARKS.name || table.retention != Retention::Forever;
    match table.workload {
        Workload::Log => GC_GRACE_SHORT,
        Workload::Index | Workload::Archive if harmless => GC_GRACE_SHORT,
        Workload::Index | Workload::Archive => GC_GRACE,
    }
}

/// How a table is compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// By the server's strategy for what is merged.
    Merging,
    /// By windows of time.
    Windows(Window),
}

/// A window of time-window compaction: unit and how many of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) unit: &'static str,
    pub(super) size: u64,
}

impl Window {
    const fn of(retention: Duration) -> Self {
        let hours = retention.as_secs().div_ceil(3600 * WINDOWS);
        if hours < 24 {
            Self { unit: "HOURS", size: hours }
        } else {
            Self { unit: "DAYS", size: hours.div_ceil(24) }
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Merging => f.write_str("without windows"),
            Self::Windows(Window { unit, size }) => write!(f, "in windows of {size} {unit}"),
        }
    }
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
        "births" => "What Sparkplug nodes and devices said of themselves last",
        "reject_counts" => {
            "How many messages of a sender could neither be taken nor kept, by hour and reason"
        }
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
        let of_days = |days: u64| {
            let window = Window::of(Duration::from_hours(days * 24));
            (window.unit, window.size)
        };
        assert_eq!(of_days(1), ("HOURS", 1));
        assert_eq!(of_days(7), ("HOURS", 6));
        assert_eq!(of_days(30), ("DAYS", 1));
        assert_eq!(of_days(365), ("DAYS", 13));
    }
}
