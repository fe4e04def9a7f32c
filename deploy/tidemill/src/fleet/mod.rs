//! A simulated fleet: devices with plausible sensors that publish over real MQTT.
//!
//! Knows only the address of a broker or listener; the demo judges the service by what the fleet was promised.

mod sensors;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::MqttOptions;
use tidemill_store::model::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::publisher::Publisher;
pub(crate) use sensors::{METRICS, Random, Sensors};

/// Most connections: beyond it devices share one, as behind a gateway.
const CONNECTIONS_MAX: u32 = 100;
/// How often a connection catches up with its rate.
const TICK: Duration = Duration::from_millis(10);
/// How long the fleet waits for its last acknowledgements.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FleetOptions {
    /// Where to publish.
    pub(crate) address: SocketAddr,
    /// How many devices.
    pub(crate) devices: u32,
    /// Messages a second, of all devices together.
    pub(crate) rate: u32,
}

/// What became of the messages of one device or more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FleetReport {
    /// Messages handed to the network.
    pub(crate) published: u64,
    /// Messages acknowledged.
    pub(crate) acknowledged: u64,
    /// Times a connection was lost.
    pub(crate) disconnects: u64,
}

/// A running fleet.
pub(crate) struct Fleet {
    connections: JoinSet<FleetReport>,
}

impl Fleet {
    /// Starts all devices; they publish until `stop` turns true.
    pub(crate) fn start(options: FleetOptions, clock: &Arc<dyn Clock>, stop: &watch::Receiver<bool>) -> Self {
        let count = options.devices.min(CONNECTIONS_MAX);
        let mut connections = JoinSet::new();
        for index in 0..count {
            let devices = (index..options.devices).step_by(usize::try_from(count).unwrap_or(1)).collect();
            let gateway = Gateway {
                index,
                devices,
                rate: share(options.rate, options.devices, count, index),
                clock: Arc::clone(clock),
                stop: stop.clone(),
            };
            connections.spawn(gateway.run(options.address));
        }
        Self { connections }
    }

    /// Waits for all devices to end and adds up what became of their messages.
    pub(crate) async fn finish(mut self) -> FleetReport {
        let mut sum = FleetReport::default();
        while let Some(report) = self.connections.join_next().await {
            match report {
                Ok(report) => {
                    sum.published += report.published;
                    sum.acknowledged += report.acknowledged;
                    sum.disconnects += report.disconnects;
                }
                Err(error) => tracing::error!(%error, "a simulated gateway failed"),
            }
        }
        sum
    }
}

/// The part of the rate that connection `index` carries: in proportion to its devices.
fn share(rate: u32, devices: u32, connections: u32, index: u32) -> f64 {
    let here = devices / connections + u32::from(index < devices % connections);
    f64::from(rate) * f64::from(here) / f64::from(devices)
}

/// One connection and the devices behind it.
struct Gateway {
    index: u32,
    devices: Vec<u32>,
    rate: f64,
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
}

impl Gateway {
    async fn run(mut self, address: SocketAddr) -> FleetReport {
        let name = format!("tidemill-fleet-{}", self.index);
        let publisher = Publisher::start(MqttOptions::new(name, address.ip().to_string(), address.port()));
        let handed_over = self.publish_until_stopped(&publisher).await;
        let settled = tokio::time::timeout(SETTLE_TIMEOUT, publisher.acknowledged(handed_over)).await;
        let progress = publisher.progress().borrow().clone();
        if !matches!(settled, Ok(Ok(()))) {
            tracing::warn!(
                unacknowledged = handed_over - progress.acknowledged,
                "the fleet gave up waiting for acknowledgements"
            );
        }
        publisher.disconnect().await;
        FleetReport {
            published: handed_over,
            acknowledged: progress.acknowledged,
            disconnects: progress.disconnects,
        }
    }

    async fn publish_until_stopped(&mut self, publisher: &Publisher) -> u64 {
        let mut devices: Vec<(String, Sensors)> = self
            .devices
            .iter()
            .map(|&number| Sensors::new(number))
            .map(|sensors| (format!("devices/{}/telemetry", sensors.name()), sensors))
            .collect();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut due, mut handed_over) = (0.0, 0);
        let mut turn = 0;
        while !*self.stop.borrow() {
            tokio::select! {
                biased;
                _ = self.stop.changed() => break,
                _ = ticks.tick() => due += self.rate * TICK.as_secs_f64(),
            }
            while due >= 1.0 && !*self.stop.borrow() {
                due -= 1.0;
                turn = (turn + 1) % devices.len().max(1);
                let Some((topic, sensors)) = devices.get_mut(turn) else { return handed_over };
                let payload = sensors.measure(self.clock.now()).into_bytes();
                match tokio::time::timeout(SETTLE_TIMEOUT, publisher.publish(topic, payload)).await {
                    Ok(Ok(())) => handed_over += 1,
                    Ok(Err(_)) | Err(_) => return handed_over,
                }
            }
        }
        handed_over
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_of_the_rate_add_up() {
        for (devices, connections) in [(1, 1), (7, 3), (100, 100), (1_001, 100)] {
            let sum: f64 = (0..connections).map(|index| share(500, devices, connections, index)).sum();
            assert!((sum - 500.0).abs() < 1e-6, "{devices} devices: {sum}");
        }
    }
}
