//! The consumer behind a Mosquitto of its own, where one is installed. The broker's CPU is not counted, but on a
//! small machine it sets the rate.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use prometheus::Registry;
use tidemill_ingest::source::mqtt::{Broker, MqttConfig, MqttMetrics, MqttSource, Version};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::generator::Load;
use crate::usage::Usage;
use crate::{Settling, spawn};

const LOAD: Load = Load { connections: 20, in_flight: 100, group: 20, messages: 400_000 };
const CONFIGURATION: &str = "user root\nallow_anonymous true\nset_tcp_nodelay true\n\
    max_inflight_messages 1000\nmax_queued_messages 0\n";

pub(crate) async fn measure() {
    let places = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];
    let Some(binary) = places.into_iter().map(Path::new).find(|place| place.exists()) else {
        println!("consumer: no mosquitto is installed, so it is not measured");
        return;
    };
    println!("consumer: version  connections   messages/s  CPU s per million  messages a group");
    for version in [Version::V5, Version::V311] {
        for connections in [1, 2] {
            loaded(binary, version, connections).await;
        }
    }
}

struct Mosquitto {
    address: SocketAddr,
    configuration: PathBuf,
    _process: Child,
}

impl Mosquitto {
    async fn start(binary: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let configuration = std::env::temp_dir().join(format!("tidemill-bench-{}.conf", address.port()));
        let text = format!("listener {} 127.0.0.1\n{CONFIGURATION}", address.port());
        std::fs::write(&configuration, text).unwrap();
        let mut command = Command::new(binary);
        command.arg("-c").arg(&configuration).kill_on_drop(true).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        Self { address, configuration, _process: process }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // A file in a temporary directory is no reason to fail.
        let _ = std::fs::remove_file(&self.configuration);
    }
}

async fn loaded(binary: &Path, version: Version, connections: u16) {
    let mosquitto = Mosquitto::start(binary).await;
    let address = mosquitto.address;
    let broker = Broker { host: address.ip().to_string(), port: address.port() };
    let config = MqttConfig {
        version,
        connections,
        ..MqttConfig::new(broker, "consumer", vec!["devices/+/telemetry".to_owned()])
    };
    let registry = Registry::new();
    let source = MqttSource::new(config, MqttMetrics::register(&registry).unwrap()).unwrap();
    let (intake, counting) = Settling::start(LOAD.total());
    let consuming = tokio::spawn(source.run(intake, std::future::pending()));
    while subscribed(&registry) < f64::from(connections) {
        sleep(Duration::from_millis(10)).await;
    }
    let mut child = spawn(&LOAD.arguments(address)).await;
    let (before, started) = (Usage::now(), Instant::now());
    drop(child.stdin.take());
    let taken = counting.await.unwrap();
    let (elapsed, cpu) = (started.elapsed().as_secs_f64(), Usage::now().cpu_seconds - before.cpu_seconds);
    assert!(child.wait().await.unwrap().success());
    consuming.abort();
    let messages = taken.messages as f64;
    println!(
        "{:>17} {connections:>12} {:>12.0} {:>18.2} {:>17.1}",
        if version == Version::V5 { "5" } else { "3.1.1" },
        messages / elapsed,
        cpu * 1e6 / messages,
        messages / taken.groups as f64,
    );
}

fn subscribed(registry: &Registry) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == "tidemill_mqtt_subscribed_total");
    family.map_or(0.0, |family| family.get_metric()[0].get_counter().get_value())
}
