//! How a pipeline ends: for good, with its store, or with those who use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tidemill_store::wide::{Faults, Memory};
use tokio::time::{sleep, timeout};

use super::broken::{Ended, Ending};
use super::rig::{Rig, config, eras, one, publish, seconds};
use crate::pipeline::PipelineFailure;
use crate::source::{Abandoned, Closed, Intake, Qos};

fn ending_rig(ending: Ending) -> (Rig, Arc<AtomicBool>) {
    let (memory, over) = (Memory::new(), Arc::new(AtomicBool::new(false)));
    let wide = Ended { memory: memory.clone(), ending, over: Arc::clone(&over) };
    (Rig::on(wide, memory, Faults::new(1), eras(), config()), over)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ends_fails_the_pipeline_and_nothing_of_it_is_acknowledged() {
    for ending in [Ending::Refuse, Ending::Break, Ending::Panic] {
        for (message, is_reject) in [(one("a", 2), false), (publish("a", "{", Qos::AtLeastOnce), true)] {
            let (rig, over) = ending_rig(ending);
            let mut intake = rig.pipeline.intake();
            intake.submit(vec![one("a", 1)]).await.unwrap().await.unwrap();
            assert_eq!(rig.pipeline.failed().now_or_never().map(drop), None);
            over.store(true, Ordering::Relaxed);
            let completion = intake.submit(vec![message]).await.unwrap();
            assert_eq!(completion.await, Err(Abandoned), "{ending:?}");
            let failure = timeout(Duration::from_secs(1), rig.pipeline.failed()).await.unwrap();
            let expected = match (ending, is_reject) {
                (Ending::Panic, _) => matches!(*failure, PipelineFailure::Ended { .. }),
                (_, true) => matches!(*failure, PipelineFailure::Rejects { .. }),
                (_, false) => matches!(*failure, PipelineFailure::Append { .. }),
            };
            assert!(expected, "{ending:?}: {failure}");
            assert_eq!(intake.submit(vec![one("a", 3)]).await.map(drop), Err(Closed));
            let accounting = rig.accounting();
            assert_eq!((accounting.stored, accounting.in_flight), (1, 1));
            let drained = rig.pipeline.drain(seconds(60)).await;
            assert_eq!((drained.left, drained.marks_closed), (1, false));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_waiting_for_room_has_changed_nothing() {
    let mut config = config();
    config.memory.in_flight_bytes_max = 1024 * 1024;
    let rig = Rig::with(config);
    rig.faults.pause();
    let mut intake = rig.pipeline.intake();
    let held = intake.submit((0..30_000).map(|i| one("d", i)).collect()).await.unwrap();
    for _ in 0..10 {
        let waiting = timeout(Duration::from_secs(1), intake.submit(vec![one("e", 1)])).await;
        assert!(waiting.is_err());
    }
    assert_eq!(rig.accounting().received, 30_000);
    rig.faults.resume();
    held.await.unwrap();
    intake.submit(vec![one("e", 1)]).await.unwrap().await.unwrap();
    assert_eq!(rig.pipeline.drain(seconds(10)).await.left, 0);
    assert_eq!(rig.accounting().stored, 30_001);
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_connection_that_is_gone_are_stored_all_the_same() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    drop(intake.submit(vec![one("a", 1), publish("a", "{", Qos::AtLeastOnce)]).await.unwrap());
    drop(intake);
    assert_eq!(rig.pipeline.drain(seconds(10)).await.left, 0);
    assert_eq!((rig.samples().await.len(), rig.rejects().await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn marks_of_idle_buckets_close_while_the_pipeline_runs() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    intake.submit((0..50).map(|i| one(&format!("d{i}"), i)).collect()).await.unwrap().await.unwrap();
    assert!(rig.open_marks().await > 0);
    sleep(config().append.idle_max + Duration::from_mins(1)).await;
    assert_eq!(rig.open_marks().await, 0);
    intake.submit(vec![one("d1", 7)]).await.unwrap().await.unwrap();
    assert_eq!(rig.open_marks().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_is_dropped_stores_what_was_announced_and_ends_its_tasks() {
    let mut rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    intake.submit(vec![one("a", 1)]).await.unwrap().await.unwrap();
    drop(intake);
    let (other, _) = ending_rig(Ending::Break);
    drop(std::mem::replace(&mut rig.pipeline, other.pipeline));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((rig.samples().await.len(), rig.open_marks().await), (1, 0));
}
