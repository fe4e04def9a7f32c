//! Which message goes where: shards, eras, limits of the catalog, suspects, and caches that forget.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidemill_store::layout::tables::MARKS;
use tidemill_store::layout::{
    BucketWidth, Era, Eras, MarkRow, RejectKind, ShardCount, add_era, install_eras,
};
use tidemill_store::model::{Shard, TimeRange, Timestamp, Value};
use tidemill_store::read::{ReadLimits, Reader, Selector};
use tidemill_store::wide::{FaultRates, Faults, Faulty, Memory, Scan, Wide as _};
use tokio::time::timeout;

use super::rig::{Rig, START_MILLIS, config, one, publish, seconds};
use crate::source::{Intake, Outcome, Publish, Qos};

#[tokio::test(start_paused = true)]
async fn a_message_over_two_eras_goes_to_a_shard_of_each_and_settles_once_both_are_durable() {
    let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
    let era =
        |starts_at, shards| Era { starts_at, shards: ShardCount::new(shards).unwrap(), bucket_width: width };
    let change = Timestamp::from_millis(START_MILLIS - 3_600_000).unwrap();
    let eras = Eras::new(vec![era(Timestamp::MIN, 1), era(change, 64)]).unwrap();
    let rig = Rig::over(eras, config());
    let mut intake = rig.pipeline.intake();
    let both = format!(
        r#"[{{"ts":{},"v":1}},{{"ts":{},"v":2}}]"#,
        START_MILLIS - 3_600_001,
        START_MILLIS - 3_600_000
    );
    let messages = vec![one("d", 0), publish("d", &both, Qos::AtLeastOnce), one("d", 3)];
    intake.submit(messages).await.unwrap().await.unwrap();
    let values: Vec<Value> = rig.samples().await.into_iter().map(|(_, _, _, value)| value).collect();
    assert_eq!(values, [1, 2, 0, 3].map(Value::I64));
    let shards: BTreeSet<_> = rig.segments().await.into_iter().map(|(shard, _)| shard).collect();
    assert_eq!(shards.len(), 2);
    assert_eq!(rig.accounting().stored, 3);
}

