//! The mill as a process: answers are the same before, during and after every grind, whatever
//! arrives late or twice, and however often a mill dies (I4).

mod answers;
mod commands;
mod fleet;
mod kills;
mod stages;

use std::process::ExitCode;
use std::time::Duration;

use tidemill_tests::cassandra::{Keyspace, shared};
use tidemill_tests::delivery::Weather;
use tidemill_tests::http::Metrics;
use tidemill_tests::oracle::Plan;
use tidemill_tests::real::{
    self,
    Requirement::{SharedCassandra, Tidemill},
    trial,
};
use tidemill_tests::tidemill::Builder;

/// A busy machine takes its time.
const SOON: Duration = Duration::from_mins(1);
/// A message a minute from each device, over two days.
const PLAN: Plan = Plan { devices: 10, start_ms: 1_700_000_000_000, step_ms: 60_000, seed: 5 };
/// Three messages in ten are late by up to two hours, one in twenty comes twice.
const WEATHER: Weather = Weather { late_percent: 30, late_max: Duration::from_hours(2), twice_percent: 5 };

fn main() -> ExitCode {
    let mut trials = vec![
        trial("answers_are_the_same_with_the_mill_never_half_and_fully_run", &[Tidemill], stages::all),
        trial(
            "a_day_of_a_thousand_devices_is_the_same_with_the_mill_never_half_and_fully_run",
            &[Tidemill],
            fleet::all,
        ),
        trial("an_operator_sees_what_is_ground_and_grinds_by_hand", &[Tidemill], commands::all),
    ];
    trials.push(trial("a_mill_killed_twenty_times_changes_no_answer", &[Tidemill, SharedCassandra], || {
        let node = shared()?;
        kills::twenty(&Keyspace::new(node.contact_point(), node.datacenter(), "mill"))
    }));
    real::run(trials)
}

/// Buckets of three hours, ground as soon as they are over.
fn eager(builder: Builder) -> Builder {
    builder
        .set("store.first_era.shards", 2)
        .set("store.first_era.bucket_width", "3h")
        .set("ingest.bucket_idle", "2s")
        .set("mill.settle", "1s")
        .set("mill.late_quiet", "1s")
        .set("mill.late_wait_max", "3s")
        .set("mill.interval", "200ms")
        .set("mill.beat", "500ms")
        .set("mill.takeover_after", "2s")
        // The grace is longer than queries run and trust a seal.
        .set("query.timeout", "10s")
        .set("mill.grace", "21s")
}

/// How many pieces of work of this kind a mill has done.
fn work_done(metrics: &Metrics, kind: &str) -> f64 {
    metrics.sum("tidemill_mill_work_total", &[("kind", kind), ("result", "ok")])
}
