//! A workbench: a store, a clock that is set by hand, writers as ingest drives them, and mills.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidemill_store::append::{AppendLimits, AppendMetrics, Executor, RetryPolicy, ShardAppender, WritePlan};
use tidemill_store::codec::block::{Limits, Pack};
use tidemill_store::codec::frame::Frame;
use tidemill_store::codec::{Run, Values};
use tidemill_store::layout::tables::{BLOCKS, CATALOG, FRAMES, MARKS, SEALS, SEGMENTS};
use tidemill_store::layout::{
    BlockRow, Bucket, BucketWidth, CatalogRow, Eras, FrameRow, MarkRow, Period, Place, Resolution, SealRow,
    SegmentRow, ShardCount, install_eras,
};
use tidemill_store::mill::{Mill, MillMetrics, MillOptions};
use tidemill_store::model::{
    Clock, Device, Generation, Metric, Points, Shard, Source, SourceId, Tags, Tenant, TimeRange, Timestamp,
    Value, WriterId,
};
use tidemill_store::rollup::Fields;
use tidemill_store::wide::{Row, Scan, Wide};

pub(crate) use crate::random::seconds;

pub(crate) const SHARD: Shard = Shard::new(0);
pub(crate) const HOUR: i64 = 3_600;

pub(crate) fn hour() -> BucketWidth {
    BucketWidth::new(Duration::from_hours(1)).unwrap()
}

pub(crate) fn place(hours: i64) -> Place {
    Place { shard: SHARD, bucket: Bucket::at(seconds(hours * HOUR), hour()) }
}

