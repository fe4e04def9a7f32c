//! The MQTT consumer against a real Mosquitto: sessions, reconnections, acknowledgements, share groups, TLS.
//!
//! The pipeline is a stand-in whose completions the trials hold, so that they decide when a message is durable.

mod certificates;
mod consumer;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidemill_ingest::source::mqtt::{Login, MqttConfig, MqttReport, Retained, Tls, Version};
use tidemill_tests::mosquitto::{self, Mosquitto};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::real::{self, Requirement::Mosquitto as Broker, trial};
use tidemill_tests::relay::Relay;
use tidemill_tests::wait;

use certificates::Certificates;
use consumer::{Consumer, Recorder, config, publish_one};

const SOON: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for (name, version) in [("mqtt_5", Version::V5), ("mqtt_311", Version::V311)] {
        let mut add = |what: &str, body: fn(Version) -> Result<()>| {
            trials.push(trial(&format!("{name}_{what}"), &[Broker], move || body(version)));
        };
        add("takes_and_acknowledges_every_message", everything);
        add("keeps_its_session_while_away", away);
        add("does_not_acknowledge_on_a_later_connection", stale);
        add("takes_once_what_is_delivered_again", known);
        add("acknowledges_nothing_that_was_abandoned", abandoned);
        add("drains_before_it_stops", drains);
        add("survives_a_broker_that_restarts", broker_restart);
        add("survives_a_broker_that_hangs", broker_pause);
        add("shares_the_messages_between_consumers", sharing);
        add("sheds_qos_0_before_it_stops_listening", sheds);
        add("leaves_its_group_for_good_where_told_to", leaves);
        add("counts_retained_messages_and_ignores_them_where_told_to", retained);
        add("is_not_thrown_by_a_message_above_its_limit", oversize);
        add("shows_its_login", login);
        add("checks_the_certificate_of_its_broker", tls);
    }
    trials.push(trial("a_single_connection_needs_no_share_group", &[Broker], unshared));
    trials.push(trial("every_broker_of_the_list_is_consumed", &[Broker], two_brokers));
    real::run(trials)
}

fn broker() -> Result<Mosquitto> {
    Mosquitto::start(&mosquitto::Settings::default())
}

fn publisher(broker: &Mosquitto) -> Result<Publisher> {
    Publisher::start(Settings::new(broker.address(), "publisher", Protocol::V5))
}

/// Publishes messages whose payload is their number, and waits until the broker has them.
fn publish(publisher: &Publisher, numbers: std::ops::Range<u64>) -> Result<()> {
    for number in numbers {
        let topic = format!("devices/d{}/telemetry", number % 7);
        publisher.publish(number, &topic, number.to_string().as_bytes(), SOON)?;
    }
    publisher.wait_settled(SOON)
}

fn numbers(range: std::ops::Range<u64>) -> BTreeSet<u64> {
    range.collect()
}

fn everything(version: Version) -> Result<()> {
    const COUNT: u64 = 5_000;
    let broker = broker()?;
    let recorder = Recorder::settling();
    let consumer = Consumer::start(config(broker.address(), version), &recorder)?;
    consumer.wait_connected(2)?;
    publish(&publisher(&broker)?, 0..COUNT)?;
    recorder.wait_for(&numbers(0..COUNT))?;
    ensure!(recorder.received() == usize::try_from(COUNT)?, "each arrived once: {}", recorder.received());
    ensure!(recorder.topics().contains("devices/d3/telemetry"), "{:?}", recorder.topics());
    let report = consumer.stop()?;
    ensure!(report == MqttReport::default(), "{report:?}");
    // Whatever had not been acknowledged would come again.
    let again = Recorder::settling();
    let consumer = Consumer::start(config(broker.address(), version), &again)?;
    consumer.wait_connected(2)?;
    publish(&publisher(&broker)?, COUNT..COUNT + 1)?;
    again.wait_for(&numbers(COUNT..COUNT + 1))?;
    ensure!(again.received() == 1, "{} came again", again.received());
    Ok(())
}

fn away(version: Version) -> Result<()> {
    let broker = broker()?;
    let recorder = Recorder::settling();
    let consumer = Consumer::start(config(broker.address(), version), &recorder)?;
    consumer.wait_connected(2)?;
    ensure!(consumer.stop()? == MqttReport::default(), "nothing was in flight");
    publish(&publisher(&broker)?, 0..500)?;
    let consumer = Consumer::start(config(broker.address(), version), &recorder)?;
    recorder.wait_for(&numbers(0..500))?;
    ensure!(consumer.stop()? == MqttReport::default(), "all were acknowledged");
    Ok(())
}

