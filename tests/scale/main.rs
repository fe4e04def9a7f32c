//! How cost grows with a fleet and its cluster: a model in a few formulas, held against days of small fleets that
//! are really written, ground and asked, and the table in README that it gives for large ones.
//!
//! The days run in virtual time over the store in memory, whose operations are counted. What the model says of them
//! must be what was counted: keys and exchanges nearly to the number, bytes within a quarter. Then it may be believed
//! for ten million devices, and no line may grow faster than the fleet or the cluster does.

mod counting;
mod day;
mod fleet;
mod model;
mod table;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use tidemill_tests::real;

use fleet::Fleet;
use model::Line;
use tidemill_store::layout::{Measured, suggest_era};

fn main() -> ExitCode {
    real::run(vec![
        real::trial("the_model_says_what_days_of_small_fleets_cost", &[], model_and_days_agree),
        real::trial("no_line_grows_faster_than_the_fleet_or_the_cluster", &[], nothing_explodes),
        real::trial("the_eras_of_large_fleets_are_those_that_would_be_suggested", &[], eras_suit),
        real::trial("the_table_in_the_readme_is_what_the_model_says", &[], readme_is_true),
    ])
}

#[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
fn model_and_days_agree() -> Result<()> {
    let mut wrong = Vec::new();
    for fleet in Fleet::SMALL {
        let counted = day::run(fleet)?;
        println!("{fleet:?}");
        for line in Line::COUNTED {
            let (said, found) = (line.of(&fleet), counted.of(line));
            println!(
                "  {:<58} model {:>9.2}   counted {:>9.2}",
                line.name(),
                said / line.unit(),
                found / line.unit()
            );
            if (said - found).abs() > found * line.tolerance() {
                wrong.push(format!(
                    "{}: the model says {said}, {found} were counted for {fleet:?}",
                    line.name()
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Ten times the devices may cost ten times as much, and a little for buckets that are narrower.
fn nothing_explodes() -> Result<()> {
    let mut wrong = Vec::new();
    for pair in Fleet::LARGE.windows(2) {
        let [small, large] = pair else { continue };
        let more = large.devices / small.devices;
        for line in Line::ALL {
            let (before, after) = (line.of(small), line.of(large));
            if after > before.max(line.floor()) * more * 1.25 {
                wrong.push(format!("{}: {before} for {small:?}, but {after} for {large:?}", line.name()));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What `tidemill era suggest` would say of them.
fn eras_suit() -> Result<()> {
    for fleet in Fleet::LARGE {
        let bytes = Line::BucketBytes.of(&fleet);
        let measured = Measured {
            samples_per_second: fleet.messages() * fleet.metrics,
            partition_bytes_p99: bytes,
            partition_bytes_max: bytes * 1.5,
            sources: fleet.sources(),
        };
        let suggestion = suggest_era(&fleet.era()?, &measured);
        ensure!(suggestion.is_none(), "{fleet:?}: {suggestion:?}");
    }
    Ok(())
}

fn readme_is_true() -> Result<()> {
    let table = table::markdown();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"))?;
    ensure!(readme.contains(&table), "README lacks this table:\n\n{table}");
    Ok(())
}
