//! A listener on a free port, and a pipeline that hands every group to the test and waits for its word.

use std::num::NonZeroU16;
use std::time::Duration;

use prometheus::Registry;
use tidemill_ingest::source::listener::{
    AllowAll, Authenticate, Limits, Listener, ListenerConfig, ListenerMetrics, ListenerReport,
};
use tidemill_ingest::source::{Closed, Completion, Intake, Publish, Settlement};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::client::Client;

/// Every wait in these tests ends here at the latest.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A group as the pipeline got it.
pub(crate) struct Group {
    pub(crate) messages: Vec<Publish>,
    pub(crate) settlement: Settlement,
}

impl Group {
    pub(crate) fn payloads(&self) -> Vec<String> {
        self.messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
    }
}

/// Takes groups while its channel has room: back-pressure is a full channel.
#[derive(Clone)]
pub(crate) struct HeldIntake(mpsc::Sender<Group>);

impl Intake for HeldIntake {
    async fn submit(&mut self, messages: Vec<Publish>) -> Result<Completion, Closed> {
        let (settlement, completion) = Completion::pair();
        self.0.send(Group { messages, settlement }).await.map_err(|_| Closed)?;
        Ok(completion)
    }
}

pub(crate) struct Server {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) groups: mpsc::Receiver<Group>,
    pub(crate) registry: Registry,
    stop: oneshot::Sender<()>,
    running: JoinHandle<ListenerReport>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::with_all(limits, 1_000, AllowAll).await
    }

    pub(crate) async fn with_all(limits: Limits, groups_max: usize, authenticate: impl Authenticate) -> Self {
        let registry = Registry::new();
        let metrics = ListenerMetrics::register(&registry).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(ListenerConfig { address, limits }, metrics).await.unwrap();
        let address = listener.local_addr();
        let (sender, groups) = mpsc::channel(groups_max);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(listener.run(HeldIntake(sender), authenticate, async {
            // A dropped server stops too.
            let _ = stopped.await;
        }));
        Self { address, groups, registry, stop, running }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::open(self.address).await
    }

    /// The next group that reached the pipeline.
    pub(crate) async fn group(&mut self) -> Group {
        tokio::time::timeout(PATIENCE, self.groups.recv()).await.expect("no group came").unwrap()
    }

    /// Settles as many messages as told, group by group.
    pub(crate) async fn settle(&mut self, messages: usize) {
        let mut settled = 0;
        while settled < messages {
            let group = self.group().await;
            settled += group.messages.len();
            group.settlement.settle();
        }
        assert_eq!(settled, messages);
    }

    /// Asks it to stop; the groups stay with the test.
    pub(crate) fn stop(self) -> (mpsc::Receiver<Group>, JoinHandle<ListenerReport>) {
        self.stop.send(()).unwrap();
        (self.groups, self.running)
    }

    /// The value of a metric, summed over its labels that contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(prometheus::proto::MetricFamily::get_metric).unwrap_or_default();
        metrics
            .iter()
            .filter(|metric| label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label))
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until_metric(&self, name: &str, label: &str, value: f64) {
        let reached = async {
            while (self.metric(name, label) - value).abs() > f64::EPSILON {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{name}{{{label}}} is {}, not {value}", self.metric(name, label)));
    }
}

pub(crate) fn small_window(messages: u16) -> Limits {
    Limits { in_flight_messages_max: NonZeroU16::new(messages).unwrap(), ..Limits::default() }
}
