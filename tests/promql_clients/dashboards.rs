//! Every query of every dashboard, asked as Grafana asks: of Tidemill about devices, and of a Prometheus that scrapes
//! Tidemill about Tidemill.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;
use tidemill_tests::environment::deploy_directory;
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::oracle::Plan;
use tidemill_tests::prometheus::Prometheus;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::SOON;
use crate::dashboard::{All, Dashboard, PanelQuery, Variable};
use crate::grafana::{Bindings, Span, escaped, expand, label_values, seconds};
use crate::scraped::at_work;

const NAMES: [&str; 3] = ["fleet", "device", "pipeline"];
/// How often the devices of the trials send, as the provisioned data source says that they do.
const STEP: u64 = 10;
/// A little longer than the fleet's dashboard looks back.
const HISTORY_SECONDS: u64 = 75 * 60;
const DEVICES: u32 = 5;
/// What dashboards put for all values of a variable.
const ALL: &str = ".+";

fn grafana_file(name: &str) -> Result<String> {
    let path = deploy_directory().join("grafana").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

pub(crate) fn well_formed() -> Result<()> {
    let mut uids = BTreeSet::new();
    for name in NAMES {
        let dashboard = Dashboard::read(name)?;
        dashboard.check().with_context(|| name.to_owned())?;
        dashboard.variables().with_context(|| name.to_owned())?;
        ensure!(uids.insert(dashboard.uid()), "{name}: a uid twice");
        // Whatever the default data source is: the pipeline's numbers are Prometheus', the others are Tidemill's.
        let source = if name == "pipeline" { "prometheus" } else { "tidemill" };
        ensure!(dashboard.source()? == source, "{name}: shows {:?} at first", dashboard.source()?);
        time_interval(source)?;
    }
    let files = fs::read_dir(deploy_directory().join("grafana/dashboards"))?.count();
    ensure!(files == NAMES.len(), "{files} dashboards, some of which no trial asks for");
    let sources = grafana_file("provisioning/datasources/tidemill.yaml")?;
    for line in ["apiVersion: 1", "type: prometheus", "url: http://127.0.0.1:9470", "httpMethod: POST"] {
        ensure!(sources.lines().any(|have| have.trim() == line), "data sources: no {line:?}");
    }
    ensure!(sources.contains("lookback_delta"), "data sources: nothing about lookback_delta");
    ensure!(time_interval("tidemill")? == STEP, "devices of the trials send more or less often");
    let providers = grafana_file("provisioning/dashboards/tidemill.yaml")?;
    for line in ["apiVersion: 1", "type: file"] {
        ensure!(providers.lines().any(|have| have.trim() == line), "providers: no {line:?}");
    }
    ensure!(![sources, providers].concat().contains('\t'), "YAML has no tabs");
    Ok(())
}

/// The `timeInterval` of a provisioned data source, in seconds.
fn time_interval(uid: &str) -> Result<u64> {
    let sources = grafana_file("provisioning/datasources/tidemill.yaml")?;
    let (_, source) = sources.split_once(&format!("uid: {uid}\n")).context("no such data source")?;
    let (_, after) = source.split_once("timeInterval: ").context("no timeInterval")?;
    seconds(after.lines().next().unwrap_or_default().trim())
}

/// A fleet that has been sending for a while, up to now.
fn with_fleet() -> Result<(Tidemill, Feed, u64)> {
    let tidemill = Builder::new()?.start()?;
    let now = u64::try_from(Timestamp::now().as_second())?;
    let start = now - HISTORY_SECONDS;
    let plan = Plan {
        devices: DEVICES,
        start_ms: i64::try_from(start * 1_000)?,
        step_ms: i64::try_from(STEP * 1_000)?,
        seed: 11,
    };
    let settings = Settings::new(tidemill.mqtt_address(), "fleet", Protocol::V5);
    let messages = (HISTORY_SECONDS / STEP + 1) * u64::from(DEVICES);
    let mut feed = Feed::start_in_order(plan, settings, 0..messages)?;
    feed.wait_over(SOON)?;
    nested(&tidemill, now)?;
    Ok((tidemill, feed, now))
}

/// A device whose metric has a dot in its name.
fn nested(tidemill: &Tidemill, now: u64) -> Result<()> {
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "door", Protocol::V5))?;
    for number in 0..HISTORY_SECONDS / STEP {
        let ts = (now - number * STEP) * 1_000;
        let payload = format!(r#"{{"ts": {ts}, "values": {{"door": {{"angle": {number}.25}}}}}}"#);
        publisher.publish(number, "devices/door-1/telemetry", payload.as_bytes(), SOON)?;
    }
    publisher.disconnect(SOON)
}

