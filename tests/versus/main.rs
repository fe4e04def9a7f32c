//! The same samples in Tidemill, Prometheus and `VictoriaMetrics`, the same queries to each, in one run: how long each
//! takes, and how many times as long as Tidemill the others do.
//!
//! All servers run on loopback beside each other, with their data loaded, settled (ground, compacted, merged) and in
//! the page cache; one query is under way at a time. Results are reported, never judged: this is no test.

mod data;
mod idle;
mod load;
mod queries;
mod report;
mod rivals;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tidemill_tests::cassandra;

use data::Fleet;
use rivals::{Kind, Rival};

/// Loads the same samples into Tidemill, Prometheus and `VictoriaMetrics` and times the same queries.
#[derive(Debug, Parser)]
#[command(name = "versus")]
struct Arguments {
    /// Devices, each with five metrics.
    #[arg(long, default_value_t = 1_000)]
    devices: u32,
    /// How many hours each has sent.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// Seconds between two messages of a device.
    #[arg(long, default_value_t = 10)]
    step: u32,
    /// Milliseconds that a message may come later than its step says.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=500))]
    jitter: u32,
    /// Most times that a query is asked of a server.
    #[arg(long, default_value_t = 100)]
    repeat: u32,
    /// Seconds after which a query is not asked of a server again.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Who takes part: tidemill, prometheus, victoria, and cassandra for Tidemill on a node of it.
    #[arg(long, value_delimiter = ',', default_values_t = Kind::USUAL)]
    only: Vec<Kind>,
    /// Keep the data here, and use what is here already if it is the same fleet's. Default: a temporary directory.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Write results as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = run(&Arguments::parse());
    cassandra::release_shared();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is what the run is for")]
fn run(arguments: &Arguments) -> Result<()> {
    let fleet = Fleet {
        devices: arguments.devices,
        hours: arguments.hours,
        step_seconds: arguments.step.max(1),
        jitter_ms: arguments.jitter,
    };
    let scratch = tempfile::Builder::new().prefix("tidemill-versus-").tempdir()?;
    let directory = arguments.directory.clone().unwrap_or_else(|| scratch.path().to_owned());
    let mut report = report::Report::new(fleet);
    let mut rivals: Vec<Rival> = Vec::new();
    for kind in &arguments.only {
        if let Some(why) = kind.missing() {
            eprintln!("versus: without {kind}: {why}");
            continue;
        }
        let (rival, loaded) = load::ready(*kind, &directory.join(kind.to_string()), fleet)?;
        report.loaded(loaded);
        rivals.push(rival);
    }
    for line in queries::lines(fleet) {
        eprintln!("versus: {}", line.name);
        for rival in &rivals {
            report.asked(
                &line,
                rival.kind(),
                queries::time(rival, &line, arguments.repeat, arguments.seconds),
            );
        }
    }
    println!("{report}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json().to_string())?;
    }
    Ok(())
}
