//! Devices that send less often than PromQL looks back: by configuration of a metric, and by parameter of a query.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::Builder;

use crate::SOON;

const START: u64 = 1_700_000_000;

pub(crate) fn metrics() -> Result<()> {
    let builder =
        Builder::new()?.set("query.intervals", json!({"level": "1h"})).set("query.lookback_delta", "2m");
    let tidemill = builder.start()?;
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "slow", Protocol::V5))?;
    let payload = format!(r#"{{"ts": {}, "level": 3, "depth": 4}}"#, START * 1_000);
    publisher.publish(0, "devices/tank-1/telemetry", payload.as_bytes(), SOON)?;
    publisher.disconnect(SOON)?;
    let has = |query: &str, after: u64, more: &[(&str, &str)]| -> Result<bool> {
        let at = (START + after).to_string();
        let asked = [&[("query", query), ("time", at.as_str())], more].concat();
        let answer = tidemill.http().json("/api/v1/query", &asked)?;
        Ok(answer.pointer("/data/result").and_then(Value::as_array).is_some_and(|result| !result.is_empty()))
    };
    // A quarter longer than an hour.
    ensure!(has("level", 74 * 60, &[])? && !has("level", 76 * 60, &[])?, "level");
    ensure!(has("{__name__=\"level\"}", 74 * 60, &[])?, "level by a matcher");
    ensure!(
        has("{device=\"tank-1\"}", 74 * 60, &[])? && !has("{device=\"tank-1\"}", 76 * 60, &[])?,
        "tank-1"
    );
    ensure!(has("depth", 119, &[])? && !has("depth", 121, &[])?, "depth");
    let day = [("lookback_delta", "1d")];
    ensure!(
        has("depth", 86_000, &day)? && has("level", 86_000, &day)? && !has("depth", 86_401, &day)?,
        "a day"
    );
    let minute = [("lookback_delta", "1m")];
    ensure!(!has("level", 61, &minute)? && has("level", 59, &minute)?, "a minute");
    Ok(())
}
