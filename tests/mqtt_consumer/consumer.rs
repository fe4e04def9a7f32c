//! A consumer with a runtime of its own, and a pipeline that records what it gets and settles when told.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use prometheus::Registry;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use tidemill_ingest::source::mqtt::{Broker, MqttConfig, MqttMetrics, MqttReport, MqttSource, Version};
use tidemill_ingest::source::{Closed, Completion, Intake, Publish, Settlement};
use tidemill_tests::wait;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::SOON;

/// Two connections in a share group, quick to return.
pub(crate) fn config(address: SocketAddr, version: Version) -> MqttConfig {
    let broker = Broker { host: address.ip().to_string(), port: address.port() };
    MqttConfig {
        version,
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        ..MqttConfig::new(broker, "consumer", vec!["devices/+/telemetry".to_owned()])
    }
}

/// Keeps what it gets; shared between clones.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Mutex<Recorded>>);

struct Recorded {
    holding: bool,
    messages: Vec<Publish>,
    duplicates: usize,
    held: Vec<(usize, Settlement)>,
}

impl Intake for Recorder {
    async fn submit(&mut self, group: Vec<Publish>) -> Result<Completion, Closed> {
        let (settlement, completion) = Completion::pair();
        let mut recorded = self.lock();
        if recorded.holding {
            recorded.held.push((group.len(), settlement));
        } else {
            settlement.settle();
        }
        recorded.messages.extend(group);
        Ok(completion)
    }

    fn count_duplicates(&mut self, messages: usize) {
        self.lock().duplicates += messages;
    }
}

impl Recorder {
    /// Every message is durable at once.
    pub(crate) fn settling() -> Self {
        Self::new(false)
    }

    /// No message is durable before [`Self::settle`].
    pub(crate) fn holding() -> Self {
        Self::new(true)
    }

    fn new(holding: bool) -> Self {
        Self(Arc::new(Mutex::new(Recorded {
            holding,
            messages: Vec::new(),
            duplicates: 0,
            held: Vec::new(),
        })))
    }

    /// Settles the oldest held groups, as many as hold so many messages.
    pub(crate) fn settle(&self, messages: usize) {
        let mut left = messages;
        while left > 0 {
            let (count, settlement) = self.lock().held.remove(0);
            settlement.settle();
            left = left.saturating_sub(count);
        }
    }

    /// From now on, groups are durable at once.
    pub(crate) fn settle_from_now_on(&self) {
        self.lock().holding = false;
    }

    /// Abandons all held groups.
    pub(crate) fn abandon(&self) {
        self.lock().held.clear();
    }

    /// How many messages came, repetitions included.
    pub(crate) fn received(&self) -> usize {
        self.lock().messages.len()
    }

    /// How many messages came again and were known.
    pub(crate) fn duplicates(&self) -> usize {
        self.lock().duplicates
    }

    /// The numbers that came as payloads.
    pub(crate) fn numbers(&self) -> BTreeSet<u64> {
        let number = |message: &Publish| std::str::from_utf8(&message.payload).ok()?.parse().ok();
        self.lock().messages.iter().filter_map(number).collect()
    }

    pub(crate) fn topics(&self) -> BTreeSet<String> {
        self.lock()
            .messages
            .iter()
            .map(|message| String::from_utf8_lossy(&message.topic).into_owned())
            .collect()
    }

    /// Waits until all of these numbers have come.
    pub(crate) fn wait_for(&self, numbers: &BTreeSet<u64>) -> Result<()> {
        let arrived = || numbers.is_subset(&self.numbers());
        wait::until_true("all messages", SOON, arrived)
            .with_context(|| format!("{} of {} came", self.numbers().len(), numbers.len()))
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running consumer; dropping it kills it.
pub(crate) struct Consumer {
    runtime: Runtime,
    registry: Registry,
    stop: oneshot::Sender<()>,
    running: JoinHandle<MqttReport>,
}

/// A consumer that has been asked to stop.
pub(crate) struct Stopping {
    runtime: Runtime,
    running: JoinHandle<MqttReport>,
}

impl Consumer {
    pub(crate) fn start(config: MqttConfig, recorder: &Recorder) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let registry = Registry::new();
        let source = MqttSource::new(config, MqttMetrics::register(&registry)?)?;
        let (stop, stopped) = oneshot::channel();
        let running = runtime.spawn(source.run(recorder.clone(), async {
            // Whoever lets go of the other end wants it to stop, too.
            let _ = stopped.await;
        }));
        Ok(Self { runtime, registry, stop, running })
    }

    /// Waits until so many connections are up and subscribed: what is published from now on must come.
    pub(crate) fn wait_connected(&self, connections: u32) -> Result<()> {
        self.wait_metric("tidemill_mqtt_connected", "", f64::from(connections))?;
        if connections == 0 {
            return Ok(());
        }
        let connects = self.metric("tidemill_mqtt_connects_total", "");
        self.wait_metric("tidemill_mqtt_subscribed_total", "", connects)
    }

    /// Asks it to stop.
    pub(crate) fn begin_to_stop(self) -> Stopping {
        let _ = self.stop.send(());
        Stopping { runtime: self.runtime, running: self.running }
    }

    /// Stops it and waits for its report.
    pub(crate) fn stop(self) -> Result<MqttReport> {
        self.begin_to_stop().wait()
    }

    /// Ends it without a word.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }

    /// A metric, summed over its labels or for the one named.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(prometheus::proto::MetricFamily::get_metric).unwrap_or_default();
        let wanted = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        };
        let value = |metric: &prometheus::proto::Metric| {
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        };
        metrics.iter().filter(wanted).map(value).sum()
    }

    /// Waits until a counter has at least, or a gauge exactly, this value.
    pub(crate) fn wait_metric(&self, name: &str, label: &str, value: f64) -> Result<()> {
        if name.ends_with("_total") {
            let reached = || self.metric(name, label) >= value;
            return wait::until_true(name, SOON, reached);
        }
        wait::until_true(name, SOON, || (self.metric(name, label) - value).abs() < 0.5)
            .with_context(|| format!("{name} is {}, not {value}", self.metric(name, label)))
    }
}

impl Stopping {
    pub(crate) fn wait(self) -> Result<MqttReport> {
        let report = self.runtime.block_on(async { tokio::time::timeout(SOON, self.running).await })??;
        Ok(report)
    }
}

/// Publishes at QoS 0, and waits until all have been sent.
pub(crate) fn publish_qos_0(address: SocketAddr, count: u32, bytes: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = MqttOptions::new("qos-0", address.ip().to_string(), address.port());
        let (client, mut events) = AsyncClient::new(options, usize::try_from(count)? + 1);
        for _ in 0..count {
            client.try_publish("devices/d0/telemetry", QoS::AtMostOnce, false, vec![b'x'; bytes])?;
        }
        client.try_disconnect()?;
        // The broker closes after our goodbye.
        while events.poll().await.is_ok() {}
        Ok(())
    })
}

/// Publishes one message at QoS 1, and waits until the broker has it.
pub(crate) fn publish_one(address: SocketAddr, payload: Vec<u8>, retain: bool) -> Result<()> {
    use rumqttc::v5::Event;
    use rumqttc::v5::mqttbytes::v5::Packet;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut options = MqttOptions::new("one", address.ip().to_string(), address.port());
        options.set_max_packet_size(Some(16 << 20));
        let (client, mut events) = AsyncClient::new(options, 4);
        client.try_publish("devices/d0/telemetry", QoS::AtLeastOnce, retain, payload)?;
        while !matches!(events.poll().await?, Event::Incoming(Packet::PubAck(_))) {}
        Ok(())
    })
}
