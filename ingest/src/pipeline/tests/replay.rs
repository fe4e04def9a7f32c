//! Rejects that are taken again after a fix, and floods of which only some are kept.

use bytes::Bytes;
use tidemill_store::model::{Timestamp, Value};
use tidemill_store::wide::Memory;

use super::rig::{Rig, START_MILLIS, config, eras, one, publish};
use crate::pipeline::{Replayed, StillRefused};
use crate::source::{Intake, Publish, Qos};
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
