//! Real Cassandra: one node or several, in data centres, that a test owns.
//!
//! Nodes run from Cassandra's Maven jars, on 127.0.0.1, 127.0.0.2, …, sharing one CQL port as a
//! production cluster does. A node can be killed, paused and started again on the same
//! directories. Tests that only need *a* Cassandra use [`shared`] with a [`fresh_keyspace`].

mod config;
mod keyspace;
mod node;
mod shared;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

pub use config::{CommitLog, Size};
pub use keyspace::Keyspace;
pub use node::Node;
pub use shared::{Shared, fresh_keyspace, release_shared, shared};

use crate::environment;
use crate::ports::Port;
use crate::process::scratch_directory;
use config::NodeConfig;
use node::Installation;

/// The data centre of a node where a topology names no other.
pub const DATACENTER: &str = "dc1";

/// Which nodes to start, and how.
#[derive(Debug, Clone)]
pub struct Topology {
    datacenters: Vec<String>,
    commit_log: CommitLog,
    password: bool,
    size: Size,
}

impl Topology {
    /// One node in [`DATACENTER`], which has synced its commit log before it acknowledges.
    pub fn single() -> Self {
        Self { commit_log: CommitLog::Group, ..Self::of(&[DATACENTER]) }
    }

    /// One node for each name, in the data centre of that name, started in this order. At most
    /// six. Commit logs are synced periodically, as production clusters do.
    pub fn of(datacenters: &[&str]) -> Self {
        Self {
            datacenters: datacenters.iter().map(|&name| name.to_owned()).collect(),
            commit_log: CommitLog::Periodic,
            password: false,
            size: Size::Usual,
        }
    }

    /// Chooses how much of the machine each node takes.
    #[must_use]
    pub fn size(mut self, size: Size) -> Self {
        self.size = size;
        self
    }

    /// Chooses when a node acknowledges a write.
    #[must_use]
    pub fn commit_log(mut self, commit_log: CommitLog) -> Self {
        self.commit_log = commit_log;
        self
    }

    /// Requires a login; the superuser is `cassandra` with password `cassandra`.
    #[must_use]
    pub fn with_password(mut self) -> Self {
        self.password = true;
        self
    }
}

/// A running cluster. Dropping it kills its nodes and removes their directories.
#[derive(Debug)]
pub struct Cluster {
    // Before the ports and the directory: nodes end first.
    nodes: Vec<Node>,
    native: Port,
    _ports: Vec<Port>,
    _directory: TempDir,
}

impl Cluster {
    /// Starts a cluster, node after node, and waits until each answers CQL.
    pub fn start(topology: &Topology) -> Result<Self> {
        let installation = Arc::new(Installation {
            lib: environment::cassandra_lib().context("no Cassandra jars; run tests/run")?,
            java: environment::java().context("no Java; run tests/run")?,
        });
        let directory = scratch_directory("tidemill-cassandra-")?;
        let native = Port::claim()?;
        let storage = Port::claim()?;
        let mut ports = Vec::new();
        let mut nodes = Vec::new();
        for (index, datacenter) in topology.datacenters.iter().enumerate() {
            let jmx = Port::claim()?;
            let config = NodeConfig {
                host: format!("127.0.0.{}", index + 1),
                seed: format!("127.0.0.1:{}", storage.number()),
                datacenter: datacenter.clone(),
                directory: directory.path().join(format!("node{}", index + 1)),
                native_port: native.number(),
                storage_port: storage.number(),
                jmx_port: jmx.number(),
                commit_log: topology.commit_log,
                password: topology.password,
                size: topology.size,
            };
            ports.push(jmx);
            nodes.push(Node::start(config, Arc::clone(&installation))?);
        }
        ports.push(storage);
        Ok(Self { nodes, native, _ports: ports, _directory: directory })
    }

    /// The nodes, in the topology's order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at `index` of the topology.
    pub fn node(&self, index: usize) -> &Node {
        let count = self.nodes.len();
        let node = self.nodes.get(index);
        #[expect(clippy::expect_used, reason = "a test asks for a node that it has not started")]
        node.with_context(|| format!("node {index} of {count}")).expect("node of the topology")
    }

    /// The port that every node answers CQL on.
    pub fn native_port(&self) -> u16 {
        self.native.number()
    }

    /// Every node as `host:port`.
    pub fn contact_points(&self) -> Vec<String> {
        self.nodes.iter().map(Node::contact_point).collect()
    }
}
