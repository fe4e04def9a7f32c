//! The program under test as a process: its configuration file, readiness, stop and kill.
//!
//! Each instance has a directory of its own for its configuration, log and data, which survives
//! restarts and goes when the instance is dropped. Configuration keys are the caller's; only the
//! address that HTTP listens on is set here, since readiness is asked there.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::environment;
use crate::http::Http;
use crate::ports::Port;
use crate::process::{Process, scratch_directory};
use crate::slot::Slot;

/// The configuration key of the address that HTTP listens on.
const HTTP_LISTEN: &str = "http.listen";
const READY_WITHIN: Duration = Duration::from_mins(1);

/// What to start: `tidemill run` with a configuration, roles and environment.
#[derive(Debug)]
pub struct Builder {
    directory: TempDir,
    configuration: Vec<(String, Value)>,
    roles: Option<String>,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// A program with default configuration, and a directory for it.
    pub fn new() -> Result<Self> {
        Ok(Self {
            directory: scratch_directory("tidemill-run-")?,
            configuration: Vec::new(),
            roles: None,
            environment: Vec::new(),
        })
    }

    /// The instance's own directory, for configuration that names paths.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sets a configuration key, for example `("store.backend", "cql")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.configuration.push((key.to_owned(), value.into()));
        self
    }

    /// Runs these roles only, for example `ingest,query`.
    #[must_use]
    pub fn roles(mut self, roles: &str) -> Self {
        self.roles = Some(roles.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes the configuration, starts the program, and waits until it is ready.
    pub fn start(mut self) -> Result<Tidemill> {
        let port = Port::claim()?;
        self = self.set(HTTP_LISTEN, port.address().to_string());
        let tidemill = Tidemill {
            process: Slot::default(),
            binary: environment::tidemill().context("no tidemill binary; cargo build")?,
            http: Http::new(port.address()),
            port,
            builder: self,
        };
        fs::write(tidemill.file("tidemill.toml"), tidemill.builder.toml())?;
        tidemill.restart()?;
        Ok(tidemill)
    }

    fn toml(&self) -> String {
        let line = |(key, value): &(String, Value)| format!("{key} = {}\n", toml(value));
        self.configuration.iter().map(line).collect()
    }
}

/// A `tidemill run`, running or stopped. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Tidemill {
    // Before the port and the directory: the process ends first.
    process: Slot,
    binary: PathBuf,
    http: Http,
    port: Port,
    builder: Builder,
}

impl Tidemill {
    /// A client of its HTTP interface.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Where it listens for HTTP.
    pub fn http_address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its own directory.
    pub fn directory(&self) -> &Path {
        self.builder.directory()
    }

    /// Starts the program again with the same configuration and directory, killing it first if it
    /// runs, and waits until it is ready.
    pub fn restart(&self) -> Result<()> {
        self.spawn()?;
        self.process.running()?.wait_ready("/readyz", READY_WITHIN, || self.is_ready())
    }

    /// As [`Tidemill::restart`], without waiting for readiness.
    pub fn spawn(&self) -> Result<()> {
        self.kill()?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(self.file("tidemill.toml"));
        if let Some(roles) = &self.builder.roles {
            command.arg("--roles").arg(roles);
        }
        let variables = self.builder.environment.iter().map(|(name, value)| (name, value));
        command.envs(variables).current_dir(self.directory());
        let process = Process::spawn("tidemill", command, &self.file("tidemill.log"))?;
        self.process.put(process);
        Ok(())
    }

    /// Whether `/readyz` answers 200 now.
    pub fn is_ready(&self) -> bool {
        self.http.get("/readyz", &[]).is_ok_and(|answer| answer.status == 200)
    }

    /// SIGTERM, then its exit code once it has settled everything; `None` if a signal ended it.
    pub fn stop(&self, within: Duration) -> Result<Option<i32>> {
        self.process.stop(within)
    }

    /// `kill -9`, if it runs.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Freezes the program: its connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Undoes [`Tidemill::pause`].
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// The process id, an error while it is stopped.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.running()?.pid())
    }

    /// Everything it has logged, over all its starts.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.file("tidemill.log"))?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }
}

/// A value as TOML writes it inline. Numbers, booleans, strings and their arrays are the same in
/// JSON; TOML has no null, which is left to fail in the program that reads it.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("{key} = {}", toml(value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configuration_is_written_as_dotted_toml_keys() {
        let builder = Builder::new()
            .unwrap()
            .set("store.shards", 8)
            .set("mqtt.topics", json!(["a/+/b", "c"]))
            .set("store.replication", json!({"dc1": 3}));
        let expected = "store.shards = 8\nmqtt.topics = [\"a/+/b\", \"c\"]\n\
                        store.replication = { dc1 = 3 }\n";
        assert_eq!(builder.toml(), expected);
    }
}
