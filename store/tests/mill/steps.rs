//! Single grinds, step by step.

use std::sync::Arc;
use std::time::Duration;

use tidemill_store::layout::tables::{REJECTS, SEALS, SEGMENTS};
use tidemill_store::layout::{MarkState, RejectRow, RetentionTimes, SegmentRow};
use tidemill_store::mill::{GrindOutcome, Mill, MillFailure, MillOptions};
use tidemill_store::model::{SealVersion, Seq, TimeRange, Value, WriterId};
use tidemill_store::wide::{Datum, Faults, Faulty, Key, Memory, Scan, Wide, WriteFault, WriteTime};
use tokio::sync::watch;

use crate::bench::{
    HandClock, Writer, framed, generations, ground, integers, marks, mill, mill_named, place, rows, seal,
    seconds, segments,
};

const X: &str = "x";

fn int(value: i64) -> Value {
    Value::I64(value)
}

#[tokio::test]
async fn a_closed_bucket_is_ground_and_its_mark_is_deleted() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(100));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("b", X, 5, int(1)), ("a", X, 6, int(2)), ("a", "y", 6, int(3))]).await;
    writer.send(11, &[("a", X, 4, int(4))]).await;
    writer.close(12).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    let done = mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!(done.outcome, GrindOutcome::Ground);
    assert_eq!((done.segments, done.samples, done.duplicates, done.corrections), (2, 4, 0, 0));
    assert_eq!(integers(&ground(&*wide, place(0), "a", X).await), [(4, 4), (6, 2)]);
    assert_eq!(integers(&ground(&*wide, place(0), "b", X).await), [(5, 1)]);
    assert_eq!(marks(&*wide).await, []);
    let seal = seal(&*wide, place(0)).await.unwrap();
    assert_eq!((seal.version, seal.summary.samples, seal.summary.sources), (SealVersion::new(1), 4, 2));
    assert!(seal.covers(WriterId::from_random(2), Seq::new(1)));
    assert_eq!(segments(&*wide, place(0)).await.len(), 2, "segments wait for the grace");
    assert_eq!(mill.grind_bucket(place(0)).await.unwrap().outcome, GrindOutcome::Nothing);
}

#[tokio::test]
async fn late_samples_are_ground_over_the_blocks_and_duplicates_and_corrections_are_counted() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(100));
    let mut writer = Writer::new(&wide, 1).await;
    writer
        .send(10, &[("a", X, 1, int(1)), ("a", X, 2, int(2)), ("a", X, 2, int(2)), ("b", X, 1, int(7))])
        .await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    let first = mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!((first.samples, first.duplicates, first.corrections), (3, 1, 0));
    assert_eq!(marks(&*wide).await[0].state, MarkState::Open, "an open mark stays");
    writer
        .send(90, &[("a", X, 1, int(9)), ("a", X, 2, int(2)), ("a", X, 0, int(5)), ("c", X, 3, int(8))])
        .await;
    let second = mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!((second.samples, second.duplicates, second.corrections), (5, 1, 1));
    assert_eq!(integers(&ground(&*wide, place(0), "a", X).await), [(0, 5), (1, 9), (2, 2)]);
    assert_eq!(integers(&ground(&*wide, place(0), "b", X).await), [(1, 7)]);
    let summary = seal(&*wide, place(0)).await.unwrap().summary;
    assert_eq!((summary.samples, summary.duplicates, summary.corrections), (5, 2, 1));
    assert_eq!(generations(&*wide, place(0)).await.len(), 2);
}

#[tokio::test]
async fn what_has_not_settled_is_left() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(100));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    writer.send(95, &[("a", X, 2, int(2))]).await;
    writer.close(96).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!(integers(&ground(&*wide, place(0), "a", X).await), [(1, 1)]);
    assert_eq!(marks(&*wide).await.len(), 1, "its last segment is not covered");
    clock.set(105);
    mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!(integers(&ground(&*wide, place(0), "a", X).await), [(1, 1), (2, 2)]);
    assert_eq!(marks(&*wide).await, []);
}

