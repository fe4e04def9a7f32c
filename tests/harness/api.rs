//! What tests ask of the native HTTP API and of `/metrics`, read into the oracle's words.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::http::{Http, Metrics};
use crate::oracle::{METRICS, Plan, Sample};

/// Samples asked for in a page: several pages where a test reads much.
const PAGE: &str = "20000";
/// Later than any message of a plan.
const PLAN_SPAN: Duration = Duration::from_hours(24 * 300);

/// The newest sample of each series of a device.
pub fn latest(http: &Http, device: &str) -> Result<Vec<Sample>> {
    let answer = http.json("/v1/latest", &[("device", device)])?;
    rows(&answer, "samples")?.iter().map(Sample::from_json).collect()
}

/// All samples that a query of `/v1/samples` selects, page after page; `limit` and `cursor` are
/// added here. An error where the pages are not in ascending order of time.
pub fn samples(http: &Http, query: &[(&str, &str)], limit: &str) -> Result<Vec<Sample>> {
    let mut all: Vec<Sample> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = query.to_vec();
        query.push(("limit", limit));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = http.json("/v1/samples", &query)?;
        let read = rows(&page, "samples")?;
        ensure!(read.len() <= limit.parse()?, "{} samples in a page of {limit}", read.len());
        for row in read {
            all.push(Sample::from_json(row)?);
        }
        cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let sorted = all.is_sorted_by_key(|sample| sample.time_ns);
    ensure!(sorted, "{query:?}: not in order of time");
    Ok(all)
}

/// All samples of a plan's metrics and time.
pub fn plan_samples(http: &Http, plan: &Plan) -> Result<Vec<Sample>> {
    let (start, end) = plan_range(plan)?;
    let mut query = vec![("start", start.as_str()), ("end", end.as_str())];
    query.extend(METRICS.map(|metric| ("metric", metric)));
    samples(http, &query, PAGE)
}

/// A range that holds all messages of a plan, as the API takes times.
pub fn plan_range(plan: &Plan) -> Result<(String, String)> {
    let start = Timestamp::from_millisecond(plan.start_ms)?;
    Ok((start.to_string(), start.checked_add(PLAN_SPAN)?.to_string()))
}

/// The array `field` of an answer.
pub fn rows<'a>(answer: &'a Value, field: &str) -> Result<&'a [Value]> {
    let rows = answer.get(field).and_then(Value::as_array).map(Vec::as_slice);
    rows.with_context(|| format!("no {field} in {answer}"))
}

/// Where all messages are, or ended, in one scrape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accounting {
    /// Taken from sources.
    pub received: f64,
    /// Durable.
    pub stored: f64,
    /// Recognised as stored before.
    pub duplicate: f64,
    /// Refused by policy and kept.
    pub quarantined: f64,
    /// Not understood and kept.
    pub dead_lettered: f64,
    /// Dropped for want of room, QoS 0 only.
    pub shed: f64,
    /// Left in the spool by an earlier process.
    pub recovered: f64,
    /// In the spool.
    pub spooled: f64,
    /// In records of the spool that cannot be read any more.
    pub set_aside: f64,
    /// None of these yet.
    pub in_flight: f64,
    /// Times that the process found its own numbers wrong.
    pub violations: f64,
}

impl Accounting {
    /// Reads a scrape.
    pub fn of(metrics: &Metrics) -> Self {
        let sum = |what: &str| metrics.sum(&format!("tidemill_ingest_messages_{what}"), &[]);
        Self {
            received: sum("received_total"),
            stored: sum("stored_total"),
            duplicate: sum("duplicate_total"),
            quarantined: sum("quarantined_total"),
            dead_lettered: sum("dead_lettered_total"),
            shed: sum("shed_total"),
            recovered: sum("recovered_total"),
            spooled: sum("spooled"),
            set_aside: sum("set_aside_total"),
            in_flight: sum("in_flight"),
            violations: metrics.sum("tidemill_accounting_violations_total", &[]),
        }
    }

    /// Scrapes a server; an error unless nothing vanished (I2).
    pub fn scrape(http: &Http) -> Result<Self> {
        let this = Self::of(&http.metrics()?);
        let kept = this.stored + this.duplicate + this.quarantined + this.dead_lettered + this.spooled;
        let ended = kept + this.shed + this.set_aside;
        // Counts far below 2^53 are exact in a double.
        let came = this.received + this.recovered;
        ensure!((came - ended - this.in_flight).abs() < 0.5, "messages vanished: {this:?}");
        ensure!(this.violations < 0.5, "the process found its own accounting wrong: {this:?}");
        Ok(this)
    }
}
