//! The reader at its limits, and over rows that no writer wrote. What it answers in general is tested against a model
//! in `tests/append_and_read`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::live::Followed;
use super::*;
use crate::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender};
use crate::catalog::Selection;
use crate::layout::tables::{MARKS, SEGMENTS};
use crate::layout::{Bucket, BucketWidth, MarkRow, MarkState, Place, SegmentRow, ShardCount, install_eras};
use crate::model::{CatalogN, Points, Seq, Shard, Tags, TimeRange, Timestamp, Value, WriterId};
use crate::wide::{Faults, Faulty, Memory, Wide, WriteTime};

const SHARD: Shard = Shard::new(0);

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000).unwrap()
}

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(seconds(start), seconds(end)).unwrap()
}

fn source(device: &str) -> Arc<Source> {
    Arc::new(Source::new(Tenant::new("t").unwrap(), Device::new(device).unwrap(), Tags::default()))
}

/// A store with one shard and buckets of an hour, in which each device has `points` samples of metric `x`, ten a
/// second, of values that no codec makes small.
async fn store(devices: &[&str], points: u64) -> Memory {
    let wide = Memory::new();
    let mut batch = Points::default();
    let metric = batch.metric(Metric::new("x").unwrap());
    for n in 0..points {
        for device in devices {
            let source = batch.source(&source(device));
            batch.value(metric, Value::F64(f64::from_bits(xxh3_64(&n.to_le_bytes()))));
            batch.finish_point(source, Timestamp::EPOCH.saturating_add(Duration::from_millis(n * 100)));
        }
    }
    append(&wide, &batch, writer()).await;
    wide
}

async fn append(wide: &Memory, batch: &Points, writer: WriterId) {
    let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
    let eras = install_eras(wide, ShardCount::new(1).unwrap(), width).await.unwrap();
    let mut appender = ShardAppender::new(SHARD, writer, Arc::new(eras), AppendLimits::default());
    let mut plan = appender.plan([batch], seconds(1), tokio::time::Instant::now().into_std());
    let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
    let executor = Executor::new(Arc::new(wide.clone()), RetryPolicy::default(), metrics);
    executor.execute(&mut plan).await.unwrap();
}

fn writer() -> WriterId {
    WriterId::from_random(2)
}

fn reader(wide: &Memory, limits: ReadLimits) -> Reader<Memory> {
    Reader::new(Arc::new(wide.clone()), limits)
}

fn all() -> Selector {
    Selector::default()
}

fn of(device: &str) -> Selector {
    Selector { devices: vec![Device::new(device).unwrap()], ..Selector::default() }
}

fn excess<T>(result: &Result<T, ReadFailure>) -> Option<(Excess, usize)> {
    match result {
        Err(ReadFailure::TooLarge { what, limit }) => Some((*what, *limit)),
        Err(_) | Ok(_) => None,
    }
}

#[tokio::test]
async fn a_large_bucket_has_the_same_answer_as_its_parts() {
    let wide = store(&["a"], 36_000).await;
    let reader = reader(&wide, ReadLimits::default());
    let series = reader.samples(&all(), range(0, 3_600)).await.unwrap();
    assert_eq!((series.len(), series[0].samples.len()), (1, 36_000));
    assert!(reader.head_bytes() > 64 * 1024, "{} bytes are decoded in place", reader.head_bytes());
    let parts = [range(0, 7), range(7, 3_000), range(3_000, 3_600)];
    let mut samples = Vec::new();
    for part in parts {
        samples.extend(reader.samples(&all(), part).await.unwrap().remove(0).samples);
    }
    assert_eq!(samples, series[0].samples);
}

