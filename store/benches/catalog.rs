//! What the catalog of a million sources takes: bytes for each, and the time to find some of them by their labels.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints what the clock says"
)]

use std::sync::Arc;
use std::time::Instant;

use tidemill_store::catalog::{Allowed, CatalogIndex, Condition, Label, Test};
use tidemill_store::layout::{CatalogRow, MetricFact};
use tidemill_store::model::{
    CatalogN, Device, Metric, Shard, Source, TagKey, TagValue, Tags, Tenant, ValueKind, WriterId,
};
use tidemill_store::read::Selector;

const SOURCES: u32 = 1_000_000;

/// Pages of memory in use, from the kernel.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn row(n: u32) -> CatalogRow {
    let tag = |key: &str, value: String| (TagKey::new(key).unwrap(), TagValue::new(&value).unwrap());
    let tags = vec![
        tag("site", format!("site-{}", n % 100)),
        tag("model", format!("model-{}", n % 17)),
        tag("line", format!("line-{}", n % 5_000)),
    ];
    let device = Device::new(&format!("device-{n:07}")).unwrap();
    let source = Source::new(Tenant::new("default").unwrap(), device, Tags::new(tags).unwrap());
    let fact =
        |name: &str| MetricFact { metric: Metric::new(name).unwrap(), kind: ValueKind::F64, unit: None };
    let metrics = ["temperature", "humidity", "pressure", "energy_total", "state"].map(fact).to_vec();
    CatalogRow { writer: WriterId::from_random(2), n: CatalogN::new(n), source: Arc::new(source), metrics }
}

fn timed(index: &CatalogIndex, what: &str, conditions: Vec<Condition>) {
    let metrics = vec![Metric::new("temperature").unwrap()];
    let selector = Selector { metrics, conditions, ..Selector::default() };
    let mut times: Vec<f64> = Vec::new();
    let mut found = 0;
    for _ in 0..9 {
        let started = Instant::now();
        found = index.select(&selector).sources.len();
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("{:>8.3} ms  {found:>8} sources  {what}", times.get(times.len() / 2).unwrap());
}

fn main() {
    let index = CatalogIndex::default();
    let before = resident_bytes();
    let started = Instant::now();
    for first in (0..SOURCES).step_by(1_000) {
        index.extend(Shard::new(0), &(first..first + 1_000).map(row).collect::<Vec<_>>());
    }
    let bytes = resident_bytes().saturating_sub(before);
    println!(
        "{SOURCES} sources: {} bytes each, learnt in {:.1} s",
        bytes / index.len(),
        started.elapsed().as_secs_f64()
    );
    let listed = |values: &[&str]| Allowed::Listed(values.iter().map(|value| (*value).to_owned()).collect());
    let tag = |key: &str, allowed| Condition::Tag(key.to_owned(), allowed);
    let tested = |test: fn(&str) -> bool| Allowed::Tested(Test::new(test));
    timed(&index, "all", Vec::new());
    timed(&index, "device=\"device-0777777\"", vec![Condition::Device(listed(&["device-0777777"]))]);
    timed(&index, "site=\"site-7\"", vec![tag("site", listed(&["site-7"]))]);
    let both = vec![tag("site", listed(&["site-7"])), tag("model", listed(&["model-3"]))];
    timed(&index, "site=\"site-7\", model=\"model-3\"", both);
    timed(&index, "line=~\".*77\"", vec![tag("line", tested(|line| line.ends_with("77")))]);
    timed(&index, "site!=\"site-7\"", vec![tag("site", tested(|site| site != "site-7"))]);
    timed(
        &index,
        "device=~\"device-07777.*\"",
        vec![Condition::Device(tested(|d| d.starts_with("device-07777")))],
    );
    let started = Instant::now();
    let values = index.values(&Selector::default(), &Label::Tag("line".to_owned())).len();
    println!("{:>8.3} ms  {values:>8} values of a tag", started.elapsed().as_secs_f64() * 1e3);
}
