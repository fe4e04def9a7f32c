//! Ends of the process, orderly and not, while devices publish: nothing acknowledged is lost,
//! nothing comes back doubled (I1, I5).

use anyhow::{Result, ensure};
use tidemill_tests::feed::Feed;
use tidemill_tests::kills::kill_at_random;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::random::Random;
use tidemill_tests::tidemill::Builder;

use crate::{PLAN, SOON};

pub(crate) fn terminate() -> Result<()> {
    let tidemill = Builder::new()?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V5))?;
    for _ in 0..3 {
        feed.wait_more(200, SOON)?;
        let code = tidemill.stop(SOON)?;
        ensure!(code == Some(0), "exit code {code:?}:\n{}", tidemill.log()?);
        tidemill.restart()?;
        feed.verify(tidemill.http())?;
    }
    feed.finish(SOON)?;
    let verdict = feed.verify(tidemill.http())?;
    ensure!(verdict.seen >= 600 * 4, "{verdict}");
    Ok(())
}

pub(crate) fn kill() -> Result<()> {
    const ROUNDS: u32 = 10;
    let mut random = Random::new("a_killed_process_has_lost_nothing_acknowledged")?;
    let tidemill = Builder::new()?.start()?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "device", Protocol::V311))?;
    kill_at_random((&tidemill, &feed), &mut random, ROUNDS, || feed.verify(tidemill.http()).map(drop))?;
    feed.finish(SOON)?;
    let verdict = feed.verify(tidemill.http())?;
    ensure!(usize::try_from(feed.issued())? * 4 == verdict.seen, "{} issued, {verdict}", feed.issued());
    ensure!(feed.issued() > u64::from(ROUNDS) * 10, "hardly anything was published: {verdict}");
    Ok(())
}