#[tokio::test]
async fn a_bucket_larger_than_memory_is_ground_in_ranges_of_sources() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(1_000));
    let mut writer = Writer::new(&wide, 1).await;
    let devices: Vec<String> = (0..50).map(|n| format!("d{n}")).collect();
    for round in 0..6 {
        let samples: Vec<_> =
            devices.iter().map(|device| (device.as_str(), X, round * 10, int(round))).collect();
        writer.send(10 + round, &samples).await;
    }
    let small = MillOptions { memory_bytes_max: 2_000, ..MillOptions::default() };
    let mill = mill(&wide, &clock, small).await;
    assert_eq!(mill.grind_bucket(place(0)).await.unwrap().samples, 300);
    let late: Vec<_> = devices.iter().map(|device| (device.as_str(), X, 25, int(99))).collect();
    writer.send(20, &late).await;
    assert_eq!(mill.grind_bucket(place(0)).await.unwrap().samples, 350);
    for device in &devices {
        let run = integers(&ground(&*wide, place(0), device, X).await);
        assert_eq!(run, [(0, 0), (10, 1), (20, 2), (25, 99), (30, 3), (40, 4), (50, 5)], "{device}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_mill_takes_its_shard_grinds_what_is_over_and_collects_after_the_grace() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(7_200));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    writer.close(11).await;
    writer.send(7_190, &[("a", X, 7_201, int(1))]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    let (stop, stopped) = watch::channel(false);
    let check = async {
        tokio::time::sleep(Duration::from_mins(1)).await;
        let first = seal(&*wide, place(0)).await.unwrap();
        assert_eq!(segments(&*wide, place(0)).await.len(), 1);
        assert_eq!(first.summary.garbage_bytes, first.summary.segment_bytes);
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert_eq!(segments(&*wide, place(0)).await, []);
        let last = seal(&*wide, place(0)).await.unwrap();
        assert_eq!(last.generation, first.generation);
        assert_eq!((last.version, last.summary.garbage_bytes), (SealVersion::new(3), 0));
        assert_eq!(integers(&ground(&*wide, place(0), "a", X).await), [(1, 1)]);
        assert_eq!(seal(&*wide, place(2)).await, None, "the open bucket is left");
        stop.send(true).unwrap();
    };
    tokio::join!(mill.run(stopped), check);
}

#[tokio::test(start_paused = true)]
async fn the_shards_of_a_mill_that_dies_are_ground_by_another_within_a_minute() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(8_000));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    let (_stop, stopped) = watch::channel(false);
    let mill = async |name| mill_named(name, &wide, &clock, MillOptions::default()).await;
    let start = |mill: Mill<Memory>| {
        let stopped = stopped.clone();
        tokio::spawn(async move { mill.run(stopped).await })
    };
    let first = start(mill("first").await);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(seal(&*wide, place(0)).await.is_some(), "the first mill does not grind");
    let second = start(mill("second").await);
    tokio::time::sleep(Duration::from_mins(2)).await;
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()), "it ended by itself");
    writer.send(7_990, &[("a", X, 3_601, int(2))]).await;
    writer.close(7_991).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(integers(&ground(&*wide, place(1), "a", X).await), [(3_601, 2)]);
    second.abort();
}

#[tokio::test]
async fn a_compare_and_set_without_an_answer_is_settled_by_reading_back() {
    let faults = Faults::new(1);
    let (wide, clock) = (Arc::new(Faulty::new(Memory::new(), faults.clone())), HandClock::at(100));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    for fault in [WriteFault::UnknownApplied, WriteFault::UnknownLost] {
        faults.fail_next_write_to(&SEALS, fault);
        assert_eq!(mill.grind_bucket(place(0)).await.unwrap().outcome, GrindOutcome::Ground, "{fault:?}");
        writer.send(20, &[("a", X, 2, int(2))]).await;
    }
    assert_eq!(seal(&*wide, place(0)).await.unwrap().version, SealVersion::new(2));
}

