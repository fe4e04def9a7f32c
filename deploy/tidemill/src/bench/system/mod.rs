//! The system under test: processes that a benchmark starts in a temporary directory, or that run already.
//!
//! The program under test is this very binary. What a real deployment has beside it, Mosquitto and Cassandra, is the
//! real thing: the broker started here, the database given by its address.

mod owner;
mod process;
mod scrape;
mod usage;

use std::fs;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;

use process::Process;
pub(super) use scrape::{Metrics, get};
pub(super) use usage::{ProcessReport, Usage};

use crate::clock::random_bits;

/// How long starting may take: the first schema on a fresh Cassandra is slow.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// How long stopping may take.
const STOP_WITHIN: Duration = Duration::from_mins(1);
/// Where Debian keeps the broker.
const MOSQUITTO: [&str; 3] = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];
/// Messages on the way to one consumer, as its own default asks for. Without a bound it would take no heed of what a
/// consumer asks for, and use packet identifiers again that are not acknowledged yet.
const MOSQUITTO_IN_FLIGHT_MAX: u16 = 1_000;

/// Where data goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Backend {
    /// The embedded store.
    Lsm,
    /// A Cassandra that runs already, `host:port`.
    Cassandra(String),
}

/// Where messages come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Front {
    /// The listener of the program itself.
    Listener,
    /// A broker, which the program consumes from.
    Mosquitto(Option<PathBuf>),
}

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Blueprint {
    pub(super) backend: Backend,
    pub(super) front: Front,
    pub(super) roles: &'static str,
    pub(super) connections: u32,
    /// Where the temporary directory is made.
    pub(super) directory: Option<PathBuf>,
    /// Lines of configuration over all others.
    pub(super) settings: Vec<String>,
    /// Whether the directory stays.
    pub(super) keep: bool,
}

/// A system that takes messages.
#[derive(Debug)]
pub(super) struct System {
    mqtt: SocketAddr,
    http: Option<SocketAddr>,
    /// Processes to watch: names and numbers.
    watched: Vec<(String, u32)>,
    own: Option<Own>,
}

/// What was started here. Dropped, its processes end before their directory goes.
#[derive(Debug)]
struct Own {
    tidemill: Process,
    mosquitto: Option<Process>,
    directory: TempDir,
}

/// All that a system has used and counted until now.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) usage: Vec<(String, Usage)>,
    pub(super) metrics: Metrics,
}

impl System {
    /// Starts what `blueprint` says and waits until it is ready.
    pub(super) async fn start(blueprint: &Blueprint) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("tidemill-bench-").disable_cleanup(blueprint.keep);
        let directory = match &blueprint.directory {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        }
        .context("cannot make a directory for the system under test")?;
        let (http, listener) = (free_address()?, free_address()?);
        let broker = match &blueprint.front {
            Front::Listener => None,
            Front::Mosquitto(program) => {
                let address = free_address()?;
                Some((start_mosquitto(program.as_deref(), directory.path(), address).await?, address))
            }
        };
        let mqtt = broker.as_ref().map_or(listener, |(_, address)| *address);
        let file = directory.path().join("tidemill.toml");
        let text = blueprint.configuration(directory.path(), http, mqtt)?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.arg("run").arg("--config").arg(&file).args(["--roles", blueprint.roles]);
        command.current_dir(directory.path());
        let mut tidemill = Process::start("tidemill", &mut command, &directory.path().join("tidemill.log"))?;
        tidemill.wait_ready(READY_WITHIN, async || get(http, "/readyz").await.is_ok()).await?;
        if broker.is_some() {
            // What is published before somebody subscribes, a broker forgets.
            tidemill.wait_ready(READY_WITHIN, async || has_subscribed(http).await).await?;
        }
        let mut watched = vec![("tidemill".to_owned(), tidemill.pid())];
        watched.extend(broker.iter().map(|(mosquitto, _)| ("mosquitto".to_owned(), mosquitto.pid())));
        watched.extend(blueprint.cassandra_pid().map(|pid| ("cassandra".to_owned(), pid)));
        let own = Own { tidemill, mosquitto: broker.map(|(mosquitto, _)| mosquitto), directory };
        Ok(Self { mqtt, http: Some(http), watched, own: Some(own) })
    }

    /// A system that runs already.
    pub(super) fn attach(mqtt: SocketAddr, http: Option<SocketAddr>) -> Self {
        let owners = [("system", Some(mqtt)), ("tidemill", http)];
        let mut watched: Vec<(String, u32)> = Vec::new();
        for (name, address) in owners {
            let pid = address.and_then(|address| owner::of_port(address.port()));
            if let Some(pid) = pid.filter(|pid| watched.iter().all(|(_, known)| known != pid)) {
                watched.push((name.to_owned(), pid));
            }
        }
        Self { mqtt, http, watched, own: None }
    }

    /// Where devices connect.
    pub(super) fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where it answers questions, if that is known.
    pub(super) fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Usage and metrics now, those of this process first.
    pub(super) async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let mut usage = vec![("generator".to_owned(), Usage::of(std::process::id())?)];
        for (name, pid) in &self.watched {
            usage.push((name.clone(), Usage::of(*pid).with_context(|| format!("{name} is gone"))?));
        }
        Ok(Snapshot { usage, metrics: self.metrics().await? })
    }

    /// Its metrics; none where it is not known where to ask.
    pub(super) async fn metrics(&self) -> anyhow::Result<Metrics> {
        match self.http {
            Some(http) => Metrics::fetch(http).await,
            None => Ok(Metrics::default()),
        }
    }

    /// Bytes of the embedded store.
    pub(super) fn stored_bytes(&self) -> u64 {
        let directory = self.own.as_ref().map(|own| own.directory.path().join("data"));
        directory.map_or(0, |directory| usage::stored_bytes(&directory))
    }

    /// Ends what was started here.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Some(Own { tidemill, mosquitto, directory }) = self.own else { return Ok(()) };
        let stopped = tidemill.stop(STOP_WITHIN).await;
        drop(mosquitto);
        drop(directory);
        stopped
    }
}

