//! `tidemill bench`: a load at line rate on a system of its own, and what each process paid for it.
//!
//! The generator ([`load`]) knows an address only; the system under test ([`system`]) runs as processes of its own,
//! so that their processor time can be told apart; [`run`] puts both together, [`report`] shows what it found and [`goals`] how far that is from what it is to reach.
//! Figures are of this machine and of what else runs on it: compare processor time and ratios, not rates alone.

mod args;
mod compare;
mod goals;
mod load;
mod plan;
mod queries;
mod report;
mod run;
mod system;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};

pub(crate) use args::BenchArgs;
use plan::{Plan, SCENARIOS};
use report::{Report, RunReport};
use system::System;

use crate::commands::print;
use crate::shutdown::StopSignals;

/// Runs what `args` ask for.
pub(crate) async fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    if args.list {
        return print(&list()?);
    }
    if let Some([before, after]) = args.compare.as_deref() {
        return print(&compare::compare(before, after)?);
    }
    let plans = Plan::all(args)?;
    let mut stop = StopSignals::install()?;
    let processors = std::thread::available_parallelism()?.get();
    let mut report = Report { version: env!("CARGO_PKG_VERSION").to_owned(), processors, runs: Vec::new() };
    for plan in &plans {
        let attached = args.system.mqtt.map(|mqtt| System::attach(mqtt, args.system.http));
        let run = run::run(plan, attached, &mut stop).await.with_context(|| plan.scenario.to_owned())?;
        print(&run.table()?)?;
        let interrupted = run.interrupted;
        report.runs.push(run);
        if let Some(path) = &args.json {
            write(&report, path)?;
        }
        if interrupted {
            break;
        }
    }
    print(&goals::table(&report.runs)?)?;
    report.runs.iter().try_for_each(check)
}

/// A benchmark of something that loses messages is none.
fn check(run: &RunReport) -> anyhow::Result<()> {
    let lost = run.account.lost().unwrap_or(0);
    ensure!(lost == 0, "{}: {lost} acknowledged messages are not stored", run.scenario);
    ensure!(run.account.refused == 0, "{}: {} messages were refused", run.scenario, run.account.refused);
    if run.account.rejected.is_some_and(|rejected| rejected > 0) {
        bail!("{}: messages were kept apart that nothing is wrong with", run.scenario);
    }
    Ok(())
}

fn write(report: &Report, path: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

fn list() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for scenario in &SCENARIOS {
        writeln!(text, "{:<22}{}", scenario.name, scenario.about)?;
    }
    Ok(text)
}

/// Tells how it goes, beside the results.
#[expect(clippy::print_stderr, reason = "progress is for whoever waits; results go to standard output")]
fn say(text: &str) {
    eprintln!("{text}");
}
