//! What a message costs from its group being submitted to its being settled, in nanoseconds of one core: decoding,
//! batching, encoding segments, settling. The store takes everything at once and keeps nothing.
//!
//! `cargo bench -p tidemill-ingest --bench pipeline`. 2,000 devices, 5 metrics a message, 16 shards; each connection
//! has one group under way, or as many as `ahead` says. Cases may be given as `-- CONNECTIONS,GROUP,AHEAD …`. Time is the thread's own where the kernel tells it, so other
//! work on the machine disturbs little.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, takes the time, may panic, and needs no exact figures"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidemill_ingest::config::IngestConfig;
use tidemill_ingest::metrics::IngestMetrics;
use tidemill_ingest::pipeline::{Pipeline, PipelineIntake, PipelineParts};
use tidemill_ingest::source::{Intake, Publish, Qos};
use tidemill_store::append::AppendMetrics;
use tidemill_store::layout::{BucketWidth, Eras, KnownEras, ShardCount};
use tidemill_store::model::{Clock, Timestamp, WriterId};
use tidemill_store::wide::{
    Deletion, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide, WriteError,
    WriteTime,
};

const DEVICES: usize = 2000;
const MESSAGES: usize = 400_000;
const NOW_MILLIS: i64 = 1_800_000_000_000;

/// Takes everything and keeps nothing.
struct Sink;

impl Wide for Sink {
    async fn put(&self, _: &'static Table, _: &Key, _: &[Row], _: WriteTime) -> Result<(), WriteError> {
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn get(&self, _: &'static Table, _: &Key, _: &Key) -> Result<Option<Row>, ReadError> {
        Ok(None)
    }

    async fn scan(&self, _: &Scan, _: Option<PageToken>) -> Result<Page, ReadError> {
        Ok(Page { rows: Vec::new(), next: None })
    }

    async fn delete(&self, _: &'static Table, _: &Key, _: &Deletion, _: WriteTime) -> Result<(), WriteError> {
        Ok(())
    }

    async fn compare_and_set(
        &self,
        _: &'static Table,
        _: &Key,
        _: &Expected,
        _: &Row,
    ) -> Result<Exchange, WriteError> {
        Ok(Exchange::Refused(None))
    }
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW_MILLIS).unwrap()
    }
}

#[derive(Clone, Copy)]
struct Case {
    connections: usize,
    group: usize,
    ahead: usize,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    println!("{:>12} {:>6} {:>6} {:>12} {:>12}", "connections", "group", "ahead", "ns/message", "messages/s");
    for (connections, group, ahead) in cases() {
        let case = Case { connections, group, ahead };
        let nanos = (0..3).map(|_| runtime.block_on(run(case))).fold(f64::INFINITY, f64::min);
        println!("{connections:>12} {group:>6} {ahead:>6} {nanos:>12.0} {:>12.0}", 1e9 / nanos);
    }
}

/// Those of the command line (`CONNECTIONS,GROUP,AHEAD …`), or a few that differ.
fn cases() -> Vec<(usize, usize, usize)> {
    let parse = |text: String| {
        let mut parts = text.split(',').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??, parts.next()??))
    };
    let given: Vec<_> = std::env::args().filter_map(parse).collect();
    if given.is_empty() {
        vec![(1, 1, 1), (1, 100, 1), (1, 1000, 4), (100, 1, 1), (1000, 1, 1), (1000, 1, 10), (10, 100, 4)]
    } else {
        given
    }
}

/// Nanoseconds a message.
async fn run(case: Case) -> f64 {
    let parts = PipelineParts {
        wide: Arc::new(Sink),
        eras: KnownEras::read_at(
            Arc::new(Eras::single(
                ShardCount::new(16).unwrap(),
                BucketWidth::new(Duration::from_hours(1)).unwrap(),
            )),
            Fixed.now(),
        ),
        writer: WriterId::from_random(2),
        clock: Arc::new(Fixed),
        metrics: IngestMetrics::default(),
        append_metrics: AppendMetrics::register(&prometheus::Registry::new()).unwrap(),
        spool: None,
    };
    let metrics = parts.metrics.clone();
    let pipeline = Pipeline::start(parts, IngestConfig::with_defaults().unwrap()).unwrap();
    let messages: Vec<Publish> = (0..DEVICES * 5).map(message).collect();
    let of_each = MESSAGES / case.connections;
    // Once without taking the time: every source is announced, every cache is warm.
    send_all(&pipeline, case, &messages, of_each / 10).await;
    let started = thread_nanos();
    send_all(&pipeline, case, &messages, of_each).await;
    let nanos = thread_nanos() - started;
    assert!(metrics.messages().balanced());
    pipeline.drain(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    nanos as f64 / (of_each * case.connections) as f64
}

async fn send_all(pipeline: &Pipeline, case: Case, messages: &[Publish], of_each: usize) {
    let connection = |index| {
        let start = index * messages.len() / case.connections;
        let own = messages.len().div_ceil(case.connections).max(5);
        let own: Vec<Publish> = messages.iter().cycle().skip(start).take(own).cloned().collect();
        tokio::spawn(send(pipeline.intake(), case, own, of_each))
    };
    for sent in (0..case.connections).map(connection).collect::<Vec<_>>() {
        sent.await.unwrap();
    }
}

async fn send(mut intake: PipelineIntake, case: Case, messages: Vec<Publish>, count: usize) {
    let mut next = messages.iter().cycle();
    let mut waiting = VecDeque::new();
    for _ in 0..count / case.group {
        let group = next.by_ref().take(case.group).cloned().collect();
        waiting.push_back(intake.submit(group).await.unwrap());
        while waiting.len() >= case.ahead {
            waiting.pop_front().unwrap().await.unwrap();
        }
    }
    for completion in waiting {
        completion.await.unwrap();
    }
}

fn message(i: usize) -> Publish {
    let payload = format!(
        r#"{{"ts":{},"temperature":{}.{},"humidity":{}.5,"pressure":101{}.25,"battery":{},"starts":{}}}"#,
        NOW_MILLIS - 60_000 + i64::try_from(i / DEVICES * 1000).unwrap(),
        15 + i % 20,
        i % 97,
        30 + i % 50,
        i % 10,
        i % 101,
        100_000 + i
    );
    Publish {
        topic: Bytes::from(format!("devices/sensor-{:05}/telemetry", i % DEVICES)),
        payload: Bytes::from(payload),
        qos: Qos::AtLeastOnce,
        retained: false,
    }
}

/// Nanoseconds that this thread has run; since some moment where the kernel does not tell.
fn thread_nanos() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.unwrap_or_else(|| u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap())
}
