//! What a ground day costs, as a table: bytes a sample by level, what grinding takes, how much is written and read for
//! what is asked, and how long questions wait while messages come in; on the embedded store and on Cassandra.
//!
//! A simulated fleet's day is published over MQTT in parts, each ground by a mill of its own process as soon as it is
//! in, as the tail of an open bucket would be. Figures are reported beside their goals, never judged: this is no test.

mod asked;
mod fleet;
mod ground;
#[path = "../versus/idle.rs"]
mod idle;
mod report;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use fleet::Fleet;
use report::Report;
use store::Kind;

/// Measures what a day of a simulated fleet costs once it is ground.
#[derive(Debug, Parser)]
#[command(name = "figures")]
struct Arguments {
    /// Devices, each with five metrics.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// How many hours of yesterday each has sent.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=24))]
    hours: u32,
    /// Seconds between two messages of a device.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    step: u32,
    /// Milliseconds by which a message is late at most; 0: times lie exactly on the step.
    #[arg(long, default_value_t = 200)]
    jitter: u32,
    /// In how many parts the day comes in, each ground before the next comes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=24))]
    parts: u32,
    /// Messages a second that come in while questions are asked.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// On which stores: embedded, cassandra.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Kind::Embedded, Kind::Cassandra])]
    only: Vec<Kind>,
    /// Write results as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is what the run is for")]
fn run(arguments: &Arguments) -> Result<()> {
    let fleet = Fleet::of_yesterday(arguments);
    println!("{fleet}");
    let mut reports: Vec<Report> = Vec::new();
    for kind in &arguments.only {
        if let Some(why) = kind.missing() {
            eprintln!("figures: without {kind}: {why}");
            continue;
        }
        let store = store::Store::prepare(*kind)?;
        let ground = ground::grind(&store, fleet, arguments.parts)?;
        let asked = asked::ask(&store, fleet, arguments.rate)?;
        let report = Report::new(*kind, fleet, ground, asked);
        println!("\n{report}");
        reports.push(report);
    }
    ensure!(!reports.is_empty(), "no store to measure on");
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&reports)?)?;
    }
    Ok(())
}
