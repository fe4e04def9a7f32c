//! Sparkplug nodes through the pipeline: births are durable, outlive it, and are asked for where they are missing.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tidemill_store::layout::tables::BIRTHS;
use tidemill_store::layout::{RejectKind, RejectRow};
use tidemill_store::model::Value;
use tidemill_store::wide::{Faults, Faulty, Memory, WriteFault};
use tokio::time::sleep;

use super::rig::{Rig, Stored, config, eras};
use crate::config::IngestConfig;
use crate::decode::{Format, Reading, TimeUnit};
use crate::metrics::WaitingCounts;
use crate::pipeline::{PipelineIntake, Replayed};
use crate::reject_gate::ROW_OVERHEAD;
use crate::rejects::replayed_at;
use crate::source::{Intake, Publish, Qos};
use crate::topic::{Rules, TopicTemplates};

const BIRTH: &[u8] = include_bytes!("../../../../tests/golden/formats/sparkplug_nbirth.bin");
const STRUCTURED: &[u8] = include_bytes!("../../../../tests/golden/formats/sparkplug_structured.bin");
const DATA: &[u8] = include_bytes!("../../../../tests/golden/formats/sparkplug_ndata.bin");

const DEATH: &[u8] = include_bytes!("../../../../tests/golden/formats/sparkplug_ndeath.bin");

fn sparkplug() -> IngestConfig {
    let reading = Reading::new(Format::Sparkplug, Some(TimeUnit::Milliseconds));
    let rules = Rules { reading, ..Rules::default() };
    let template = "spBv1.0/{group}/{message}/{edge_node}/{device}";
    IngestConfig { templates: TopicTemplates::with_rules([(template, rules)]).unwrap(), ..config() }
}

fn on(memory: &Memory) -> Rig {
    let faults = Faults::new(1);
    let wide = Faulty::new(memory.clone(), faults.clone());
    Rig::on(wide, memory.clone(), faults, eras(), sparkplug())
}

async fn send(intake: &mut PipelineIntake, message: &str, payload: &'static [u8]) {
    intake.submit(vec![publish(message, payload)]).await.unwrap().await.unwrap();
}

async fn waiting(rig: &Rig) -> Vec<RejectRow> {
    rig.rejects().await.into_iter().filter(|row| row.reason == "no_birth").collect()
}

fn publish(message: &str, payload: &'static [u8]) -> Publish {
    Publish {
        topic: Bytes::from(format!("spBv1.0/plant/{message}/edge")),
        payload: Bytes::from_static(payload),
        qos: Qos::AtLeastOnce,
        retained: false,
    }
}