#[tokio::test]
async fn a_query_that_passes_a_limit_says_which() {
    let wide = store(&["a", "b"], 1_000).await;
    let limits = ReadLimits::default();
    let samples = |limits| {
        let reader = reader(&wide, limits);
        async move { (excess(&reader.samples(&all(), range(0, 99)).await), reader) }
    };
    let (passed, reader) = samples(ReadLimits { samples_max: 1_500, ..limits }).await;
    assert_eq!(passed, Some((Excess::Samples, 1_500)));
    assert_eq!(reader.samples(&of("a"), range(0, 99)).await.unwrap().len(), 1, "one device is within it");
    assert_eq!(reader.latest(&all()).await.unwrap().answer.len(), 2, "what is not kept does not count");
    assert_eq!(samples(ReadLimits { bytes_max: 1_500, ..limits }).await.0, Some((Excess::Bytes, 1_500)));
    assert_eq!(samples(ReadLimits { marks_max: 0, ..limits }).await.0, Some((Excess::Marks, 0)));
    let bucket = ReadLimits { bucket_bytes_max: 99, ..limits };
    assert_eq!(samples(bucket).await.0, Some((Excess::BucketBytes, 99)));
    let few = self::reader(&wide, ReadLimits { sources_max: 1, ..limits });
    assert_eq!(excess(&few.sources(&all()).await), Some((Excess::Sources, 1)));
    assert_eq!(few.sources(&of("b")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_latest_samples_are_looked_for_only_so_far_back() {
    let wide = store(&["a"], 3 * 36_000).await;
    let mut batch = Points::default();
    let (source, metric) = (batch.source(&source("b")), batch.metric(Metric::new("x").unwrap()));
    for hour in [0, 30] {
        batch.value(metric, Value::I64(hour));
        batch.finish_point(source, seconds(hour * 3600));
    }
    append(&wide, &batch, WriterId::from_random(4)).await;
    let limits = ReadLimits::default();
    let found = |limits| {
        let reader = reader(&wide, limits);
        async move {
            reader.latest(&all()).await.unwrap().answer.iter().map(|l| l.sample.time).collect::<Vec<_>>()
        }
    };
    let last_of_a = Timestamp::from_millis((3 * 36_000 - 1) * 100).unwrap();
    assert_eq!(found(limits).await, [last_of_a, seconds(30 * 3600)]);
    assert_eq!(found(ReadLimits { latest_buckets_max: 1, ..limits }).await, [seconds(30 * 3600)]);
    assert_eq!(found(ReadLimits { latest_bytes_max: 0, ..limits }).await, [seconds(30 * 3600)]);
}

#[tokio::test]
async fn a_segment_that_cannot_be_decoded_fails_the_query_and_says_where_it_is() {
    let wide = store(&["a"], 10).await;
    let place = Place {
        shard: SHARD,
        bucket: Bucket::at(seconds(0), BucketWidth::new(Duration::from_hours(1)).unwrap()),
    };
    let broken = SegmentRow {
        writer: writer(),
        seq: Seq::new(1),
        received_at: seconds(1),
        catalog: CatalogN::new(1),
        samples: 1,
        min_time: seconds(0),
        max_time: seconds(0),
        body: Bytes::from_static(b"not a segment"),
    };
    let rows = [broken.to_row()];
    wide.put(&SEGMENTS, &SegmentRow::partition(place), &rows, WriteTime::from_micros(1)).await.unwrap();
    let reader = reader(&wide, ReadLimits::default());
    let failure = reader.samples(&all(), range(0, 9)).await.unwrap_err();
    assert!(matches!(failure, ReadFailure::Segment { seq, .. } if seq == Seq::new(1)), "{failure:?}");
    assert!(!failure.is_transient());
    assert_eq!(
        reader.samples(&all(), range(9, 10)).await.unwrap(),
        [],
        "outside of its times nothing is wrong"
    );
}

#[tokio::test]
async fn a_mark_that_counts_catalog_rows_that_are_not_there_fails_the_query() {
    let wide = store(&["a"], 10).await;
    let mark = MarkRow {
        bucket: Bucket::at(seconds(7200), BucketWidth::new(Duration::from_hours(1)).unwrap()),
        writer: writer(),
        state: MarkState::Open,
        catalog: CatalogN::new(2),
        written_at: WriteTime::from_micros(9),
    };
    wide.put(&MARKS, &MarkRow::partition(SHARD), &[mark.to_row()], mark.written_at).await.unwrap();
    let reader = reader(&wide, ReadLimits::default());
    let failure = reader.sources(&all()).await.unwrap_err();
    assert!(matches!(failure, ReadFailure::CatalogHole { .. }), "{failure:?}");
    assert_eq!(reader.samples(&all(), range(0, 9)).await.unwrap().len(), 1, "elsewhere nothing is wrong");
}

#[tokio::test(start_paused = true)]
async fn eras_are_read_again_when_they_are_old_and_never_guessed() {
    let faults = Faults::new(1);
    let wide = Arc::new(Faulty::new(store(&["a"], 10).await, faults.clone()));
    let reader = Reader::new(wide, ReadLimits::default());
    reader.sources(&all()).await.unwrap();
    tokio::time::advance(ReadLimits::default().eras_age_max).await;
    faults.fail_next_reads(1);
    let failure = reader.sources(&all()).await.unwrap_err();
    assert!(matches!(failure, ReadFailure::Eras(_)) && failure.is_transient(), "{failure:?}");
    assert_eq!(reader.sources(&all()).await.unwrap().len(), 1);
    let empty = self::reader(&Memory::new(), ReadLimits::default());
    assert!(matches!(empty.sources(&all()).await.unwrap_err(), ReadFailure::Eras(_)));
}

fn samples_of(latest: &Explained<Vec<Latest>>) -> Vec<Sample> {
    latest.answer.iter().map(|one| one.sample.clone()).collect()
}

async fn series(reader: &Reader<Memory>, selector: &Selector) -> Vec<Vec<Sample>> {
    let series = reader.samples(selector, range(0, 1)).await.unwrap();
    series.into_iter().map(|series| series.samples).collect()
}

/// 300 devices with three samples each, of which the last is corrected.
async fn many_series() -> Memory {
    let names: Vec<String> = (0..300).map(|n| format!("d{n}")).collect();
    let wide = store(&names.iter().map(String::as_str).collect::<Vec<_>>(), 3).await;
    let mut batch = Points::default();
    let metric = batch.metric(Metric::new("x").unwrap());
    for (name, n) in names.iter().zip(0..) {
        let source = batch.source(&source(name));
        for value in [-1, n] {
            batch.value(metric, Value::I64(value));
            batch.finish_point(source, Timestamp::EPOCH.saturating_add(Duration::from_millis(200)));
        }
    }
    append(&wide, &batch, WriterId::from_random(4)).await;
    wide
}

#[tokio::test]
async fn a_bucket_with_too_many_series_is_searched_and_not_kept() {
    let wide = many_series().await;
    let limits = ReadLimits { head_bytes_max: 0, ..ReadLimits::default() };
    let all_kept = reader(&wide, limits);
    let lasts_kept = reader(&wide, ReadLimits { lasts_bytes_max: 1_600_000, ..limits });
    let nothing_kept = reader(&wide, ReadLimits { lasts_bytes_max: 160_000, ..limits });
    let mut merged = Vec::new();
    for selector in [all(), of("d7"), of("d299"), all()] {
        let latest = all_kept.latest(&selector).await.unwrap();
        let of_all = series(&all_kept, &selector).await;
        let mut segments = vec![latest.explain.segments_merged];
        for reader in [&lasts_kept, &nothing_kept] {
            let searched = reader.latest(&selector).await.unwrap();
            assert_eq!(samples_of(&searched), samples_of(&latest));
            assert_eq!(series(reader, &selector).await, of_all);
            segments.push(searched.explain.segments_merged);
        }
        merged.push(segments);
    }
    assert_eq!(samples_of(&all_kept.latest(&of("d7")).await.unwrap())[0].value, Value::I64(7));
    assert!(merged[0].iter().all(|segments| *segments > 0), "{merged:?}");
    for again in &merged[1..] {
        assert_eq!(again[..2], [0, 0], "the last samples are kept: {merged:?}");
        assert!(again[2] > 0, "nothing is kept: {merged:?}");
    }
}

#[tokio::test]
async fn a_few_sources_are_followed_apart_from_the_rest() {
    let wide = many_series().await;
    let reader = reader(&wide, ReadLimits::default());
    reader.latest(&all()).await.unwrap();
    let mut batch = Points::default();
    let metric = batch.metric(Metric::new("x").unwrap());
    for (device, millis, value) in [("d7", 200, 1_000), ("d8", 300, 2_000), ("d7", 400, 3_000)] {
        let source = batch.source(&source(device));
        batch.value(metric, Value::I64(value));
        batch.finish_point(source, Timestamp::EPOCH.saturating_add(Duration::from_millis(millis)));
    }
    append(&wide, &batch, WriterId::from_random(6)).await;
    let fresh = self::reader(&wide, ReadLimits::default());
    fresh.latest(&self::all()).await.unwrap();
    for selector in [of("d7"), of("d9"), of("d7")] {
        let found = reader.latest(&selector).await.unwrap();
        assert_eq!(found.explain.segments_merged, 1, "each query takes what is new by itself");
        assert_eq!(samples_of(&found), samples_of(&fresh.latest(&selector).await.unwrap()));
        assert_eq!(series(&reader, &selector).await, series(&fresh, &selector).await);
    }
    let all = reader.latest(&all()).await.unwrap();
    assert_eq!(all.explain.segments_merged, 1, "nobody has followed the others");
    assert_eq!(reader.latest(&of("d7")).await.unwrap().explain.segments_merged, 0, "now somebody has");
    assert_eq!(samples_of(&all), samples_of(&fresh.latest(&self::all()).await.unwrap()));
}

#[tokio::test]
async fn what_is_given_up_while_a_query_goes_on_is_searched() {
    let wide = many_series().await;
    let reader = reader(&wide, ReadLimits::default());
    let snapshot = reader.snapshot(&all(), range(0, 1)).await.unwrap();
    let (bucket, selection) = (&snapshot.buckets[0], &snapshot.selection);
    let missing = reader.catalog().series(selection);
    let mut explain = Explain::default();
    let followed = reader.live(bucket, None, &mut explain).await.unwrap();
    let found = async |followed| {
        let wanted = (&missing, || Selection::clone(selection));
        reader.lasts_over(bucket, (None, followed), wanted, &mut Explain::default()).await.unwrap()
    };
    let kept = found(&followed).await;
    assert_eq!(kept.len(), 300);
    // Another query gives it up, after this one has seen that it is kept.
    let Followed::Kept(live) = &followed else { panic!("{followed:?}") };
    live.lock().give_up();
    assert!(live.kept().is_none());
    assert_eq!(found(&followed).await, kept);
    assert_eq!(reader.latest(&all()).await.unwrap().answer.len(), 300);
    assert_eq!(reader.samples(&all(), range(0, 1)).await.unwrap().len(), 300);
}

#[tokio::test]
async fn a_series_that_was_found_in_a_newer_bucket_is_still_found_in_an_older_one() {
    let wide = Memory::new();
    let mut batch = Points::default();
    let [x, y] = ["x", "y"].map(|name| batch.metric(Metric::new(name).unwrap()));
    let [a, b] = ["a", "b"].map(|device| batch.source(&source(device)));
    for (source, metric, hour) in [(a, x, 0), (a, y, 0), (b, x, 0), (a, x, 1)] {
        batch.value(metric, Value::I64(hour));
        batch.finish_point(source, seconds(hour * 3600));
    }
    append(&wide, &batch, writer()).await;
    for hour in [0, 1] {
        let mark = MarkRow {
            bucket: Bucket::at(seconds(hour * 3600), BucketWidth::new(Duration::from_hours(1)).unwrap()),
            writer: writer(),
            state: MarkState::Closed(Seq::new(0)),
            catalog: CatalogN::new(2),
            written_at: WriteTime::from_micros(i64::MAX / 2),
        };
        wide.put(&MARKS, &MarkRow::partition(SHARD), &[mark.to_row()], mark.written_at).await.unwrap();
    }
    let reader = reader(&wide, ReadLimits::default());
    assert_eq!(reader.latest(&all()).await.unwrap().answer.len(), 3);
    // The query before looked there for `y` of `a` and `x` of `b`, and not for `x` of `a`.
    let x_of_a = Selector { metrics: vec![Metric::new("x").unwrap()], ..of("a") };
    assert_eq!(reader.latest_within(&x_of_a, range(0, 9)).await.unwrap().answer.len(), 1);
}

/// Compiles only where any thread may run the reader's futures.
#[expect(dead_code, reason = "it is enough that it compiles")]
fn futures_may_move_between_threads<W: Wide>(reader: &Reader<W>, selector: &Selector) {
    fn assert_send(_: impl Send) {}
    assert_send(reader.samples(selector, TimeRange::ALL));
    assert_send(reader.latest(selector));
    assert_send(reader.runs(selector, TimeRange::ALL));
    assert_send(reader.folds(selector, &[], crate::rollup::Fields::ALL));
    assert_send(reader.sources(selector));
    assert_send(reader.slices(selector, TimeRange::ALL, Order::Ascending));
}

/// One sample of each series, in a segment of its own writer, whose mark is closed.
async fn put(wide: &Memory, writer: u64, samples: &[(&str, &str, i64, i64)]) {
    let mut batch = Points::default();
    for (device, metric, time, value) in samples {
        let source = batch.source(&source(device));
        let metric = batch.metric(Metric::new(metric).unwrap());
        batch.value(metric, Value::I64(*value));
        batch.finish_point(source, seconds(*time));
    }
    let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
    let eras = install_eras(wide, ShardCount::new(1).unwrap(), width).await.unwrap();
    let writer = WriterId::from_random(writer * 2);
    let mut appender = ShardAppender::new(SHARD, writer, Arc::new(eras), AppendLimits::default());
    let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
    let executor = Executor::new(Arc::new(wide.clone()), RetryPolicy::default(), metrics);
    let now = tokio::time::Instant::now().into_std();
    executor.execute(&mut appender.plan([&batch], seconds(1), now)).await.unwrap();
    executor.execute(&mut appender.close_all(seconds(1), now)).await.unwrap();
}

#[tokio::test]
async fn what_was_found_in_a_later_bucket_is_still_looked_for_in_an_earlier_one() {
    let wide = Memory::new();
    put(&wide, 1, &[("a", "x", 10, 1), ("a", "y", 10, 2), ("b", "y", 10, 3)]).await;
    put(&wide, 2, &[("a", "y", 3_610, 4)]).await;
    let reader = reader(&wide, ReadLimits::default());
    assert_eq!(reader.latest(&all()).await.unwrap().answer.len(), 3);
    let selector = Selector { metrics: vec![Metric::new("y").unwrap()], ..of("a") };
    let early = reader.latest_within(&selector, range(0, 20)).await.unwrap().answer;
    let values: Vec<&Value> = early.iter().map(|latest| &latest.sample.value).collect();
    assert_eq!(values, [&Value::I64(2)]);
}
