//! The server over loopback: what a connection may cost, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a test")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::{Api, Mode, NOW, source};
use tidemill_analytics::api::ApiLimits;
use tidemill_analytics::server::{Drained, Server, ServerLimits};
use tidemill_store::model::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything here takes, shorter than a test may hang.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    api: Api,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    stopped: JoinHandle<Drained>,
}

impl Running {
    async fn with(limits: ServerLimits) -> Self {
        let api = Api::new();
        let router = api.router();
        Self::serving(api, router, limits).await
    }

    async fn serving(api: Api, router: Router, limits: ServerLimits) -> Self {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), limits, api.state.metrics()).await.unwrap();
        let (stop, stopping) = oneshot::channel();
        let address = server.local_addr();
        let stopped = tokio::spawn(server.run(router, async move { stopping.await.unwrap_or(()) }));
        Self { api, address, stop, stopped }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Waits until the metrics show `count`.
    async fn until(&self, series: &str, count: u64) {
        let reached = async {
            while self.api.counted(series).await != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{series} never showed {count}"));
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn get(&mut self, target: &str) -> String {
        self.send(&format!("GET {target} HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        self.answer().await
    }

    /// One answer with a content length.
    async fn answer(&mut self) -> String {
        let read = async {
            let mut text = Vec::new();
            loop {
                let mut byte = [0];
                assert_eq!(self.0.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&text));
                text.push(byte[0]);
                if text.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            let head = String::from_utf8(text).unwrap();
            let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body).await.unwrap();
            head + &String::from_utf8(body).unwrap()
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    /// What still comes until the server closes; an abrupt end counts as an end.
    async fn rest(&mut self) -> String {
        let read = async {
            let (mut text, mut part) = (Vec::new(), [0; 4096]);
            while let Ok(bytes @ 1..) = self.0.read(&mut part).await {
                text.extend_from_slice(&part[..bytes]);
            }
            String::from_utf8(text).unwrap()
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }
}

fn short(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test]
async fn a_connection_answers_one_request_after_another() {
    let server = Running::with(ServerLimits::default()).await;
    server.api.store.add(&source("t", "d", &[]), "m", NOW, Value::F64(21.5));
    let mut client = server.connect().await;
    for _ in 0..3 {
        let answer = client.get("/v1/latest").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: application/json\r\n") && answer.contains(r#""value":21.5"#),
            "{answer}"
        );
    }
    // Two at once: answered in order.
    client.send("GET /healthz HTTP/1.1\r\nhost: t\r\n\r\nGET /nothing HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert!(client.answer().await.ends_with("ok\n"));
    assert!(client.answer().await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_head_that_arrives_slowly_is_cut_also_on_a_connection_that_was_used() {
    let server = Running::with(ServerLimits { head_timeout: short(150), ..ServerLimits::default() }).await;
    let mut client = server.connect().await;
    client.send("GET /healthz HTTP/1.1\r\nx-slow: ").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "", "nothing was asked, nothing is answered");
    let mut used = server.connect().await;
    used.get("/healthz").await;
    used.send("GET /he").await;
    assert!(used.rest().await.starts_with("HTTP/1.1 408"));
    server.until(r#"tidemill_http_rejected_total{reason="head_timeout"}"#, 3).await;
    server.until("tidemill_http_connections", 0).await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_the_idle_time_and_not_after_that_of_a_head() {
    let limits =
        ServerLimits { head_timeout: short(50), idle_timeout: short(400), ..ServerLimits::default() };
    let server = Running::with(limits).await;
    let mut client = server.connect().await;
    client.get("/healthz").await;
    let closing = tokio::time::Instant::now();
    assert_eq!(client.rest().await, "");
    assert!(closing.elapsed() >= short(350), "{:?}", closing.elapsed());
    server.until(r#"tidemill_http_rejected_total{reason="idle"}"#, 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let api = Api::new();
    let router = api.router().route("/flood", get(async || vec![b'x'; 64 * 1024 * 1024]));
    let limits =
        ServerLimits { write_timeout: short(200), idle_timeout: short(100), ..ServerLimits::default() };
    let server = Running::serving(api, router, limits).await;
    let mut client = server.connect().await;
    client.send("GET /flood HTTP/1.1\r\nhost: t\r\n\r\n").await;
    server.until(r#"tidemill_http_rejected_total{reason="write_timeout"}"#, 1).await;
    server.until("tidemill_http_connections", 0).await;
}

#[tokio::test]
async fn an_answer_that_is_taken_slowly_outlives_the_idle_time() {
    let api = Api::new();
    let router = api.router().route("/flood", get(async || vec![b'x'; 16 * 1024 * 1024]));
    let server =
        Running::serving(api, router, ServerLimits { idle_timeout: short(150), ..ServerLimits::default() })
            .await;
    let mut client = server.connect().await;
    client.send("GET /flood HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let (mut part, mut taken) = (vec![0; 1024 * 1024], 0);
    while taken < 16 * 1024 * 1024 {
        tokio::time::sleep(short(10)).await;
        let bytes = client.0.read(&mut part).await.unwrap();
        assert_ne!(bytes, 0, "cut after {taken} bytes");
        taken += bytes;
    }
}

#[tokio::test]
async fn bodies_heads_and_targets_have_a_size() {
    let server = Running::with(ServerLimits::default()).await;
    let mut client = server.connect().await;
    client.send("GET /healthz HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("urn:tidemill:problem:body-too-large"),
        "{answer}"
    );
    let mut client = server.connect().await;
    client.send(&format!("GET /healthz HTTP/1.1\r\nx: {}\r\n", "x".repeat(70_000))).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431"));
    let mut client = server.connect().await;
    assert!(
        client.get(&format!("/v1/latest?device={}", "d".repeat(20_000))).await.starts_with("HTTP/1.1 414")
    );
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert!(client.answer().await.contains("urn:tidemill:problem:invalid-request"));
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.0 200"));
    let mut client = server.connect().await;
    client.send("NONSENSE\r\n\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn connections_beyond_the_cap_are_told_and_closed_and_places_come_back() {
    let server = Running::with(ServerLimits { connections_max: 2, ..ServerLimits::default() }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.get("/healthz").await;
    second.get("/healthz").await;
    let mut third = server.connect().await;
    let told = third.rest().await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("too many connections"), "{told}");
    drop(first);
    server.until("tidemill_http_connections", 1).await;
    assert!(server.connect().await.get("/healthz").await.ends_with("ok\n"));
    server.until(r#"tidemill_http_rejected_total{reason="connections"}"#, 1).await;
}

#[tokio::test]
async fn work_stops_when_its_client_leaves() {
    let server = Running::with(ServerLimits::default()).await;
    *server.api.store.mode.lock().unwrap() = Mode::Hangs;
    let mut client = server.connect().await;
    client.send("GET /v1/latest HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let hanging = Arc::clone(&server.api.store.hanging);
    let holders = async |count: usize| {
        let reached = async {
            while Arc::strong_count(&hanging) != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    };
    holders(3).await;
    drop(client);
    holders(2).await;
    server.until(r#"tidemill_http_requests_total{route="/v1/latest",status="dropped"}"#, 1).await;
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_lets_requests_end() {
    let api = Api::new();
    let (entered, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let slow = {
        let (entered, go) = (Arc::clone(&entered), Arc::clone(&go));
        async move || {
            entered.notify_one();
            go.notified().await;
            "done\n"
        }
    };
    let router = api.router().route("/slow", get(slow));
    let server = Running::serving(api, router, ServerLimits::default()).await;
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    idle.get("/healthz").await;
    busy.send("GET /slow HTTP/1.1\r\nhost: t\r\n\r\n").await;
    entered.notified().await;
    server.stop.send(()).unwrap();
    assert_eq!(idle.rest().await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
    go.notify_one();
    assert!(busy.answer().await.ends_with("done\n"));
    assert_eq!(server.stopped.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn stopping_cuts_what_does_not_end_in_time_and_says_so() {
    let server = Running::with(ServerLimits { drain_timeout: short(100), ..ServerLimits::default() }).await;
    *server.api.store.mode.lock().unwrap() = Mode::Hangs;
    let mut client = server.connect().await;
    client.send("GET /v1/latest HTTP/1.1\r\nhost: t\r\n\r\n").await;
    server.until("tidemill_http_requests_in_flight", 2).await;
    server.stop.send(()).unwrap();
    assert_eq!(server.stopped.await.unwrap(), Drained { cut: 1 });
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let server = Running::with(ServerLimits::default()).await;
    let taken = Server::bind(server.address, ServerLimits::default(), server.api.state.metrics()).await;
    assert_eq!(taken.unwrap_err().to_string(), format!("cannot listen for HTTP on {}", server.address));
}

#[tokio::test]
async fn answers_that_clients_do_not_take_hold_their_room_and_no_more() {
    let limits =
        ApiLimits { unsent_bytes_max: 6 * 1024 * 1024, queue_wait_max: short(100), ..ApiLimits::default() };
    let api = Api::with(limits);
    let device = source("t", "d", &[]);
    for n in 0..50_000 {
        api.store.add(&device, "m", NOW - 1_000_000 + n, Value::I64(n));
    }
    let router = api.router();
    let server = Running::serving(api, router, ServerLimits::default()).await;
    let large = "/v1/samples?limit=50000";
    let mut lazy = server.connect().await;
    lazy.send(&format!("GET {large} HTTP/1.1\r\nhost: t\r\n\r\n")).await;
    server.until(r#"tidemill_http_requests_total{route="/v1/samples",status="200"}"#, 1).await;
    let mut other = server.connect().await;
    assert!(other.get(large).await.starts_with("HTTP/1.1 503"), "there is room for one such answer");
    assert!(other.get("/v1/samples").await.starts_with("HTTP/1.1 200"));
    assert!(lazy.answer().await.starts_with("HTTP/1.1 200"));
    assert!(other.get(large).await.starts_with("HTTP/1.1 200"));
}
