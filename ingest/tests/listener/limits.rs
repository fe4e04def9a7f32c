//! I6: what one client can make the listener hold is bounded, and slow clients only slow themselves.

use std::time::Duration;

use tidemill_ingest::source::listener::{AllowAll, Limits};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::client::{publish, publish_v3, publish_v5};
use crate::server::{Server, small_window};

#[tokio::test]
async fn mqtt_3_is_not_read_beyond_the_messages_in_flight() {
    let mut server = Server::with(small_window(4)).await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    let burst: Vec<u8> = (1..=10).flat_map(|id| publish_v3(id, "t", "x")).collect();
    client.send(&burst).await;
    let mut held = Vec::new();
    let mut taken = 0;
    while taken < 4 {
        let group = server.group().await;
        taken += group.messages.len();
        held.push(group.settlement);
    }
    assert_eq!(taken, 4);
    server.until_metric("tidemill_listener_read_pauses_total", "", 1.0).await;
    assert!(server.groups.try_recv().is_err(), "the window is full");
    for settlement in held {
        settlement.settle();
    }
    assert_eq!(client.acks(4).await, [1, 2, 3, 4]);
    server.settle(4).await;
    server.settle(2).await;
    assert_eq!(client.acks(6).await, [5, 6, 7, 8, 9, 10]);
}

#[tokio::test]
async fn mqtt_5_beyond_its_receive_maximum_is_disconnected() {
    let mut server = Server::with(small_window(4)).await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    let burst: Vec<u8> = (1..=5).flat_map(|id| publish_v5(id, "t", "x")).collect();
    client.send(&burst).await;
    let group = server.group().await;
    assert!(group.messages.len() <= 4);
    client.expect_disconnect(0x93).await;
}

#[tokio::test]
async fn mqtt_5_within_its_receive_maximum_still_gets_its_pings_answered() {
    let mut server = Server::with(small_window(2)).await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    client.send(&[publish_v5(1, "t", "x"), publish_v5(2, "t", "x")].concat()).await;
    let group = server.group().await;
    client.expect_nothing_due().await;
    group.settlement.settle();
    client.acks(1).await;
}

#[tokio::test]
async fn bytes_in_flight_pause_reading_in_both_versions() {
    for version in [4, 5] {
        let limits = Limits { in_flight_bytes_max: 100_000, ..Limits::default() };
        let mut server = Server::with(limits).await;
        let mut client = server.client().await;
        match version {
            4 => client.connect_v3("d1").await,
            _ => drop(client.connect_v5("d1").await),
        }
        let payload = "x".repeat(1_000);
        let properties: &[u8] = if version == 4 { &[] } else { &[0] };
        let one = publish(0x30, 0, "t", properties, &payload);
        let sender = tokio::spawn(async move {
            for _ in 0..2_000 {
                client.send(&one).await;
            }
            client
        });
        server.until_metric("tidemill_listener_read_pauses_total", "", 1.0).await;
        let in_flight = server.metric("tidemill_listener_in_flight_bytes", "");
        assert!((100_000.0..102_000.0).contains(&in_flight), "{in_flight}");
        server.settle(2_000).await;
        drop(sender.await.unwrap());
    }
}

#[tokio::test]
async fn a_full_pipeline_stops_reading() {
    let mut server = Server::with_all(Limits::default(), 1, AllowAll).await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    let payload = "x".repeat(60_000);
    // Sockets buffer some megabytes at most: far more than that cannot be sent while nothing is read.
    let flood = async {
        for id in 1..=1_000 {
            client.send(&publish_v3(id, "t", &payload)).await;
        }
    };
    assert!(timeout(Duration::from_millis(300), flood).await.is_err(), "60 MB were read");
    let in_flight = server.metric("tidemill_listener_in_flight_bytes", "");
    assert!(in_flight <= 300_000.0, "{in_flight}");
    assert_eq!(server.group().await.payloads()[0], payload);
}

#[tokio::test]
async fn a_packet_over_the_limit_is_refused_from_its_header() {
    let server = Server::with(Limits { packet_bytes_max: 1_000, ..Limits::default() }).await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    // 998 more are announced, one over the limit with the three bytes of the header; none is sent.
    client.send(&[0x30, 0xE6, 0x07]).await;
    client.expect_disconnect(0x95).await;
}

#[tokio::test]
async fn the_largest_packet_allowed_is_taken() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    let payload = "x".repeat(256 * 1024 - 4 - 3 - 2);
    let packet = publish_v3(1, "t", &payload);
    assert_eq!(packet.len(), 256 * 1024);
    client.send(&packet).await;
    server.settle(1).await;
    assert_eq!(client.acks(1).await, [1]);
}

#[tokio::test]
async fn a_client_that_sends_byte_by_byte_is_served() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    for id in 1..=3 {
        for byte in publish_v3(id, "devices/d1/telemetry", "{\"t\": 1}") {
            client.send(&[byte]).await;
            client.0.flush().await.unwrap();
        }
    }
    server.settle(3).await;
    assert_eq!(client.acks(3).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed() {
    let limits = Limits { write_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Server::with(limits).await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    let pings = [0xC0, 0].repeat(32 * 1024);
    let flood = async {
        // Nobody reads the answers, so at some point nothing more is taken, and then the connection is closed.
        while client.0.write_all(&pings).await.is_ok() {}
    };
    timeout(crate::server::PATIENCE, flood).await.expect("the connection stays open");
    server.until_metric("tidemill_listener_disconnects_total", "not_reading", 1.0).await;
}