#[tokio::test]
async fn a_segment_that_is_not_what_was_written_is_kept_as_a_reject_and_the_rest_is_ground() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(100));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    let mut broken = segments(&*wide, place(0)).await.remove(0);
    (broken.seq, broken.body) = (Seq::new(1), b"not a segment".as_slice().into());
    let rows_of = [broken.to_row()];
    wide.put(&SEGMENTS, &SegmentRow::partition(place(0)), &rows_of, WriteTime::from_micros(1)).await.unwrap();
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    let done = mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!((done.segments, done.samples, done.set_aside), (2, 1, 1));
    assert!(seal(&*wide, place(0)).await.unwrap().covers(broken.writer, Seq::new(1)));
    let day = Key::from([Datum::Instant(0), Datum::Int(0)]);
    let rejects = rows(&*wide, Scan::partition(&REJECTS, day)).await;
    let reject = RejectRow::from_row(&rejects[0]).unwrap();
    assert_eq!((reject.reason.as_str(), reject.payload), ("corrupt_segment", broken.body));
}

#[tokio::test]
async fn what_comes_after_raw_samples_have_expired_is_kept_as_a_reject_and_changes_no_rollup() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(100));
    let retention = RetentionTimes { raw: Some(Duration::from_hours(1)), ..RetentionTimes::FOREVER };
    let options = MillOptions { retention, ..MillOptions::default() };
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    let mill = mill(&wide, &clock, options).await;
    mill.grind_bucket(place(0)).await.unwrap();
    let before = seal(&*wide, place(0)).await.unwrap();
    clock.set(7_200);
    writer.send(7_100, &[("a", X, 2, int(2))]).await;
    writer.close(7_101).await;
    for _ in 0..2 {
        let done = mill.grind_bucket(place(0)).await.unwrap();
        assert!(matches!(done.outcome, GrindOutcome::Quarantined | GrindOutcome::Nothing));
    }
    let after = seal(&*wide, place(0)).await.unwrap();
    assert_eq!((after.generation, after.version), (before.generation, SealVersion::new(2)));
    assert_eq!(after.covered.values().map(|covered| covered.segments).collect::<Vec<_>>(), [2]);
    assert_eq!(marks(&*wide).await, []);
    let rejects =
        rows(&*wide, Scan::partition(&REJECTS, Key::from([Datum::Instant(0), Datum::Int(0)]))).await;
    assert_eq!(rejects.len(), 1);
    assert_eq!(RejectRow::from_row(&rejects[0]).unwrap().reason, "raw_expired");
}

#[tokio::test]
async fn a_bucket_that_was_never_ground_is_ground_even_after_its_raw_samples_have_expired() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(9_000));
    let retention = RetentionTimes { raw: Some(Duration::from_hours(1)), ..RetentionTimes::FOREVER };
    let options = MillOptions { retention, ..MillOptions::default() };
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    let done = mill(&wide, &clock, options).await.grind_bucket(place(0)).await.unwrap();
    assert_eq!((done.outcome, done.samples), (GrindOutcome::Ground, 1));
    assert_eq!(generations(&*wide, place(0)).await, [], "blocks that have expired are not written");
}

#[tokio::test]
async fn blocks_that_are_not_all_there_are_never_ground_again() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(100));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    mill.grind_bucket(place(0)).await.unwrap();
    let partition = tidemill_store::layout::BlockRow::partition(place(0));
    let all = tidemill_store::wide::Deletion::Range(tidemill_store::wide::Bounds::ALL);
    let blocks = &tidemill_store::layout::tables::BLOCKS;
    wide.delete(blocks, &partition, &all, WriteTime::from_micros(i64::MAX)).await.unwrap();
    writer.send(20, &[("a", X, 2, int(2))]).await;
    let failure = mill.grind_bucket(place(0)).await.unwrap_err();
    assert!(matches!(failure, MillFailure::BlocksMissing { found: 0, sealed: 1, .. }), "{failure:?}");
    assert_eq!(seal(&*wide, place(0)).await.unwrap().version, SealVersion::new(1));
}

