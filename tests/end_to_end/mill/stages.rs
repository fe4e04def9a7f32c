//! One directory of data, opened without a mill, then with one that grinds it while it is asked.

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::delivery;
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::process::scratch_directory;
use tidemill_tests::random::Random;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::answers::check_all;
use crate::{PLAN, SOON, WEATHER, eager, work_done};

const MESSAGES: u64 = 20_000;

pub(crate) fn all() -> Result<()> {
    let mut random = Random::new("answers_are_the_same_with_the_mill_never_half_and_fully_run")?;
    let data = scratch_directory("tidemill-data-")?;
    let start = |roles: &str| -> Result<Tidemill> {
        let directory = data.path().to_string_lossy().into_owned();
        eager(Builder::new()?).set("store.embedded.directory", directory).roles(roles).start()
    };
    let unground = start("ingest,query")?;
    let order = delivery::order(&PLAN, MESSAGES, WEATHER, &mut random);
    let settings = Settings::new(unground.mqtt_address(), "fleet", Protocol::V5);
    let mut feed = Feed::start_in_order(PLAN, settings, order)?;
    feed.wait_over(SOON)?;
    check_all(unground.http(), &PLAN, &feed).context("with the mill never run")?;
    ensure!(unground.stop(SOON)? == Some(0), "exit code: {}", unground.log()?);
    let grinding = start("ingest,mill,query")?;
    let mut checked = 0;
    while !is_ground(grinding.http())? || checked == 0 {
        check_all(grinding.http(), &PLAN, &feed).context("with the mill half run")?;
        checked += 1;
    }
    check_all(grinding.http(), &PLAN, &feed).context("with the mill fully run")?;
    wait::until_true("segments to be collected", SOON, || {
        grinding.http().metrics().is_ok_and(|metrics| work_done(&metrics, "collect") > 0.5)
    })?;
    check_all(grinding.http(), &PLAN, &feed).context("with the segments deleted")
}

/// Whether no bucket waits for the mill.
fn is_ground(http: &Http) -> Result<bool> {
    let metrics = http.metrics()?;
    let of = |state| metrics.sum("tidemill_mill_buckets", &[("state", state)]);
    let waiting = of("closed") + of("dirty");
    Ok(work_done(&metrics, "grind") > 0.5 && waiting < 0.5)
}
