//! `[mill]` and `[store.retention]`: how what came in is ground, and how long everything is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use tidemill_store::layout::{Resolution, RetentionTimes};
use tidemill_store::mill::{GrindTimes, LeaseTimes, MillOptions};
use tidemill_store::read::ReadLimits;

use super::Span;
use super::check::count;
use super::raw::{RawMill, RawRetention};

/// Half of what others wait: a beat may be late without its mill being taken for dead.
const BEATS_MISSED_MIN: u32 = 2;

/// What a mill is told.
pub(super) fn mill(
    raw: &RawMill,
    retention: RetentionTimes,
    query_timeout: Duration,
) -> anyhow::Result<MillOptions> {
    ensure!(!raw.resolutions.is_empty(), "resolutions is empty; name at least one, such as \"1h\"");
    let resolutions = raw.resolutions.iter().map(|span| resolution("resolutions", span)).collect();
    ensure!((1..=100).contains(&raw.cpu_percent), "cpu_percent must be between 1 and 100");
    let read_for = query_timeout + ReadLimits::default().seals_trusted_for;
    ensure!(
        raw.grace.0 > read_for,
        "grace ({}) must be longer than {read_for:?}, query.timeout and the time for which a query trusts what it goes \
         by: queries read what was replaced",
        raw.grace
    );
    ensure!(
        raw.takeover_after.0 >= raw.beat.0 * BEATS_MISSED_MIN,
        "takeover_after ({}) must be at least twice beat ({})",
        raw.takeover_after,
        raw.beat
    );
    ensure!(!raw.interval.0.is_zero() && !raw.beat.0.is_zero(), "interval and beat must be above 0");
    Ok(MillOptions {
        resolutions: resolutions_of(resolutions, &retention)?,
        frame_samples_min: raw.window_samples_min,
        sketches_from: raw
            .sketches_from
            .as_ref()
            .map(|span| resolution("sketches_from", span))
            .transpose()?,
        retention,
        times: GrindTimes {
            settle: raw.settle.0,
            late_quiet: raw.late_quiet.0,
            late_wait_max: raw.late_wait_max.0,
            tail_bytes_min: raw.tail_bytes_min,
            over_soon: raw.over_soon.0,
            mark_age_max: raw.mark_age_max.0,
            grace: raw.grace.0,
        },
        leases: LeaseTimes { beat_every: raw.beat.0, takeover_after: raw.takeover_after.0 },
        survey_every: raw.interval.0,
        memory_bytes_max: count("memory_bytes_max", raw.memory_bytes_max)?,
        cpu_share: f64::from(raw.cpu_percent) / 100.0,
        ..MillOptions::default()
    })
}

/// How long everything is kept.
pub(super) fn retention(raw: &RawRetention) -> anyhow::Result<RetentionTimes> {
    let mut frames = BTreeMap::new();
    for (width, kept) in &raw.rollups {
        let width: Span = width.parse().map_err(anyhow::Error::msg).context("rollups")?;
        ensure!(!kept.0.is_zero(), "rollups of {width} are kept for {kept}; the time must be above 0");
        frames.insert(resolution("rollups", &width)?, kept.0);
    }
    let raw = raw.raw.map(|span| span.0);
    ensure!(raw.is_none_or(|raw| !raw.is_zero()), "raw must be above 0");
    Ok(RetentionTimes { raw, frames })
}

fn resolution(key: &str, span: &Span) -> anyhow::Result<Resolution> {
    Resolution::new(span.0).with_context(|| key.to_owned())
}

/// A retention of what is not stored is a mistake.
fn resolutions_of(
    resolutions: anyhow::Result<Vec<Resolution>>,
    retention: &RetentionTimes,
) -> anyhow::Result<Vec<Resolution>> {
    let resolutions = resolutions?;
    for resolution in retention.frames.keys() {
        ensure!(
            resolutions.contains(resolution),
            "store.retention.rollups names windows of {} s, which mill.resolutions does not",
            resolution.seconds()
        );
    }
    Ok(resolutions)
}