fn single(address: std::net::SocketAddr, version: Version) -> MqttConfig {
    MqttConfig { connections: 1, ..config(address, version) }
}

/// A consumer to which ten messages came over two connections, and none of them is durable yet.
fn delivered_again(version: Version) -> Result<(Mosquitto, Relay, Recorder, Consumer)> {
    let broker = broker()?;
    let relay = Relay::start(broker.address())?;
    let first = Recorder::holding();
    let consumer = Consumer::start(single(relay.address(), version), &first)?;
    consumer.wait_connected(1)?;
    publish(&publisher(&broker)?, 0..10)?;
    first.wait_for(&numbers(0..10))?;
    relay.cut();
    consumer.wait_metric("tidemill_mqtt_connected", "", 0.0)?;
    relay.restore();
    wait::until_true("the second delivery", SOON, || first.duplicates() == 10)?;
    ensure!(first.received() == 10, "{} were taken of 10", first.received());
    consumer.wait_metric("tidemill_mqtt_redelivered_messages_total", "", 10.0)?;
    consumer.wait_metric("tidemill_mqtt_stale_acks_total", "", 10.0)?;
    Ok((broker, relay, first, consumer))
}

fn stale(version: Version) -> Result<()> {
    let (broker, _relay, _first, consumer) = delivered_again(version)?;
    consumer.kill();
    // Had anything been acknowledged, the broker would not have all of them left for a third connection.
    let third = Recorder::settling();
    let consumer = Consumer::start(single(broker.address(), version), &third)?;
    third.wait_for(&numbers(0..10))?;
    ensure!(consumer.stop()?.unacknowledged == 0, "all are acknowledged now");
    Ok(())
}

fn known(version: Version) -> Result<()> {
    let (broker, _relay, first, consumer) = delivered_again(version)?;
    first.settle(10);
    consumer.wait_metric("tidemill_mqtt_in_flight_messages", "", 0.0)?;
    ensure!(consumer.stop()? == MqttReport::default(), "they are acknowledged over the second connection");
    let third = Recorder::settling();
    let consumer = Consumer::start(single(broker.address(), version), &third)?;
    consumer.wait_connected(1)?;
    publish(&publisher(&broker)?, 10..11)?;
    third.wait_for(&numbers(10..11))?;
    ensure!(third.received() == 1, "{} came a third time", third.received() - 1);
    Ok(())
}

fn abandoned(version: Version) -> Result<()> {
    let broker = broker()?;
    let recorder = Recorder::holding();
    let consumer = Consumer::start(single(broker.address(), version), &recorder)?;
    consumer.wait_connected(1)?;
    publish(&publisher(&broker)?, 0..10)?;
    recorder.wait_for(&numbers(0..10))?;
    recorder.settle_from_now_on();
    recorder.abandon();
    wait::until_true("the second delivery", SOON, || recorder.received() == 20)?;
    consumer.wait_metric("tidemill_mqtt_disconnects_total", "abandoned", 1.0)?;
    ensure!(consumer.stop()? == MqttReport::default(), "the second delivery was acknowledged");
    Ok(())
}

fn drains(version: Version) -> Result<()> {
    let broker = broker()?;
    let recorder = Recorder::holding();
    let consumer = Consumer::start(single(broker.address(), version), &recorder)?;
    consumer.wait_connected(1)?;
    publish(&publisher(&broker)?, 0..100)?;
    recorder.wait_for(&numbers(0..100))?;
    let stopping = consumer.begin_to_stop();
    recorder.settle(100);
    ensure!(stopping.wait()? == MqttReport::default(), "all were acknowledged");
    let again = Recorder::settling();
    let consumer = Consumer::start(single(broker.address(), version), &again)?;
    consumer.wait_connected(1)?;
    publish(&publisher(&broker)?, 100..101)?;
    again.wait_for(&numbers(100..101))?;
    ensure!(again.received() == 1, "{} came again", again.received());
    Ok(())
}

