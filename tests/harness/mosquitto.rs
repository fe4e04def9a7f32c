//! A real Mosquitto broker that a test owns: on a free loopback port, with nothing dropped behind
//! a test's back (its default queue of 1,000 messages per session is lifted).

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::environment;
use crate::ports::Port;
use crate::process::{Process, scratch_directory};
use crate::slot::Slot;

const READY_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Messages on the way to one client without its ack: as large as a consumer may ask for.
const INFLIGHT_MAX: u16 = 1_000;

/// How to run a broker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sessions and queues survive [`Mosquitto::stop`] and a restart (not a kill: Mosquitto
    /// writes its database when it ends).
    pub persistence: bool,
    /// Messages on the way to one client that it has not acknowledged; 0 is no limit.
    pub inflight_max: u16,
    /// Messages queued for one client beyond those; more are dropped. 0 is no limit.
    pub queued_max: u32,
    /// Name and password that every client must show; anybody may connect where there is none.
    pub login: Option<(String, String)>,
    /// PEM files of the broker's certificate and its key: it speaks TLS then, and nothing else.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { persistence: true, inflight_max: INFLIGHT_MAX, queued_max: 0, login: None, tls: None }
    }
}

/// A broker, running or stopped. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Mosquitto {
    // Before the port and the directory: the process ends first.
    process: Slot,
    binary: PathBuf,
    port: Port,
    directory: TempDir,
}

impl Mosquitto {
    /// Starts a broker and waits until it accepts connections.
    pub fn start(settings: &Settings) -> Result<Self> {
        let broker = Self {
            process: Slot::default(),
            binary: environment::mosquitto().context("no mosquitto binary; run tests/run")?,
            port: Port::claim()?,
            directory: scratch_directory("tidemill-mosquitto-")?,
        };
        if let Some((name, password)) = &settings.login {
            broker.write_password_file(name, password)?;
        }
        fs::write(broker.file("mosquitto.conf"), broker.configuration(settings)?)?;
        broker.restart()?;
        Ok(broker)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Starts the broker again with the same port and directory, killing it first if it runs.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(self.file("mosquitto.conf"));
        let process = Process::spawn("mosquitto", command, &self.file("mosquitto.log"))?;
        let process = self.process.put(process);
        let address = self.address();
        process.wait_ready("mosquitto's listener", READY_WITHIN, || TcpStream::connect(address).is_ok())
    }

    /// SIGTERM, and waits until the broker has written its database and ended.
    pub fn stop(&self) -> Result<()> {
        self.process.stop(STOP_WITHIN).map(drop)
    }

    /// `kill -9`, if it runs.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Freezes the broker: its connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Undoes [`Mosquitto::pause`].
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    fn configuration(&self, settings: &Settings) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "listener {} 127.0.0.1", self.port.number())?;
        writeln!(text, "log_dest stderr")?;
        // Without it a broker that root starts becomes a user who cannot read this directory.
        writeln!(text, "user root")?;
        writeln!(text, "set_tcp_nodelay true")?;
        writeln!(text, "max_inflight_messages {}", settings.inflight_max)?;
        writeln!(text, "max_queued_messages {}", settings.queued_max)?;
        writeln!(text, "persistence {}", settings.persistence)?;
        writeln!(text, "persistence_location {}/", self.directory.path().display())?;
        if let Some((certificate, key)) = &settings.tls {
            writeln!(text, "certfile {}", certificate.display())?;
            writeln!(text, "keyfile {}", key.display())?;
        }
        match settings.login {
            Some(_) => {
                writeln!(text, "allow_anonymous false")?;
                writeln!(text, "password_file {}", self.file("passwords").display())?;
            }
            None => writeln!(text, "allow_anonymous true")?,
        }
        Ok(text)
    }

    fn write_password_file(&self, name: &str, password: &str) -> Result<()> {
        let output = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(self.file("passwords"))
            .args([name, password])
            .output()
            .context("starting mosquitto_passwd")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mosquitto_passwd: {complaint}");
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
