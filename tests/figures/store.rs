//! Where the day is kept: a directory, or a node of Cassandra of its own, and what it occupies there.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value as Json;
use tempfile::TempDir;
use tidemill_tests::cassandra::{Cluster, Keyspace, Topology};
use tidemill_tests::environment;
use tidemill_tests::process::scratch_directory;
use tidemill_tests::real::Requirement;
use tidemill_tests::tidemill::{Builder, Tidemill};

use crate::idle::disk;

const STATUS_WITHIN: Duration = Duration::from_mins(5);

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Embedded,
    Cassandra,
}

impl Kind {
    /// Why it cannot be measured here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        match self {
            Self::Embedded => environment::tidemill().is_none().then_some("no tidemill beside this program"),
            Self::Cassandra => Requirement::SharedCassandra.missing(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Embedded => "embedded",
            Self::Cassandra => "cassandra",
        })
    }
}

/// A store that is empty at first.
#[derive(Debug)]
pub(crate) enum Store {
    Embedded(TempDir),
    Cassandra {
        // Before the cluster: it is dropped there.
        keyspace: Box<Keyspace>,
        cluster: Box<Cluster>,
    },
}

/// Bytes of each level, as the mill counts them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Levels {
    pub(crate) segments: u64,
    pub(crate) blocks: u64,
    pub(crate) frames: u64,
    pub(crate) replaced: u64,
}

impl Store {
    pub(crate) fn prepare(kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Embedded => Self::Embedded(scratch_directory("tidemill-figures-")?),
            Kind::Cassandra => {
                let cluster = Cluster::start(&Topology::single())?;
                let node = cluster.node(0);
                let keyspace = Keyspace::new(&node.contact_point(), node.datacenter(), "figures");
                Self::Cassandra { keyspace: Box::new(keyspace), cluster: Box::new(cluster) }
            }
        })
    }

    /// Tidemill on it in these roles: eager to grind what is over, and to collect as soon as no query can need it.
    pub(crate) fn start(&self, roles: &str) -> Result<Tidemill> {
        let builder = match self {
            Self::Embedded(directory) => Builder::new()?
                .set("store.embedded.directory", directory.path().to_string_lossy().into_owned()),
            Self::Cassandra { keyspace, .. } => Builder::new()?.with_cassandra(keyspace),
        };
        builder
            .set("ingest.bucket_idle", "2s")
            .set("mill.settle", "1s")
            .set("mill.late_quiet", "1s")
            .set("mill.late_wait_max", "3s")
            .set("mill.interval", "1s")
            .set("mill.cpu_percent", 100)
            .set("query.timeout", "10s")
            .set("mill.grace", "21s")
            .roles(roles)
            .start()
    }

    /// What is stored in which form, by the status that `stopped` gives.
    pub(crate) fn levels(stopped: &Tidemill) -> Result<Levels> {
        let status = stopped.command(&["status", "--json"])?.finish(STATUS_WITHIN)?;
        status.expect(0, &["shards"])?;
        let status: Json = serde_json::from_str(&status.output)?;
        let shards = status.get("shards").and_then(Json::as_array).context("a status without shards")?;
        let sum = |key: &str| shards.iter().filter_map(|shard| shard.get(key)?.as_u64()).sum();
        Ok(Levels {
            segments: sum("segment_bytes"),
            blocks: sum("block_bytes"),
            frames: sum("frame_bytes"),
            replaced: sum("garbage_bytes"),
        })
    }

    /// Bytes that everything occupies on disk: of the embedded store with its logs of what was written last, of Cassandra
    /// the tables alone, once what was deleted is merged away.
    pub(crate) fn on_disk(&self) -> Result<u64> {
        match self {
            Self::Embedded(directory) => disk(directory.path()),
            Self::Cassandra { keyspace, cluster } => {
                let node = cluster.node(0);
                node.nodetool(&["flush", keyspace.name()])?;
                node.nodetool(&["compact", keyspace.name()])?;
                live(&node.nodetool(&["tablestats", keyspace.name()])?)
            }
        }
    }
}

/// The live bytes of all tables of `nodetool tablestats`.
fn live(stats: &str) -> Result<u64> {
    let lines = stats.lines().filter_map(|line| line.trim().strip_prefix("Space used (live): "));
    let bytes: Vec<u64> = lines.map(|bytes| Ok(bytes.trim().parse()?)).collect::<Result<_>>()?;
    (!bytes.is_empty()).then(|| bytes.iter().sum()).with_context(|| stats.to_owned())
}
