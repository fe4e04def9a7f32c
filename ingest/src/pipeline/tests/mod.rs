//! The pipeline as a whole, over a store in memory and tokio's paused clock.

mod broken;
mod endings;
mod replay;
mod rig;
mod routing;
mod sparkplug;
mod spooled;

use std::time::Duration;

use futures_util::FutureExt;
use tidemill_store::codec::segment::{Limits, Segment};
use tidemill_store::layout::tables::{REJECTS, SEGMENTS};
use tidemill_store::layout::{BucketWidth, RejectKind, ShardCount, install_eras};
use tidemill_store::model::Value;
use tidemill_store::wide::{FaultRates, WriteFault};
use tokio::time::{Instant, sleep, timeout};

use rig::{Rig, START_MILLIS, config, one, publish, seconds};

use crate::source::{Abandoned, Closed, Intake, Publish, Qos};

fn group(count: i64) -> Vec<Publish> {
    (0..count).map(|i| one(&format!("d{}", i % 7), i)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_settled_group_is_stored_as_sent() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    let messages = vec![
        publish("a", r#"{"ts": 1799999999000, "t": 1.5, "n": {"x": true}}"#, Qos::AtLeastOnce),
        publish(
            "b",
            r#"[{"ts": 1799999990000, "s": "on"}, {"ts": 1799999991000, "s": "off"}]"#,
            Qos::AtMostOnce,
        ),
        one("c", 7),
    ];
    intake.submit(messages).await.unwrap().await.unwrap();
    let sample =
        |device: &str, metric: &str, millis, value| (device.to_owned(), metric.to_owned(), millis, value);
    assert_eq!(
        rig.samples().await,
        [
            sample("a", "n.x", 1_799_999_999_000, Value::Bool(true)),
            sample("a", "t", 1_799_999_999_000, Value::F64(1.5)),
            sample("b", "s", 1_799_999_990_000, Value::Text("on".into())),
            sample("b", "s", 1_799_999_991_000, Value::Text("off".into())),
            sample("c", "v", START_MILLIS, Value::I64(7)),
        ]
    );
    let accounting = rig.accounting();
    assert_eq!((accounting.received, accounting.stored, accounting.in_flight), (3, 3, 0));
    assert_eq!(rig.metrics.samples().stored, 5);
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_time_that_come_together_are_samples_of_their_own() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    let text = |payload| publish("d", payload, Qos::AtLeastOnce);
    // The clock stands still meanwhile.
    for _ in 0..2 {
        let group = vec![text(r#"{"v":1}"#), text("{"), text(r#"[{"v":2},{"v":3}]"#), text(r#"{"v":4}"#)];
        intake.submit(group).await.unwrap().await.unwrap();
    }
    let mut times = Vec::new();
    for (_, row) in rig.segments().await {
        let segment = Segment::decode(row.body, Limits::DEFAULT).unwrap();
        times.extend(segment.times().iter().map(|time| time.nanos() - START_MILLIS * 1_000_000));
    }
    times.sort_unstable();
    assert_eq!(times, (0..8).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_is_followed() {
    const DAY_MILLIS: i64 = 86_400_000;
    let rig = Rig::new();
    let hour = BucketWidth::new(Duration::from_hours(1)).unwrap();
    install_eras(&rig.memory, ShardCount::new(4).unwrap(), hour).await.unwrap();
    let mut intake = rig.pipeline.intake();
    for moved in [DAY_MILLIS, -2 * DAY_MILLIS, DAY_MILLIS] {
        rig.move_clock(moved);
        let group = vec![publish("d", r#"{"v":1}"#, Qos::AtLeastOnce)];
        intake.submit(group).await.unwrap().await.unwrap();
    }
    let mut times = Vec::new();
    for (_, row) in rig.segments().await {
        let segment = Segment::decode(row.body, Limits::DEFAULT).unwrap();
        times.extend(segment.times().iter().map(|time| time.millis_floor() - START_MILLIS));
    }
    times.sort_unstable();
    assert_eq!(times, [-DAY_MILLIS, 0, DAY_MILLIS]);
    assert_eq!(rig.accounting().quarantined, 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_clock_is_ahead_of_eras_that_cannot_be_read_a_message_is_kept_and_the_next_does_not_wait() {
    let rig = Rig::new();
    // Frozen: it holds no eras, and does not say so.
    rig.faults.pause();
    rig.move_clock(86_400_000);
    let started = Instant::now();
    for quarantined in 1..=3 {
        let group = vec![publish("d", r#"{"v":1}"#, Qos::AtLeastOnce)];
        let completion = rig.pipeline.intake().submit(group).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(3), "message {quarantined} waits again");
        drop(completion);
    }
    rig.faults.resume();
    timeout(Duration::from_mins(1), async {
        while rig.accounting().quarantined < 3 {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_empty_group_is_settled_at_once() {
    let rig = Rig::new();
    rig.pipeline.intake().submit(Vec::new()).await.unwrap().await.unwrap();
    assert_eq!(rig.accounting().received, 0);
}

#[tokio::test(start_paused = true)]
async fn what_arrives_during_a_write_goes_together_in_the_next() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    let mut waiting = vec![intake.submit(vec![one("d", 0)]).await.unwrap()];
    sleep(Duration::from_secs(1)).await;
    for value in 1..50 {
        waiting.push(intake.submit(vec![one("d", value)]).await.unwrap());
    }
    sleep(Duration::from_secs(1)).await;
    assert!(waiting.iter_mut().all(|completion| completion.now_or_never().is_none()));
    rig.faults.resume();
    for completion in waiting {
        completion.await.unwrap();
    }
    let sizes: Vec<u32> = rig.segments().await.iter().map(|(_, segment)| segment.samples).collect();
    assert_eq!(sizes, [1, 49]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_bounded_by_its_limits() {
    let mut config = config();
    config.batch.messages_max = 10;
    let rig = Rig::with(config);
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    let first = intake.submit(vec![one("d", 0)]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let mut waiting = vec![first];
    for value in 1..=25 {
        waiting.push(intake.submit(vec![one("d", value)]).await.unwrap());
    }
    rig.faults.resume();
    for completion in waiting {
        completion.await.unwrap();
    }
    let sizes: Vec<u32> = rig.segments().await.iter().map(|(_, segment)| segment.samples).collect();
    assert_eq!(sizes, [1, 10, 10, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_reject_is_kept_with_its_reason_before_it_is_settled_and_its_neighbours_are_stored() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    let elsewhere = Publish { topic: "other/topic".into(), ..one("x", 1) };
    let poison = publish("a", r#"{"v": [1]}"#, Qos::AtLeastOnce);
    let old = publish("a", r#"{"ts": 946684800000, "v": 1, "w": 2}"#, Qos::AtLeastOnce);
    let tagged = publish("a", r#"{"v": 1, "tags": {"k": "1", "k": "2"}}"#, Qos::AtLeastOnce);
    let group = vec![one("a", 1), poison, elsewhere, old, tagged, one("a", 2)];
    intake.submit(group).await.unwrap().await.unwrap();
    let rejects: Vec<_> =
        rig.rejects().await.into_iter().map(|row| (row.kind, row.reason, row.topic, row.detail)).collect();
    let kept = |kind, reason: &str, topic: &str, detail: &str| {
        (kind, reason.to_owned(), topic.to_owned(), detail.to_owned())
    };
    let topic = "devices/a/telemetry";
    assert_eq!(
        rejects,
        [
            kept(
                RejectKind::DeadLetter,
                "shape",
                topic,
                "at /v (byte 6): an array cannot be the value of a metric"
            ),
            kept(RejectKind::DeadLetter, "topic", "other/topic", "no topic template fits the topic"),
            kept(
                RejectKind::Quarantine,
                "too_old",
                topic,
                "the event time 2000-01-01T00:00:00Z lies outside of what is accepted at 2027-01-15T08:00:00Z: \
                 the earliest is 2017-01-14T08:00:00Z"
            ),
            kept(
                RejectKind::DeadLetter,
                "tags",
                topic,
                "topic and tags name no valid source: the tag \"k\" is given twice"
            ),
        ]
    );
    assert_eq!(&*rig.rejects().await[0].payload, br#"{"v": [1]}"#);
    assert_eq!(rig.samples().await.len(), 2);
    let accounting = rig.accounting();
    assert_eq!((accounting.stored, accounting.dead_lettered, accounting.quarantined), (2, 3, 1));
    let samples = rig.metrics.samples();
    assert_eq!((samples.received, samples.stored, samples.quarantined, samples.dead_lettered), (5, 2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_time_that_is_not_taken_is_named_with_its_point_and_kept_with_both_times() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    for payload in [
        r#"[{"v": 1}, {"ts": 1800000000000, "v": 1}, {"ts": 946684800000, "v": 2}]"#,
        r#"[{"v": 1}, {"v": 1, "tags": {"k": "1", "k": "2"}}]"#,
        r#"{"ts": "9999-01-01T00:00:00Z", "v": 1}"#,
    ] {
        intake.submit(vec![publish("a", payload, Qos::AtLeastOnce)]).await.unwrap().await.unwrap();
    }
    let rejects = rig.rejects().await;
    let kept: Vec<_> = rejects.iter().map(|row| (row.kind, &*row.reason, &*row.detail)).collect();
    let expected = [
        (
            RejectKind::Quarantine,
            "too_old",
            "point 3 of 3: the event time 2000-01-01T00:00:00Z lies outside of what is accepted at \
             2027-01-15T08:00:00Z: the earliest is 2017-01-14T08:00:00Z",
        ),
        (
            RejectKind::DeadLetter,
            "tags",
            "point 2 of 2: topic and tags name no valid source: the tag \"k\" is given twice",
        ),
        (
            RejectKind::Quarantine,
            "time",
            "at /ts (byte 29): the time lies outside of the years 1684 to 2255; is its unit right? \
             (received at 2027-01-15T08:00:00.000000003Z)",
        ),
    ];
    assert_eq!(kept, expected);
}

#[tokio::test(start_paused = true)]
async fn a_group_waits_for_its_rejects_and_for_its_segments() {
    for table in [&REJECTS, &SEGMENTS] {
        let rig = Rig::new();
        let mut intake = rig.pipeline.intake();
        rig.faults.fail_next_write_to(table, WriteFault::UnknownLate(Duration::from_hours(1)));
        let poison = publish("a", "no", Qos::AtLeastOnce);
        let mut completion = intake.submit(vec![one("a", 1), poison]).await.unwrap();
        assert_eq!((&mut completion).now_or_never(), None);
        completion.await.unwrap();
        assert_eq!((rig.samples().await.len(), rig.rejects().await.len()), (1, 1), "{}", table.name);
        assert_eq!(rig.faults.counts().writes, 1, "the fault happened");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_poison_does_not_hold_its_neighbours_up() {
    let rig = Rig::new();
    let (mut bad, mut good) = (rig.pipeline.intake(), rig.pipeline.intake());
    rig.faults.set_rates(FaultRates {
        delayed: 1000,
        delay_max: Duration::from_millis(10),
        ..FaultRates::default()
    });
    for value in 0..200 {
        let poison = (0..20).map(|_| publish("p", "{", Qos::AtLeastOnce)).collect();
        drop(bad.submit(poison).await.unwrap());
        let started = tokio::time::Instant::now();
        good.submit(vec![one("g", value)]).await.unwrap().await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
    }
    let drained = rig.pipeline.drain(seconds(60)).await;
    assert_eq!(drained.left, 0);
    assert_eq!((rig.samples().await.len(), rig.rejects().await.len()), (200, 4000));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_now_and_then_loses_nothing_and_stores_nothing_twice() {
    let rig = Rig::new();
    rig.faults.set_rates(FaultRates {
        not_applied: 100,
        unknown_applied: 100,
        unknown_lost: 100,
        unknown_late: 100,
        delayed: 300,
        delay_max: Duration::from_millis(300),
        ..FaultRates::default()
    });
    let mut waiting = Vec::new();
    for connection in 0..8 {
        let mut intake = rig.pipeline.intake();
        for round in 0..20 {
            let message = |i: i64| one(&format!("c{connection}-{}", i % 3), round * 5 + i);
            waiting.push(intake.submit((0..5).map(message).collect()).await.unwrap());
            sleep(Duration::from_millis(5)).await;
            rig.accounting();
        }
    }
    for completion in waiting {
        completion.await.unwrap();
    }
    let mut values: Vec<_> =
        rig.samples().await.into_iter().map(|(device, _, _, value)| (device, format!("{value:?}"))).collect();
    assert_eq!(values.len(), 800);
    values.sort();
    values.dedup();
    assert_eq!(values.len(), 800);
    assert_eq!(rig.accounting().stored, 800);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_holds_bounded_memory_and_qos_1_waits_while_qos_0_is_shed() {
    let mut config = config();
    config.memory.in_flight_bytes_max = 1024 * 1024;
    let rig = Rig::with(config);
    rig.faults.pause();
    let mut intake = rig.pipeline.intake();
    let mut waiting = Vec::new();
    for size in [100, 1] {
        while let Ok(taken) = timeout(Duration::from_secs(5), intake.submit(group(size))).await {
            waiting.push(taken.unwrap());
            assert!(waiting.len() < 1000, "memory is not bounded");
        }
    }
    let before = rig.accounting();
    assert_eq!(before.in_flight, before.received, "a group that waits for room is not counted");
    let qos0 = (0..50).map(|i| publish("z", &format!(r#"{{"v":{i}}}"#), Qos::AtMostOnce)).collect();
    intake.submit(qos0).await.unwrap().await.unwrap();
    let mut mixed = group(50);
    mixed.push(publish("z", r#"{"v":1}"#, Qos::AtMostOnce));
    let mut other = rig.pipeline.intake();
    let held = tokio::spawn(async move { other.submit(mixed).await.unwrap().await });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.accounting().shed, 50);
    rig.faults.resume();
    for completion in waiting {
        completion.await.unwrap();
    }
    held.await.unwrap().unwrap();
    let after = rig.accounting();
    assert_eq!((after.shed, after.in_flight, after.stored), (51, 0, before.received + 50));
    assert!(rig.samples().await.iter().all(|(device, ..)| device != "z"));
}

#[tokio::test(start_paused = true)]
async fn a_group_larger_than_all_room_is_taken_alone_and_does_not_wait_for_ever() {
    let mut config = config();
    config.memory.in_flight_bytes_max = 1024 * 1024;
    let rig = Rig::with(config);
    let mut intake = rig.pipeline.intake();
    let small = intake.submit(group(10)).await.unwrap();
    let large = intake.submit(group(30_000)).await.unwrap();
    small.await.unwrap();
    large.await.unwrap();
    assert_eq!(rig.accounting().stored, 30_010);
}

#[tokio::test(start_paused = true)]
async fn a_drained_pipeline_has_settled_everything_and_closed_its_marks() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    rig.faults.set_rates(FaultRates {
        delayed: 1000,
        delay_max: Duration::from_secs(2),
        ..FaultRates::default()
    });
    let completion = intake.submit(group(100)).await.unwrap();
    let drained = rig.pipeline.drain(seconds(60)).await;
    assert_eq!((drained.left, drained.marks_closed), (0, true));
    completion.await.unwrap();
    assert_eq!(intake.submit(group(1)).await.map(drop), Err(Closed));
    assert_eq!((rig.samples().await.len(), rig.open_marks().await), (100, 0));
    assert!(!rig.marks().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_runs_out_of_time_says_what_is_left_and_acknowledges_none_of_it() {
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    rig.faults.pause();
    let completion = intake.submit(group(42)).await.unwrap();
    let started = tokio::time::Instant::now();
    let drained = rig.pipeline.drain(seconds(3)).await;
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!((drained.left, drained.marks_closed), (42, false));
    assert_eq!(completion.await, Err(Abandoned));
    assert_eq!(rig.accounting().in_flight, 42);
}

#[tokio::test(start_paused = true)]
async fn closing_turns_those_away_who_wait_for_room() {
    let mut config = config();
    config.memory.in_flight_bytes_max = 1024 * 1024;
    let rig = Rig::with(config);
    rig.faults.pause();
    let mut intake = rig.pipeline.intake();
    let _held = intake.submit(group(30_000)).await.unwrap();
    let mut other = rig.pipeline.intake();
    let waiting = tokio::spawn(async move { other.submit(group(1)).await.map(drop) });
    sleep(Duration::from_secs(1)).await;
    rig.pipeline.close();
    assert_eq!(waiting.await.unwrap(), Err(Closed));
    assert_eq!(rig.accounting().received, 30_000);
}