#[tokio::test(start_paused = true)]
async fn an_era_takes_effect_while_the_pipeline_runs_and_readers_find_both() {
    let (wide, faults) = (Memory::new(), Faults::new(7));
    let width = |minutes| BucketWidth::new(Duration::from_mins(minutes)).unwrap();
    let shards = |count| ShardCount::new(count).unwrap();
    let first = install_eras(&wide, shards(4), width(60)).await.unwrap();
    let rig = Rig::on(Faulty::new(wide.clone(), faults.clone()), wide.clone(), faults, first, config());
    let hour = |hours: i64| Timestamp::from_millis(START_MILLIS + hours * 3_600_000).unwrap();
    let reader = Reader::new(Arc::new(wide.clone()), ReadLimits::default());
    let mut intake = rig.pipeline.intake();
    for round in 0..10 {
        if round == 1 {
            add_era(&wide, hour(3), shards(64), width(30), hour(1)).await.unwrap();
        }
        // Now, a while ago, and ahead: late rounds reach back over the start, early ones up to it.
        let messages = (0..30).map(|device| {
            let now = START_MILLIS + round * 1_800_000;
            let times = [now - 6_900_000, now - 200_000, now + 200_000].map(|ts| ts + device);
            let points = times.map(|ts| format!(r#"{{"ts":{ts},"v":{round}}}"#)).join(",");
            publish(&format!("d{device}"), &format!("[{points}]"), Qos::AtLeastOnce)
        });
        intake.submit(messages.collect()).await.unwrap().await.unwrap();
        let found = reader.samples(&Selector::default(), TimeRange::ALL).await.unwrap();
        let found: usize = found.iter().map(|series| series.samples.len()).sum();
        assert_eq!(found, usize::try_from((round + 1) * 90).unwrap(), "round {round}");
        tokio::time::sleep(Duration::from_mins(30)).await;
    }
    assert_eq!(rig.accounting().stored, 300);
    let mut later = 0;
    for shard in (4..64).map(Shard::new) {
        later +=
            wide.scan(&Scan::partition(&MARKS, MarkRow::partition(shard)), None).await.unwrap().rows.len();
    }
    assert!(later > 0, "no shard of the later era was written to");
}

#[tokio::test(start_paused = true)]
async fn without_the_eras_for_too_long_nothing_is_placed_by_guess() {
    // Over a store that has none: they cannot be read again.
    let rig = Rig::new();
    let mut intake = rig.pipeline.intake();
    tokio::time::sleep(Duration::from_mins(100)).await;
    intake.submit(vec![one("d", 1)]).await.unwrap().await.unwrap();
    assert_eq!(rig.accounting().stored, 1);
    tokio::time::sleep(Duration::from_mins(20)).await;
    intake.submit(vec![one("d", 2)]).await.unwrap().await.unwrap();
    let accounting = rig.accounting();
    assert_eq!((accounting.stored, accounting.quarantined), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_point_beyond_a_limit_of_the_catalog_makes_its_message_a_dead_letter() {
    let mut config = config();
    config.append.catalog.metrics_max = 3;
    let rig = Rig::with(config);
    let mut intake = rig.pipeline.intake();
    let partly =
        r#"[{"ts":1799999990000,"a":1},{"ts":1799999991000,"x":1,"y":2,"z":3},{"ts":1799999992000,"z":4}]"#;
    let messages = vec![
        publish("d", r#"{"a":1,"b":2}"#, Qos::AtLeastOnce),
        publish("d", partly, Qos::AtLeastOnce),
        publish("d", r#"{"b":5}"#, Qos::AtLeastOnce),
    ];
    intake.submit(messages).await.unwrap().await.unwrap();
    let accounting = rig.accounting();
    assert_eq!((accounting.stored, accounting.dead_lettered), (2, 1));
    let samples = rig.metrics.samples();
    let stored = rig.samples().await;
    assert_eq!(samples.stored, u64::try_from(stored.len()).unwrap());
    assert_eq!(samples.received, samples.stored + samples.dead_lettered);
    let rejects = rig.rejects().await;
    assert_eq!(rejects.len(), 1, "one row for a message, however many of its points are refused");
    let reject = &rejects[0];
    assert_eq!((reject.kind, reject.reason.as_str()), (RejectKind::DeadLetter, "metrics_limit"));
    assert_eq!((&*reject.payload, reject.topic.as_str()), (partly.as_bytes(), "devices/d/telemetry"));
    assert!(stored.iter().any(|(_, metric, _, value)| metric == "b" && *value == Value::I64(5)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_messages_waits_for_itself_and_leaves_room_for_good_ones() {
    let mut config = config();
    config.memory.in_flight_bytes_max = 1024 * 1024;
    let rig = Rig::with(config);
    rig.faults.pause();
    let mut bad = rig.pipeline.intake();
    let flood = || (0..100).map(|_| publish("p", "{", Qos::AtLeastOnce)).collect::<Vec<Publish>>();
    let mut taken = 0;
    while let Ok(completion) = timeout(Duration::from_secs(1), bad.submit(flood())).await {
        drop(completion.unwrap());
        taken += 1;
        assert!(taken < 1000, "memory is not bounded");
    }
    let mut good = rig.pipeline.intake();
    let group: Vec<Publish> = (0..1000).map(|i| one("g", i)).collect();
    let settled = timeout(Duration::from_secs(1), good.submit(group)).await.expect("there is room").unwrap();
    rig.faults.resume();
    settled.await.unwrap();
    bad.submit(vec![one("p", 1)]).await.unwrap().await.unwrap();
    assert_eq!(rig.pipeline.drain(seconds(60)).await.left, 0);
    assert_eq!(rig.accounting().dead_lettered, taken * 100);
}

#[tokio::test(start_paused = true)]
async fn caches_that_forget_change_nothing() {
    let mut config = config();
    (config.memory.topics_max, config.memory.metrics_max) = (3, 4);
    let rig = Rig::with(config);
    let mut connections = [rig.pipeline.intake(), rig.pipeline.intake()];
    let mut expected = Vec::new();
    for (round, turn) in (0..30_i64).zip([0, 1, 1].into_iter().cycle()) {
        let group = (0..6_i64).map(|i| {
            let (device, metric) = (format!("d{}", (round + i) % 9), format!("m{}", (round * 3 + i) % 11));
            let value = round * 10 + i;
            expected.push((device.clone(), metric.clone(), Value::I64(value)));
            publish(
                &device,
                &format!(r#"{{"{metric}":{value},"tags":{{"r":"{}"}}}}"#, i % 2),
                Qos::AtLeastOnce,
            )
        });
        let group = group.collect();
        connections[turn].submit(group).await.unwrap().await.unwrap();
    }
    let stored = rig.samples().await.into_iter().map(|(device, metric, _, value)| (device, metric, value));
    let order = |list: Vec<(String, String, Value)>| {
        let mut list: Vec<String> = list.into_iter().map(|sample| format!("{sample:?}")).collect();
        list.sort();
        list
    };
    assert_eq!(order(stored.collect()), order(expected));
}

/// A message as a device may send it, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Array,
    Poison,
    Stray,
    Old,
}

fn message(kind: Kind, device: u8, number: i64) -> Publish {
    let name = format!("d{device}");
    match kind {
        Kind::Good => one(&name, number),
        Kind::Array => publish(
            &name,
            &format!(
                r#"[{{"ts":{},"v":{number}}},{{"ts":1,"v":null}},{{"ts":{},"w":{number}}}]"#,
                START_MILLIS - 7_200_000,
                START_MILLIS
            ),
            Qos::AtLeastOnce,
        ),
        Kind::Poison => publish(&name, "{\"v\":", Qos::AtLeastOnce),
        Kind::Stray => Publish { topic: format!("elsewhere/{device}").into(), ..one(&name, number) },
        Kind::Old => publish(&name, r#"{"ts":0,"v":1}"#, Qos::AtLeastOnce),
    }
}

fn kinds() -> impl Strategy<Value = Vec<Vec<(Kind, u8)>>> {
    let kind = prop_oneof![
        5 => Just(Kind::Good),
        2 => Just(Kind::Array),
        1 => Just(Kind::Poison),
        1 => Just(Kind::Stray),
        1 => Just(Kind::Old),
    ];
    prop::collection::vec(prop::collection::vec((kind, 0_u8..20), 0..12), 1..12)
}

/// Sends `groups` over two connections to a store with faults and gives what must be true of the numbers.
async fn conserve(groups: &[Vec<(Kind, u8)>], seed: u64, rates: FaultRates) -> Result<(), TestCaseError> {
    let rig = Rig::seeded(seed);
    rig.faults.set_rates(rates);
    let mut intakes = [rig.pipeline.intake(), rig.pipeline.intake()];
    let (mut waiting, mut number) = (Vec::new(), 0);
    let count = |wanted: &[Kind]| groups.iter().flatten().filter(|(kind, _)| wanted.contains(kind)).count();
    for (index, group) in groups.iter().enumerate() {
        let messages = group.iter().map(|&(kind, device)| {
            number += 1;
            message(kind, device, number)
        });
        let messages = messages.collect();
        waiting.push(intakes[index % 2].submit(messages).await.unwrap());
        rig.accounting();
    }
    for completion in waiting {
        prop_assert_eq!(completion.await, Ok(Outcome::default()));
    }
    let accounting = rig.accounting();
    let expected = |kinds: &[Kind]| u64::try_from(count(kinds)).unwrap();
    prop_assert_eq!(accounting.stored, expected(&[Kind::Good, Kind::Array]));
    prop_assert_eq!(accounting.dead_lettered, expected(&[Kind::Poison, Kind::Stray]));
    prop_assert_eq!(accounting.quarantined, expected(&[Kind::Old]));
    prop_assert_eq!(accounting.in_flight, 0);
    let stored = rig.samples().await;
    prop_assert_eq!(stored.len(), count(&[Kind::Good]) + 2 * count(&[Kind::Array]));
    let different: BTreeSet<String> = stored.iter().map(|sample| format!("{sample:?}")).collect();
    prop_assert_eq!(different.len(), stored.len(), "stored twice");
    prop_assert_eq!(rig.rejects().await.len(), count(&[Kind::Poison, Kind::Stray, Kind::Old]));
    prop_assert_eq!(rig.pipeline.drain(seconds(600)).await.left, 0);
    prop_assert_eq!(rig.open_marks().await, 0);
    Ok(())
}

/// Every fault that a store may show within its contract, often.
const FAULTS: FaultRates = FaultRates {
    not_applied: 150,
    unknown_applied: 150,
    unknown_lost: 150,
    unknown_late: 150,
    read_unavailable: 0,
    delayed: 300,
    delay_max: Duration::from_millis(200),
    lose_one_in: None,
};

fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

#[test]
fn a_store_that_loses_what_it_promised_is_caught() {
    let groups: Vec<_> = (0..20).map(|device| vec![(Kind::Good, device)]).collect();
    assert!(paused(conserve(&groups, 1, FAULTS)).is_ok());
    let losing = FaultRates { lose_one_in: NonZeroU64::new(20), ..FAULTS };
    // Where a row of the catalog is lost, what is stored cannot even be read.
    let is_caught = |seed| {
        let run = std::panic::AssertUnwindSafe(|| paused(conserve(&groups, seed, losing)).is_err());
        std::panic::catch_unwind(run).unwrap_or(true)
    };
    assert!((1..=20).any(is_caught));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_ends_in_one_place_whatever_the_store_does(groups in kinds(), seed: u64) {
        paused(conserve(&groups, seed, FAULTS))?;
    }
}
