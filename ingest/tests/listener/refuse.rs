//! What clients may not do, and what they are told.

use crate::client::{Packet, connect, packet, publish, publish_v3, publish_v5, text};
use crate::server::Server;

/// Sends bytes on a fresh connection of each version; MQTT 5 is told a reason, 3.1.1 is closed.
async fn expect_refused(v3: &[u8], v5: &[u8], reason: u8) {
    let server = Server::start().await;
    let mut old = server.client().await;
    old.connect_v3("old").await;
    old.send(v3).await;
    old.expect_closed().await;
    let mut new = server.client().await;
    new.connect_v5("new").await;
    new.send(v5).await;
    new.expect_disconnect(reason).await;
}

#[tokio::test]
async fn a_second_connect_is_a_protocol_error() {
    expect_refused(&connect(4, 2, 60, &[], "old"), &connect(5, 2, 60, &[0], "new"), 0x82).await;
}

#[tokio::test]
async fn wildcards_and_empty_topics_are_refused() {
    expect_refused(&publish_v3(1, "a/+/b", "x"), &publish_v5(1, "a/#", "x"), 0x90).await;
    expect_refused(&publish_v3(1, "", "x"), &publish_v5(1, "a\0b", "x"), 0x90).await;
}

#[tokio::test]
async fn quality_of_service_2_is_refused() {
    expect_refused(&publish(0x34, 1, "t", &[], "x"), &publish(0x34, 1, "t", &[0], "x"), 0x9B).await;
}

#[tokio::test]
async fn reserved_flags_and_packet_identifier_0_are_refused() {
    expect_refused(&[0xC1, 0], &[0xC1, 0], 0x81).await;
    expect_refused(&publish(0x36, 1, "t", &[], "x"), &publish(0x36, 1, "t", &[0], "x"), 0x81).await;
    expect_refused(&publish_v3(0, "t", "x"), &publish_v5(0, "t", "x"), 0x82).await;
}

#[tokio::test]
async fn a_remaining_length_over_four_bytes_is_malformed() {
    expect_refused(&[0x30, 0x80, 0x80, 0x80, 0x80], &[0x30, 0x80, 0x80, 0x80, 0x80], 0x81).await;
}

#[tokio::test]
async fn topic_aliases_outside_the_announced_range_are_refused() {
    let unused = [0xC1, 0];
    expect_refused(&unused, &publish(0x32, 1, "t", &[3, 0x23, 0, 0], "x"), 0x94).await;
    expect_refused(&unused, &publish(0x32, 1, "t", &[3, 0x23, 0, 17], "x"), 0x94).await;
    expect_refused(&unused, &publish(0x32, 1, "", &[3, 0x23, 0, 1], "x"), 0x82).await;
}

#[tokio::test]
async fn a_topic_alias_carries_the_topic() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    let mut bytes = publish(0x32, 1, "devices/d1/telemetry", &[3, 0x23, 0, 16], "a");
    bytes.extend(publish(0x32, 2, "", &[3, 0x23, 0, 16], "b"));
    client.send(&bytes).await;
    let mut topics = Vec::new();
    while topics.len() < 2 {
        let group = server.group().await;
        topics.extend(group.messages.iter().map(|message| message.topic.clone()));
        group.settlement.settle();
    }
    assert_eq!(topics, ["devices/d1/telemetry", "devices/d1/telemetry"]);
    assert_eq!(client.acks(2).await, [1, 2]);
}

#[tokio::test]
async fn subscriptions_are_refused_filter_by_filter() {
    let server = Server::start().await;
    let mut old = server.client().await;
    old.connect_v3("old").await;
    let mut filters = vec![0, 5];
    for filter in ["a/#", "b"] {
        filters.extend(text(filter));
        filters.push(1);
    }
    old.send(&packet(0x82, &filters)).await;
    assert_eq!(old.packet().await, Packet { first: 0x90, body: vec![0, 5, 0x80, 0x80] });
    old.send(&packet(0xA2, &[&[0, 6][..], &text("a/#")].concat())).await;
    assert_eq!(old.packet().await, Packet { first: 0xB0, body: vec![0, 6] });
    old.expect_nothing_due().await;
    let mut new = server.client().await;
    new.connect_v5("new").await;
    new.send(&packet(0x82, &[&[0, 5, 0][..], &text("a/#"), &[1]].concat())).await;
    assert_eq!(new.packet().await, Packet { first: 0x90, body: vec![0, 5, 0, 0x83] });
    new.send(&packet(0xA2, &[&[0, 6, 0][..], &text("a/#")].concat())).await;
    assert_eq!(new.packet().await, Packet { first: 0xB0, body: vec![0, 6, 0, 0x11] });
}

#[tokio::test]
async fn messages_before_a_violation_are_kept_and_not_acknowledged() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    let mut bytes = publish_v5(1, "t", "good");
    bytes.extend(publish_v5(2, "#", "bad"));
    client.send(&bytes).await;
    assert_eq!(server.group().await.payloads(), ["good"]);
    client.expect_disconnect(0x90).await;
}
