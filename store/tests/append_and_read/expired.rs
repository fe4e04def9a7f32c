//! What has expired is not read, wherever it still lies, and answers say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender};
use tidemill_store::layout::{
    BucketWidth, Eras, Place, Resolution, RetentionTimes, ShardCount, install_eras,
};
use tidemill_store::mill::{GrindTimes, Mill, MillMetrics, MillOptions};
use tidemill_store::model::{
    Clock, Device, Metric, Points, Shard, Source, Tags, Tenant, TimeRange, Timestamp, Value, WriterId,
};
use tidemill_store::read::{ReadFailure, ReadLimits, ReadOptions, Reader, Selector};
use tidemill_store::rollup::Fields;
use tidemill_store::wide::Memory;

use crate::random::seconds;

const HOUR: i64 = 3_600;

/// Shows the hour that it is set to.
#[derive(Clone, Default)]
struct Hours(Arc<AtomicI64>);

impl Clock for Hours {
    fn now(&self) -> Timestamp {
        seconds(self.0.load(Ordering::Relaxed) * HOUR)
    }
}

/// Samples of two hours, one in ten seconds, in the first and the sixth hour.
async fn append(wide: &Arc<Memory>, eras: &Arc<Eras>) {
    let mut points = Points::default();
    let source = Source::new(Tenant::new("t").unwrap(), Device::new("a").unwrap(), Tags::default());
    let (source, metric) = (points.source(&Arc::new(source)), points.metric(Metric::new("x").unwrap()));
    for start in [0, 5 * HOUR] {
        for n in 0..360 {
            points.value(metric, Value::I64(n));
            points.finish_point(source, seconds(start + n * 10));
        }
    }
    let (writer, limits) = (WriterId::from_random(2), AppendLimits::default());
    let mut appender = ShardAppender::new(Shard::new(0), writer, Arc::clone(eras), limits);
    let mut plan = appender.plan([&points], seconds(0), tokio::time::Instant::now().into_std());
    let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
    Executor::new(Arc::clone(wide), RetryPolicy::default(), metrics).execute(&mut plan).await.unwrap();
}

async fn grind(wide: &Arc<Memory>, eras: &Arc<Eras>, clock: &Hours, retention: &RetentionTimes) {
    let options = MillOptions {
        retention: retention.clone(),
        frame_samples_min: 0,
        times: GrindTimes { settle: Duration::ZERO, ..GrindTimes::default() },
        ..MillOptions::default()
    };
    let metrics = MillMetrics::register(&prometheus::Registry::new()).unwrap();
    let (name, clock) = ("m".to_owned(), Arc::new(clock.clone()));
    let mill = Mill::new(Arc::clone(wide), Arc::clone(eras), name, options, clock, metrics);
    for hour in [0, 5] {
        let bucket = eras.at(seconds(hour * HOUR)).bucket(seconds(hour * HOUR));
        mill.grind_bucket(Place { shard: Shard::new(0), bucket }).await.unwrap();
    }
}

#[tokio::test]
async fn what_has_expired_is_not_read_and_answers_say_so() {
    let (wide, clock) = (Arc::new(Memory::new()), Hours::default());
    let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
    let eras = Arc::new(install_eras(&*wide, ShardCount::new(1).unwrap(), width).await.unwrap());
    let [minute, hour] = [60, 3_600].map(|seconds| Resolution::from_seconds(seconds).unwrap());
    let retention = RetentionTimes {
        raw: Some(Duration::from_hours(2)),
        frames: [(minute, Duration::from_hours(10))].into(),
    };
    append(&wide, &eras).await;
    grind(&wide, &eras, &clock, &retention).await;
    let options = ReadOptions { retention, clock: Some(Arc::new(clock.clone())), ..ReadOptions::default() };
    let reader = Reader::with(Arc::clone(&wide), ReadLimits::default(), options);
    let all = Selector::default();
    let range = TimeRange::new(seconds(0), seconds(8 * HOUR)).unwrap();
    let runs = async || reader.runs(&all, range).await.unwrap();
    let folds = async |cuts: &[i64]| {
        let cuts: Vec<Timestamp> = cuts.iter().map(|&cut| seconds(cut)).collect();
        reader.folds(&all, &cuts, Fields::SUM).await.map(|folds| {
            let cells = folds.answer.into_iter().flat_map(|series| series.cells);
            cells.map(|(_, state)| state.count()).collect::<Vec<_>>()
        })
    };
    let refused = |answer: Result<Vec<u64>, ReadFailure>| {
        let failure = answer.unwrap_err();
        let ReadFailure::Expired { before, resolution } = failure else { panic!("{failure}") };
        (before, resolution)
    };
    assert_eq!((runs().await.answer[0].run.len(), runs().await.explain.expired_before), (720, None));
    assert_eq!(folds(&[0, 5, 8 * HOUR]).await.unwrap(), [1, 719]);

    clock.0.store(4, Ordering::Relaxed);
    let left = runs().await;
    assert_eq!((left.answer[0].run.first_time(), left.answer[0].run.len()), (Some(seconds(5 * HOUR)), 360));
    assert_eq!(left.explain.expired_before, Some(seconds(HOUR)));
    assert_eq!(folds(&[60, 120, 8 * HOUR]).await.unwrap(), [6, 708]);
    assert_eq!(refused(folds(&[5, 8 * HOUR]).await), (seconds(2 * HOUR), Some(minute)));
    assert_eq!(folds(&[5 * HOUR + 5, 8 * HOUR]).await.unwrap(), [359], "what is there is read to the sample");

    clock.0.store(12, Ordering::Relaxed);
    assert_eq!(runs().await.answer, []);
    assert_eq!(refused(folds(&[60, HOUR]).await).1, Some(hour));
    assert_eq!(folds(&[0, HOUR]).await.unwrap(), [360]);
    let latest = reader.latest(&all).await.unwrap();
    assert_eq!(latest.answer[0].sample.time, seconds(5 * HOUR + 3_590), "frames know the last sample");
}
