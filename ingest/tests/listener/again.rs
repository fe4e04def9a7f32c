//! Messages that are sent again over a new connection because their acknowledgement did not come: known, not taken twice,
//! and acknowledged no earlier than the first time is durable (I1).

use crate::client::{Client, publish, publish_v3, publish_v5};
use crate::server::Server;

/// As [`publish_v3`], marked as sent before.
fn again_v3(id: u16, payload: &str) -> Vec<u8> {
    publish(0x3A, id, "t", &[], payload)
}

async fn connected(server: &Server, client_id: &str) -> Client {
    let mut client = server.client().await;
    client.connect_v3(client_id).await;
    client
}

async fn until_connections(server: &Server, count: f64) {
    server.until_metric("tidemill_listener_connections", "", count).await;
}

#[tokio::test]
async fn what_is_sent_again_is_taken_once_and_acknowledged_when_the_first_is_durable() {
    let mut server = Server::start().await;
    let mut client = connected(&server, "d1").await;
    client.send(&[publish_v3(1, "t", "a"), publish_v3(2, "t", "b")].concat()).await;
    let mut groups = vec![server.group().await];
    while groups.iter().map(|group| group.messages.len()).sum::<usize>() < 2 {
        groups.push(server.group().await);
    }
    drop(client);
    until_connections(&server, 0.0).await;
    let mut client = connected(&server, "d1").await;
    client.send(&[again_v3(1, "a"), again_v3(2, "b"), publish_v3(3, "t", "c")].concat()).await;
    let group = server.group().await;
    assert_eq!(group.payloads(), ["c"], "only what is new is taken");
    group.settlement.settle();
    client.expect_nothing_due().await;
    for group in groups {
        group.settlement.settle();
    }
    assert_eq!(client.acks(3).await, [1, 2, 3]);
    assert!((server.metric("tidemill_listener_repeated_messages_total", "") - 2.0).abs() < 0.5);
}

#[tokio::test]
async fn a_client_that_takes_its_own_connection_over_is_known() {
    let mut server = Server::start().await;
    let mut former = connected(&server, "d1").await;
    former.send(&publish_v3(1, "t", "a")).await;
    let group = server.group().await;
    let mut client = connected(&server, "d1").await;
    client.send(&again_v3(1, "a")).await;
    group.settlement.settle();
    assert_eq!(client.acks(1).await, [1]);
    assert!(server.groups.try_recv().is_err(), "it was taken twice");
    former.expect_closed().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_another_message_when_it_comes_again() {
    let mut server = Server::start().await;
    let mut client = connected(&server, "d1").await;
    client.send(&publish_v3(1, "t", "a")).await;
    server.settle(1).await;
    assert_eq!(client.acks(1).await, [1]);
    drop(client);
    until_connections(&server, 0.0).await;
    let mut client = connected(&server, "d1").await;
    client.send(&again_v3(1, "a")).await;
    server.settle(1).await;
    assert_eq!(client.acks(1).await, [1]);
}

#[tokio::test]
async fn another_client_another_payload_and_what_is_not_marked_are_other_messages() {
    let mut server = Server::start().await;
    let mut client = connected(&server, "d1").await;
    client.send(&publish_v3(1, "t", "a")).await;
    let _pending = server.group().await;
    drop(client);
    until_connections(&server, 0.0).await;
    let mut other = connected(&server, "d2").await;
    other.send(&again_v3(1, "a")).await;
    server.settle(1).await;
    let mut client = connected(&server, "d1").await;
    client.send(&again_v3(1, "b")).await;
    assert_eq!(server.group().await.payloads(), ["b"]);
    drop(client);
    until_connections(&server, 1.0).await;
    let mut client = connected(&server, "d1").await;
    client.send(&publish_v3(1, "t", "a")).await;
    assert_eq!(server.group().await.payloads(), ["a"]);
}

#[tokio::test]
async fn what_nobody_settles_is_taken_again() {
    let mut server = Server::start().await;
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    client.send(&publish_v5(1, "t", "a")).await;
    let pending = server.group().await;
    drop(client);
    until_connections(&server, 0.0).await;
    drop(pending);
    let mut client = server.client().await;
    client.connect_v5("d1").await;
    client.send(&publish(0x3A, 1, "t", &[0], "a")).await;
    // Whether it is noticed before the message comes or after it, nothing is acknowledged that was not taken.
    let group = tokio::select! {
        group = server.group() => group,
        () = client.expect_disconnect(0x83) => {
            client = server.client().await;
            client.connect_v5("d1").await;
            client.send(&publish(0x3A, 1, "t", &[0], "a")).await;
            server.group().await
        }
    };
    assert_eq!(group.payloads(), ["a"]);
    group.settlement.settle();
    assert_eq!(client.acks(1).await, [1]);
}

#[tokio::test]
async fn what_is_sent_again_while_it_waits_is_taken_once() {
    let mut server = Server::start().await;
    let mut client = connected(&server, "d1").await;
    client.send(&publish_v3(1, "t", "a")).await;
    let group = server.group().await;
    client.send(&again_v3(1, "a")).await;
    server.until_metric("tidemill_listener_repeated_messages_total", "", 1.0).await;
    group.settlement.settle();
    assert_eq!(client.acks(2).await, [1, 1]);
    assert!(server.groups.try_recv().is_err(), "it was taken twice");
}
