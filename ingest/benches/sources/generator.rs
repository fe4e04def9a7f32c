//! The child process: clients that send packets built beforehand and count acknowledgements by their bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PAYLOAD: &str = r#"{"ts":1700000000000,"temperature":21.53,"humidity":48.2,"pressure":1013.25,"battery":3.71,"rssi":-67}"#;
const ACK_BYTES: usize = 4;

/// How the clients behave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) group: usize,
    pub(crate) messages: usize,
}

impl Load {
    pub(crate) fn arguments(self, address: SocketAddr) -> Vec<String> {
        let numbers = [self.connections, self.in_flight, self.group, self.messages];
        let words = ["generate".to_owned(), address.to_string()];
        words.into_iter().chain(numbers.iter().map(ToString::to_string)).collect()
    }

    fn groups_per_connection(self) -> usize {
        (self.messages / self.connections / self.group).max(1)
    }

    /// The messages that are really sent.
    pub(crate) fn total(self) -> usize {
        self.groups_per_connection() * self.group * self.connections
    }
}

pub(crate) async fn generate(arguments: &[String]) {
    let address = arguments[0].parse().unwrap();
    let numbers: Vec<usize> = arguments[1..].iter().map(|number| number.parse().unwrap()).collect();
    let load =
        Load { connections: numbers[0], in_flight: numbers[1], group: numbers[2], messages: numbers[3] };
    let mut clients = Vec::new();
    for client in 0..load.connections {
        clients.push(connect(address, client).await);
    }
    println!("connected");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await.unwrap();
    let mut tasks = JoinSet::new();
    for (client, stream) in clients.into_iter().enumerate() {
        tasks.spawn(publish(stream, client, load));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

pub(crate) async fn idle(arguments: &[String]) {
    let address = arguments[0].parse().unwrap();
    let mut clients = Vec::new();
    for client in 0..arguments[1].parse().unwrap() {
        clients.push(connect(address, client).await);
    }
    println!("connected");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await.unwrap();
}

async fn connect(address: SocketAddr, client: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let id = format!("device-{client:05}");
    let mut packet = vec![0x10, u8::try_from(12 + id.len()).unwrap()];
    packet.extend_from_slice(b"\x00\x04MQTT\x04\x02\x02\x58\x00");
    packet.push(u8::try_from(id.len()).unwrap());
    packet.extend_from_slice(id.as_bytes());
    stream.write_all(&packet).await.unwrap();
    stream.read_exact(&mut [0; 4]).await.unwrap();
    stream
}

/// Sends groups while fewer than the allowed messages are in flight, and waits for one group's acknowledgements
/// otherwise. Packet identifiers go round the window, so each group of it is built once.
async fn publish(mut stream: TcpStream, client: usize, load: Load) {
    let slots: Vec<Vec<u8>> =
        (0..load.in_flight / load.group).map(|slot| packets(client, load, slot)).collect();
    let mut acks = vec![0; load.group * ACK_BYTES];
    let groups = load.groups_per_connection();
    for sent in 0..groups + slots.len() {
        if sent >= slots.len() {
            stream.read_exact(&mut acks).await.unwrap();
        }
        if sent < groups {
            stream.write_all(&slots[sent % slots.len()]).await.unwrap();
        }
    }
}

fn packets(client: usize, load: Load, slot: usize) -> Vec<u8> {
    let topic = format!("devices/device-{client:05}/telemetry");
    let mut bytes = Vec::new();
    for index in 0..load.group {
        let id = u16::try_from(slot * load.group + index + 1).unwrap();
        let length = 2 + topic.len() + 2 + PAYLOAD.len();
        bytes.push(0x32);
        bytes.push(u8::try_from(length % 128).unwrap() | 0x80);
        bytes.push(u8::try_from(length / 128).unwrap());
        bytes.extend_from_slice(&u16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(PAYLOAD.as_bytes());
    }
    bytes
}
