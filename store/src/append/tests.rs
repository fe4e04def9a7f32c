//! The planner against its promises: what a plan writes, in which order, under which keys and times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::catalog::{CatalogFull, CatalogLimits};
use crate::codec::segment::{Limits, Segment};
use crate::layout::tables::{CATALOG, MARKS, SEGMENTS};
use crate::layout::{BucketWidth, CatalogRow, Eras, MarkRow, MarkState, SegmentRow, ShardCount};
use crate::model::{
    CatalogN, Device, Metric, Point, Points, Seq, Shard, Source, Tags, Tenant, Timestamp, Value, WriterId,
};
use crate::wide::{Memory, Row, Scan, Wide};

const SHARD: Shard = Shard::new(0);
const HOUR: i64 = 3_600;

fn width() -> BucketWidth {
    BucketWidth::new(Duration::from_hours(1)).unwrap()
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000).unwrap()
}

fn appender(limits: AppendLimits) -> ShardAppender {
    let eras = Eras::single(ShardCount::new(1).unwrap(), width());
    ShardAppender::new(SHARD, WriterId::from_random(2), Arc::new(eras), limits)
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

type OnePoint<'a> = (&'a str, i64, &'a [(&'a str, Value)]);

fn points(list: &[OnePoint<'_>]) -> Points {
    let mut points = Points::default();
    for (device, time, values) in list {
        let device = Device::new(device).unwrap();
        let source =
            points.source(&Arc::new(Source::new(Tenant::new("t").unwrap(), device, Tags::default())));
        for (metric, value) in *values {
            let metric = points.metric(Metric::new(metric).unwrap());
            points.value(metric, value.clone());
        }
        points.finish_point(source, seconds(*time));
    }
    points
}

fn one(device: &str, time: i64) -> Points {
    points(&[(device, time, &[("x", Value::I64(time))])])
}

fn executor(wide: &Memory) -> Executor<Memory> {
    let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
    Executor::new(Arc::new(wide.clone()), RetryPolicy::default(), metrics)
}

async fn rows(wide: &Memory, scan: Scan) -> Vec<Row> {
    wide.scan(&scan, None).await.unwrap().rows
}

async fn marks(wide: &Memory) -> Vec<MarkRow> {
    let rows = rows(wide, Scan::partition(&MARKS, MarkRow::partition(SHARD))).await;
    rows.iter().map(|row| MarkRow::from_row(row, width()).unwrap()).collect()
}

async fn segments(wide: &Memory, time: i64) -> Vec<SegmentRow> {
    let place =
        Eras::single(ShardCount::new(1).unwrap(), width()).place(&one("d", time).sources()[0], seconds(time));
    let rows = rows(wide, Scan::partition(&SEGMENTS, SegmentRow::partition(place))).await;
    rows.iter().map(|row| SegmentRow::from_row(row).unwrap()).collect()
}

async fn catalog(wide: &Memory) -> Vec<CatalogRow> {
    let rows = rows(wide, Scan::partition(&CATALOG, CatalogRow::partition(SHARD))).await;
    rows.iter().map(|row| CatalogRow::from_row(row).unwrap()).collect()
}

async fn append(appender: &mut ShardAppender, wide: &Memory, batches: &[Points], at: i64) -> Appended {
    let mut plan = appender.plan(batches, seconds(at), now());
    assert_eq!(plan.refusals(), []);
    executor(wide).execute(&mut plan).await.unwrap()
}

#[tokio::test]
async fn a_batch_over_two_buckets_makes_a_segment_and_a_mark_for_each() {
    let (mut appender, wide) = (appender(AppendLimits::default()), Memory::new());
    let batches = [one("a", -1), points(&[("b", 0, &[("x", Value::I64(1)), ("y", Value::Bool(true))])])];
    let written = append(&mut appender, &wide, &batches, 10).await;
    assert_eq!((written.catalog_rows, written.marks, written.segments, written.samples), (2, 2, 2, 3));
    let (before, after) = (&segments(&wide, -1).await[0], &segments(&wide, 0).await[0]);
    assert_eq!((before.min_time, before.max_time, before.samples), (seconds(-1), seconds(-1), 1));
    assert_eq!((before.catalog, after.catalog), (CatalogN::new(1), CatalogN::new(2)));
    let segment = Segment::decode(after.body.clone(), Limits::DEFAULT).unwrap();
    assert_eq!(segment.sources().collect::<Vec<_>>(), [(CatalogN::new(1), 0..1)]);
    assert_eq!(marks(&wide).await.iter().map(|mark| mark.catalog.get()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(catalog(&wide).await.len(), 2);
}

#[tokio::test]
async fn seq_is_dense_and_nothing_is_announced_twice() {
    let (mut appender, wide) = (appender(AppendLimits::default()), Memory::new());
    append(&mut appender, &wide, &[one("a", 0)], 1).await;
    let second = append(&mut appender, &wide, &[one("a", 1), one("a", 2)], 2).await;
    assert_eq!((second.catalog_rows, second.marks, second.segments), (0, 0, 1));
    let seqs: Vec<u32> = segments(&wide, 0).await.iter().map(|segment| segment.seq.get()).collect();
    assert_eq!(seqs, [0, 1]);
}

#[tokio::test]
async fn a_full_segment_is_cut_and_corrections_stay_in_order() {
    let limits = AppendLimits { segment_bytes_max: 2_000, ..AppendLimits::default() };
    let (mut appender, wide) = (appender(limits), Memory::new());
    let many: Vec<Points> =
        (0..200).map(|n| points(&[("a", 0, &[("x", Value::I64(n * 1_000_003))])])).collect();
    let written = append(&mut appender, &wide, &many, 1).await;
    assert!(written.segments > 3, "{written:?}");
    let mut seen = Vec::new();
    for (at, row) in segments(&wide, 0).await.into_iter().enumerate() {
        assert!(row.body.len() <= 2_000 && row.seq == Seq::new(u32::try_from(at).unwrap()));
        let segment = Segment::decode(row.body, Limits::DEFAULT).unwrap();
        let metric = segment.metric("x").unwrap();
        seen.extend(segment.column(metric, 0..segment.points()).unwrap().iter().map(|(_, value)| value));
    }
    assert_eq!(seen, (0..200).map(|n| Value::I64(n * 1_000_003)).collect::<Vec<_>>());
}

/// Points of devices with values of the metrics `x`, `y`, `z` by their position, over three hours and two shapes.
fn mixed(round: i64) -> Points {
    let mut points = Points::default();
    let names = ["x", "y", "z"].map(|name| points.metric(Metric::new(name).unwrap()));
    for n in 0..60 {
        let device = Device::new(&format!("d{}", n % 7)).unwrap();
        let source = Arc::new(Source::new(Tenant::new("t").unwrap(), device, Tags::default()));
        let source = points.source(&source);
        for at in if n % 5 == round % 5 { &names[1..] } else { &names[..] } {
            let value = if n % 11 == round { Value::Bool(true) } else { Value::I64(n * 1_000 + round) };
            points.value(*at, value);
        }
        points.finish_point(source, seconds(n % 3 * HOUR + n));
    }
    points
}

/// The samples of a batch: device, metric, seconds, value.
type Sample = (String, String, i64, String);

fn said(batch: &Points) -> Vec<Sample> {
    let name = |at: u32| batch.metrics()[usize::try_from(at).unwrap()].as_str().to_owned();
    let device = |at: u32| batch.sources()[usize::try_from(at).unwrap()].device().to_string();
    let of_point = |point: Point<'_>| {
        let at = point.time.nanos() / 1_000_000_000;
        let sample =
            |(metric, value): &(u32, Value)| (device(point.source), name(*metric), at, format!("{value:?}"));
        point.values.iter().map(sample).collect::<Vec<_>>()
    };
    batch.iter().flat_map(of_point).collect()
}

#[tokio::test]
async fn points_that_repeat_the_one_before_or_do_not_are_stored_under_their_own_names_and_announced() {
    let limits = AppendLimits { segment_bytes_max: 3_000, ..AppendLimits::default() };
    let (mut appender, wide) = (appender(limits), Memory::new());
    let batches: Vec<Points> = (0..8).map(mixed).collect();
    append(&mut appender, &wide, &batches, 1).await;
    let catalog = catalog(&wide).await;
    let (mut stored, mut announced) = (Vec::new(), std::collections::BTreeSet::new());
    for row in &catalog {
        let device = row.source.device().to_string();
        announced.extend(row.metrics.iter().map(|fact| (device.clone(), fact.metric.to_string(), fact.kind)));
    }
    for hour in 0..3 {
        for row in segments(&wide, hour * HOUR).await {
            let segment = Segment::decode(row.body, Limits::DEFAULT).unwrap();
            for sample in segment.samples_at(segment.all()).unwrap() {
                let of =
                    catalog.iter().find(|row| row.n == sample.source).unwrap().source.device().to_string();
                let metric = segment.metrics()[sample.metric.index()].to_string();
                assert!(announced.contains(&(of.clone(), metric.clone(), sample.value.kind())));
                let at = sample.time.nanos() / 1_000_000_000;
                stored.push((of, metric, at, format!("{:?}", sample.value)));
            }
        }
    }
    let mut expected: Vec<Sample> = batches.iter().flat_map(said).collect();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn times_never_go_back_when_the_clock_does() {
    let (mut appender, wide) = (appender(AppendLimits::default()), Memory::new());
    append(&mut appender, &wide, &[one("a", 0)], 100).await;
    append(&mut appender, &wide, &[one("b", 0)], 50).await;
    let received: Vec<_> = segments(&wide, 0).await.iter().map(|segment| segment.received_at).collect();
    assert_eq!(received, [seconds(100); 2]);
    let mark = marks(&wide).await[0];
    assert_eq!((mark.catalog.get(), mark.written_at.micros()), (2, 100_000_001));
}

#[tokio::test]
async fn an_idle_bucket_is_closed_and_opened_again_where_it_stopped() {
    let (mut appender, wide) = (appender(AppendLimits::default()), Memory::new());
    append(&mut appender, &wide, &[one("a", 0), one("a", HOUR)], 1).await;
    let early = appender.close_idle(seconds(2), now());
    assert!(early.is_finished());
    let mut early = early;
    executor(&wide).execute(&mut early).await.unwrap();
    let mut late = appender.close_idle(seconds(700), now() + Duration::from_mins(11));
    assert_eq!(executor(&wide).execute(&mut late).await.unwrap().marks, 2);
    assert_eq!(appender.buckets(), (0, 2));
    let states: Vec<_> = marks(&wide).await.iter().map(|mark| mark.state).collect();
    assert_eq!(states, [MarkState::Closed(Seq::new(0)); 2]);
    append(&mut appender, &wide, &[one("a", 5)], 701).await;
    assert_eq!(marks(&wide).await[0].state, MarkState::Open);
    assert_eq!(segments(&wide, 0).await.last().unwrap().seq, Seq::new(1));
    let mut all = appender.close_all(seconds(702), now());
    executor(&wide).execute(&mut all).await.unwrap();
    assert_eq!(marks(&wide).await[0].state, MarkState::Closed(Seq::new(1)));
}

#[tokio::test]
async fn a_point_beyond_a_limit_is_refused_by_its_position_and_the_rest_is_taken() {
    let catalog = CatalogLimits { sources_max: 1, ..CatalogLimits::default() };
    let mut appender = appender(AppendLimits { buckets_max: 1, catalog, ..AppendLimits::default() });
    let batches =
        [one("a", 0), points(&[("b", 0, &[("x", Value::I64(1))]), ("a", HOUR, &[("x", Value::I64(1))])])];
    let mut plan = appender.plan(&batches, seconds(1), now());
    assert_eq!(
        plan.refusals(),
        [
            Refusal { batch: 1, point: 0, reason: RefusalReason::Catalog(CatalogFull::Sources) },
            Refusal { batch: 1, point: 1, reason: RefusalReason::Buckets },
        ]
    );
    assert_eq!(executor(&Memory::new()).execute(&mut plan).await.unwrap().samples, 1);
}

#[test]
#[should_panic(expected = "the plan before this one was not carried out")]
fn a_plan_that_was_dropped_makes_its_appender_useless() {
    let mut appender = appender(AppendLimits::default());
    drop(appender.plan(&[one("a", 0)], seconds(1), now()));
    let _ = appender.plan(&[one("a", 0)], seconds(1), now());
}

#[test]
#[should_panic(expected = "a point belongs to another shard")]
fn a_point_of_another_shard_is_a_broken_invariant() {
    let eras = Arc::new(Eras::single(ShardCount::new(4096).unwrap(), width()));
    let shard = eras.place(&one("a", 0).sources()[0], seconds(0)).shard;
    let other = Shard::new((shard.get() + 1) % 4096);
    let mut appender = ShardAppender::new(other, WriterId::from_random(2), eras, AppendLimits::default());
    let _ = appender.plan(&[one("a", 0)], seconds(1), now());
}

#[tokio::test]
async fn a_plan_that_is_handed_over_reads_like_one_that_was_carried_out() {
    let (direct, later) = (Memory::new(), Memory::new());
    let (mut first, mut second) = (appender(AppendLimits::default()), appender(AppendLimits::default()));
    for time in [5, 10, 2 * HOUR] {
        let batch = one("d", time);
        let mut plan = first.plan([&batch], seconds(100), now());
        executor(&direct).execute(&mut plan).await.unwrap();
        let mut plan = second.plan([&batch], seconds(100), now());
        for write in plan.writes() {
            later.put(write.table, &write.partition, &write.rows, write.at).await.unwrap();
        }
        plan.hand_over();
    }
    for table in [&CATALOG, &SEGMENTS] {
        for partition in [CatalogRow::partition(SHARD), segments_of(0), segments_of(2)] {
            let scan = Scan::partition(table, partition);
            if table.partition.len() == scan.partition.parts().len() {
                let (a, b) =
                    (direct.scan(&scan, None).await.unwrap(), later.scan(&scan, None).await.unwrap());
                assert_eq!(a.rows, b.rows);
            }
        }
    }
}

#[test]
fn what_is_left_of_a_plan_carries_a_mark_for_every_bucket_with_segments_though_it_was_written_before() {
    let mut appender = appender(AppendLimits::default());
    for (round, marks) in [(0, 2), (1, 1)] {
        let mut plan = appender.plan([&one("d", round)], seconds(100), now());
        let tables: Vec<&str> = plan.writes().iter().map(|write| write.table.name).collect();
        assert_eq!(tables.iter().filter(|&&name| name == "marks").count(), marks, "{tables:?}");
        assert_eq!(tables.last(), Some(&"segments"));
        assert!(
            tables.is_sorted_by_key(|name| ["catalog", "marks", "segments"].iter().position(|at| at == name))
        );
        plan.hand_over();
    }
}

fn segments_of(hour: i64) -> crate::wide::Key {
    let bucket = crate::layout::Bucket::at(seconds(hour * HOUR), width());
    SegmentRow::partition(crate::layout::Place { shard: SHARD, bucket })
}
