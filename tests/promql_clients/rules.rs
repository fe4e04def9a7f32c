//! What `deploy/prometheus` holds, judged by promtool.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::environment::deploy_directory;
use tidemill_tests::prometheus::promtool;

fn file(name: &str) -> PathBuf {
    deploy_directory().join("prometheus").join(name)
}

/// The YAML files of a folder, sorted.
fn files(folder: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(file(folder))?.map(|entry| Ok(entry?.path().to_string_lossy().into_owned()));
    let mut files: Vec<String> = entries.collect::<Result<_>>()?;
    files.sort_unstable();
    ensure!(!files.is_empty(), "no files in {folder}");
    Ok(files)
}

pub(crate) fn accepted() -> Result<()> {
    let configuration = file("prometheus.yml").to_string_lossy().into_owned();
    promtool(&["check", "config", "--lint=all", "--lint-fatal", &configuration])?.expect(0, &["SUCCESS"])?;
    for rules in files("rules")? {
        promtool(&["check", "rules", "--lint=all", "--lint-fatal", &rules])?.expect(0, &["SUCCESS"])?;
    }
    for tests in files("tests")? {
        promtool(&["test", "rules", &tests])?.expect(0, &["SUCCESS"])?;
    }
    Ok(())
}

/// The names after `key:` in a file, wherever they stand.
fn named(text: &str, key: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (_, after) = line.split_once(&format!("{key}: "))?;
        Some(after.chars().take_while(|letter| letter.is_alphanumeric()).collect())
    };
    text.lines().filter_map(name).collect()
}

pub(crate) fn tested() -> Result<()> {
    let alerts = named(&fs::read_to_string(file("rules/alerts.yml"))?, "- alert");
    ensure!(alerts.contains("TidemillDown"), "alerts: {alerts:?}");
    let mut fired = BTreeSet::new();
    for path in files("tests")? {
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        // An expectation is a case of its own, which begins with its moment.
        let cases = text.split("eval_time:").filter(|case| case.contains("exp_alerts:"));
        fired.extend(cases.flat_map(|case| named(case, "alertname")));
    }
    let untested: Vec<&String> = alerts.difference(&fired).collect();
    ensure!(untested.is_empty(), "no unit test fires {untested:?}");
    Ok(())
}