/// A clock that is set by hand.
#[derive(Debug, Clone)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn at(now: i64) -> Self {
        Self(Arc::new(AtomicI64::new(now)))
    }

    pub(crate) fn set(&self, now: i64) {
        self.0.store(now, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        seconds(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) async fn eras<W: Wide>(wide: &W) -> Arc<Eras> {
    Arc::new(install_eras(wide, ShardCount::new(1).unwrap(), hour()).await.unwrap())
}

pub(crate) async fn mill<W: Wide>(wide: &Arc<W>, clock: &HandClock, options: MillOptions) -> Mill<W> {
    mill_named("mill", wide, clock, options).await
}

pub(crate) async fn mill_named<W: Wide>(
    name: &str,
    wide: &Arc<W>,
    clock: &HandClock,
    options: MillOptions,
) -> Mill<W> {
    let metrics = MillMetrics::register(&prometheus::Registry::new()).unwrap();
    let eras = eras(&**wide).await;
    Mill::new(Arc::clone(wide), eras, name.into(), options, Arc::new(clock.clone()), metrics)
}

/// A sample: device, metric, seconds, value.
pub(crate) type Drawn<'a> = (&'a str, &'a str, i64, Value);

/// A writer as ingest drives it.
pub(crate) struct Writer<W> {
    appender: ShardAppender,
    executor: Executor<W>,
}

impl<W: Wide> Writer<W> {
    pub(crate) async fn new(wide: &Arc<W>, id: u64) -> Self {
        let metrics = AppendMetrics::register(&prometheus::Registry::new()).unwrap();
        let eras = eras(&**wide).await;
        let writer = WriterId::from_random(id * 2);
        Self {
            appender: ShardAppender::new(SHARD, writer, eras, AppendLimits::default()),
            executor: Executor::new(Arc::clone(wide), RetryPolicy::default(), metrics),
        }
    }

    pub(crate) async fn send(&mut self, at: i64, samples: &[Drawn<'_>]) {
        let mut points = Points::default();
        for (device, metric, time, value) in samples {
            let source = points.source(&source(device));
            let metric = points.metric(Metric::new(metric).unwrap());
            points.value(metric, value.clone());
            points.finish_point(source, seconds(*time));
        }
        let plan = self.appender.plan([&points], seconds(at), now());
        self.carry_out(plan).await;
    }

    pub(crate) async fn close(&mut self, at: i64) {
        let plan = self.appender.close_all(seconds(at), now());
        self.carry_out(plan).await;
    }

    async fn carry_out(&mut self, mut plan: WritePlan) {
        assert_eq!(plan.refusals(), []);
        self.executor.execute(&mut plan).await.unwrap();
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn source(device: &str) -> Arc<Source> {
    Arc::new(Source::new(Tenant::new("t").unwrap(), Device::new(device).unwrap(), Tags::default()))
}

pub(crate) async fn rows<W: Wide>(wide: &W, scan: Scan) -> Vec<Row> {
    let (mut rows, mut from) = (Vec::new(), None);
    loop {
        let page = wide.scan(&scan, from).await.unwrap();
        rows.extend(page.rows);
        match page.next {
            Some(next) => from = Some(next),
            None => return rows,
        }
    }
}

pub(crate) async fn seal<W: Wide>(wide: &W, place: Place) -> Option<SealRow> {
    let partition = SealRow::partition(place.shard, Period::of_seal(place.bucket, hour()));
    let row = wide.get(&SEALS, &partition, &SealRow::key(place.bucket)).await.unwrap();
    row.map(|row| SealRow::from_row(&row, hour()).unwrap())
}

pub(crate) async fn marks<W: Wide>(wide: &W) -> Vec<MarkRow> {
    let rows = rows(wide, Scan::partition(&MARKS, MarkRow::partition(SHARD))).await;
    rows.iter().map(|row| MarkRow::from_row(row, hour()).unwrap()).collect()
}

pub(crate) async fn segments<W: Wide>(wide: &W, place: Place) -> Vec<SegmentRow> {
    let rows = rows(wide, Scan::partition(&SEGMENTS, SegmentRow::partition(place))).await;
    rows.iter().map(|row| SegmentRow::from_row(row).unwrap()).collect()
}

/// Generations of which there are blocks.
pub(crate) async fn generations<W: Wide>(wide: &W, place: Place) -> Vec<Generation> {
    let rows = rows(wide, Scan::partition(&BLOCKS, BlockRow::partition(place))).await;
    let mut found: Vec<Generation> =
        rows.iter().map(|row| BlockRow::from_row(row).unwrap().generation).collect();
    found.dedup();
    found
}

/// What the blocks in force hold of a series.
pub(crate) async fn ground<W: Wide>(wide: &W, place: Place, device: &str, metric: &str) -> Run {
    let generation = seal(wide, place).await.unwrap().generation;
    let scan = Scan::partition(&BLOCKS, BlockRow::partition(place)).within(BlockRow::of(generation));
    let (id, metric): (SourceId, Metric) = (source(device).id(), Metric::new(metric).unwrap());
    let mut run = Run::default();
    for row in rows(wide, scan).await {
        let pack = Pack::decode(BlockRow::from_row(&row).unwrap().body, Limits::DEFAULT).unwrap();
        let Some(position) = pack.position(id) else { continue };
        let part = pack.run(position, &metric, TimeRange::ALL).unwrap().unwrap_or_default();
        part.iter().for_each(|(time, value)| run.push(time, value));
    }
    run
}

/// A run as seconds and integers.
pub(crate) fn integers(run: &Run) -> Vec<(i64, i64)> {
    let Values::I64(values) = &run.values else {
        assert!(run.is_empty(), "{run:?} is not of integers");
        return Vec::new();
    };
    run.times.iter().zip(values).map(|(time, value)| (time.millis_floor() / 1000, *value)).collect()
}

/// The windows that frames in force hold of a series: number in the bucket and samples.
pub(crate) async fn framed<W: Wide>(
    wide: &W,
    place: Place,
    resolution: u32,
    (device, metric): (&str, &str),
) -> Option<Vec<(u32, u64)>> {
    let resolution = Resolution::from_seconds(resolution).unwrap();
    let generation = seal(wide, place).await.unwrap().generation;
    let period = Period::of_frames(place.bucket, hour(), resolution);
    let metric = Metric::new(metric).unwrap();
    let scan = Scan::partition(&FRAMES, FrameRow::partition(place.shard, resolution, period))
        .within(FrameRow::of_metric(place.bucket, generation, &metric));
    for row in rows(wide, scan).await {
        let frame = Frame::decode(FrameRow::from_row(&row, hour()).unwrap().body).unwrap();
        let Some(position) = frame.position(source(device).id()) else { continue };
        let windows = frame.windows(position, 0..u32::MAX, Fields::ALL).unwrap();
        return Some(windows.iter().map(|(at, state)| (*at, state.count())).collect());
    }
    None
}

/// The devices of a writer's catalog rows.
pub(crate) async fn devices<W: Wide>(wide: &W, writer: WriterId) -> Vec<String> {
    let rows = rows(wide, Scan::partition(&CATALOG, CatalogRow::partition(SHARD))).await;
    let rows = rows.iter().map(|row| CatalogRow::from_row(row).unwrap());
    rows.filter(|row| row.writer == writer).map(|row| row.source.device().to_string()).collect()
}
