//! PromQL conformance: the evaluations of Prometheus' own test files, against the engine over series in memory.
//!
//! One trial for each file. At the end it says how many evaluations passed, failed and were left out, and lists
//! those left out by file and line with the reason. Without the shared folder the trials are skipped by name.

#![expect(clippy::indexing_slicing, reason = "a case that is wrong about an answer shall fail, with a trace")]

mod case;
mod check;
mod notation;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use libtest_mimic::Trial;
use tidemill_tests::environment;
use tidemill_tests::real::{self, Requirement, trial};

use run::Tally;

/// What the folder held when this was written; with fewer files the run would prove less than it says.
const FILES: [&str; 14] = [
    "aggregators.test",
    "at_modifier.test",
    "collision.test",
    "functions.test",
    "histograms.test",
    "limit.test",
    "literals.test",
    "name_label_dropping.test",
    "operators.test",
    "range_queries.test",
    "selectors.test",
    "staleness.test",
    "subquery.test",
    "trig_functions.test",
];

fn main() -> ExitCode {
    let total = Arc::new(Mutex::new(Tally::default()));
    let trials = FILES.map(|file| of_file(file, Arc::clone(&total))).into();
    let code = real::run(trials);
    let total = total.lock().unwrap_or_else(PoisonError::into_inner);
    report(&total);
    code
}

#[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
fn report(total: &Tally) {
    for left in &total.left_out {
        println!("left out: {left}");
    }
    println!(
        "promql conformance: {} passed, {} failed, {} left out",
        total.passed,
        total.failed.len(),
        total.left_out.len()
    );
}

fn of_file(file: &'static str, total: Arc<Mutex<Tally>>) -> Trial {
    trial(file, &[Requirement::SharedData], move || {
        let path: PathBuf = environment::shared_directory().join("promqltest").join(file);
        let text = std::fs::read_to_string(&path)?;
        let tally = run::file(file, &text)?;
        let failed = tally.failed.clone();
        total.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
        if failed.is_empty() {
            return Ok(());
        }
        bail!("{} evaluations failed:\n{}", failed.len(), failed.join("\n"))
    })
}
