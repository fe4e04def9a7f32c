//! Rollups computed again from blocks, and what is found where one of them was changed.

use std::sync::Arc;
use std::time::Duration;

use tidemill_store::codec::frame::{Fields, Frame, FrameBuilder, FrameLimits};
use tidemill_store::layout::tables::{BLOCKS, FRAMES};
use tidemill_store::layout::{BlockRow, FrameRow, Period, Resolution, RetentionTimes};
use tidemill_store::mill::{Difference, GrindOutcome, Mill, MillOptions};
use tidemill_store::model::{TimeRange, Value};
use tidemill_store::wide::{Deletion, Memory, Scan, Wide, WriteTime};

use crate::bench::{HandClock, Writer, hour, mill, place, rows, source};

const X: &str = "x";

fn int(value: i64) -> Value {
    Value::I64(value)
}

/// The differences of each bucket.
async fn differences(mill: &Mill<Memory>) -> Vec<Vec<Difference>> {
    let (mut run, mut found) = (mill.verify(TimeRange::ALL, None), Vec::new());
    while let Some(checked) = run.next().await.unwrap() {
        found.push(checked.differences);
    }
    found
}

/// Puts other bytes in place of the body of the first row of blocks of an hour.
async fn spoil_block(wide: &Memory, hours: i64) -> BlockRow {
    let partition = BlockRow::partition(place(hours));
    let stored = rows(wide, Scan::partition(&BLOCKS, partition.clone())).await;
    let good = BlockRow::from_row(&stored[0]).unwrap();
    let spoilt = BlockRow { body: b"not a block".as_slice().into(), ..good.clone() };
    let deletion = Deletion::Row(stored[0].clustering.clone());
    wide.delete(&BLOCKS, &partition, &deletion, WriteTime::from_micros(i64::MAX)).await.unwrap();
    wide.put(&BLOCKS, &partition, &[spoilt.to_row()], WriteTime::from_micros(1)).await.unwrap();
    good
}

#[tokio::test]
async fn a_block_that_cannot_be_read_is_reported_and_the_rest_is_verified() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(8_000));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1)), ("b", X, 2, int(2)), ("a", X, 3_601, int(3))]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    for hours in [0, 1] {
        mill.grind_bucket(place(hours)).await.unwrap();
    }
    assert_eq!(differences(&mill).await, [vec![], vec![]]);
    let good = spoil_block(&wide, 0).await;
    let found = differences(&mill).await;
    assert!(
        matches!(&found[..], [first, second] if second.is_empty()
            && matches!(&first[..], [Difference::Block { first_source, .. }] if *first_source == good.first_source)),
        "{found:?}"
    );
    let names = mill.names(place(0).shard, &[source("a").id()].into()).await.unwrap();
    assert_eq!(names.get(&source("a").id()), Some(&source("a")));
}

#[tokio::test]
async fn sketches_are_compared_where_they_are_stored_whatever_is_configured_now() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(4_000));
    let mut writer = Writer::new(&wide, 1).await;
    let float = |second: i64| Value::F64(f64::from(u32::try_from(second).unwrap()));
    writer.send(10, &(1..99).map(|second| ("a", X, second, float(second))).collect::<Vec<_>>()).await;
    let hours = Resolution::from_seconds(3_600);
    let sketched = MillOptions { sketches_from: hours, ..MillOptions::default() };
    let mill = crate::bench::mill(&wide, &clock, sketched).await;
    mill.grind_bucket(place(0)).await.unwrap();
    assert_eq!(differences(&mill).await, [vec![]]);
    // Without sketches now: those that are stored are compared all the same.
    let plain = crate::bench::mill(&wide, &clock, MillOptions::default()).await;
    assert_eq!(differences(&plain).await, [vec![]]);
    assert_eq!(plain.grind_again(place(0)).await.unwrap().outcome, GrindOutcome::Ground);
    assert_eq!(differences(&mill).await, [vec![]], "without them there is nothing to compare");
}

#[tokio::test]
async fn buckets_whose_samples_have_expired_are_passed_over_and_counted() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(4_000));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1)), ("a", X, 3_601, int(1))]).await;
    let retention = RetentionTimes { raw: Some(Duration::from_hours(1)), ..RetentionTimes::FOREVER };
    let mill = mill(&wide, &clock, MillOptions { retention, ..MillOptions::default() }).await;
    for hours in [0, 1] {
        mill.grind_bucket(place(hours)).await.unwrap();
    }
    clock.set(7_300);
    let mut run = mill.verify(TimeRange::ALL, None);
    assert_eq!(run.next().await.unwrap().map(|checked| checked.place), Some(place(1)));
    assert_eq!((run.next().await.unwrap(), run.expired()), (None, 1));
    assert_eq!(
        mill.grind_again(place(0)).await.unwrap().outcome,
        GrindOutcome::Nothing,
        "it has no samples left"
    );
}

