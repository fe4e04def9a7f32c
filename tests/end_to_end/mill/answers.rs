//! What a server answers about a plan's messages, compared with what was sent.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use tidemill_tests::api;
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::oracle::Plan;
use tidemill_tests::windows::{self, Series, Windows};

/// Widths that are stored, made of stored ones, and cut across all of them.
const WIDTHS: [(&str, i128); 4] = [("1m", 60), ("1h", 3_600), ("1d", 86_400), ("1000s", 1_000)];

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