#[tokio::test]
async fn an_open_mark_older_than_a_day_counts_as_closed() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(86_000));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!(marks(&*wide).await.len(), 1);
    clock.set(86_500);
    assert_eq!(mill.grind_bucket(place(0)).await.unwrap().outcome, GrindOutcome::Unmarked);
    assert_eq!(marks(&*wide).await, []);
}

#[tokio::test]
async fn frames_are_stored_where_they_pay_and_in_the_coarsest_resolution_for_every_series() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(4_000));
    let mut writer = Writer::new(&wide, 1).await;
    let mut samples: Vec<_> = (60..180).map(|second| ("fast", X, second, int(second))).collect();
    samples.extend([("slow", X, 0, int(1)), ("slow", X, 3_599, int(2))]);
    samples.extend([("mixed", X, 3, int(1)), ("mixed", X, 4, Value::Bool(true))]);
    writer.send(10, &samples[..122]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!(framed(&*wide, place(0), 60, ("fast", X)).await, Some(vec![(1, 60), (2, 60)]));
    assert_eq!(framed(&*wide, place(0), 3_600, ("fast", X)).await, Some(vec![(0, 120)]));
    assert_eq!(framed(&*wide, place(0), 60, ("slow", X)).await, None);
    assert_eq!(framed(&*wide, place(0), 3_600, ("slow", X)).await, Some(vec![(0, 2)]));
    assert_eq!(seal(&*wide, place(0)).await.unwrap().summary.framed_seconds, 3_600);
    writer.send(20, &samples[122..]).await;
    mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!(framed(&*wide, place(0), 3_600, ("mixed", X)).await, Some(vec![(0, 2)]));
    assert_eq!(framed(&*wide, place(0), 60, ("mixed", X)).await, None);
}

#[tokio::test]
async fn the_status_says_what_waits_for_what() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(100));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1))]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    let status = async || mill.status().await.unwrap()[0];
    let open = status().await;
    assert_eq!(
        (open.open, open.closed_unground, open.sealed, open.oldest_unground),
        (1, 0, 0, Some(seconds(1)))
    );
    clock.set(7_200);
    let closed = status().await;
    assert_eq!((closed.open, closed.closed_unground, closed.oldest_unground), (0, 1, Some(seconds(1))));
    assert!(closed.segment_bytes > 0 && closed.block_bytes == 0);
    mill.grind_bucket(place(0)).await.unwrap();
    let ground = status().await;
    assert_eq!((ground.closed_unground, ground.dirty, ground.sealed, ground.samples), (0, 0, 1, 1));
    assert_eq!(ground.oldest_unground, None);
    assert!(
        ground.segment_bytes == 0 && ground.block_bytes > 0 && ground.garbage_bytes == open.segment_bytes
    );
    writer.send(7_190, &[("a", X, 2, int(1))]).await;
    assert_eq!((status().await.dirty, status().await.oldest_unground), (1, Some(seconds(2))));
}

/// Compiles only where any thread may run a mill.
#[expect(dead_code, reason = "it is enough that it compiles")]
fn a_mill_may_move_between_threads<W: Wide>(
    mill: &tidemill_store::mill::Mill<W>,
    stop: watch::Receiver<bool>,
) {
    fn assert_send(_: impl Send) {}
    assert_send(mill.run(stop));
    assert_send(mill.grind_bucket(place(0)));
    assert_send(mill.status());
    assert_send(async { mill.verify(TimeRange::ALL, None).next().await.map(|_| ()) });
}
