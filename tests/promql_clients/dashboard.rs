//! A dashboard file: its variables and queries, and what its form must be. Pure.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidemill_tests::environment::deploy_directory;

/// The newest form that every Grafana in use reads; later ones are another model.
const SCHEMA_MAX: u64 = 42;
/// Columns of a dashboard.
const COLUMNS: u64 = 24;

/// A dashboard of `deploy/grafana`.
#[derive(Debug)]
pub(crate) struct Dashboard {
    json: Value,
}

/// A variable that is filled by a label query.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) query: String,
    /// What stands for all values, where all may be chosen.
    pub(crate) all: Option<All>,
}

/// What Grafana puts in where all values of a variable are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum All {
    /// This.
    Text(String),
    /// Each of them, as alternatives.
    Each,
}

/// A query of a panel.
#[derive(Debug)]
pub(crate) struct PanelQuery {
    pub(crate) panel: String,
    pub(crate) expression: String,
    pub(crate) legend: String,
    pub(crate) instant: bool,
    /// The variable for each of whose values the panel is shown by itself.
    pub(crate) repeat: Option<String>,
}

impl Dashboard {
    /// Reads `name.json`.
    pub(crate) fn read(name: &str) -> Result<Self> {
        let path = deploy_directory().join("grafana/dashboards").join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self { json: serde_json::from_str(&text)? })
    }

    /// Where its range of time starts, as in `now-1h`.
    pub(crate) fn from(&self) -> Result<&str> {
        self.json.pointer("/time/from").and_then(Value::as_str).context("no time.from")
    }

    /// Its variables but for the data source, in order: later ones may name earlier ones.
    pub(crate) fn variables(&self) -> Result<Vec<Variable>> {
        let list = items(&self.json, "/templating/list");
        list.filter(|variable| text(variable, "/type") == "query").map(Variable::of).collect()
    }

    /// The queries of all panels.
    pub(crate) fn queries(&self) -> Vec<PanelQuery> {
        let of = |panel: &Value| -> Vec<PanelQuery> {
            let query = |target: &Value| PanelQuery {
                panel: text(panel, "/title"),
                expression: text(target, "/expr"),
                legend: text(target, "/legendFormat"),
                instant: target.pointer("/instant").and_then(Value::as_bool).unwrap_or(false),
                repeat: Some(text(panel, "/repeat")).filter(|name| !name.is_empty()),
            };
            items(panel, "/targets").map(query).collect()
        };
        self.panels().into_iter().flat_map(of).collect()
    }

    /// All panels, those inside of rows too.
    fn panels(&self) -> Vec<&Value> {
        let outer: Vec<&Value> = items(&self.json, "/panels").collect();
        let inner: Vec<&Value> = outer.iter().flat_map(|panel| items(panel, "/panels")).collect();
        [outer, inner].concat()
    }

    /// An error that says what Grafana would not take, or would show wrong.
    pub(crate) fn check(&self) -> Result<()> {
        let schema =
            self.json.pointer("/schemaVersion").and_then(Value::as_u64).context("no schemaVersion")?;
        ensure!((30..=SCHEMA_MAX).contains(&schema), "schemaVersion {schema}");
        ensure!(self.json.pointer("/__inputs").is_none(), "provisioned dashboards have no inputs");
        ensure!(!text(&self.json, "/title").is_empty() && !text(&self.json, "/uid").is_empty(), "title, uid");
        let mut ids = BTreeSet::new();
        for panel in self.panels() {
            let title = text(panel, "/title");
            let number = |path: &str| panel.pointer(path).and_then(Value::as_u64).context(title.clone());
            ensure!(ids.insert(number("/id")?), "{title}: an id twice");
            ensure!(number("/gridPos/x")? + number("/gridPos/w")? <= COLUMNS, "{title}: too wide");
            ensure!(
                number("/gridPos/h")? > 0 && !title.is_empty() && !text(panel, "/type").is_empty(),
                "{title}"
            );
            for target in items(panel, "/targets") {
                let source = [text(target, "/datasource/type"), text(target, "/datasource/uid")];
                ensure!(source == ["prometheus", "${datasource}"], "{title}: from {source:?}");
                ensure!(!text(target, "/expr").is_empty(), "{title}: no query");
            }
        }
        ensure!(!ids.is_empty() && !self.queries().is_empty(), "no panels");
        Ok(())
    }

    /// The uid of the data source that it shows unless another is chosen.
    pub(crate) fn source(&self) -> Result<String> {
        let mut list = items(&self.json, "/templating/list");
        let variable = list.find(|variable| text(variable, "/type") == "datasource");
        let variable = variable.context("no variable for the data source")?;
        ensure!(text(variable, "/name") == "datasource" && text(variable, "/query") == "prometheus");
        Ok(text(variable, "/current/value"))
    }

    /// Its unique id.
    pub(crate) fn uid(&self) -> String {
        text(&self.json, "/uid")
    }
}

impl Variable {
    fn of(json: &Value) -> Result<Self> {
        let includes_all = json.pointer("/includeAll").and_then(Value::as_bool).unwrap_or(false);
        let (name, query) = (text(json, "/name"), text(json, "/query/query"));
        ensure!(query == text(json, "/definition"), "{name}: what is shown is not what is asked");
        let all = includes_all.then(|| match json.pointer("/allValue").and_then(Value::as_str) {
            Some(text) => All::Text(text.to_owned()),
            None => All::Each,
        });
        ensure!(all != Some(All::Text(String::new())), "{name}: all values stand for nothing");
        Ok(Self { name, query, all })
    }
}

fn text(json: &Value, pointer: &str) -> String {
    json.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn items<'a>(json: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    json.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
