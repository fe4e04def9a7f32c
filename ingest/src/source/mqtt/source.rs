//! All connections of the consumer: one task each, and an orderly end of all of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::client::{self, Requests};
use super::config::{Broker, MqttConfig, MqttConfigError};
use super::consumer::{Consumer, Parts};
use super::metrics::MqttMetrics;
use super::tls;
use crate::source::{Command, Intake};

/// What the last goodbyes may take after the drain timeout, before connections are dropped.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// A consumer whose configuration has been checked. Nothing is connected until [`Self::run`].
#[derive(Debug)]
pub struct MqttSource {
    config: Arc<MqttConfig>,
    tls: Option<Arc<ClientConfig>>,
    metrics: MqttMetrics,
    commands: Option<mpsc::Receiver<Command>>,
}

/// What a consumer left, once it has stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MqttReport {
    /// QoS 1 messages taken and not acknowledged: the brokers keep them.
    pub unacknowledged: usize,
    /// Connections that had to be dropped because they did not end within the drain timeout.
    pub dropped: usize,
}

impl MqttSource {
    /// Checks the configuration.
    pub fn new(config: MqttConfig, metrics: MqttMetrics) -> Result<Self, MqttConfigError> {
        config.check()?;
        let tls = config.tls.as_ref().map(tls::client_config).transpose()?;
        Ok(Self { config: Arc::new(config), tls, metrics, commands: None })
    }

    /// The same consumer, publishing `commands` to every broker.
    #[must_use]
    pub fn publishing(self, commands: Option<mpsc::Receiver<Command>>) -> Self {
        Self { commands, ..self }
    }

    /// Consumes from every broker until `shutdown` is ready, reconnecting for as long as it takes. Then nothing
    /// more is taken; every connection stays until its messages in flight are durable and acknowledged, at most
    /// for the drain timeout, and ends with DISCONNECT. The sessions stay with the brokers, so that nothing is
    /// missed until the next start. Dropping the future closes everything at once.
    pub async fn run<I: Intake>(mut self, intake: I, shutdown: impl Future<Output = ()>) -> MqttReport {
        let (mut tasks, mut publishers) = (JoinSet::new(), Vec::new());
        let mut stops = Vec::new();
        let connections = usize::from(self.config.connections);
        let places = self.config.brokers.iter().flat_map(|broker| std::iter::repeat_n(broker, connections));
        for (index, broker) in places.enumerate() {
            let (stop, stopped) = oneshot::channel();
            stops.push(stop);
            let requests = self.connect(&mut tasks, &intake, Place { index, broker }, stopped);
            if index % connections == 0 {
                publishers.push(requests);
            }
        }
        let mut publishing = JoinSet::new();
        if let Some(commands) = self.commands.take() {
            publishing.spawn(publish(commands, publishers));
        }
        drop(intake);
        shutdown.await;
        for stop in stops {
            // A consumer that has ended by itself needs no telling.
            let _ = stop.send(());
        }
        self.wait(tasks).await
    }

    fn connect<I: Intake>(
        &self,
        tasks: &mut JoinSet<usize>,
        intake: &I,
        place: Place<'_>,
        stop: oneshot::Receiver<()>,
    ) -> Requests {
        let Place { index, broker } = place;
        let client_id = format!("{}-{index}", self.config.client_id_prefix);
        let (requests, client) = client::open(&self.config, broker, &client_id, self.tls.as_ref());
        let consumer = Consumer::new(Parts {
            config: Arc::clone(&self.config),
            metrics: self.metrics.clone(),
            client_id,
            broker: format!("{}:{}", broker.host, broker.port),
            requests: requests.clone(),
            stop,
        });
        tasks.spawn(consumer.run(client, intake.clone()));
        requests
    }

    async fn wait(&self, mut tasks: JoinSet<usize>) -> MqttReport {
        let mut report = MqttReport::default();
        let ending = async {
            while let Some(ended) = tasks.join_next().await {
                count_end(ended, &mut report);
            }
        };
        if timeout(self.config.drain_timeout + STOP_GRACE, ending).await.is_err() {
            tasks.abort_all();
            while let Some(ended) = tasks.join_next().await {
                count_end(ended, &mut report);
            }
        }
        tracing::info!(?report, "stopped consuming from MQTT brokers");
        report
    }
}

/// Publishes to every broker: which of them a device listens to is not known here.
async fn publish(mut commands: mpsc::Receiver<Command>, brokers: Vec<Requests>) {
    while let Some(Command { topic, payload }) = commands.recv().await {
        for requests in &brokers {
            if let Err(fault) = requests.publish(topic.clone(), payload.clone()).await {
                tracing::debug!(%fault, topic, "a command was not published");
            }
        }
    }
}

/// A connection's number over all brokers, and its broker.
#[derive(Clone, Copy)]
struct Place<'a> {
    index: usize,
    broker: &'a Broker,
}

fn count_end(ended: Result<usize, JoinError>, report: &mut MqttReport) {
    match ended {
        Ok(unacknowledged) => report.unacknowledged += unacknowledged,
        Err(error) if error.is_cancelled() => report.dropped += 1,
        Err(error) => tracing::error!(%error, "an MQTT consumer failed"),
    }
}
