//! A pipeline over a store in memory that goes wrong on demand, and ways to see what it stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidemill_store::append::AppendMetrics;
use tidemill_store::codec::segment::{Limits, Segment};
use tidemill_store::layout::tables::{CATALOG, MARKS, REJECT_COUNTS, REJECTS, SEGMENTS};
use tidemill_store::layout::{
    BucketWidth, CatalogRow, Eras, KnownEras, MarkRow, MarkState, Place, RejectCountRow, RejectRow,
    SegmentRow, ShardCount,
};
use tidemill_store::model::{Clock, Shard, Timestamp, Value, WriterId};
use tidemill_store::wide::{Bounds, Datum, Faults, Faulty, Key, Memory, Row, Scan, Table, Wide};
use tokio::time::Instant;

use crate::config::IngestConfig;
use crate::metrics::{Accounting, IngestMetrics};
use crate::pipeline::{Pipeline, PipelineParts};
use crate::source::{Publish, Qos};
use crate::spool::Spool;

/// The time of day when a test starts.
pub(super) const START_MILLIS: i64 = 1_800_000_000_000;
pub(super) const SHARDS: u64 = 4;

/// A time of day that follows tokio's clock, moved by hand besides.
#[derive(Debug)]
pub(super) struct TestClock {
    started: Instant,
    moved_millis: AtomicI64,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let base = Timestamp::from_millis(START_MILLIS + self.moved_millis.load(Ordering::Relaxed)).unwrap();
        base.saturating_add(self.started.elapsed())
    }
}

pub(super) struct Rig {
    pub(super) pipeline: Pipeline,
    pub(super) memory: Memory,
    pub(super) faults: Faults,
    pub(super) metrics: IngestMetrics,
    pub(super) eras: Arc<Eras>,
    clock: Arc<TestClock>,
}

/// A sample as stored: device, metric, milliseconds, value.
pub(super) type Stored = (String, String, i64, Value);

pub(super) fn config() -> IngestConfig {
    IngestConfig::with_defaults().unwrap()
}