fn broker_restart(version: Version) -> Result<()> {
    let broker = broker()?;
    let recorder = Recorder::settling();
    let consumer = Consumer::start(config(broker.address(), version), &recorder)?;
    consumer.wait_connected(2)?;
    let publisher = publisher(&broker)?;
    publish(&publisher, 0..500)?;
    broker.stop()?;
    consumer.wait_connected(0)?;
    broker.restart()?;
    // Mosquitto restores sessions, but not their part in a share group: that takes subscribing again.
    consumer.wait_connected(2)?;
    publish(&publisher, 500..1_000)?;
    recorder.wait_for(&numbers(0..1_000))?;
    // After a kill the broker has forgotten the sessions: only resubscribing brings messages again.
    broker.kill()?;
    consumer.wait_connected(0)?;
    broker.restart()?;
    consumer.wait_connected(2)?;
    publish(&publisher, 1_000..1_500)?;
    recorder.wait_for(&numbers(0..1_500))
}

fn broker_pause(version: Version) -> Result<()> {
    let broker = broker()?;
    let recorder = Recorder::settling();
    let shortest = MqttConfig { keep_alive: Duration::from_secs(5), ..config(broker.address(), version) };
    let consumer = Consumer::start(shortest, &recorder)?;
    consumer.wait_connected(2)?;
    broker.pause()?;
    consumer.wait_metric("tidemill_mqtt_disconnects_total", "timeout", 2.0)?;
    broker.resume()?;
    consumer.wait_connected(2)?;
    publish(&publisher(&broker)?, 0..100)?;
    recorder.wait_for(&numbers(0..100))
}

fn sharing(version: Version) -> Result<()> {
    const COUNT: u64 = 2_000;
    let broker = broker()?;
    let (first, second) = (Recorder::settling(), Recorder::settling());
    let other = MqttConfig { client_id_prefix: "other".to_owned(), ..config(broker.address(), version) };
    let consumers =
        [Consumer::start(config(broker.address(), version), &first)?, Consumer::start(other, &second)?];
    for consumer in &consumers {
        consumer.wait_connected(2)?;
    }
    publish(&publisher(&broker)?, 0..COUNT)?;
    let both = || first.received() + second.received();
    wait::until_true("all messages", SOON, || both() >= usize::try_from(COUNT).unwrap_or(0))?;
    ensure!(both() == usize::try_from(COUNT)?, "each came to one of them: {}", both());
    ensure!(first.received() > 0 && second.received() > 0, "{} and {}", first.received(), second.received());
    let union = &first.numbers() | &second.numbers();
    ensure!(union == numbers(0..COUNT), "all came");
    Ok(())
}

fn sheds(version: Version) -> Result<()> {
    const COUNT: u32 = 200;
    let broker = broker()?;
    let recorder = Recorder::holding();
    let narrow = MqttConfig { in_flight_bytes_max: 20_000, ..single(broker.address(), version) };
    let consumer = Consumer::start(narrow, &recorder)?;
    consumer.wait_connected(1)?;
    consumer::publish_qos_0(broker.address(), COUNT, 100)?;
    wait::until_true("every message to be taken or shed", SOON, || {
        let shed = consumer.metric("tidemill_mqtt_shed_messages_total", "");
        shed > 0.0 && (shed - f64::from(COUNT)).abs() <= 100.0
    })?;
    publish(&publisher(&broker)?, 0..5)?;
    recorder.wait_for(&numbers(0..5))?;
    ensure!(consumer.metric("tidemill_mqtt_poll_pauses_total", "") < 1.0, "QoS 0 never stops the listening");
    Ok(())
}

/// What comes after one of two has left goes to the other, all of it, and what it had was settled before.
fn leaves(version: Version) -> Result<()> {
    let broker = broker()?;
    let (staying, leaving) = (Recorder::settling(), Recorder::settling());
    let other = MqttConfig {
        client_id_prefix: "leaver".to_owned(),
        leave_on_stop: true,
        ..config(broker.address(), version)
    };
    let stays = Consumer::start(config(broker.address(), version), &staying)?;
    stays.wait_connected(2)?;
    let leaver = Consumer::start(other, &leaving)?;
    leaver.wait_connected(2)?;
    let publisher = publisher(&broker)?;
    publish(&publisher, 0..500)?;
    ensure!(leaver.stop()? == MqttReport::default(), "all that it had was acknowledged");
    publish(&publisher, 500..1_000)?;
    staying.wait_for(&numbers(500..1_000))?;
    let all = &staying.numbers() | &leaving.numbers();
    ensure!(all == numbers(0..1_000), "{} of 1000 came", all.len());
    Ok(())
}

