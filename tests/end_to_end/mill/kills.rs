//! A fleet whose messages come late and twice, queries of all kinds throughout, and mills that die by `kill -9`:
//! every answer is checked while all of this goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use tidemill_tests::cassandra::Keyspace;
use tidemill_tests::delivery;
use tidemill_tests::feed::Feed;
use tidemill_tests::http::Http;
use tidemill_tests::mqtt::{Protocol, Settings};
use tidemill_tests::random::Random;
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::answers::{check_all, check_count, check_samples, check_windows};
use crate::{PLAN, SOON, WEATHER, eager, work_done};

const KILLS: u32 = 20;
/// From ready to dead, the time to come up aside.
const LIFE_MAX: Duration = Duration::from_millis(1_500);
/// Lasts as long as the kills do.
const MESSAGES: u64 = 40_000;

pub(crate) fn twenty(keyspace: &Keyspace) -> Result<()> {
    let mut random = Random::new("a_mill_killed_twenty_times_changes_no_answer")?;
    let start = |roles: &str| -> Result<Tidemill> {
        eager(Builder::new()?).with_cassandra(keyspace).roles(roles).start()
    };
    let serving = start("ingest,query")?;
    let mills = [start("mill")?, start("mill")?];
    let order = delivery::order(&PLAN, MESSAGES, WEATHER, &mut random);
    let settings = Settings::new(serving.mqtt_address(), "fleet", Protocol::V5);
    let mut feed = Feed::start_in_order(PLAN, settings, order)?;
    feed.wait_more(500, SOON)?;
    let (mut asking, http) = (random.clone(), serving.http());
    let (over, mut ground) = (AtomicBool::new(false), 0.0);
    let answers = std::thread::scope(|scope| {
        let asker = scope.spawn(|| ask_until(&over, http, &feed, &mut asking));
        let killed = kill_mills(&mills, http, &feed, &mut random);
        over.store(true, Ordering::Relaxed);
        ground += killed?;
        asker.join().map_err(|_| anyhow!("who asks has panicked"))?
    })?;
    eprintln!("{answers} rounds of queries while mills were killed");
    ensure!(answers > u64::from(KILLS) / 2, "only {answers} rounds of queries beside {KILLS} kills");
    feed.wait_over(Duration::from_mins(3))?;
    check_all(serving.http(), &PLAN, &feed).context("after the last message")?;
    wait::until("everything to be ground", Duration::from_mins(2), || {
        check_windows(serving.http(), &PLAN, &feed, &PLAN.device(0))?;
        let marks: Vec<(i64,)> =
            keyspace.query(&format!("SELECT COUNT(*) FROM {}.marks", keyspace.name()))?;
        Ok((marks == [(0,)]).then_some(()))
    })?;
    for mill in &mills {
        ground += grinds(mill).unwrap_or_default();
    }
    ensure!(ground > 0.5, "the mills that were killed ground nothing");
    check_all(serving.http(), &PLAN, &feed).context("with everything ground")
}

/// Kills one mill after the other and starts it again; how many grinds they had done by then.
fn kill_mills(mills: &[Tidemill; 2], http: &Http, feed: &Feed, random: &mut Random) -> Result<f64> {
    let mut ground = 0.0;
    for kill in 1..=KILLS {
        let mill = mills.get(usize::try_from(kill % 2)?).context("there are two mills")?;
        wait::pause(random.span_below(LIFE_MAX));
        ground += grinds(mill).unwrap_or_default();
        mill.kill()?;
        mill.spawn()?;
        let device = PLAN.device(random.below(u64::from(PLAN.devices)));
        check_windows(http, &PLAN, feed, &device).with_context(|| format!("after kill {kill}"))?;
    }
    Ok(ground)
}

/// Asks for windows, samples, latest values and counts of any device, and checks each answer; how often.
fn ask_until(over: &AtomicBool, http: &Http, feed: &Feed, random: &mut Random) -> Result<u64> {
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        let message = random.below(MESSAGES);
        let device = PLAN.device(message);
        check_count(http, &PLAN, feed, message)?;
        check_samples(http, &PLAN, feed, &device)?;
        check_windows(http, &PLAN, feed, &device)?;
        rounds += 1;
    }
    Ok(rounds)
}

fn grinds(mill: &Tidemill) -> Result<f64> {
    Ok(work_done(&mill.http().metrics()?, "grind"))
}
