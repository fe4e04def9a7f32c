//! A real Prometheus, and promtool: the reference that answers are compared with, and a client of its own kind.
//!
//! Each instance has a directory of its own for its configuration, data and log, which goes when it is dropped. It
//! listens on a free port of loopback and keeps everything: data of a test may be years old.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::command::{Command as Subcommand, Outcome};
use crate::environment;
use crate::http::Http;
use crate::ports::Port;
use crate::process::{Process, scratch_directory};
use crate::slot::Slot;

const READY_WITHIN: Duration = Duration::from_mins(1);
/// Importing takes longest.
const PROMTOOL_WITHIN: Duration = Duration::from_mins(10);

/// A Prometheus, running or not started yet. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Prometheus {
    // Before the port and the directory: the process ends first.
    process: Slot,
    http: Http,
    port: Port,
    data: PathBuf,
    directory: TempDir,
}

impl Prometheus {
    /// A directory and a port for one; nothing runs yet.
    pub fn prepare() -> Result<Self> {
        let (port, directory) = (Port::claim()?, scratch_directory("tidemill-prometheus-")?);
        let data = directory.path().join("data");
        Ok(Self { process: Slot::default(), http: Http::new(port.address()), port, data, directory })
    }

    /// With its data in a directory that stays.
    #[must_use]
    pub fn with_data(self, data: PathBuf) -> Self {
        Self { data, ..self }
    }

    /// Its own directory, for files that its configuration names.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A client of its HTTP interface.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its process id, an error while it does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.running()?.pid())
    }

    /// Puts the samples of an `OpenMetrics` file into its data, before it is started.
    pub fn import(&self, open_metrics: &Path) -> Result<()> {
        fs::create_dir_all(&self.data)?;
        let (file, data) = (open_metrics.to_string_lossy(), self.data.to_string_lossy());
        promtool(&["tsdb", "create-blocks-from", "openmetrics", "--quiet", &file, &data])?.expect(0, &[])
    }

    /// Writes this configuration (YAML, may be empty), starts the process and waits until it is ready.
    pub fn start(&self, configuration: &str) -> Result<()> {
        let path = self.file("prometheus.yml");
        fs::write(&path, configuration)?;
        let mut command = Command::new(environment::prometheus().context("no prometheus binary")?);
        let flag = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
        command.current_dir(self.directory()).args([
            flag("config.file", &path.display()),
            flag("storage.tsdb.path", &self.data.display()),
            flag("storage.tsdb.retention.time", &"100y"),
            flag("web.listen-address", &self.address()),
            flag("log.level", &"warn"),
        ]);
        let process = Process::spawn("prometheus", command, &self.file("prometheus.log"))?;
        let process = self.process.put(process);
        let ready = || self.http.get("/-/ready", &[]).is_ok_and(|answer| answer.status == 200);
        process.wait_ready("/-/ready", READY_WITHIN, ready)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Runs promtool to its end.
pub fn promtool(arguments: &[&str]) -> Result<Outcome> {
    let binary = environment::promtool().context("no promtool binary")?;
    Subcommand::of("promtool", &binary, arguments)?.finish(PROMTOOL_WITHIN)
}
