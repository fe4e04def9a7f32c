//! Trials that need real components, and what happens where one is absent.
//!
//! An absent component makes the trial *skipped by name* (it is listed as ignored, with the
//! reason) or failed where `REQUIRE_REAL=1`. A trial never passes without having run.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{cassandra, environment};

/// A component that a trial needs on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// The broker's binary.
    Mosquitto,
    /// The broker's command line clients.
    MosquittoClients,
    /// Cassandra's jars and a Java, to start nodes of one's own.
    Cassandra,
    /// Any Cassandra: one that runs already, or the means to start one.
    SharedCassandra,
    /// The built `tidemill` binary.
    Tidemill,
    /// The shared directory of test data.
    SharedData,
    /// Prometheus and promtool.
    Prometheus,
}

impl Requirement {
    /// Why the component cannot be used here; `None` where it can.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Self::Mosquitto if environment::mosquitto().is_none() => {
                Some("no mosquitto binary: run tests/run as root, or install Debian's mosquitto")
            }
            Self::MosquittoClients if environment::mosquitto_pub().is_none() => {
                Some("no mosquitto_pub: run tests/run as root, or install Debian's mosquitto-clients")
            }
            Self::Cassandra if !can_start_cassandra() => {
                Some("no Cassandra jars or no Java: tests/run provisions both")
            }
            Self::SharedCassandra if environment::running_cassandra().is_none() && !can_start_cassandra() => {
                Some("no running Cassandra named and no jars: tests/run provisions them")
            }
            Self::Tidemill if environment::tidemill().is_none() => {
                Some("no tidemill binary: cargo build -p tidemill, or set TIDEMILL_BIN")
            }
            Self::SharedData if !environment::shared_directory().is_dir() => {
                Some("no directory of shared data: set TIDEMILL_SHARED")
            }
            Self::Prometheus if environment::prometheus().is_none() || environment::promtool().is_none() => {
                Some(
                    "no prometheus or promtool binary: run tests/run as root, or install Debian's prometheus",
                )
            }
            Self::Mosquitto
            | Self::MosquittoClients
            | Self::Cassandra
            | Self::SharedCassandra
            | Self::Tidemill
            | Self::SharedData
            | Self::Prometheus => None,
        }
    }
}

fn can_start_cassandra() -> bool {
    environment::cassandra_lib().is_some() && environment::java().is_some()
}

/// A trial that runs `body` where all of `needs` are present.
pub fn trial<F>(name: &str, needs: &'static [Requirement], body: F) -> Trial
where
    F: FnOnce() -> anyhow::Result<()> + Send + 'static,
{
    Trial::ignorable_test(name, move || match needs.iter().find_map(|need| need.missing()) {
        Some(reason) if environment::require_real() => Err(Failed::from(reason)),
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => body().map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:?}"))),
    })
}

/// The `main` of a test binary: runs the trials that the command line asks for, then stops what
/// they shared.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    run_with(&Arguments::from_args(), trials)
}

/// As [`run`], so many trials at once where the command line does not say how many.
pub fn run_at_once(threads: usize, trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    run_with(&arguments, trials)
}

fn run_with(arguments: &Arguments, trials: Vec<Trial>) -> ExitCode {
    let conclusion = libtest_mimic::run(arguments, trials);
    cassandra::release_shared();
    conclusion.exit_code()
}
