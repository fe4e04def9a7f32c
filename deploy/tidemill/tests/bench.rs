//! `tidemill bench` in small: every part of it runs, every message is accounted for, and nothing is timed.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.arg("bench").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs scenarios in small and gives what they found.
fn measured(scenarios: &[&str], options: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("result.json");
    let small = ["--connections", "3", "--devices", "10", "--window", "20", "--warm-up", "50ms"];
    let place = ["--dir", path(directory.path()), "--json", path(&file)];
    let output = bench(&[scenarios, &small, &place, options].concat());
    assert!(output.status.success(), "{}", said(&output));
    let compared = bench(&["--compare", path(&file), path(&file)]);
    assert!(compared.status.success() && said(&compared).contains(" 1.000\n"), "{}", said(&compared));
    let mut report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["result.json"], "directories of systems go with them");
    let Value::Array(runs) = report["runs"].take() else { panic!("no runs in {report}") };
    runs
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn acknowledged_messages_are_stored_and_what_they_cost_is_told() {
    let runs = measured(&["listener-lsm", "mqtt5", "late"], &["--count", "400", "--duplicates", "10"]);
    assert_eq!(runs.len(), 3);
    for run in runs {
        let account = &run["account"];
        assert!(account["acknowledged"].as_u64().unwrap() >= 400, "{run}");
        assert_eq!(account["acknowledged"], account["stored"], "{run}");
        assert!(run["acknowledged"]["count"].as_u64().unwrap() > 0, "{run}");
        let processes: Vec<&str> = run["processes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|process| process["name"].as_str().unwrap())
            .collect();
        assert_eq!(processes, ["generator", "tidemill"]);
        assert!(run["stored_bytes"].as_u64().unwrap() > 0, "{run}");
    }
}

#[test]
fn messages_without_acknowledgement_and_queries_are_measured() {
    let runs = measured(&["qos0", "queries"], &["--for", "400ms", "--rate", "2000"]);
    let [qos0, queries] = runs.as_slice() else { panic!("two runs, not {runs:?}") };
    assert_eq!(qos0["account"]["published"], qos0["account"]["stored"], "{qos0}");
    assert_eq!(qos0["acknowledged"]["count"], 0);
    let answers = queries["queries"].as_array().unwrap();
    assert!(answers.iter().any(|query| query["latency"]["count"].as_u64().unwrap() > 0), "{queries}");
    assert!(answers.iter().all(|query| query["failed"] == 0), "{queries}");
}

#[test]
fn a_mistake_is_told_before_anything_starts() {
    for arguments in [&["no-such-scenario"][..], &["--set", "nothing"], &["--late", "101"]] {
        let output = bench(arguments);
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", said(&output));
    }
    let listed = bench(&["--list"]);
    assert!(listed.status.success() && said(&listed).contains("listener-lsm"));
}
