//! The real pipeline over a faulty store and a broker that delivers at least once, in virtual time: one seed, one run.
//!
//! Faults come from the seed: writes that fail, take effect unseen, late or not at all, reads that fail, delays,
//! connections that break, processes that die and start again, with a spool in every other seed. Then faults end, and the judges look: is anything
//! acknowledged missing (I1), does the process account for every message (I2), was a key ever written twice with
//! different bytes (I5), was a limit passed (I6), did poison stop its neighbours (I7), does all of it end.
//! Each seed runs twice and must end the same. Sabotaged parts must be caught, or the judges are asleep.

mod broker;
mod sabotage;
mod spy;
mod world;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidemill_store::read::ReadFailure;
use tidemill_tests::{environment, real};

use sabotage::Sabotage;
use world::simulate;

/// Seeds that are run each time; one that ever failed stays here.
const SEEDS: std::ops::Range<u64> = 1..25;
/// Seeds tried until a sabotage is caught.
const SABOTAGE_SEEDS: std::ops::Range<u64> = 100..112;

fn main() -> ExitCode {
    let seeds = environment::seed().map_or(SEEDS, |seed| seed..seed + 1);
    let mut trials: Vec<Trial> = seeds
        .map(|seed| {
            real::trial(&format!("seed_{seed}_keeps_every_promise_and_runs_the_same_twice"), &[], move || {
                honest(seed)
            })
        })
        .collect();
    for sabotage in Sabotage::ALL {
        let name = format!("sabotage_{}_is_caught", sabotage.name());
        trials.push(real::trial(&name, &[], move || caught(sabotage)));
    }
    real::run(trials)
}

fn honest(seed: u64) -> Result<()> {
    let first = simulate(seed, Sabotage::None)?;
    ensure!(first.is_clean(), "seed {seed}: {first}");
    let again = simulate(seed, Sabotage::None)?;
    ensure!(first == again, "seed {seed} ended differently the second time: {first}, then {again}");
    Ok(())
}

fn caught(sabotage: Sabotage) -> Result<()> {
    for seed in SABOTAGE_SEEDS {
        let is_found = match simulate(seed, sabotage) {
            Ok(findings) => sabotage.is_found_in(&findings),
            // Where rows of the catalog are lost, a reader says so instead of answering.
            Err(error) if sabotage == Sabotage::LossyStore && error.is::<ReadFailure>() => true,
            Err(error) => return Err(error),
        };
        if is_found {
            return Ok(());
        }
    }
    anyhow::bail!("{} went unnoticed in all of {SABOTAGE_SEEDS:?}", sabotage.name())
}