fn retained(version: Version) -> Result<()> {
    for (rule, expected) in [(Retained::Take, 2), (Retained::Ignore, 1)] {
        let broker = broker()?;
        publish_one(broker.address(), b"0".to_vec(), true)?;
        let recorder = Recorder::settling();
        // Brokers give retained messages to plain subscriptions only.
        let plain = MqttConfig { share_group: None, retained: rule, ..single(broker.address(), version) };
        let consumer = Consumer::start(plain, &recorder)?;
        consumer.wait_metric("tidemill_mqtt_retained_messages_total", "", 1.0)?;
        publish(&publisher(&broker)?, 1..2)?;
        recorder.wait_for(&numbers(1..2))?;
        ensure!(recorder.received() == expected, "{} came, {rule:?}", recorder.received());
        ensure!(consumer.stop()? == MqttReport::default(), "what is ignored is acknowledged, too");
    }
    Ok(())
}

/// An MQTT 5 broker keeps it to itself; a 3.1.1 one sends it, and would again after each reconnection.
fn oversize(version: Version) -> Result<()> {
    let broker = broker()?;
    let recorder = Recorder::settling();
    let consumer = Consumer::start(single(broker.address(), version), &recorder)?;
    consumer.wait_connected(1)?;
    publish_one(broker.address(), vec![b'x'; 3 << 20], false)?;
    publish(&publisher(&broker)?, 0..50)?;
    recorder.wait_for(&numbers(0..50))?;
    let connects = consumer.metric("tidemill_mqtt_connects_total", "");
    ensure!(connects < 1.5, "{connects} connections");
    ensure!(recorder.received() == if version == Version::V311 { 51 } else { 50 }, "{}", recorder.received());
    Ok(())
}

fn login(version: Version) -> Result<()> {
    let login = Some(("reader".to_owned(), "secret".to_owned()));
    let broker = Mosquitto::start(&mosquitto::Settings { login: login.clone(), ..Default::default() })?;
    let recorder = Recorder::settling();
    let with = |password: &str| MqttConfig {
        login: Some(Login { user_name: "reader".to_owned(), password: password.to_owned() }),
        ..single(broker.address(), version)
    };
    let refused = Consumer::start(with("wrong"), &recorder)?;
    refused.wait_metric("tidemill_mqtt_disconnects_total", "refused", 2.0)?;
    refused.stop()?;
    let consumer = Consumer::start(with("secret"), &recorder)?;
    consumer.wait_connected(1)?;
    let settings = Settings { login, ..Settings::new(broker.address(), "publisher", Protocol::V5) };
    publish(&Publisher::start(settings)?, 0..10)?;
    recorder.wait_for(&numbers(0..10))
}

fn tls(version: Version) -> Result<()> {
    let certificates = Certificates::generate()?;
    let server = Some((certificates.path("server.pem"), certificates.path("server.key")));
    let broker = Mosquitto::start(&mosquitto::Settings { tls: server, ..Default::default() })?;
    let recorder = Recorder::settling();
    let with = |authority: &str| -> Result<MqttConfig> {
        let tls = Tls { authorities: certificates.read(authority)?, identity: None };
        Ok(MqttConfig { tls: Some(tls), ..single(broker.address(), version) })
    };
    let stranger = Consumer::start(with("stranger.pem")?, &recorder)?;
    stranger.wait_metric("tidemill_mqtt_disconnects_total", "tls", 2.0)?;
    stranger.stop()?;
    let consumer = Consumer::start(with("authority.pem")?, &recorder)?;
    consumer.wait_connected(1)?;
    ensure!(consumer.stop()? == MqttReport::default(), "nothing was in flight");
    Ok(())
}

fn unshared() -> Result<()> {
    let broker = broker()?;
    let recorder = Recorder::settling();
    let plain = MqttConfig { share_group: None, ..single(broker.address(), Version::V311) };
    let consumer = Consumer::start(plain, &recorder)?;
    consumer.wait_connected(1)?;
    publish(&publisher(&broker)?, 0..100)?;
    recorder.wait_for(&numbers(0..100))
}

fn two_brokers() -> Result<()> {
    let (first, second) = (broker()?, broker()?);
    let recorder = Recorder::settling();
    let mut both = config(first.address(), Version::V5);
    both.brokers.extend(config(second.address(), Version::V5).brokers);
    let consumer = Consumer::start(both, &recorder)?;
    consumer.wait_connected(4)?;
    publish(&publisher(&first)?, 0..100)?;
    publish(&publisher(&second)?, 100..200)?;
    recorder.wait_for(&numbers(0..200))
}