/// One era of hours for all time.
pub(super) fn eras() -> Eras {
    Eras::single(ShardCount::new(SHARDS).unwrap(), BucketWidth::new(Duration::from_hours(1)).unwrap())
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: IngestConfig) -> Self {
        Self::over(eras(), config)
    }

    pub(super) fn seeded(seed: u64) -> Self {
        let (memory, faults) = (Memory::new(), Faults::new(seed));
        let wide = Faulty::new(memory.clone(), faults.clone());
        Self::on(wide, memory, faults, eras(), config())
    }

    pub(super) fn over(eras: Eras, config: IngestConfig) -> Self {
        let (memory, faults) = (Memory::new(), Faults::new(7));
        let wide = Faulty::new(memory.clone(), faults.clone());
        Self::on(wide, memory, faults, eras, config)
    }

    /// A process started after another one that wrote to `memory`.
    pub(super) fn restarted(memory: &Memory, config: IngestConfig) -> Self {
        let faults = Faults::new(7);
        let wide = Faulty::new(memory.clone(), faults.clone());
        Self::of_writer(WriterId::from_random(99), (wide, memory.clone(), faults), eras(), config)
    }

    /// Over `wide`, which stores to `memory` what it stores.
    pub(super) fn on(
        wide: impl Wide,
        memory: Memory,
        faults: Faults,
        eras: Eras,
        config: IngestConfig,
    ) -> Self {
        Self::of_writer(WriterId::from_random(12), (wide, memory, faults), eras, config)
    }

    fn of_writer(
        writer: WriterId,
        (wide, memory, faults): (impl Wide, Memory, Faults),
        eras: Eras,
        config: IngestConfig,
    ) -> Self {
        let none = |_: &IngestMetrics, _: Arc<dyn Clock>| None::<Spool>;
        Self::spooled(wide, (memory, faults), eras, config, (writer, none))
    }

    /// The same with what `spool` makes.
    pub(super) fn spooled<S: Into<Option<Spool>>>(
        wide: impl Wide,
        (memory, faults): (Memory, Faults),
        eras: Eras,
        config: IngestConfig,
        (writer, spool): (WriterId, impl FnOnce(&IngestMetrics, Arc<dyn Clock>) -> S),
    ) -> Self {
        let eras = Arc::new(eras);
        let metrics = IngestMetrics::default();
        let clock = Arc::new(TestClock { started: Instant::now(), moved_millis: AtomicI64::new(0) });
        let shared: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let spool = spool(&metrics, Arc::clone(&shared)).into();
        let parts = PipelineParts {
            wide: Arc::new(wide),
            eras: KnownEras::read_at(Arc::clone(&eras), shared.now()),
            writer,
            clock: shared,
            metrics: metrics.clone(),
            append_metrics: AppendMetrics::register(&prometheus::Registry::new()).unwrap(),
            spool,
        };
        let pipeline = Pipeline::start(parts, config).unwrap();
        Self { pipeline, memory, faults, metrics, eras, clock }
    }

    /// Sets the clock, by so much.
    pub(super) fn move_clock(&self, millis: i64) {
        self.clock.moved_millis.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn accounting(&self) -> Accounting {
        let accounting = self.metrics.messages();
        assert!(accounting.balanced(), "{accounting:?}");
        assert!(self.metrics.samples().balanced(), "{:?}", self.metrics.samples());
        accounting
    }

    async fn rows(&self, table: &'static Table, partition: Key) -> Vec<Row> {
        let scan = Scan { page_rows_max: 1_000_000, ..Scan::partition(table, partition) };
        let mut rows = Vec::new();
        let mut from = None;
        loop {
            let page = self.memory.scan(&scan.clone().within(Bounds::ALL), from).await.unwrap();
            rows.extend(page.rows);
            match page.next {
                Some(next) => from = Some(next),
                None => return rows,
            }
        }
    }

    /// The marks of all shards: the only way to find segments, as for any reader.
    pub(super) async fn marks(&self) -> Vec<(Shard, MarkRow)> {
        let width = self.eras.iter().next().unwrap().bucket_width;
        let mut marks = Vec::new();
        for shard in (0..self.eras.shards_max()).map(Shard::new) {
            for row in self.rows(&MARKS, MarkRow::partition(shard)).await {
                marks.push((shard, MarkRow::from_row(&row, width).unwrap()));
            }
        }
        marks
    }

    pub(super) async fn segments(&self) -> Vec<(Shard, SegmentRow)> {
        let mut segments = Vec::new();
        for (shard, mark) in self.marks().await {
            let partition = SegmentRow::partition(Place { shard, bucket: mark.bucket });
            for row in self.rows(&SEGMENTS, partition).await {
                let segment = SegmentRow::from_row(&row).unwrap();
                // The others have marks of their own.
                if segment.writer == mark.writer {
                    segments.push((shard, segment));
                }
            }
        }
        segments
    }

    /// Every stored sample, duplicates included, in order of their names.
    pub(super) async fn samples(&self) -> Vec<Stored> {
        let mut samples = Vec::new();
        for (shard, row) in self.segments().await {
            let catalog: BTreeMap<_, _> = self
                .rows(&CATALOG, CatalogRow::partition(shard))
                .await
                .iter()
                .map(|row| CatalogRow::from_row(row).unwrap())
                .filter(|known| known.writer == row.writer)
                .map(|row| (row.n, row.source))
                .collect();
            let segment = Segment::decode(row.body.clone(), Limits::DEFAULT).unwrap();
            for sample in segment.samples_at(segment.all()).unwrap() {
                let source = &catalog[&segment.source(sample.point)];
                let metric = &segment.metrics()[sample.metric.index()];
                let millis = segment.times()[sample.point].millis_floor();
                samples.push((source.device().to_string(), metric.to_string(), millis, sample.value));
            }
        }
        samples.sort_by_key(|(device, metric, millis, _)| (device.clone(), metric.clone(), *millis));
        samples
    }

    pub(super) async fn rejects(&self) -> Vec<RejectRow> {
        let mut rejects = Vec::new();
        let day = START_MILLIS.div_euclid(86_400_000) * 86_400_000;
        for slot in 0..=16 {
            let partition = Key::from([Datum::Instant(day), Datum::Int(slot)]);
            for row in self.rows(&REJECTS, partition).await {
                rejects.push(RejectRow::from_row(&row).unwrap());
            }
        }
        rejects.sort_by_key(|row| row.n);
        rejects
    }

    /// What is counted of rejects that are not kept.
    pub(super) async fn reject_counts(&self) -> Vec<RejectCountRow> {
        let partition = RejectCountRow::partition(Timestamp::from_millis(START_MILLIS).unwrap());
        let rows = self.rows(&REJECT_COUNTS, partition).await;
        rows.iter().map(|row| RejectCountRow::from_row(row).unwrap()).collect()
    }

    pub(super) async fn open_marks(&self) -> usize {
        self.marks().await.iter().filter(|(_, mark)| mark.state == MarkState::Open).count()
    }
}

pub(super) fn publish(device: &str, payload: &str, qos: Qos) -> Publish {
    Publish {
        topic: Bytes::from(format!("devices/{device}/telemetry")),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retained: false,
    }
}

/// A QoS 1 message with one sample.
pub(super) fn one(device: &str, value: i64) -> Publish {
    publish(device, &format!(r#"{{"v":{value}}}"#), Qos::AtLeastOnce)
}

pub(super) fn seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}
