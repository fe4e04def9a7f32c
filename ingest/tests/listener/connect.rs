//! CONNECT: versions, client ids, credentials, take-over.

use std::time::Duration;

use tidemill_ingest::source::listener::{Authenticate, Credentials, Limits, Verdict};

use crate::client::{Packet, connect, packet, publish_v5, text};
use crate::server::Server;

#[tokio::test]
async fn mqtt_5_is_told_every_limit() {
    let server = Server::start().await;
    let properties = server.client().await.connect_v5("d1").await;
    for expected in [&[0x21, 0x03, 0xE8][..], &[0x22, 0, 16], &[0x27, 0, 4, 0, 0], &[0x24, 1]] {
        assert!(properties.windows(expected.len()).any(|window| window == expected), "{expected:?}");
    }
}

#[tokio::test]
async fn an_empty_client_id_is_replaced() {
    let server = Server::start().await;
    let properties = server.client().await.connect_v5("").await;
    let at = properties.windows(9).position(|window| window == b"tidemill-").unwrap();
    assert_eq!(properties[at - 3], 0x12);
    let mut other = server.client().await;
    other.connect_v3("").await;
    other.expect_nothing_due().await;
}

#[tokio::test]
async fn other_protocol_levels_are_refused_with_the_code_of_their_version() {
    let server = Server::start().await;
    let mut old = server.client().await;
    old.send(b"\x10\x0F\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x01d").await;
    assert_eq!(old.packet().await, Packet { first: 0x20, body: vec![0, 1] });
    old.expect_closed().await;
    let mut new = server.client().await;
    new.send(&connect(6, 0x02, 60, &[0], "d1")).await;
    assert_eq!(new.packet().await, Packet { first: 0x20, body: vec![0, 0x84, 0] });
    new.expect_closed().await;
    server.until_metric("tidemill_listener_refused_total", "protocol_version", 2.0).await;
}

#[tokio::test]
async fn client_ids_that_may_not_be_are_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send(&connect(4, 0, 60, &[], "")).await;
    assert_eq!(client.packet().await.body, [0, 2]);
    let mut client = server.client().await;
    client.send(&connect(5, 2, 60, &[0], &"x".repeat(257))).await;
    assert_eq!(client.packet().await.body, [0, 0x85, 0]);
    client.expect_closed().await;
}

#[tokio::test]
async fn a_malformed_connect_of_mqtt_5_gets_its_reason() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send(&connect(5, 3, 60, &[0], "d1")).await;
    assert_eq!(client.packet().await, Packet { first: 0x20, body: vec![0, 0x81, 0] });
    client.expect_closed().await;
}

#[tokio::test]
async fn anything_before_connect_closes() {
    let server = Server::start().await;
    for bytes in
        [&publish_v5(1, "t", "x")[..], b"GET / HTTP/1.1\r\n\r\n", &[0xC0, 0], &[0x10, 0xFF, 0xFF, 0xFF, 0x7F]]
    {
        let mut client = server.client().await;
        client.send(bytes).await;
        client.expect_closed().await;
    }
    server.until_metric("tidemill_listener_refused_total", "no_connect", 4.0).await;
}

#[tokio::test]
async fn silence_before_connect_is_closed_in_time() {
    let limits = Limits { connect_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = Server::with(limits).await;
    let mut client = server.client().await;
    client.send(&[0x10]).await;
    client.expect_closed().await;
    server.until_metric("tidemill_listener_refused_total", "connect_timeout", 1.0).await;
}

#[tokio::test]
async fn the_same_client_id_takes_over() {
    let mut server = Server::start().await;
    let mut first = server.client().await;
    first.connect_v5("d1").await;
    first.send(&publish_v5(1, "t", "x")).await;
    let group = server.group().await;
    let mut second = server.client().await;
    second.connect_v5("d1").await;
    first.expect_disconnect(0x8E).await;
    group.settlement.settle();
    second.send(&publish_v5(4, "t", "x")).await;
    server.settle(1).await;
    assert_eq!(second.acks(1).await, [4], "the first connection's message is not acknowledged here");
    server.until_metric("tidemill_listener_disconnects_total", "taken_over", 1.0).await;
    server.until_metric("tidemill_listener_connections", "", 1.0).await;
}

#[tokio::test]
async fn a_will_is_accepted_and_counted_when_it_would_be_due() {
    let server = Server::start().await;
    let mut body = text("MQTT");
    body.extend_from_slice(&[4, 0x26, 0, 60]);
    for value in ["d1", "status/d1", "offline"] {
        body.extend_from_slice(&text(value));
    }
    for goodbye in [false, true] {
        let mut client = server.client().await;
        client.send(&packet(0x10, &body)).await;
        assert_eq!(client.packet().await.body, [0, 0]);
        if goodbye {
            client.send(&[0xE0, 0]).await;
            client.expect_closed().await;
        }
    }
    server.until_metric("tidemill_listener_connections", "", 0.0).await;
    server.until_metric("tidemill_listener_wills_not_published_total", "", 1.0).await;
}

struct Password;

impl Authenticate for Password {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Verdict {
        match (credentials.user_name, credentials.password) {
            (Some("root"), _) => Verdict::NotAuthorized,
            (_, Some(b"secret")) => Verdict::Allowed,
            _ => Verdict::BadCredentials,
        }
    }
}

#[tokio::test]
async fn credentials_are_judged() {
    let server = Server::with_all(Limits::default(), 10, Password).await;
    for (level, user, password, code) in [
        (4, "u", "secret", 0),
        (4, "u", "wrong", 4),
        (4, "root", "secret", 5),
        (5, "u", "wrong", 0x86),
        (5, "root", "", 0x87),
    ] {
        let mut body = text("MQTT");
        body.extend_from_slice(&[level, 0xC2, 0, 60]);
        if level == 5 {
            body.push(0);
        }
        for value in ["d1", user, password] {
            body.extend_from_slice(&text(value));
        }
        let mut client = server.client().await;
        client.send(&packet(0x10, &body)).await;
        assert_eq!(client.packet().await.body[1], code, "{user}:{password}");
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_counted() {
    let server = Server::with(Limits { connections_max: 2, ..Limits::default() }).await;
    let mut first = server.client().await;
    first.connect_v3("d1").await;
    let mut second = server.client().await;
    second.connect_v3("d2").await;
    server.client().await.expect_closed().await;
    server.until_metric("tidemill_listener_refused_total", "connections", 1.0).await;
    drop(second);
    server.until_metric("tidemill_listener_connections", "", 1.0).await;
    first.expect_nothing_due().await;
}
