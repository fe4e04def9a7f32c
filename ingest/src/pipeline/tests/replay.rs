//! Rejects that are taken again after a fix, and floods of which only some are kept.

use std::time::Duration;

use bytes::Bytes;
use tidemill_store::layout::install_eras;
use tidemill_store::model::{Timestamp, Value};
use tidemill_store::wide::{Faults, Memory};
use tokio::time::sleep;

use super::rig::{Rig, START_MILLIS, config, eras, one, publish};
use crate::pipeline::intake::number;
use crate::pipeline::{Replayed, StillRefused};
use crate::reject_gate::RejectRates;
use crate::source::{Intake, Publish, Qos, Verdict};
use crate::topic::TopicTemplates;

fn message(topic: &str) -> Publish {
    Publish { topic: Bytes::copy_from_slice(topic.as_bytes()), ..one("x", 7) }
}

fn received() -> Timestamp {
    Timestamp::from_millis(START_MILLIS - 3_600_000).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reject_is_stored_after_the_fix_at_the_time_of_its_receipt_however_often_it_is_replayed() {
    let memory = Memory::new();
    let fixed = crate::config::IngestConfig {
        templates: TopicTemplates::new(["devices/{device}/telemetry", "new/{device}"]).unwrap(),
        ..config()
    };
    let on = |config| {
        let faults = tidemill_store::wide::Faults::new(1);
        let wide = tidemill_store::wide::Faulty::new(memory.clone(), faults.clone());
        Rig::on(wide, memory.clone(), faults, eras(), config)
    };
    let before = on(config());
    let answer = before.pipeline.intake().replay(message("new/d1"), received()).await.unwrap();
    assert!(matches!(answer, Replayed::Refused(StillRefused { reason: "topic", .. })));
    assert_eq!((before.accounting().received, before.rejects().await.len()), (0, 0));
    let after = on(fixed);
    for _ in 0..3 {
        let answer = after.pipeline.intake().replay(message("new/d1"), received()).await.unwrap();
        let Replayed::Taken { completion, in_part: None } = answer else { panic!("{answer:?}") };
        completion.await.unwrap();
    }
    let stored = after.samples().await;
    let expected = ("d1".to_owned(), "v".to_owned(), START_MILLIS - 3_600_000, Value::I64(7));
    assert_eq!(stored, vec![expected; 3], "the same key: readers see one");
}

#[tokio::test(start_paused = true)]
async fn of_a_flood_only_some_are_kept_and_all_are_counted_and_acknowledged() {
    let mut config = config();
    config.rejects.rates.device_bytes_per_day_max = 3_000;
    let rig = Rig::with(config);
    let mut intake = rig.pipeline.intake();
    for _ in 0..10 {
        let poison = (0..100).map(|_| publish("bad", "{", Qos::AtLeastOnce)).collect();
        intake.submit(poison).await.unwrap().await.unwrap();
    }
    let late = vec![publish("bad", "[1]", Qos::AtLeastOnce), publish("other", "{", Qos::AtLeastOnce)];
    intake.submit(late).await.unwrap().await.unwrap();
    let kept = rig.rejects().await;
    assert!((5..20).contains(&kept.len()), "{}", kept.len());
    let of = |topic: &str| {
        kept.iter().filter(|row| row.topic == topic).map(|row| row.reason.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("devices/other/telemetry"), ["syntax"], "others have room of their own");
    assert!(of("devices/bad/telemetry").contains(&"shape"), "the first of each reason is kept");
    let accounting = rig.accounting();
    assert_eq!((accounting.dead_lettered, accounting.in_flight), (1002, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_leaves_a_count_with_an_example_and_mqtt_5_senders_are_told() {
    let mut config = config();
    config.rejects.rates.device_bytes_per_day_max = 3_000;
    let rig = Rig::with(config);
    let mut intake = rig.pipeline.intake();
    let poison = |qos| publish("bad", "{", qos);
    let mut group: Vec<Publish> = (0..100).map(|_| poison(Qos::AtLeastOnce)).collect();
    group.insert(50, poison(Qos::AtMostOnce));
    group.push(publish("good", r#"{"v":1}"#, Qos::AtLeastOnce));
    let outcome = intake.submit(group).await.unwrap().await.unwrap();
    let kept = rig.rejects().await.len();
    let told: Vec<usize> = (0..101).filter(|at| outcome.verdict(*at) == Verdict::OverQuota).collect();
    assert_eq!(told, (kept..100).collect::<Vec<_>>(), "the first are kept, the last is stored");
    let counts = rig.reject_counts().await;
    let count = &counts[0];
    assert_eq!((counts.len(), count.count, count.reason.as_str()), (1, number(101 - kept), "syntax"));
    assert_eq!((count.topic.as_str(), &*count.payload), ("devices/bad/telemetry", &b"{"[..]));
    intake.submit(vec![poison(Qos::AtLeastOnce)]).await.unwrap().await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let counts = rig.reject_counts().await;
    assert_eq!((counts.len(), counts[0].count), (1, number(102 - kept)));
    assert!(counts[0].last > counts[0].first || counts[0].count > 1);
}

#[tokio::test(start_paused = true)]
async fn limits_of_rejects_go_on_after_a_restart() {
    let mut config = config();
    config.rejects.rates.device_bytes_per_day_max = 3_000;
    let memory = Memory::new();
    let before = Rig::restarted(&memory, config.clone());
    let flood = || (0..100).map(|_| publish("bad", "{", Qos::AtLeastOnce)).collect();
    before.pipeline.intake().submit(flood()).await.unwrap().await.unwrap();
    let kept = before.rejects().await.len();
    drop(before);
    let after = Rig::on(memory.clone(), memory.clone(), Faults::new(1), eras(), config);
    sleep(Duration::from_secs(1)).await;
    let mut late: Vec<Publish> = flood();
    late.push(publish("other", "{", Qos::AtLeastOnce));
    after.pipeline.intake().submit(late).await.unwrap().await.unwrap();
    assert_eq!(after.rejects().await.len(), kept + 1, "only the other one's");
    let counts = after.reject_counts().await;
    let all: u64 = counts.iter().map(|count| count.count).sum();
    assert_eq!((counts.len(), all), (2, 200 - number(kept)), "each process has its own row");
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_eras_are_known_waits_and_is_taken_when_they_are_known() {
    let mut config = config();
    // Limits of rejects are for what senders do wrong.
    config.rejects.rates = RejectRates { device_bytes_per_day_max: 1, bytes_per_day_max: 1 };
    let memory = Memory::new();
    let rig = Rig::restarted(&memory, config);
    sleep(Duration::from_hours(2)).await;
    let mut intake = rig.pipeline.intake();
    for value in [1, 2] {
        intake.submit(vec![one("d1", value)]).await.unwrap().await.unwrap();
    }
    let kept = rig.rejects().await;
    assert_eq!(kept.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>(), ["eras_unknown"; 2]);
    assert!(kept[0].detail.contains("eras are known up to"), "{}", kept[0].detail);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(rig.accounting().stored, 0);
    let first = rig.eras.iter().next().copied().unwrap();
    install_eras(&rig.memory, first.shards, first.bucket_width).await.unwrap();
    sleep(Duration::from_mins(2)).await;
    assert_eq!(rig.rejects().await, []);
    let stored: Vec<_> = rig.samples().await.into_iter().map(|(.., millis, value)| (millis, value)).collect();
    let at = kept[0].received_at.millis_floor();
    assert_eq!(stored, [(at, Value::I64(1)), (kept[1].received_at.millis_floor(), Value::I64(2))]);
}
