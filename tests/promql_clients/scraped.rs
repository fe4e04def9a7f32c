//! Dashboards, rules and their unit tests name what a scrape of Tidemill has: metrics, and each with its labels. A rule
//! that subtracts series of other labels never fires, and a unit test that invents them does not notice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::environment::deploy_directory;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};

use crate::SOON;
use crate::dashboard::{Dashboard, PanelQuery};

/// What Prometheus adds to all that it scrapes.
const SCRAPE_LABELS: [&str; 2] = ["instance", "job"];
/// Shown only once it has happened, which cannot be had on an embedded store.
const RARE: (&str, [&str; 3]) = ("tidemill_store_errors_total", ["kind", "operation", "table"]);

/// The label names of each metric.
struct Scrape(BTreeMap<String, BTreeSet<String>>);

/// A Tidemill of which every part is at work.
pub(crate) fn at_work() -> Result<Tidemill> {
    let builder = Builder::new()?;
    let spool = builder.directory().join("spool").to_string_lossy().into_owned();
    let tidemill = builder.set("ingest.spool.directory", spool).start()?;
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    for (number, payload) in (0..).zip(["{\"temperature\": 1.5}", "{\"temperature\""]) {
        publisher.publish(number, "devices/d1/telemetry", payload.as_bytes(), SOON)?;
    }
    publisher.disconnect(SOON)?;
    tidemill.http().get("/v1/devices", &[])?;
    Ok(tidemill)
}

pub(crate) fn names_and_labels() -> Result<()> {
    let tidemill = at_work()?;
    let scrape = Scrape::of(&tidemill)?;
    for query in Dashboard::read("pipeline")?.queries() {
        scrape.check_query(&query)?;
    }
    for folder in ["rules", "tests"] {
        for file in fs::read_dir(deploy_directory().join("prometheus").join(folder))? {
            let path = file?.path();
            let text = fs::read_to_string(&path)?;
            scrape.check_text(&text).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

impl Scrape {
    fn of(tidemill: &Tidemill) -> Result<Self> {
        let metrics = tidemill.http().metrics()?;
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, labels, _) in metrics.iter() {
            all.entry(name.to_owned()).or_default().extend(labels.keys().cloned());
        }
        all.insert(RARE.0.to_owned(), RARE.1.map(str::to_owned).into());
        Ok(Self(all))
    }

    fn labels(&self, name: &str) -> Result<&BTreeSet<String>> {
        self.0.get(name).with_context(|| format!("no {name} in a scrape"))
    }

    /// Groups by, selects by and shows only labels that one of its metrics has.
    fn check_query(&self, query: &PanelQuery) -> Result<()> {
        let context = || format!("{}: {} {}", query.panel, query.expression, query.legend);
        let metrics = names(&query.expression);
        ensure!(!metrics.is_empty(), "names no metric: {}", context());
        let mut known: BTreeSet<&str> = SCRAPE_LABELS.into();
        for metric in &metrics {
            known.extend(self.labels(metric).with_context(context)?.iter().map(String::as_str));
        }
        let used = grouped(&query.expression)
            .chain(matched(&query.expression))
            .chain(between(&query.legend, "{{", "}}").map(str::trim));
        for label in used {
            ensure!(known.contains(label), "no label {label:?}: {}", context());
        }
        Ok(())
    }

    /// Every metric in a file of rules or of their tests, and the series that tests put in.
    fn check_text(&self, text: &str) -> Result<()> {
        for name in names(text) {
            self.labels(&name)?;
        }
        for series in between(text, "- series: ", "\n") {
            let name = series.split('{').next().unwrap_or_default();
            if name == "up" {
                continue;
            }
            let have: BTreeSet<&str> = matched(series).collect();
            let own = self.labels(name)?.iter().map(String::as_str);
            let wanted: BTreeSet<&str> = own.chain(SCRAPE_LABELS).collect();
            ensure!(have == wanted, "{series}: a scrape has the labels {wanted:?}");
        }
        Ok(())
    }
}

/// The names of metrics that Tidemill shows. What rules record has a colon in its name.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'));
    let own = words.filter(|word| ["tidemill_", "process_"].iter().any(|start| word.starts_with(start)));
    own.map(str::to_owned).collect()
}

/// The labels by which an expression groups.
fn grouped(expression: &str) -> impl Iterator<Item = &str> {
    between(expression, "by (", ")").flat_map(|list| list.split(',').map(str::trim))
}

/// The labels that selectors name.
fn matched(expression: &str) -> impl Iterator<Item = &str> {
    let lists = between(expression, "{", "}").flat_map(|list| list.split(','));
    lists.filter_map(|pair| Some(pair.split_once('=')?.0.trim_end_matches('!').trim()))
}

/// What stands between two marks, each time.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |after| Some(after.split_once(end)?.0))
}
