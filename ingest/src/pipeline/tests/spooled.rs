//! The pipeline with a spool: a store that goes away and comes back, a disk that fills up or fails, a process that dies.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidemill_store::model::{Clock, WriterId};
use tidemill_store::wide::{FaultRates, Faults, Faulty, Memory};
use tokio::time::{Instant, sleep, timeout};

use super::rig::{Rig, config, eras, one, publish, seconds};
use crate::metrics::IngestMetrics;
use crate::pipeline::PipelineFailure;
use crate::source::{Intake, Qos};
use crate::spool::{FaultyDisk, Keys, LogLimits, Spool, SpoolMetrics, SpoolOptions, Work};

const DEADLINE: Duration = Duration::from_secs(2);

fn options() -> SpoolOptions {
    SpoolOptions {
        limits: LogLimits { bytes_max: 1 << 20, file_bytes_max: 8 << 10 },
        store_deadline: DEADLINE,
        forward_bytes_per_second: 1 << 30,
        always: false,
        work: Work::Inline,
    }
}

/// A pipeline over `memory` with the spool on `disk`; its writer is fresh for each `life`.
fn rig(disk: &FaultyDisk, memory: &Memory, life: u64, options: SpoolOptions) -> Rig {
    let faults = Faults::new(7);
    let wide = Faulty::new(memory.clone(), faults.clone());
    let spool = |metrics: &IngestMetrics, clock: Arc<dyn Clock>| {
        let shown = SpoolMetrics::register(&prometheus::Registry::new()).unwrap();
        Spool::open(disk.clone(), Keys::default(), options, clock, (shown, metrics.clone())).unwrap()
    };
    Rig::spooled(
        wide,
        (memory.clone(), faults),
        eras(),
        config(),
        (WriterId::from_random(1_000 + life), spool),
    )
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = timeout(Duration::from_mins(5), async {
        while !done() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} never came");
}

fn values(samples: &[super::rig::Stored]) -> Vec<i64> {
    let mut values: Vec<i64> = samples
        .iter()
        .map(|(.., value)| if let tidemill_store::model::Value::I64(value) = value { *value } else { -1 })
        .collect();
    values.sort_unstable();
    values
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_costs_its_deadline_once_and_gets_everything_when_it_is_back() {
    let rig = rig(&FaultyDisk::default(), &Memory::new(), 1, options());
    let mut intake = rig.pipeline.intake();
    intake.submit(vec![one("d", 0)]).await.unwrap().await.unwrap();
    rig.faults.pause();
    let mut waiting = intake.submit(vec![one("d", 1)]).await.unwrap();
    assert!(
        timeout(DEADLINE / 2, &mut waiting).await.is_err(),
        "nothing is acknowledged that is not durable"
    );
    waiting.await.unwrap();
    for value in 2..20 {
        let completion = intake.submit(vec![one("d", value)]).await.unwrap();
        timeout(Duration::from_millis(10), completion).await.unwrap().unwrap();
    }
    let during = rig.accounting();
    assert_eq!((during.received, during.stored, during.spooled, during.in_flight), (20, 1, 19, 0));
    rig.faults.resume();
    until("an empty spool", || rig.accounting().spooled == 0).await;
    assert_eq!(values(&rig.samples().await), (0..20).collect::<Vec<_>>());
    sleep(Duration::from_secs(1)).await;
    intake.submit(vec![one("d", 20)]).await.unwrap().await.unwrap();
    let after = rig.accounting();
    assert_eq!((after.stored, after.spooled), (21, 0), "live messages go to the store again");
    let writers: std::collections::BTreeSet<_> =
        rig.segments().await.iter().map(|(_, segment)| segment.writer).collect();
    assert_eq!(writers.len(), 2, "the writer that used the spool never writes to the store again");
    assert!(rig.pipeline.drain(seconds(60)).await.marks_closed);
    until("closed marks", || rig.open_marks().now_or_never() == Some(0)).await;
    assert_eq!(rig.metrics.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn live_messages_do_not_wait_for_a_backlog_that_is_forwarded_slowly() {
    let slow = SpoolOptions { forward_bytes_per_second: 200, ..options() };
    let rig = rig(&FaultyDisk::default(), &Memory::new(), 1, slow);
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    for value in 0..100 {
        intake.submit(vec![one(&format!("d{}", value % 7), value)]).await.unwrap().await.unwrap();
    }
    rig.faults.resume();
    until("the store", || rig.accounting().stored > 0).await;
    sleep(Duration::from_secs(1)).await;
    for value in 100..120 {
        intake.submit(vec![one("live", value)]).await.unwrap().await.unwrap();
    }
    let during = rig.accounting();
    until("an empty spool", || rig.accounting().spooled == 0).await;
    assert!(during.stored < 200, "{during:?}");
    assert_eq!(values(&rig.samples().await), (0..120).collect::<Vec<_>>());
    assert_eq!(rig.metrics.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_small_segments_does_not_wait_for_the_store_one_by_one() {
    let rig = rig(&FaultyDisk::default(), &Memory::new(), 1, options());
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    for value in 0..400 {
        intake.submit(vec![one("d", value)]).await.unwrap().await.unwrap();
    }
    rig.faults.set_rates(FaultRates {
        delayed: 1_000,
        delay_max: Duration::from_millis(40),
        ..FaultRates::default()
    });
    rig.faults.resume();
    until("the first one", || rig.accounting().spooled < 400).await;
    let started = Instant::now();
    until("an empty spool", || rig.accounting().spooled == 0).await;
    assert!(started.elapsed() < Duration::from_secs(2), "8 s one by one: {:?}", started.elapsed());
    assert_eq!(values(&rig.samples().await), (0..400).collect::<Vec<_>>());
    assert_eq!(rig.metrics.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_left_in_its_spool_is_forwarded_under_the_same_keys() {
    let (disk, memory) = (FaultyDisk::default(), Memory::new());
    let first = rig(&disk, &memory, 1, options());
    let mut intake = first.pipeline.intake();
    first.faults.pause();
    for value in 0..30 {
        intake.submit(vec![one("d", value)]).await.unwrap().await.unwrap();
    }
    drop((first, intake));
    disk.crash(|_| 0);
    let second = rig(&disk, &memory, 2, options());
    assert_eq!(second.accounting().recovered, 30);
    until("an empty spool", || second.accounting().spooled == 0).await;
    assert_eq!(values(&second.samples().await), (0..30).collect::<Vec<_>>());
    // A process that dies before it removes a file forwards it again: nothing changes.
    let segments = second.segments().await;
    assert_eq!(second.accounting().stored, 30);
    assert_eq!(segments.iter().map(|(_, segment)| segment.samples).sum::<u32>(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_stops_acknowledgements_and_loses_nothing() {
    let small = SpoolOptions { limits: LogLimits { bytes_max: 4_000, file_bytes_max: 1_000 }, ..options() };
    let rig = rig(&FaultyDisk::default(), &Memory::new(), 1, small);
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    let mut acknowledged = 0;
    let mut stuck = loop {
        let mut completion = intake.submit(vec![one("d", acknowledged)]).await.unwrap();
        if timeout(Duration::from_mins(1), &mut completion).await.is_err() {
            break completion;
        }
        acknowledged += 1;
    };
    assert!(acknowledged > 3, "{acknowledged}");
    assert!(timeout(Duration::from_mins(1), &mut stuck).await.is_err());
    rig.faults.resume();
    timeout(Duration::from_mins(1), stuck).await.unwrap().unwrap();
    until("an empty spool", || rig.accounting().spooled == 0).await;
    assert_eq!(values(&rig.samples().await), (0..=acknowledged).collect::<Vec<_>>());
    assert_eq!(rig.metrics.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_fails_acknowledges_nothing_and_ends_the_pipeline() {
    let disk = FaultyDisk::default();
    let rig = rig(&disk, &Memory::new(), 1, options());
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    disk.fail_syncs(true);
    let completion = intake.submit(vec![one("d", 1)]).await.unwrap();
    let failure = rig.pipeline.failed().await;
    assert!(matches!(*failure, PipelineFailure::Spool { .. }), "{failure}");
    assert!(completion.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn rejects_are_spooled_and_forwarded_too() {
    let rig = rig(&FaultyDisk::default(), &Memory::new(), 1, options());
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    let poison = publish("d", r#"{"v": [1]}"#, Qos::AtLeastOnce);
    intake.submit(vec![poison, one("d", 1)]).await.unwrap().await.unwrap();
    rig.faults.resume();
    until("an empty spool", || rig.accounting().spooled == 0).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.rejects().await.len(), 1);
    assert_eq!(values(&rig.samples().await), [1]);
    assert_eq!(rig.accounting().dead_lettered, 1);
}

#[tokio::test(start_paused = true)]
async fn with_durability_spool_an_acknowledgement_never_waits_for_the_store() {
    let always = SpoolOptions { always: true, ..options() };
    let rig = rig(&FaultyDisk::default(), &Memory::new(), 1, always);
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    let first = intake.submit(vec![one("d", 0)]).await.unwrap();
    timeout(Duration::from_millis(1), first).await.unwrap().unwrap();
    rig.faults.resume();
    for value in 1..50 {
        intake.submit(vec![one("d", value)]).await.unwrap().await.unwrap();
    }
    until("an empty spool", || rig.accounting().spooled == 0).await;
    assert_eq!(values(&rig.samples().await), (0..50).collect::<Vec<_>>());
    let writers: std::collections::BTreeSet<_> =
        rig.segments().await.iter().map(|(_, segment)| segment.writer).collect();
    assert_eq!(writers.len(), 1);
    assert_eq!(rig.metrics.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_is_forwarded_is_newer_than_any_that_it_was_planned_with() {
    let rig = rig(&FaultyDisk::default(), &Memory::new(), 1, options());
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    intake.submit(vec![one("d", 0)]).await.unwrap().await.unwrap();
    let planned = rig.clock_now();
    sleep(Duration::from_hours(30)).await;
    rig.faults.resume();
    until("an empty spool", || rig.accounting().spooled == 0).await;
    let marks = rig.marks().await;
    assert_eq!(marks.len(), 1);
    let age = marks[0].1.written_at.micros() - planned.micros_floor();
    assert!(age >= 30 * 3_600_000_000, "{age}: it would be taken for abandoned");
}
