//! What a server answers about a plan's messages, compared with what was sent.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tidemill_tests::api;
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::oracle::{Checker, METRICS, Plan};
use tidemill_tests::windows::{self, Series, Windows};

/// Widths that are stored, made of stored ones, and cut across all of them.
const WIDTHS: [(&str, i128); 4] = [("1m", 60), ("1h", 3_600), ("1d", 86_400), ("1000s", 1_000)];

/// How far PromQL counts back: across buckets and late messages.
const COUNTED_MS: i64 = 7 * 3_600_000;

/// The windows of one device's temperature that `numbers` of the plan's messages give.
fn expected(plan: &Plan, numbers: &BTreeSet<u64>, device: &str, width_s: i128) -> Windows {
    let of_device = numbers.iter().filter(|&&number| plan.device(number) == device);
    let series: Series = of_device
        .filter_map(|&number| {
            let value = plan.value(number, "temperature").as_f64()?;
            Some((i128::from(plan.time_ms(number)) * 1_000_000, value))
        })
        .collect();
    windows::expected(&series, width_s * 1_000_000_000)
}

/// Every window of one device, in every width, while messages may be on their way.
pub(crate) fn check_windows(http: &Http, plan: &Plan, feed: &Feed, device: &str) -> Result<()> {
    for (width, seconds) in WIDTHS {
        let certain = expected(plan, &feed.acknowledged(), device, seconds);
        let (start, end) = api::plan_range(plan)?;
        let read = windows::read(http, (device, "temperature"), width, (&start, &end))?;
        let possible = expected(plan, &feed.issued_numbers(), device, seconds);
        windows::ensure_between(&read, &certain, &possible)
            .with_context(|| format!("windows of {width} of {device}"))?;
    }
    Ok(())
}

/// Every sample of one device, and the latest of each series, while messages may be on their way.
pub(crate) fn check_samples(http: &Http, plan: &Plan, feed: &Feed, device: &str) -> Result<()> {
    let of_device = |numbers: BTreeSet<u64>| -> BTreeSet<u64> {
        numbers.into_iter().filter(|&number| plan.device(number) == device).collect()
    };
    let certain = of_device(feed.acknowledged());
    let (start, end) = api::plan_range(plan)?;
    let query = [("device", device), ("start", start.as_str()), ("end", end.as_str())];
    let read = api::samples(http, &query, "20000")?;
    let mut checker = Checker::new(*plan, of_device(feed.issued_numbers()), certain);
    for sample in read {
        checker.see(sample);
    }
    checker.verdict().ensure_clean().with_context(|| format!("samples of {device}"))?;

    let certain = of_device(feed.acknowledged());
    let latest = api::latest(http, device)?;
    let issued = of_device(feed.issued_numbers());
    let least = certain.last().copied().unwrap_or_default();
    anyhow::ensure!(certain.is_empty() || latest.len() == METRICS.len(), "latest of {device}: {latest:?}");
    let mut checker = Checker::new(*plan, issued.range(least..).copied(), []);
    for sample in latest {
        checker.see(sample);
    }
    checker.verdict().ensure_clean().with_context(|| format!("latest of {device}, from {least} on"))?;
    Ok(())
}

/// How many samples PromQL counts of one device in the hours up to `message`, while messages may be on their way.
pub(crate) fn check_count(http: &Http, plan: &Plan, feed: &Feed, message: u64) -> Result<()> {
    let (device, through) = (plan.device(message), plan.time_ms(message));
    let count = |numbers: BTreeSet<u64>| {
        let is_there = |number: &&u64| {
            let time = plan.time_ms(**number);
            plan.device(**number) == device && through - COUNTED_MS < time && time <= through
        };
        numbers.iter().filter(is_there).count()
    };
    let least = count(feed.acknowledged());
    let query = format!("count_over_time(temperature{{device=\"{device}\"}}[{COUNTED_MS}ms])");
    let time = format!("{}.{:03}", through.div_euclid(1_000), through.rem_euclid(1_000));
    let answer = http.json("/api/v1/query", &[("query", &query), ("time", &time)])?;
    let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
    let counted: usize = value.map_or(Ok(0), str::parse).with_context(|| answer.to_string())?;
    let most = count(feed.issued_numbers());
    anyhow::ensure!((least..=most).contains(&counted), "{query} at {time}: {counted}, not {least} to {most}");
    Ok(())
}

/// The windows of every device, and every sample.
pub(crate) fn check_all(http: &Http, plan: &Plan, feed: &Feed) -> Result<()> {
    for number in 0..u64::from(plan.devices) {
        check_windows(http, plan, feed, &plan.device(number))?;
    }
    feed.verify(http)?;
    check_latest(http, plan, feed)
}

/// The latest sample of every device, once nothing is on its way.
fn check_latest(http: &Http, plan: &Plan, feed: &Feed) -> Result<()> {
    let acknowledged = feed.acknowledged();
    for first in 0..u64::from(plan.devices) {
        let device = plan.device(first);
        let of_device = acknowledged.iter().filter(|&&number| plan.device(number) == device);
        let Some(&last) = of_device.max() else { continue };
        let latest = api::latest(http, &device)?;
        for sample in plan.samples(last) {
            anyhow::ensure!(
                feed.issued_numbers() != acknowledged || latest.contains(&sample),
                "{sample:?} is not among {latest:?}"
            );
        }
    }
    Ok(())
}
