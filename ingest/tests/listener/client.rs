//! A client that sends exactly the bytes it is told to.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::PATIENCE;

pub(crate) struct Client(pub(crate) TcpStream);

/// One packet as received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Connects with MQTT 3.1.1 and a clean session.
    pub(crate) async fn connect_v3(&mut self, client_id: &str) {
        self.send(&connect(4, 0x02, 60, &[], client_id)).await;
        assert_eq!(self.packet().await, Packet { first: 0x20, body: vec![0, 0] });
    }

    /// Connects with MQTT 5; returns the properties of the CONNACK.
    pub(crate) async fn connect_v5(&mut self, client_id: &str) -> Vec<u8> {
        self.send(&connect(5, 0x02, 60, &[0], client_id)).await;
        let ack = self.packet().await;
        assert_eq!((ack.first, ack.body[0], ack.body[1]), (0x20, 0, 0));
        ack.body[3..].to_vec()
    }

    pub(crate) async fn packet(&mut self) -> Packet {
        timeout(PATIENCE, self.try_packet()).await.expect("no packet came").expect("the connection closed")
    }

    /// The next packet, or nothing where the connection closed.
    pub(crate) async fn try_packet(&mut self) -> Option<Packet> {
        let first = self.0.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = usize::from(self.0.read_u8().await.ok()?);
            length |= (byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Packet { first, body })
    }

    /// The packet identifiers of the next acknowledgements.
    pub(crate) async fn acks(&mut self, count: usize) -> Vec<u16> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let packet = self.packet().await;
            assert_eq!((packet.first, packet.body.len()), (0x40, 2), "not a PUBACK: {packet:?}");
            ids.push(u16::from_be_bytes([packet.body[0], packet.body[1]]));
        }
        ids
    }

    /// Checks that everything due so far has been received: the answer to a ping comes next.
    pub(crate) async fn expect_nothing_due(&mut self) {
        self.send(&[0xC0, 0]).await;
        assert_eq!(self.packet().await.first, 0xD0);
    }

    pub(crate) async fn expect_closed(&mut self) {
        let packet = timeout(PATIENCE, self.try_packet()).await.expect("the connection stays open");
        assert_eq!(packet, None);
    }

    /// MQTT 5: a DISCONNECT with this reason, then the end.
    pub(crate) async fn expect_disconnect(&mut self, reason: u8) {
        let packet = self.packet().await;
        assert_eq!((packet.first, packet.body.first()), (0xE0, Some(&reason)), "{packet:x?}");
        self.expect_closed().await;
    }
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        bytes.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

pub(crate) fn connect(level: u8, flags: u8, keep_alive: u16, properties: &[u8], client_id: &str) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend_from_slice(&[level, flags]);
    body.extend_from_slice(&keep_alive.to_be_bytes());
    body.extend_from_slice(properties);
    body.extend_from_slice(&text(client_id));
    packet(0x10, &body)
}

/// A QoS 1 PUBLISH of MQTT 3.1.1.
pub(crate) fn publish_v3(id: u16, topic: &str, payload: &str) -> Vec<u8> {
    publish(0x32, id, topic, &[], payload)
}

/// A QoS 1 PUBLISH of MQTT 5 without properties.
pub(crate) fn publish_v5(id: u16, topic: &str, payload: &str) -> Vec<u8> {
    publish(0x32, id, topic, &[0], payload)
}

/// Any PUBLISH: identifier 0 leaves the field out where QoS is 0.
pub(crate) fn publish(first: u8, id: u16, topic: &str, properties: &[u8], payload: &str) -> Vec<u8> {
    let mut body = text(topic);
    if first & 0b0110 != 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(properties);
    body.extend_from_slice(payload.as_bytes());
    packet(first, &body)
}
