//! The servers: how each is started over its directory, and found missing.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tidemill_tests::cassandra::Keyspace;
use tidemill_tests::environment;
use tidemill_tests::http::Http;
use tidemill_tests::ports::Port;
use tidemill_tests::process::Process;
use tidemill_tests::prometheus::Prometheus;
use tidemill_tests::real::Requirement;
use tidemill_tests::tidemill::{Builder, Tidemill};

const READY_WITHIN: Duration = Duration::from_mins(5);

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Tidemill,
    Prometheus,
    Victoria,
    /// Tidemill on a node of Cassandra.
    Cassandra,
}

impl Kind {
    /// Who takes part unless others are named.
    pub(crate) const USUAL: [Self; 3] = [Self::Tidemill, Self::Prometheus, Self::Victoria];

    /// Why it cannot take part here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        match self {
            Self::Tidemill => environment::tidemill().is_none().then_some("no tidemill beside this program"),
            Self::Prometheus => (environment::prometheus().is_none() || environment::promtool().is_none())
                .then_some("install Debian's prometheus"),
            Self::Cassandra => Requirement::SharedCassandra.missing(),
            Self::Victoria => {
                environment::victoria_metrics().is_none().then_some("install Debian's victoria-metrics")
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tidemill => "tidemill",
            Self::Prometheus => "prometheus",
            Self::Victoria => "victoria",
            Self::Cassandra => "cassandra",
        })
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match [Self::USUAL.as_slice(), &[Self::Cassandra]]
            .concat()
            .into_iter()
            .find(|kind| kind.to_string() == text)
        {
            Some(kind) => Ok(kind),
            None => bail!("{text:?} is none of tidemill, prometheus, victoria, cassandra"),
        }
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) enum Rival {
    Tidemill(Box<Tidemill>),
    Prometheus(Box<Prometheus>),
    Victoria(Box<Victoria>),
    /// With what it keeps its data in, which goes with it.
    Cassandra {
        tidemill: Box<Tidemill>,
        _keyspace: Keyspace,
    },
}

/// Where a Tidemill keeps its data.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Store<'a> {
    Directory(&'a Path),
    Keyspace(&'a Keyspace),
}

impl Rival {
    /// Starts it over its data and waits until it answers.
    pub(crate) fn start(kind: Kind, directory: &Path, keyspace: Option<Keyspace>) -> Result<Self> {
        match kind {
            Kind::Tidemill => Ok(Self::Tidemill(Box::new(tidemill(Store::Directory(directory), "query")?))),
            Kind::Cassandra => {
                let keyspace = keyspace.context("no keyspace")?;
                let tidemill = tidemill(Store::Keyspace(&keyspace), "query")?;
                Ok(Self::Cassandra { tidemill: Box::new(tidemill), _keyspace: keyspace })
            }
            Kind::Prometheus => {
                let prometheus = Prometheus::prepare()?.with_data(directory.to_owned());
                prometheus.start("")?;
                Ok(Self::Prometheus(Box::new(prometheus)))
            }
            Kind::Victoria => Ok(Self::Victoria(Box::new(Victoria::start(directory)?))),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Tidemill(_) => Kind::Tidemill,
            Self::Prometheus(_) => Kind::Prometheus,
            Self::Victoria(_) => Kind::Victoria,
            Self::Cassandra { .. } => Kind::Cassandra,
        }
    }

    pub(crate) fn http(&self) -> &Http {
        match self {
            Self::Tidemill(tidemill) | Self::Cassandra { tidemill, .. } => tidemill.http(),
            Self::Prometheus(prometheus) => prometheus.http(),
            Self::Victoria(victoria) => victoria.http(),
        }
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        match self {
            Self::Tidemill(tidemill) | Self::Cassandra { tidemill, .. } => tidemill.pid(),
            Self::Prometheus(prometheus) => prometheus.pid(),
            Self::Victoria(victoria) => Ok(victoria.process.pid()),
        }
    }
}

/// Tidemill over data of its own, in these roles.
pub(crate) fn tidemill(store: Store<'_>, roles: &str) -> Result<Tidemill> {
    let builder = match store {
        Store::Keyspace(keyspace) => Builder::new()?.with_cassandra(keyspace),
        Store::Directory(directory) => {
            fs::create_dir_all(directory)?;
            let directory = directory.canonicalize()?.to_string_lossy().into_owned();
            Builder::new()?.set("store.embedded.directory", directory)
        }
    };
    builder
        // As many as Prometheus allows; where rollups cannot answer, a day of the fleet is more than the default.
        .set("query.samples_max", 50_000_000)
        .set("mill.cpu_percent", 100)
        // What was replaced may go as soon as no query can need it.
        .set("query.timeout", "10s")
        .set("mill.grace", "21s")
        .roles(roles)
        .start()
}

/// `VictoriaMetrics`.
#[derive(Debug)]
pub(crate) struct Victoria {
    // Before the port: the process ends first.
    process: Process,
    http: Http,
    _port: Port,
}

impl Victoria {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let port = Port::claim()?;
        let address: SocketAddr = port.address();
        let mut command = Command::new(environment::victoria_metrics().context("no victoria-metrics")?);
        command.args([
            format!("-storageDataPath={}", directory.display()),
            format!("-httpListenAddr={address}"),
            "-retentionPeriod=100y".to_owned(),
            "-loggerLevel=ERROR".to_owned(),
        ]);
        let log = directory.with_extension("log");
        let process = Process::spawn("victoria-metrics", command, &log)?;
        let http = Http::new(address);
        let ready = || http.get("/health", &[]).is_ok_and(|answer| answer.status == 200);
        process.wait_ready("/health", READY_WITHIN, ready)?;
        Ok(Self { process, http, _port: port })
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// SIGTERM, so that everything is on disk.
    pub(crate) fn stop(&self) -> Result<()> {
        self.process.terminate(READY_WITHIN).map(drop)
    }
}