pub(crate) fn devices() -> Result<()> {
    let (tidemill, _feed, now) = with_fleet()?;
    for name in ["fleet", "device"] {
        let dashboard = Dashboard::read(name)?;
        let asked = Asked { http: tidemill.http(), span: Span::new(dashboard.from()?, now, STEP)? };
        let views = asked.views(&dashboard.variables()?)?;
        let metrics: BTreeSet<&str> =
            views.iter().filter_map(|view| view.get("metric")).map(String::as_str).collect();
        // Numbers and booleans, alone and where it may be chosen together; texts are not for PromQL.
        let expected: [&[&str]; 2] = [
            &["door.angle", "energy", "open", "temperature"],
            &[ALL, "door\\\\.angle", "energy", "open", "temperature"],
        ];
        ensure!(expected.iter().any(|expected| metrics.iter().eq(*expected)), "{name}: {metrics:?}");
        for bindings in views {
            for query in dashboard.queries().iter().filter(|query| is_shown(query, &bindings)) {
                asked.data(query, &bindings).with_context(|| format!("{name}: {bindings:?}"))?;
            }
        }
    }
    Ok(())
}

/// Whether a query is asked for these values: a repeated panel is shown for one value at a time.
fn is_shown(query: &PanelQuery, bindings: &Bindings) -> bool {
    query.repeat.as_ref().is_none_or(|name| bindings.get(name).is_some_and(|value| value != ALL))
}

/// The shipped configuration, with the address of this trial's Tidemill and less patience.
fn scrape(prometheus: &Prometheus, tidemill: &Tidemill) -> Result<()> {
    let folder = deploy_directory().join("prometheus");
    let rules = prometheus.directory().join("rules");
    fs::create_dir(&rules)?;
    for file in fs::read_dir(folder.join("rules"))? {
        let file = file?;
        fs::copy(file.path(), rules.join(file.file_name()))?;
    }
    let shipped = fs::read_to_string(folder.join("prometheus.yml"))?;
    let changed =
        shipped.replace("127.0.0.1:9470", &tidemill.http_address().to_string()).replace(": 15s", ": 1s");
    ensure!(changed.matches(": 1s").count() == 2, "{changed}");
    prometheus.start(&changed)
}

pub(crate) fn pipeline() -> Result<()> {
    let tidemill = at_work()?;
    let prometheus = Prometheus::prepare()?;
    scrape(&prometheus, &tidemill)?;
    let plan = Plan { devices: DEVICES, start_ms: 1_700_000_000_000, step_ms: 1_000, seed: 12 };
    // Rates need something to happen for as long as the trial looks.
    let settings = Settings::new(tidemill.mqtt_address(), "fleet", Protocol::V5);
    let _feed = Feed::start(plan, settings)?;
    let dashboard = Dashboard::read("pipeline")?;
    let asked = || -> Result<Asked<'_>> {
        let now = u64::try_from(Timestamp::now().as_second())?;
        Ok(Asked { http: prometheus.http(), span: Span::new(dashboard.from()?, now, 1)? })
    };
    let variables = dashboard.variables()?;
    let views = wait::until("a scrape", SOON, || {
        Ok(asked()?.views(&variables).ok().filter(|views| views.len() == 2))
    })?;
    for query in dashboard.queries() {
        for bindings in &views {
            let mut last = Ok(());
            let answered = wait::until_true(&query.panel, SOON, || {
                // Time goes on, and requests are a part of what is shown.
                last = tidemill.http().get("/v1/devices", &[]).map(drop);
                last = asked().and_then(|asked| asked.data(&query, bindings));
                last.is_ok()
            });
            answered.and(last)?;
        }
    }
    rules_are_evaluated(&prometheus)
}

/// The recording rules name metrics that are there.
fn rules_are_evaluated(prometheus: &Prometheus) -> Result<()> {
    let recorded = || -> Result<Option<()>> {
        let answer =
            prometheus.http().json("/api/v1/query", &[("query", "count({__name__=~\"tidemill:.+\"})")])?;
        let count = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
        Ok((count == Some("4")).then_some(()))
    };
    wait::until("four recorded series", SOON, recorded)?;
    let rules = prometheus.http().json("/api/v1/rules", &[])?;
    let groups = rules.pointer("/data/groups").and_then(Value::as_array).context("no groups")?;
    let rules = groups.iter().filter_map(|group| group.get("rules")?.as_array()).flatten();
    for rule in rules {
        ensure!(rule.get("health").and_then(Value::as_str) == Some("ok"), "{rule}");
        compares_what_is_there(prometheus, rule)?;
    }
    Ok(())
}

