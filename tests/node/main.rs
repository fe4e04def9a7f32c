//! Runs a command beside a node of Cassandra of its own: `node COMMAND [ARGUMENT…]`.
//!
//! The node is a fresh one on loopback, as the tests use it; the command finds it in `TIDEMILL_CASSANDRA`
//! (`HOST:PORT`), and when the command ends, the node and its data go. The exit code is that of the command.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tidemill_tests::cassandra::{Cluster, CommitLog, Topology};
use tidemill_tests::real::Requirement;
use tokio::signal::unix::{SignalKind, signal};

/// Cassandra's own name for the data centre of a node that stands alone, which programs take for granted, too.
const DATACENTER: &str = "datacenter1";

/// Runs a command beside a fresh node of Cassandra, whose address it finds in `TIDEMILL_CASSANDRA`.
#[derive(Debug, Parser)]
#[command(name = "node")]
struct Arguments {
    /// Acknowledge before the commit log is synced, as Cassandra does unless told otherwise; without it, after.
    #[arg(long)]
    periodic_sync: bool,
    /// Only say whether a node could be started here.
    #[arg(long)]
    check: bool,
    /// The command and its arguments.
    #[arg(required_unless_present = "check", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Ctrl-C is for the command, which hears it too: it still needs the node until it has ended.
    let _heard = signal(SignalKind::interrupt());
    run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("node: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(why) = Requirement::Cassandra.missing() {
        bail!("{why}");
    }
    if arguments.check {
        return Ok(ExitCode::SUCCESS);
    }
    let (program, rest) = arguments.command.split_first().context("no command")?;
    let commit_log = if arguments.periodic_sync { CommitLog::Periodic } else { CommitLog::Group };
    eprintln!("node: starting Cassandra");
    let cluster = Cluster::start(&Topology::of(&[DATACENTER]).commit_log(commit_log))?;
    let status = Command::new(program)
        .args(rest)
        .env("TIDEMILL_CASSANDRA", cluster.node(0).contact_point())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    drop(cluster);
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
