//! What the product is to reach, and how far a run came: goal, measured, ratio.
//!
//! Pure. Goals are for two processors that the generator and everything else under test share; a machine of another
//! size, or one that others use, moves rates and latencies, and hardly processor time.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::report::RunReport;
use super::system::float;

/// How a run did by one goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// What is measured, with its unit.
    pub(super) name: String,
    /// Whether the goal is the most or the least.
    pub(super) bound: Bound,
    /// The goal.
    pub(super) goal: f64,
    /// What was measured.
    pub(super) measured: f64,
    /// Measured by goal.
    pub(super) ratio: f64,
    /// Whether it is reached.
    pub(super) is_met: bool,
}

/// Which side of a goal is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    AtLeast,
    AtMost,
}

/// Messages a second from devices to the embedded store, and to one node of Cassandra.
const LSM_RATE: f64 = 1_000_000.0;
const CASSANDRA_RATE: f64 = 400_000.0;
/// Processor seconds for a million messages: of the program, of its mill besides, of Cassandra.
const CPU: f64 = 1.0;
const MILL_CPU: f64 = 0.5;
const CASSANDRA_CPU: f64 = 1.5;
/// Acknowledged within so many milliseconds at half of the full rate, 99 of 100.
const ACK_P99_MS: f64 = 10.0;
/// Memory with 10,000 connections.
const RSS_MIB: f64 = 512.0;
/// Of one processor, with 10,000 connections that say nothing.
const IDLE_CPU: f64 = 0.01;
/// Seconds since what waits for the mill was over: it waits for what is late, and looks every ten seconds.
const MILL_LAG_SECONDS: f64 = 120.0;
/// Of the bodies of segments.
const SEGMENT_BYTES_PER_SAMPLE: f64 = 4.0;
/// 99 of 100 answers within so many milliseconds, by the name of the query.
const QUERY_P99_MS: [(&str, f64); 4] = [
    ("latest of a device", 1.0),
    ("a device, 1 h by 1 m", 3.0),
    ("latest of all devices", 10.0),
    ("all devices, 24 h by 1 h", 50.0),
];

/// How `run` did by every goal that is about it.
pub(super) fn outcomes(run: &RunReport) -> Vec<Outcome> {
    let at_least = |name: &str, goal, measured| outcome(name, (Bound::AtLeast, goal), measured);
    let at_most = |name: &str, goal, measured| outcome(name, (Bound::AtMost, goal), measured);
    let cpu = |name: &str| {
        let process = run.processes.iter().find(|process| process.name == name);
        process.and_then(|process| process.cpu_seconds_per_million)
    };
    let program = |goal| cpu("tidemill").map(|cpu| at_most("tidemill, CPU s/M messages", goal, cpu));
    let memory = || {
        let process = run.processes.iter().find(|process| process.name == "tidemill")?;
        Some(at_most("tidemill, most RSS in MiB", RSS_MIB, process.rss_max_mib))
    };
    let rate = |goal| Some(at_least("messages/s", goal, run.messages_per_second));
    let of_scenario = match run.scenario.as_str() {
        "listener-lsm" | "mqtt5" => vec![rate(LSM_RATE), program(CPU)],
        "qos0" | "late" | "bursty" | "connections-1000" => vec![program(CPU)],
        "listener-lsm-half" => {
            let p99 = run.acknowledged.p99_ms;
            vec![Some(at_most("acknowledged, p99 in ms", ACK_P99_MS, p99)), program(CPU)]
        }
        "listener-cassandra" => {
            let cassandra =
                cpu("cassandra").map(|cpu| at_most("cassandra, CPU s/M messages", CASSANDRA_CPU, cpu));
            vec![rate(CASSANDRA_RATE), cassandra, program(CPU)]
        }
        "mill" => vec![program(CPU + MILL_CPU)],
        "sustained" => {
            let lag = run.mill_lag_seconds.map(|lag| at_most("lag of the mill in s", MILL_LAG_SECONDS, lag));
            vec![rate(LSM_RATE), program(CPU + MILL_CPU), lag]
        }
        "connections-10000" | "slow-devices" => vec![memory()],
        "idle" => {
            let process = run.processes.iter().find(|process| process.name == "tidemill");
            let share = process.map(|process| process.cpu_seconds / run.seconds.max(f64::EPSILON));
            vec![share.map(|share| at_most("tidemill, of a processor", IDLE_CPU, share)), memory()]
        }
        _ => Vec::new(),
    };
    let queries = run.queries.iter().filter_map(|query| {
        let (_, goal) = QUERY_P99_MS.iter().find(|(name, _)| *name == query.name)?;
        Some(at_most(&format!("{}, p99 in ms", query.name), *goal, query.latency.p99_ms))
    });
    let counted = |name: &str| run.counted.get(name).copied().filter(|count| *count > 0.0);
    let samples = run.samples_per_second * run.seconds;
    let segments = counted("tidemill_append_segment_bytes_total").filter(|_| samples > 0.0);
    let segments =
        segments.map(|bytes| at_most("bytes of segments/sample", SEGMENT_BYTES_PER_SAMPLE, bytes / samples));
    of_scenario.into_iter().flatten().chain(queries).chain(segments).collect()
}

fn outcome(name: &str, (bound, goal): (Bound, f64), measured: f64) -> Outcome {
    let is_met = match bound {
        Bound::AtLeast => measured >= goal,
        Bound::AtMost => measured <= goal,
    };
    Outcome { name: name.to_owned(), bound, goal, measured, ratio: measured / goal, is_met }
}

/// The outcomes of all runs as a table.
pub(super) fn table(runs: &[RunReport]) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "\n{:<20}{:<38}{:>14}{:>14}{:>9}", "scenario", "goal", "at", "measured", "ratio")?;
    for run in runs {
        for Outcome { name, bound, goal, measured, ratio, is_met } in &run.goals {
            let bound = if *bound == Bound::AtLeast { "≥" } else { "≤" };
            let goal = format!("{bound} {}", short(*goal));
            let met = if *is_met { "" } else { "  missed" };
            writeln!(
                out,
                "{:<20}{name:<38}{goal:>14}{:>14}{ratio:>9.2}{met}",
                run.scenario,
                short(*measured)
            )?;
        }
    }
    Ok(out)
}

fn short(number: f64) -> String {
    if number >= 1_000.0 {
        let thousands =
            float(std::time::Duration::try_from_secs_f64(number).map_or(0, |whole| whole.as_secs()));
        return format!("{thousands:.0}");
    }
    format!("{number:.3}")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::run;
    use super::*;

    #[test]
    fn every_goal_says_how_far_it_is_reached() {
        let run = RunReport { messages_per_second: 250_000.0, ..run("listener-lsm") };
        let outcomes = outcomes(&run);
        let first = outcomes.first().unwrap();
        assert_eq!((first.bound, first.goal, first.ratio, first.is_met), (Bound::AtLeast, 1e6, 0.25, false));
        let table = table(&[RunReport { goals: outcomes, ..run }]).unwrap();
        let row: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(row, ["listener-lsm", "messages/s", "≥", "1000000", "250000", "0.25", "missed"]);
    }

    #[test]
    fn a_scenario_without_goals_has_no_rows() {
        assert_eq!(outcomes(&run("mosquitto-lsm")), []);
    }
}