impl Blueprint {
    /// The configuration of the program.
    fn configuration(&self, directory: &Path, http: SocketAddr, mqtt: SocketAddr) -> anyhow::Result<String> {
        let data = directory.join("data");
        let data = data.to_str().context("the directory must be UTF-8")?;
        let mut lines =
            vec![format!("http.bind = {:?}", http.to_string()), "log.level = \"warn\"".to_owned()];
        match &self.backend {
            Backend::Lsm => lines.push(format!("store.embedded.directory = {data:?}")),
            Backend::Cassandra(address) => {
                lines.push("store.backend = \"cassandra\"".to_owned());
                lines.push(format!("store.cassandra.contact_points = [{address:?}]"));
                lines.push(format!("store.cassandra.keyspace = \"bench_{:016x}\"", random_bits()?));
            }
        }
        match self.front {
            Front::Listener => {
                lines.push(format!("ingest.listener.bind = {:?}", mqtt.to_string()));
                lines.push(format!("ingest.listener.connections_max = {}", self.connections + 16));
            }
            Front::Mosquitto(_) => {
                lines.push("ingest.listener.enabled = false".to_owned());
                lines.push(format!("ingest.mqtt.brokers = [\"mqtt://{mqtt}\"]"));
            }
        }
        Ok(overridden(lines, &self.settings).join("\n") + "\n")
    }

    fn cassandra_pid(&self) -> Option<u32> {
        let Backend::Cassandra(address) = &self.backend else { return None };
        let address = address.to_socket_addrs().ok()?.next()?;
        owner::of_port(address.port())
    }
}

async fn start_mosquitto(
    program: Option<&Path>,
    directory: &Path,
    address: SocketAddr,
) -> anyhow::Result<Process> {
    let known = || MOSQUITTO.iter().map(Path::new).find(|path| path.is_file());
    let program =
        program.or_else(known).context("no mosquitto found; install it or name it with --mosquitto")?;
    let file = directory.join("mosquitto.conf");
    let text = format!(
        "listener {} {}\nallow_anonymous true\nuser root\nset_tcp_nodelay true\nmax_queued_messages 0\n\
         max_inflight_messages {MOSQUITTO_IN_FLIGHT_MAX}\npersistence false\nlog_dest stderr\nlog_type error\n",
        address.port(),
        address.ip(),
    );
    fs::write(&file, text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file);
    let mut mosquitto = Process::start("mosquitto", &mut command, &directory.join("mosquitto.log"))?;
    let connects = async || TcpStream::connect(address).await.is_ok();
    mosquitto.wait_ready(READY_WITHIN, connects).await?;
    Ok(mosquitto)
}

async fn has_subscribed(http: SocketAddr) -> bool {
    Metrics::fetch(http).await.is_ok_and(|metrics| metrics.get("tidemill_mqtt_subscribed_total") > 0.0)
}

/// An address that nobody listens on.
fn free_address() -> anyhow::Result<SocketAddr> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.context("no free port")
}

/// A count as a number to calculate ratios with.
pub(super) fn float(count: u64) -> f64 {
    // Exact up to 2^53, which no count of a benchmark reaches.
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    f64::from(u32::try_from(high).unwrap_or(u32::MAX)) * 4_294_967_296.0
        + f64::from(u32::try_from(low).unwrap_or(u32::MAX))
}

/// `lines` of configuration without those that `settings` say otherwise, and then these.
pub(super) fn overridden(mut lines: Vec<String>, settings: &[String]) -> Vec<String> {
    let key = |line: &str| line.split('=').next().unwrap_or(line).trim().to_owned();
    lines.retain(|line| settings.iter().all(|setting| key(setting) != key(line)));
    lines.extend_from_slice(settings);
    lines
}

/// Fails where a setting is not `KEY=VALUE`.
pub(super) fn check_setting(setting: &str) -> anyhow::Result<()> {
    ensure!(setting.contains('='), "`{setting}` is not KEY=VALUE");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blueprint(settings: &[&str]) -> Blueprint {
        Blueprint {
            backend: Backend::Lsm,
            front: Front::Listener,
            roles: "ingest",
            connections: 10,
            directory: None,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            keep: false,
        }
    }

    #[test]
    fn the_configuration_is_one_that_the_program_takes_and_settings_go_over_it() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let blueprint = blueprint(&["log.level = \"info\"", "store.first_era.shards=2"]);
        let text = blueprint.configuration(Path::new("/somewhere"), address(1), address(2)).unwrap();
        let raw: crate::config::RawConfig = toml::from_str(&text).unwrap();
        assert_eq!((raw.log.level.as_str(), raw.store.first_era.shards), ("info", 2));
        assert_eq!(raw.ingest.listener.bind, "127.0.0.1:2");
        assert_eq!(raw.store.embedded.directory, "/somewhere/data");
    }

    #[test]
    fn counts_become_numbers() {
        assert!((float(5_000_000_000) - 5e9).abs() < 0.5);
    }
}