#[tokio::test]
async fn a_bucket_that_is_ground_and_collected_meanwhile_is_verified_as_it_is_then() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(8_000));
    let mut writer = Writer::new(&wide, 1).await;
    writer.send(10, &[("a", X, 1, int(1)), ("a", X, 3_601, int(1))]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    for hours in [0, 1] {
        mill.grind_bucket(place(hours)).await.unwrap();
    }
    let mut run = mill.verify(TimeRange::ALL, None);
    assert_eq!(run.next().await.unwrap().map(|checked| checked.samples), Some(1));
    // The seals of the shard are known to the run by now.
    writer.send(20, &[("a", X, 3_602, int(2))]).await;
    let old = rows(&*wide, Scan::partition(&BLOCKS, BlockRow::partition(place(1)))).await.remove(0);
    mill.grind_bucket(place(1)).await.unwrap();
    let deletion = Deletion::Row(old.clustering);
    wide.delete(&BLOCKS, &BlockRow::partition(place(1)), &deletion, WriteTime::from_micros(i64::MAX))
        .await
        .unwrap();
    let checked = run.next().await.unwrap().unwrap();
    assert_eq!((checked.place, checked.samples, checked.differences), (place(1), 2, vec![]));
}

#[tokio::test]
async fn verifying_finds_nothing_in_what_was_ground_and_everything_that_was_changed() {
    let (wide, clock) = (Arc::new(Memory::new()), HandClock::at(4_000));
    let mut writer = Writer::new(&wide, 1).await;
    let float = |second: i64| Value::F64(f64::from(u32::try_from(second).unwrap()).sin());
    let samples: Vec<_> = (60..300).map(|second| ("fast", X, second, float(second))).collect();
    writer.send(10, &samples).await;
    writer.send(11, &[("slow", X, 0, int(1)), ("slow", X, 3_600, int(2))]).await;
    let mill = mill(&wide, &clock, MillOptions::default()).await;
    for hour in [0, 1] {
        mill.grind_bucket(place(hour)).await.unwrap();
    }
    let all = async |after| {
        let (mut run, mut checked) = (mill.verify(TimeRange::ALL, after), Vec::new());
        while let Some(bucket) = run.next().await.unwrap() {
            checked.push((bucket.place, bucket.samples, bucket.windows, bucket.differences));
        }
        checked
    };
    assert_eq!(all(None).await, [(place(0), 241, 6, vec![]), (place(1), 1, 1, vec![])]);
    assert_eq!(all(Some(place(0))).await, [(place(1), 1, 1, vec![])], "from the checkpoint on");
    forge_frame(&*wide).await;
    let differences = all(None).await.remove(0).3;
    assert!(
        matches!(&differences[..], [Difference::Missing { series: 2, framed: 1, .. }]),
        "{differences:?}"
    );
    assert_eq!(mill.grind_bucket(place(0)).await.unwrap().outcome, GrindOutcome::Nothing);
    assert_eq!(mill.grind_again(place(0)).await.unwrap().outcome, GrindOutcome::Ground);
    assert_eq!(
        all(None).await,
        [(place(0), 241, 6, vec![]), (place(1), 1, 1, vec![])],
        "frames are made anew"
    );
}

/// Deletes one of the frames of an hour.
async fn forge_frame<W: Wide>(wide: &W) {
    let hours = Resolution::from_seconds(3_600).unwrap();
    let period = Period::of_frames(place(0).bucket, hour(), hours);
    let partition = FrameRow::partition(place(0).shard, hours, period);
    let all = rows(wide, Scan::partition(&FRAMES, partition.clone())).await;
    let mut row = FrameRow::from_row(&all[0], hour()).unwrap();
    let frame = Frame::decode(row.body.clone()).unwrap();
    let slow = frame.position(source("slow").id()).unwrap();
    let windows = frame.windows(slow, 0..1, Fields::ALL).unwrap();
    let mut builder = FrameBuilder::new(row.metric.clone(), hours, row.bucket, FrameLimits::DEFAULT);
    assert_eq!(builder.push(source("slow").id(), &windows), Ok(vec![]));
    let forged = builder.finish().remove(0);
    (row.first_source, row.last_source, row.body) =
        (forged.first_source, forged.last_source, forged.body.into());
    let deletion = Deletion::Row(all[0].clustering.clone());
    wide.delete(&FRAMES, &partition, &deletion, WriteTime::from_micros(i64::MAX)).await.unwrap();
    wide.put(&FRAMES, &partition, &[row.to_row()], WriteTime::from_micros(1)).await.unwrap();
}
