//! `tidemill status`, `grind` and `verify` on a store whose service has stopped.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidemill_tests::delivery;
use tidemill_tests::feed::Feed;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::process::scratch_directory;
use tidemill_tests::random::Random;
use tidemill_tests::tidemill::Builder;

use crate::answers::check_all;
use crate::{PLAN, SOON, WEATHER, eager};

const MESSAGES: u64 = 3_000;

pub(crate) fn all() -> Result<()> {
    let mut random = Random::new("an_operator_sees_what_is_ground_and_grinds_by_hand")?;
    // Commands run in another directory than the service.
    let data = scratch_directory("tidemill-data-")?;
    let directory = data.path().to_string_lossy().into_owned();
    let tidemill =
        eager(Builder::new()?).set("store.embedded.directory", directory).roles("ingest,query").start()?;
    let order = delivery::order(&PLAN, MESSAGES, WEATHER, &mut random);
    let settings = Settings::new(tidemill.mqtt_address(), "fleet", Protocol::V5);
    let mut feed = Feed::start_in_order(PLAN, settings, order)?;
    feed.wait_over(SOON)?;
    ensure!(tidemill.stop(SOON)? == Some(0), "exit code: {}", tidemill.log()?);
    tidemill.command(&["status"])?.finish(SOON)?.expect(0, &["shard", "unground"])?;
    let ground = tidemill.command(&["grind", "--all"])?.finish(SOON)?;
    ground.expect(0, &["ground", "bytes that were replaced are deleted"])?;
    let status: Value = serde_json::from_str(&tidemill.command(&["status", "--json"])?.finish(SOON)?.output)?;
    let shards = status.get("shards").and_then(Value::as_array).context("no shards")?;
    ensure!(
        !shards.is_empty() && shards.iter().all(|of| of.get("garbage_bytes") == Some(&json!(0))),
        "{status}"
    );
    tidemill.command(&["verify"])?.finish(SOON)?.expect(0, &["0 differences"])?;
    tidemill.restart()?;
    check_all(tidemill.http(), &PLAN, &feed)
}
