//! Several processes on one store: roles apart, and ingesters that share the load of a broker.

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::api::{self, Accounting};
use tidemill_tests::cassandra::Keyspace;
use tidemill_tests::feed::Feed;
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::tidemill::{Builder, Tidemill};
use tidemill_tests::wait;

use crate::{PLAN, SOON, broker};

/// I3 holds between processes: what one has acknowledged the other answers.
pub(crate) fn split(keyspace: &Keyspace) -> Result<()> {
    const COUNT: u64 = 100;
    let build = |roles| -> Result<Tidemill> {
        let builder = Builder::new()?.with_cassandra(keyspace);
        builder.roles(roles).start()
    };
    let (ingest, query) = (build("ingest")?, build("query")?);
    ensure!(std::net::TcpStream::connect(query.mqtt_address()).is_err(), "a query node takes devices");
    let publisher = Publisher::start(Settings::new(ingest.mqtt_address(), "device", Protocol::V5))?;
    for number in 0..COUNT {
        publisher.publish(number, &PLAN.topic(number), &PLAN.payload(number), SOON)?;
        publisher.wait_acknowledged(number, SOON)?;
        let latest = api::latest(query.http(), &PLAN.device(number))?;
        let all = PLAN.samples(number).iter().all(|sample| latest.contains(sample));
        ensure!(all, "right after the acknowledgement of message {number}: {latest:?}");
    }
    let stored = Accounting::scrape(ingest.http())?.stored;
    ensure!((stored - 100.0).abs() < 0.5, "{stored} stored");
    // Answers need nothing of the ingester.
    ensure!(ingest.stop(SOON)? == Some(0), "exit code: {}", ingest.log()?);
    let read = api::plan_samples(query.http(), &PLAN)?.len();
    ensure!(read == usize::try_from(COUNT)? * 4, "{read} samples");
    Ok(())
}

pub(crate) fn group(keyspace: &Keyspace) -> Result<()> {
    let broker = Mosquitto::start(&mosquitto::Settings::default())?;
    let ingester = |name| -> Result<Tidemill> {
        let builder = Builder::new()?.with_cassandra(keyspace);
        builder.with_broker(broker.address(), name).start()
    };
    let first = ingester("first")?;
    broker::wait_consumed(&broker, &first)?;
    let second = ingester("second")?;
    let mut feed = Feed::start(PLAN, Settings::new(broker.address(), "feed", Protocol::V5))?;
    let stored = |tidemill: &Tidemill| Accounting::scrape(tidemill.http()).map(|sum| sum.stored);
    wait::until("both to take part", SOON, || {
        Ok((stored(&first)?.min(stored(&second)?) > 100.5).then_some(()))
    })?;
    // What the broker has for the one that died waits for its return.
    second.kill()?;
    feed.wait_more(500, SOON)?;
    second.restart()?;
    feed.wait_more(100, SOON)?;
    feed.finish(SOON)?;
    broker::wait_all(&feed, &first).context("read through the first")?;
    broker::wait_all(&feed, &second).context("read through the second")
}