/// Differences in the place of its comparisons: an alert whose two sides have other labels gives none, ever.
fn compares_what_is_there(prometheus: &Prometheus, rule: &Value) -> Result<()> {
    let query = rule.get("query").and_then(Value::as_str).context("no query")?;
    if query.contains("tidemill_store_errors_total") {
        // There were none.
        return Ok(());
    }
    let compared =
        [" > ", " == ", " != "].iter().fold(query.to_owned(), |text, sign| text.replace(sign, " - "));
    let has_data = || {
        let answer = prometheus.http().json("/api/v1/query", &[("query", &compared)]);
        answer.is_ok_and(|answer| count_numbers(&answer) > 0)
    };
    wait::until_true(&format!("data of {compared}"), SOON, has_data)
}

/// A data source and the time that is shown.
struct Asked<'a> {
    http: &'a Http,
    span: Span,
}

impl Asked<'_> {
    /// All choices that the variables leave: all values together where that may be chosen, and each by itself.
    fn views(&self, variables: &[Variable]) -> Result<Vec<Bindings>> {
        let mut views = vec![self.span.bindings()];
        for variable in variables {
            let mut more = Vec::new();
            for view in views {
                let values = self.values(variable, &view)?;
                ensure!(!values.is_empty(), "no values for {variable:?}");
                let multiple = variable.all.is_some();
                let one = |value: String| if multiple { escaped(&value) } else { value };
                let values: Vec<String> = values.into_iter().map(one).collect();
                let all = variable.all.as_ref().map(|all| match all {
                    All::Text(text) => text.clone(),
                    All::Each => format!("({})", values.join("|")),
                });
                for value in all.into_iter().chain(values) {
                    let mut view = view.clone();
                    view.insert(variable.name.clone(), value);
                    more.push(view);
                }
            }
            views = more;
        }
        Ok(views)
    }

    fn values(&self, variable: &Variable, view: &Bindings) -> Result<Vec<String>> {
        let (selector, label) = label_values(&variable.query)?;
        let selector = selector.map(|selector| expand(&selector, view)).transpose()?;
        let [start, end] = [self.span.start, self.span.end].map(|time| time.to_string());
        let mut query = vec![("start", start.as_str()), ("end", end.as_str())];
        query.extend(selector.as_deref().map(|selector| ("match[]", selector)));
        let answer = self.http.json(&format!("/api/v1/label/{label}/values"), &query)?;
        let values = answer.get("data").and_then(Value::as_array).context("no data")?;
        Ok(values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect())
    }

    /// Asks; an error unless there are numbers and no warnings.
    fn data(&self, query: &PanelQuery, bindings: &Bindings) -> Result<()> {
        let expression = expand(&query.expression, bindings)?;
        let [start, end, step] =
            [self.span.start, self.span.end, self.span.interval].map(|seconds| seconds.to_string());
        let answer = if query.instant {
            self.http.form("/api/v1/query", &[("query", &expression), ("time", &end)])?
        } else {
            let form = [("query", expression.as_str()), ("start", &start), ("end", &end), ("step", &step)];
            self.http.form("/api/v1/query_range", &form)?
        };
        let context = || format!("{}: {expression}: {answer:?}", query.panel);
        ensure!(answer.status == 200, "{}", context());
        let json: Value = serde_json::from_str(&answer.body).with_context(context)?;
        ensure!(json.get("warnings").is_none(), "{}", context());
        ensure!(count_numbers(&json) > 0, "no numbers: {}", context());
        Ok(())
    }
}

/// How many values of an answer are numbers.
fn count_numbers(answer: &Value) -> usize {
    let result = answer.pointer("/data/result").and_then(Value::as_array).into_iter().flatten();
    let values = result.flat_map(|series| {
        let many = series.get("values").and_then(Value::as_array).into_iter().flatten();
        many.chain(series.get("value"))
    });
    let number = |value: &&Value| {
        let text = value.get(1).and_then(Value::as_str);
        text.and_then(|text| text.parse::<f64>().ok()).is_some_and(|number| !number.is_nan())
    };
    values.filter(number).count()
}
