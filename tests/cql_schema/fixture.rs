//! What the trials share: a keyspace of their own, a session of their own, rows to write.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tidemill_store::model::{Clock, Timestamp};
use tidemill_store::wide::cql::{ConnectError, Cql, CqlOptions, Keyspace};
use tidemill_store::wide::{Datum, Key, Page, Row, Scan, Wide as _, WriteTime};
use tidemill_tests::cassandra::{fresh_keyspace, shared};
use tidemill_tests::real::{Requirement, trial};
use tokio::runtime::Runtime;

/// A trial in a keyspace of its own, which is dropped afterwards whatever happened.
pub(crate) fn on_shared<F>(name: &'static str, body: fn(CqlOptions) -> F) -> Trial
where
    F: Future<Output = Result<()>> + 'static,
{
    trial(name, &[Requirement::SharedCassandra], move || {
        let node = shared()?;
        let keyspace = Keyspace::new(&fresh_keyspace("cql"))?;
        let contact_points = vec![node.contact_point().to_owned()];
        let mut options = CqlOptions::new(contact_points, keyspace, node.datacenter(), 1);
        patient(&mut options);
        runtime()?.block_on(async {
            let outcome = body(options.clone()).await;
            let session = session(&options).await?;
            session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {}", options.keyspace), ()).await?;
            outcome
        })
    })
}

/// What is tested here is not how fast a server is that shares two processors with other tests.
fn patient(options: &mut CqlOptions) {
    options.connect_timeout = Duration::from_secs(30);
    options.request_timeout = Duration::from_secs(30);
}

pub(crate) fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

pub(crate) async fn session(options: &CqlOptions) -> Result<Session> {
    let mut builder = SessionBuilder::new().known_nodes(&options.contact_points);
    if let Some(login) = &options.credentials {
        builder = builder.user(&login.username, &login.password);
    }
    builder.build().await.context("a session of the test's own")
}

pub(crate) async fn run(options: &CqlOptions, statement: &str) -> Result<()> {
    let statement = statement.replace("KS", options.keyspace.as_str());
    session(options).await?.query_unpaged(statement, ()).await?;
    Ok(())
}

/// The machine's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let nanos = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default();
        Timestamp::from_nanos(nanos).unwrap_or(Timestamp::EPOCH)
    }
}

pub(crate) async fn connect(options: &CqlOptions) -> Result<Cql, ConnectError> {
    Cql::connect(options, Arc::new(SystemClock)).await
}

pub(crate) fn at(micros: i64) -> WriteTime {
    WriteTime::from_micros(micros)
}

pub(crate) fn ints(numbers: &[i64]) -> Key {
    Key::new(numbers.iter().map(|&n| Datum::Int(n)).collect::<Vec<_>>())
}

pub(crate) fn segments_of(shard: i64) -> Key {
    Key::from([Datum::Int(shard), Datum::Instant(1_700_000_000_000)])
}

pub(crate) fn segment(writer: i64, seq: i64, body_bytes: usize) -> Row {
    let mut cells = vec![Datum::Instant(1_700_000_000_123)];
    cells.extend([1, 2, 3, 4].map(Datum::Int));
    cells.push(Datum::Blob(vec![u8::try_from(seq.rem_euclid(251)).unwrap_or(0); body_bytes].into()));
    Row { clustering: ints(&[writer, seq]), cells }
}

/// Every row of a scan, page after page.
pub(crate) async fn all_pages(cql: &Cql, scan: &Scan) -> Result<Vec<Row>> {
    let (mut rows, mut from) = (Vec::new(), None);
    loop {
        let Page { rows: page, next } = cql.scan(scan, from).await?;
        ensure!(page.len() <= usize::try_from(scan.page_rows_max)?, "a page of {} rows", page.len());
        rows.extend(page);
        match next {
            Some(token) => from = Some(token),
            None => return Ok(rows),
        }
    }
}

/// The error where one is due.
pub(crate) fn failure<T, E>(outcome: Result<T, E>, unless: &str) -> Result<E> {
    outcome.err().with_context(|| unless.to_owned())
}
