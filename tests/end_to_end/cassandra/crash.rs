//! `kill -9` of the ingester at random moments, while a file is replayed through the broker and
//! devices publish to the listener: nothing acknowledged is missing, nothing is doubled (I1, I5).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::cassandra::Keyspace;
use tidemill_tests::csv_series::{self, MACHINE};
use tidemill_tests::feed::Feed;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::random::Random;
use tidemill_tests::wait;

use crate::{PLAN, SOON, broker, sensors};

const KILLS: u32 = 20;
/// Between two kills, the time to come up aside.
const LIFE_MAX: Duration = Duration::from_millis(700);
/// So slow that the replay lasts as long as the kills do: 22,695 rows in 38 s.
const ROWS_PER_S: &str = "600";
/// Reading everything back after each kill would take longer than the kills.
const VERIFY_EVERY: u32 = 5;

pub(crate) fn kills(keyspace: &Keyspace) -> Result<()> {
    let mut random = Random::new("twenty_kills_during_a_replay_lose_and_double_nothing")?;
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let tidemill = sensors::ingester(keyspace, &broker)?.start()?;
    broker::wait_consumed(&broker, &tidemill)?;
    let file = MACHINE.copy()?;
    let replay = csv_series::replay(&file, &MACHINE, broker.address(), &["--rate", ROWS_PER_S])?;
    let mut feed = Feed::start(PLAN, Settings::new(tidemill.mqtt_address(), "feed", Protocol::V5))?;
    let mut kills_during_replay = 0;
    for kill in 1..=KILLS {
        if random.below(4) == 0 {
            // In the middle of coming up.
            tidemill.spawn()?;
        }
        wait::pause(random.span_below(LIFE_MAX));
        kills_during_replay += u32::from(replay.runs()?);
        tidemill.kill()?;
        tidemill.restart()?;
        if kill.is_multiple_of(VERIFY_EVERY) {
            feed.verify(tidemill.http()).with_context(|| format!("after kill {kill}"))?;
        }
    }
    ensure!(kills_during_replay >= KILLS / 2, "only {kills_during_replay} kills during the replay");
    replay.finish(SOON)?.expect(0, &[])?;
    feed.finish(SOON)?;
    let verdict = feed.verify(tidemill.http())?;
    ensure!(usize::try_from(feed.issued())? * 4 == verdict.seen, "{} issued, {verdict}", feed.issued());
    sensors::wait_hourly(&tidemill, &MACHINE)?;
    csv_series::ensure_samples(tidemill.http(), &MACHINE)
}
