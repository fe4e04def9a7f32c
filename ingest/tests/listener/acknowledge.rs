//! I1: acknowledgements only after durability, in receive order, never for what was abandoned.

use std::time::Duration;

use tidemill_ingest::source::Qos;
use tidemill_ingest::source::listener::Limits;

use crate::client::{publish, publish_v3, publish_v5};
use crate::server::Server;

#[tokio::test]
async fn a_message_is_acknowledged_only_after_it_settled() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    client.send(&publish_v3(7, "devices/d1/telemetry", "21.5")).await;
    let group = server.group().await;
    assert_eq!(group.messages.len(), 1);
    assert_eq!(&group.messages[0].topic[..], b"devices/d1/telemetry");
    assert_eq!(&group.messages[0].payload[..], b"21.5");
    assert_eq!(group.messages[0].qos, Qos::AtLeastOnce);
    client.expect_nothing_due().await;
    group.settlement.settle();
    assert_eq!(client.acks(1).await, [7]);
}

#[tokio::test]
async fn acknowledgements_of_many_reads_leave_in_receive_order() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    let mut groups = Vec::new();
    for id in [3u16, 1, 2] {
        client.send(&publish_v5(id, "t", "x")).await;
        groups.push(server.group().await);
    }
    let last = groups.pop().unwrap();
    last.settlement.settle();
    groups.pop().unwrap().settlement.settle();
    client.expect_nothing_due().await;
    groups.pop().unwrap().settlement.settle();
    assert_eq!(client.acks(3).await, [3, 1, 2]);
}

#[tokio::test]
async fn one_read_is_one_group() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    let burst: Vec<u8> = (1..=100).flat_map(|id| publish_v3(id, "t", &id.to_string())).collect();
    client.send(&burst).await;
    let mut payloads = Vec::new();
    let mut groups = 0;
    while payloads.len() < 100 {
        let group = server.group().await;
        payloads.extend(group.payloads());
        groups += 1;
        group.settlement.settle();
    }
    assert_eq!(payloads, (1..=100).map(|id: u16| id.to_string()).collect::<Vec<_>>());
    assert!(groups <= 3, "a burst of 800 bytes came as {groups} groups");
    assert_eq!(client.acks(100).await, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_abandoned_group_is_never_acknowledged_and_ends_the_connection() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    client.send(&publish_v5(1, "t", "a")).await;
    let first = server.group().await;
    client.send(&publish_v5(2, "t", "b")).await;
    let second = server.group().await;
    client.send(&publish_v5(3, "t", "c")).await;
    let third = server.group().await;
    third.settlement.settle();
    first.settlement.settle();
    assert_eq!(client.acks(1).await, [1]);
    drop(second.settlement);
    client.expect_disconnect(0x83).await;
    server.until_metric("tidemill_listener_disconnects_total", "abandoned", 1.0).await;
}

#[tokio::test]
async fn quality_of_service_0_is_taken_and_not_acknowledged() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    client.send(&publish(0x30, 0, "t", &[], "x")).await;
    let group = server.group().await;
    assert_eq!(group.messages[0].qos, Qos::AtMostOnce);
    group.settlement.settle();
    client.expect_nothing_due().await;
}

#[tokio::test]
async fn a_repeated_message_is_taken_again() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    client.send(&publish_v3(1, "t", "x")).await;
    server.settle(1).await;
    assert_eq!(client.acks(1).await, [1]);
    client.send(&publish(0x3A, 1, "t", &[], "x")).await;
    server.settle(1).await;
    assert_eq!(client.acks(1).await, [1]);
}

#[tokio::test]
async fn messages_before_a_goodbye_reach_the_pipeline() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v3("d1").await;
    let mut last = publish(0x30, 0, "t", &[], "last");
    last.extend_from_slice(&[0xE0, 0]);
    client.send(&last).await;
    assert_eq!(server.group().await.payloads(), ["last"]);
    client.expect_closed().await;
    server.until_metric("tidemill_listener_disconnects_total", "goodbye", 1.0).await;
    server.until_metric("tidemill_listener_connections", "", 0.0).await;
    server.until_metric("tidemill_listener_in_flight_messages", "", 0.0).await;
}

#[tokio::test]
async fn shutdown_waits_for_what_is_in_flight_and_says_goodbye() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    client.send(&publish_v5(9, "t", "x")).await;
    let group = server.group().await;
    let (_groups, running) = server.stop();
    group.settlement.settle();
    assert_eq!(client.acks(1).await, [9]);
    client.expect_disconnect(0x8B).await;
    let report = running.await.unwrap();
    assert_eq!((report.accepted, report.unacknowledged, report.dropped), (1, 0, 0));
}

#[tokio::test]
async fn shutdown_gives_up_at_its_deadline_and_reports_what_is_left() {
    let limits = Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut server = Server::with(limits).await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    client.send(&publish_v5(9, "t", "x")).await;
    let group = server.group().await;
    let (_groups, running) = server.stop();
    client.expect_disconnect(0x8B).await;
    assert_eq!(running.await.unwrap().unacknowledged, 1);
    drop(group);
}

#[tokio::test]
async fn what_a_client_did_not_wait_for_that_left_is_not_what_a_shutdown_left() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    client.send(&[publish_v5(9, "t", "x"), publish_v5(10, "#", "x")].concat()).await;
    let group = server.group().await;
    client.expect_disconnect(0x90).await;
    server.until_metric("tidemill_listener_connections", "", 0.0).await;
    let (_groups, running) = server.stop();
    assert_eq!(running.await.unwrap().unacknowledged, 0);
    drop(group);
}

#[tokio::test]
async fn a_pipeline_that_takes_no_more_ends_connections_after_what_it_took() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    client.send(&publish_v5(1, "t", "x")).await;
    let group = server.group().await;
    server.groups.close();
    client.send(&publish_v5(2, "t", "x")).await;
    // The second was turned away; the first is still durable and acknowledged before the end.
    server.until_metric("tidemill_listener_in_flight_messages", "", 1.0).await;
    group.settlement.settle();
    assert_eq!(client.acks(1).await, [1]);
    client.expect_disconnect(0x8B).await;
}
