//! The program under test as a process: its configuration file, readiness, stop and kill.
//!
//! Each instance has a directory of its own for its configuration, log and data, which survives
//! restarts and goes when the instance is dropped; it is the program's working directory, too.
//! Configuration keys are the caller's, except that both listeners start out on free ports.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::cassandra::Keyspace;
use crate::command::Command as Subcommand;
use crate::environment;
use crate::http::Http;
use crate::ports::Port;
use crate::process::{Process, scratch_directory};
use crate::slot::Slot;
use crate::wait;

const READY_WITHIN: Duration = Duration::from_mins(1);

/// What to start: `tidemill run` with a configuration, roles and environment.
#[derive(Debug)]
pub struct Builder {
    directory: TempDir,
    http: Port,
    mqtt: Port,
    configuration: BTreeMap<String, Value>,
    roles: Option<String>,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// A program with default configuration, a directory for it, and free ports for its listeners.
    pub fn new() -> Result<Self> {
        let (http, mqtt) = (Port::claim()?, Port::claim()?);
        let addresses = [("http.bind", http.address()), ("ingest.listener.bind", mqtt.address())];
        let set = |(key, address): (&str, SocketAddr)| (key.to_owned(), address.to_string().into());
        Ok(Self {
            directory: scratch_directory("tidemill-run-")?,
            http,
            mqtt,
            configuration: addresses.into_iter().map(set).collect(),
            roles: None,
            environment: Vec::new(),
        })
    }

    /// The instance's own directory, for configuration that names paths.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sets a configuration key, for example `("store.first_era.shards", 2)`, in place of what it
    /// was.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.configuration.insert(key.to_owned(), value.into());
        self
    }

    /// Keeps data in this keyspace, created at start with one replica.
    #[must_use]
    pub fn with_cassandra(self, keyspace: &Keyspace) -> Self {
        self.set("store.backend", "cassandra")
            .set("store.cassandra.contact_points", vec![keyspace.contact_point()])
            .set("store.cassandra.local_datacenter", keyspace.datacenter())
            .set("store.cassandra.keyspace", keyspace.name())
    }

    /// Consumes from this broker, under client ids that start with `name`: stable over restarts, and
    /// no other consumer's.
    #[must_use]
    pub fn with_broker(self, broker: SocketAddr, name: &str) -> Self {
        self.set("ingest.mqtt.brokers", vec![format!("mqtt://{broker}")])
            .set("ingest.mqtt.client_id_prefix", name)
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
    pub fn start(self) -> Result<Tidemill> {
        let tidemill = self.prepare()?;
        tidemill.restart()?;
        Ok(tidemill)
    }

    /// Writes the configuration and starts nothing yet.
    pub fn prepare(self) -> Result<Tidemill> {
        let tidemill = Tidemill {
            process: Slot::default(),
            binary: environment::tidemill().context("no tidemill binary; cargo build")?,
            http: Http::new(self.http.address()),
            builder: self,
        };
        fs::write(tidemill.file("tidemill.toml"), tidemill.builder.toml())?;
        Ok(tidemill)
    }

    fn toml(&self) -> String {
        let line = |(key, value): (&String, &Value)| format!("{key} = {}\n", toml(value));
        self.configuration.iter().map(line).collect()
    }
}

/// A `tidemill run`, running or stopped. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Tidemill {
    // Before the ports and the directory: the process ends first.
    process: Slot,
    binary: PathBuf,
    http: Http,
    builder: Builder,
}

impl Tidemill {
    /// A client of its HTTP interface.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Where it listens for HTTP.
    pub fn http_address(&self) -> SocketAddr {
        self.builder.http.address()
    }

    /// Where it listens for devices.
    pub fn mqtt_address(&self) -> SocketAddr {
        self.builder.mqtt.address()
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
        self.spawn_with(&[])
    }

    /// As [`Tidemill::spawn`], with more in its environment this time.
    pub fn spawn_with(&self, variables: &[(&str, &str)]) -> Result<()> {
        self.kill()?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(self.file("tidemill.toml"));
        if let Some(roles) = &self.builder.roles {
            command.arg("--roles").arg(roles);
        }
        let all = self.builder.environment.iter().map(|(name, value)| (name, value));
        command.envs(all).envs(variables.iter().copied()).current_dir(self.directory());
        let process = Process::spawn("tidemill", command, &self.file("tidemill.log"))?;
        self.process.put(process);
        Ok(())
    }

    /// Starts another command, such as `["schema", "apply"]`, with the same configuration.
    pub fn command(&self, arguments: &[&str]) -> Result<Subcommand> {
        let configuration = self.file("tidemill.toml").to_string_lossy().into_owned();
        Subcommand::start(&[arguments, &["--config", &configuration]].concat())
    }

    /// Grinds everything by hand while the program is stopped: again and again, since the mill leaves alone what came in
    /// a moment ago, until `status` says that nothing waits.
    pub fn grind_all(&self, within: Duration) -> Result<()> {
        wait::until("everything to be ground", within, || {
            self.command(&["grind", "--all"])?.finish(within)?.expect(0, &["ground"])?;
            let status = self.command(&["status"])?.finish(within)?;
            status.expect(0, &["unground"])?;
            let all = status.output.lines().find_map(|line| line.trim_start().strip_prefix("all "));
            let mut waiting = all.with_context(|| status.output.clone())?.split_whitespace().take(3);
            Ok(waiting.all(|count| count == "0").then_some(()))
        })
    }

    /// Waits until the mill in the program has deleted what grinding has replaced.
    pub fn wait_collected(&self, within: Duration) -> Result<()> {
        wait::until("what was replaced to be collected", within, || {
            let metrics = self.http.metrics()?;
            let waiting = metrics.sum("tidemill_mill_buckets", &[("state", "collectable")]);
            let done = metrics.sum("tidemill_mill_work_total", &[("kind", "collect"), ("result", "ok")]);
            Ok((waiting < 0.5 && done > 0.5).then_some(()))
        })
    }

    /// Whether `/readyz` answers 200 now.
    pub fn is_ready(&self) -> bool {
        self.http.get("/readyz", &[]).is_ok_and(|answer| answer.status == 200)
    }

    /// SIGTERM, then its exit code once it has settled everything; `None` if a signal ended it.
    pub fn stop(&self, within: Duration) -> Result<Option<i32>> {
        self.process.stop(within)
    }

    /// The same, and everything went well.
    pub fn stop_well(&self, within: Duration) -> Result<()> {
        let code = self.stop(within)?;
        ensure!(code == Some(0), "exit code {code:?}: {}", self.log()?);
        Ok(())
    }

    /// `kill -9`, if it runs.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// How it ended, if it has ended by itself.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.process.running()?.exit_status()
    }

    /// From now on it gets no more memory for data than this: beyond it, asking for memory fails.
    pub fn limit_memory(&self, bytes: u64) -> Result<()> {
        self.process.running()?.limit_memory(bytes)
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
            .set("http.bind", "127.0.0.1:1")
            .set("ingest.listener.bind", "127.0.0.1:2")
            .set("ingest.topics", json!(["a/{device}", "c"]))
            .set("store.cassandra.replication", json!({"dc1": 3}))
            .set("store.first_era.shards", 8)
            .set("store.first_era.shards", 4);
        let expected = "http.bind = \"127.0.0.1:1\"\n\
                        ingest.listener.bind = \"127.0.0.1:2\"\n\
                        ingest.topics = [\"a/{device}\", \"c\"]\n\
                        store.cassandra.replication = { dc1 = 3 }\n\
                        store.first_era.shards = 4\n";
        assert_eq!(builder.toml(), expected);
    }
}
