//! Two results beside each other: every number of scenarios that both have.
//!
//! Knows nothing of what the numbers mean: results of an older or newer version compare as far as they agree.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// The comparison of two files as a table.
pub(super) fn compare(before: &Path, after: &Path) -> anyhow::Result<String> {
    let read = |path: &Path| {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let value: Value = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what --json writes", path.display()))?;
        anyhow::Ok(numbers(&value))
    };
    Ok(table(&read(before)?, &read(after)?)?)
}

fn table(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Result<String, std::fmt::Error> {
    let both = before.iter().filter_map(|(name, value)| Some((name, *value, *after.get(name)?)));
    let rows: Vec<(&String, f64, f64)> = both.filter(|(_, b, a)| *b != 0.0 || *a != 0.0).collect();
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    writeln!(out, "{:<width$}{:>18}{:>18}{:>10}", "", "before", "after", "ratio")?;
    for (name, before, after) in rows {
        let ratio = if before == 0.0 { "-".to_owned() } else { format!("{:.3}", after / before) };
        writeln!(out, "{name:<width$}{:>18}{:>18}{ratio:>10}", short(before), short(after))?;
    }
    Ok(out)
}

fn short(number: f64) -> String {
    if number.abs() >= 1_000.0 { format!("{number:.0}") } else { format!("{number:.3}") }
}

/// Every number by its path; elements of lists by their name where they have one.
fn numbers(value: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut BTreeMap<String, f64>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Number(number) => {
            found.extend(number.as_f64().map(|number| (path.to_owned(), number)));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| collect(member, &below(name), found));
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let name = element.get("scenario").or_else(|| element.get("name")).and_then(Value::as_str);
                collect(element, &below(&name.map_or_else(|| index.to_string(), str::to_owned)), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_are_matched_by_their_scenario_and_only_what_both_have_is_shown() {
        let before = json!({"runs": [{"scenario": "a", "n": 2}, {"scenario": "b", "n": 5}]});
        let after = json!({"runs": [{"scenario": "b", "n": 10, "m": 1}]});
        let table = table(&numbers(&before), &numbers(&after)).unwrap();
        let rows: Vec<Vec<&str>> =
            table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows, [["runs.b.n", "5.000", "10.000", "2.000"]]);
    }
}