#[tokio::test(start_paused = true)]
async fn aliases_are_understood_after_a_restart() {
    let memory = Memory::new();
    let first = on(&memory);
    send(&mut first.pipeline.intake(), "NBIRTH", BIRTH).await;
    drop(first);
    let second = Rig::restarted(&memory, sparkplug());
    send(&mut second.pipeline.intake(), "NDATA", DATA).await;
    let mut temps: Vec<_> = second
        .samples()
        .await
        .into_iter()
        .filter(|(_, metric, ..)| metric == "temp")
        .map(|(.., millis, value)| (millis, value))
        .collect();
    // Each of two writers has a mark in the bucket, by which the rig finds all of its segments.
    temps.sort_by_key(|(millis, value)| (*millis, format!("{value:?}")));
    temps.dedup();
    let expected = [(1_699_999_990_000, 20.5), (1_700_000_000_000, 21.5), (1_700_000_000_000, 22.5)];
    assert_eq!(temps, expected.map(|(millis, value)| (millis, Value::F64(value))));
    assert_eq!((second.accounting().stored, second.accounting().quarantined), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn data_before_a_birth_is_kept_and_asks_for_one() {
    let rig = on(&Memory::new());
    let mut commands = rig.pipeline.commands().unwrap();
    assert!(rig.pipeline.commands().is_none());
    let mut intake = rig.pipeline.intake();
    send(&mut intake, "NDATA", DATA).await;
    send(&mut intake, "NDATA", DATA).await;
    let rejects = rig.rejects().await;
    let kept: Vec<_> = rejects.iter().map(|row| (row.kind, row.reason.as_str(), &*row.payload)).collect();
    assert_eq!(kept, [(RejectKind::Quarantine, "no_birth", DATA); 2]);
    assert_eq!(commands.try_recv().unwrap().topic, "spBv1.0/plant/NCMD/edge");
    assert!(commands.try_recv().is_err(), "once in a while");
    send(&mut intake, "NBIRTH", BIRTH).await;
    send(&mut intake, "NDATA", DATA).await;
    sleep(Duration::from_secs(5)).await;
    assert!(waiting(&rig).await.is_empty());
    let accounting = rig.accounting();
    assert_eq!((accounting.stored, accounting.dead_lettered, accounting.quarantined), (3, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_birth_that_is_put_off_is_made_later() {
    let rig = on(&Memory::new());
    let mut commands = rig.pipeline.commands().unwrap();
    let mut intake = rig.pipeline.intake();
    send(&mut intake, "NDATA", DATA).await;
    assert!(commands.try_recv().is_ok());
    send(&mut intake, "NDATA", DATA).await;
    sleep(Duration::from_secs(8)).await;
    assert!(commands.try_recv().is_err(), "it was asked a moment ago");
    sleep(Duration::from_secs(4)).await;
    assert_eq!(commands.try_recv().unwrap().topic, "spBv1.0/plant/NCMD/edge");
    sleep(Duration::from_mins(5)).await;
    assert!(commands.try_recv().is_err(), "nothing came since");
}

#[tokio::test(start_paused = true)]
async fn devices_are_gone_with_their_node_in_whatever_shards_they_are() {
    let memory = Memory::new();
    let first = on(&memory);
    let mut intake = first.pipeline.intake();
    send(&mut intake, "NBIRTH", BIRTH).await;
    for device in 0..9 {
        let topic = Bytes::from(format!("spBv1.0/plant/DBIRTH/edge/d{device}"));
        intake.submit(vec![Publish { topic, ..publish("", BIRTH) }]).await.unwrap().await.unwrap();
    }
    drop((first, intake));
    let rig = Rig::restarted(&memory, sparkplug());
    let mut intake = rig.pipeline.intake();
    sleep(Duration::from_secs(1)).await;
    let topic = Bytes::from_static(b"spBv1.0/plant/DDEATH/edge/d3");
    intake.submit(vec![Publish { topic, ..publish("", b"") }]).await.unwrap().await.unwrap();
    for _ in 0..2 {
        sleep(Duration::from_secs(1)).await;
        send(&mut intake, "NDEATH", DEATH).await;
    }
    let mut gone: Vec<String> = rig.samples().await.into_iter().filter_map(offline).collect();
    gone.sort();
    gone.dedup();
    assert_eq!(gone, ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "edge"]);
    let accounting = rig.accounting();
    assert_eq!((accounting.stored, accounting.dead_lettered, accounting.in_flight), (3, 0, 0));
    assert_eq!(rig.metrics.samples().received, 1 + (2 + 8) + 2, "bdSeq and online");
}

/// The device that a sample says is not there.
fn offline((device, metric, _, value): Stored) -> Option<String> {
    (metric == "online" && value == Value::Bool(false)).then_some(device)
}

#[tokio::test(start_paused = true)]
async fn data_that_waited_is_taken_by_itself_when_the_birth_comes_once_and_even_after_a_restart() {
    let memory = Memory::new();
    let first = on(&memory);
    let mut intake = first.pipeline.intake();
    for _ in 0..3 {
        send(&mut intake, "NDATA", DATA).await;
    }
    sleep(Duration::from_mins(10)).await;
    assert_eq!(waiting(&first).await.len(), 3, "nobody knows what it says");
    drop((first, intake));
    let second = Rig::restarted(&memory, sparkplug());
    sleep(Duration::from_mins(10)).await;
    assert_eq!((waiting(&second).await.len(), second.accounting().received), (3, 0));
    send(&mut second.pipeline.intake(), "NBIRTH", BIRTH).await;
    sleep(Duration::from_mins(1)).await;
    assert!(waiting(&second).await.is_empty());
    let accounting = second.accounting();
    assert_eq!((accounting.received, accounting.stored, accounting.in_flight), (4, 3, 0));
    let mut temps: Vec<_> = second
        .samples()
        .await
        .into_iter()
        .filter(|(_, metric, ..)| metric == "temp")
        .map(|(.., value)| value)
        .collect();
    temps.sort_by_key(|value| format!("{value:?}"));
    temps.dedup();
    assert_eq!(temps, [20.5, 21.5, 22.5].map(Value::F64));
}

#[tokio::test(start_paused = true)]
async fn data_that_waits_is_kept_whatever_its_sender_has_used_up_within_a_bound_of_its_own() {
    const ROOM: u64 = 20;
    let mut config = sparkplug();
    let row = u64::try_from(publish("NDATA", DATA).topic.len() + DATA.len() + ROW_OVERHEAD).unwrap();
    config.rejects.rates.device_bytes_per_day_max = 1_000;
    config.rejects.waiting_bytes_max = ROOM * row + 1;
    let rig = Rig::with(config);
    let mut intake = rig.pipeline.intake();
    for _ in 0..10 {
        send(&mut intake, "NDATA", b"\xff").await;
    }
    let kept = rig.rejects().await.len();
    assert!(kept < 10, "garbage is limited");
    for _ in 0..ROOM {
        send(&mut intake, "NDATA", DATA).await;
    }
    let counts = rig.metrics.waiting().all();
    assert_eq!((waiting(&rig).await.len(), counts.messages, counts.bytes), (20, ROOM, ROOM * row));
    // Beyond that it is a reject like others: the first of its reason, and then no more.
    for _ in 0..5 {
        send(&mut intake, "NDATA", DATA).await;
    }
    assert_eq!((waiting(&rig).await.len(), rig.metrics.waiting().all().messages), (21, ROOM + 1));
    send(&mut intake, "NBIRTH", BIRTH).await;
    sleep(Duration::from_mins(1)).await;
    assert!(waiting(&rig).await.is_empty());
    assert_eq!(rig.metrics.waiting(), WaitingCounts::default());
    assert_eq!(rig.accounting().stored, ROOM + 1);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_counted_after_a_restart_and_counts_against_no_sender() {
    let memory = Memory::new();
    let first = on(&memory);
    let mut intake = first.pipeline.intake();
    for _ in 0..9 {
        send(&mut intake, "NDATA", DATA).await;
    }
    drop((first, intake));
    let mut config = sparkplug();
    config.rejects.rates.device_bytes_per_day_max = 1_000;
    let second = Rig::restarted(&memory, config);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(second.metrics.waiting().all().messages, 9);
    let mut intake = second.pipeline.intake();
    for _ in 0..2 {
        send(&mut intake, "NDATA", b"\xff").await;
    }
    let garbage = second.rejects().await.into_iter().filter(|row| row.reason == "syntax").count();
    assert_eq!(garbage, 2, "its limit is not used up");
    send(&mut intake, "NDATA", DATA).await;
    send(&mut intake, "NBIRTH", BIRTH).await;
    sleep(Duration::from_mins(1)).await;
    assert_eq!(second.metrics.waiting(), WaitingCounts::default());
}

#[tokio::test(start_paused = true)]
async fn a_birth_with_a_metric_that_cannot_be_stored_is_a_birth() {
    let rig = on(&Memory::new());
    let mut intake = rig.pipeline.intake();
    let unstorable = b"\x12\x12\x0a\x03big\x20\x08\x58\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let good = b"\x12\x0c\x0a\x04good\x10\x07\x20\x03\x50\x05";
    let birth = Publish { payload: Bytes::from([&unstorable[..], good].concat()), ..publish("NBIRTH", b"") };
    intake.submit(vec![birth]).await.unwrap().await.unwrap();
    send(&mut intake, "NDATA", b"\x12\x04\x10\x07\x50\x06").await;
    let rejects = rig.rejects().await;
    assert_eq!(rejects.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>(), ["number"]);
    let stored: Vec<_> =
        rig.samples().await.into_iter().map(|(_, metric, _, value)| (metric, value)).collect();
    let expected = [("good", Value::I64(5)), ("good", Value::I64(6)), ("online", Value::Bool(true))];
    assert_eq!(stored, expected.map(|(metric, value)| (metric.to_owned(), value)));
}

#[tokio::test(start_paused = true)]
async fn what_a_birth_does_not_explain_goes_on_waiting_and_others_are_not_held_up() {
    let rig = on(&Memory::new());
    let mut intake = rig.pipeline.intake();
    send(&mut intake, "NDATA", b"\x12\x06\x10\x63\x20\x0a\x50\x01").await;
    send(&mut intake, "NDATA", DATA).await;
    assert_eq!(waiting(&rig).await.len(), 2);
    send(&mut intake, "NBIRTH", BIRTH).await;
    sleep(Duration::from_mins(5)).await;
    assert_eq!(waiting(&rig).await.len(), 1, "no birth names the alias");
    assert_eq!(rig.accounting().stored, 1);
}

#[tokio::test(start_paused = true)]
async fn a_birth_is_settled_when_it_is_durable() {
    let rig = on(&Memory::new());
    rig.faults.fail_next_write_to(&BIRTHS, WriteFault::UnknownLate(std::time::Duration::from_hours(1)));
    let mut completion = rig.pipeline.intake().submit(vec![publish("NBIRTH", BIRTH)]).await.unwrap();
    sleep(std::time::Duration::from_millis(1)).await;
    assert_eq!((&mut completion).now_or_never(), None);
    completion.await.unwrap();
    assert_eq!(rig.faults.counts().writes, 1, "the fault happened");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_says_nothing_is_settled() {
    let rig = on(&Memory::new());
    let mut intake = rig.pipeline.intake();
    send(&mut intake, "NBIRTH", BIRTH).await;
    send(&mut intake, "NDATA", b"\x18\x01").await;
    let accounting = rig.accounting();
    assert_eq!((accounting.stored, accounting.dead_lettered, accounting.in_flight), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_no_series_can_hold_is_kept_and_the_rest_of_its_message_is_stored() {
    let rig = on(&Memory::new());
    let mut intake = rig.pipeline.intake();
    send(&mut intake, "NDATA", STRUCTURED).await;
    let stored: Vec<_> = rig.samples().await.into_iter().map(|(_, metric, ..)| metric).collect();
    assert_eq!(stored, ["after", "before"]);
    let rejects = rig.rejects().await;
    let kept: Vec<_> = rejects.iter().map(|row| (row.reason.as_str(), &*row.payload)).collect();
    assert_eq!(kept, [("unsupported_type", STRUCTURED)]);
    assert_eq!((rig.accounting().stored, rig.accounting().dead_lettered), (0, 1));
    let again = publish("NDATA", STRUCTURED);
    let answer = rig.pipeline.intake().replay(again, replayed_at(&rejects[0])).await.unwrap();
    let Replayed::Taken { completion, in_part: Some(refused) } = answer else { panic!("{answer:?}") };
    completion.await.unwrap();
    assert_eq!(refused.reason, "unsupported_type");
    assert_eq!(rig.accounting().stored, 1);
    assert_eq!(rig.rejects().await.len(), 1, "it is not kept twice");
}

#[tokio::test(start_paused = true)]
async fn missing_messages_ask_for_a_rebirth_and_births_are_never_shed() {
    let mut config = sparkplug();
    config.memory.in_flight_bytes_max = crate::config::MemoryLimits::IN_FLIGHT_BYTES_MIN;
    let memory = Memory::new();
    let rig = Rig::restarted(&memory, config);
    let mut commands = rig.pipeline.commands().unwrap();
    let mut intake = rig.pipeline.intake();
    send(&mut intake, "NBIRTH", BIRTH).await;
    send(&mut intake, "NDATA", b"\x18\x01").await;
    assert!(commands.try_recv().is_err());
    send(&mut intake, "NDATA", b"\x18\x03").await;
    assert_eq!(commands.try_recv().unwrap().topic, "spBv1.0/plant/NCMD/edge");
    // A group that takes all of the room, and one behind it that finds none.
    let large = Publish { payload: Bytes::from(vec![0xff; 1 << 20]), ..publish("NDATA", b"") };
    let first = intake.submit(vec![large]).await.unwrap();
    let unsure = |message| Publish { qos: Qos::AtMostOnce, ..publish(message, BIRTH) };
    let mut other = rig.pipeline.intake();
    let waiting = other.submit(vec![unsure("NDATA"), unsure("NBIRTH")]);
    let (first, second) = tokio::join!(first, async { waiting.await.unwrap().await });
    first.unwrap();
    second.unwrap();
    let accounting = rig.accounting();
    assert_eq!((accounting.received, accounting.shed), (6, 1), "{accounting:?}");
}
