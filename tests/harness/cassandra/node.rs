//! One Cassandra node: start, kill, pause, start again, and nodetool.
//!
//! Every start logs to a directory of its own, so that readiness is read from this start's log
//! and never from an earlier one's.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::config::NodeConfig;
use crate::process::Process;
use crate::slot::Slot;
use crate::wait;

/// A node is ready in some 15 s on an idle machine; the machine may be busy.
const READY_WITHIN: Duration = Duration::from_mins(3);
/// A node that is told to end drains first.
const STOP_WITHIN: Duration = Duration::from_mins(1);

/// Where Cassandra and its Java are.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) lib: PathBuf,
    pub(super) java: PathBuf,
}

/// A node of a [`Cluster`](super::Cluster), running or stopped.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    installation: Arc<Installation>,
    starts: AtomicU32,
    process: Slot,
}

impl Node {
    pub(super) fn start(config: NodeConfig, installation: Arc<Installation>) -> Result<Self> {
        config.write_files()?;
        let node = Self { config, installation, starts: AtomicU32::new(0), process: Slot::default() };
        node.restart()?;
        Ok(node)
    }

    /// The node as `host:port`.
    pub fn contact_point(&self) -> String {
        format!("{}:{}", self.config.host, self.config.native_port)
    }

    /// The node's address alone.
    pub fn host(&self) -> &str {
        &self.config.host
    }

    /// The node's data centre.
    pub fn datacenter(&self) -> &str {
        &self.config.datacenter
    }

    /// `kill -9`, if it runs.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// SIGTERM, and waits until the node has drained and ended.
    pub fn stop(&self) -> Result<()> {
        self.process.stop(STOP_WITHIN).map(drop)
    }

    /// Freezes the node: its connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Undoes [`Node::pause`].
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// Starts the node on the directories that it has, killing it first if it runs, and waits
    /// until it answers CQL.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        let started = wait::now();
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let logs = self.config.directory.join(format!("logs{number}"));
        std::fs::create_dir_all(&logs)?;
        let mut command = Command::new(&self.installation.java);
        command.args(self.config.daemon_arguments(&self.installation.lib, &logs)?);
        // The daemon's own log and what the JVM prints share a file: one place to look.
        let process = Process::spawn("cassandra", command, &logs.join("system.log"))?;
        let process = self.process.put(process);
        process.wait_log("Starting listening for CQL", READY_WITHIN)?;
        // The line is written a moment before the port is open.
        let address = (self.config.host.as_str(), self.config.native_port);
        process.wait_ready("the CQL port", READY_WITHIN, || TcpStream::connect(address).is_ok())?;
        tracing::info!(host = self.config.host, took = ?started.elapsed(), "cassandra is ready");
        Ok(())
    }

    /// Runs one nodetool command against the node and returns what it prints.
    pub fn nodetool(&self, command: &[&str]) -> Result<String> {
        let arguments = self.config.nodetool_arguments(&self.installation.lib, command);
        let output =
            Command::new(&self.installation.java).args(arguments).output().context("starting nodetool")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nodetool {command:?}: {printed}{complained}");
        Ok(printed)
    }
}
