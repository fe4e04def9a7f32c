//! A reader that does what the design's §7 says and nothing else: marks, then the seal, then the catalog rows that both
//! count, then blocks and what they do not cover. Keeps what it knows of the catalog between reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill_store::codec::block::{Limits as PackLimits, Pack};
use tidemill_store::codec::segment::{Limits, Segment};
use tidemill_store::layout::tables::{BLOCKS, CATALOG, MARKS, SEALS, SEGMENTS};
use tidemill_store::layout::{BlockRow, CatalogRow, MarkRow, Period, Place, SealRow, SegmentRow};
use tidemill_store::model::{CatalogN, Shard, Source, SourceId, TimeRange, WriterId};
use tidemill_store::wide::{Key, ReadError, Row, Scan, Table, Wide};

use super::judge::Answer;
use crate::bench::hour;
use crate::random::Random;

/// In which order marks and seal are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    MarksFirst,
    /// Sabotage.
    SealFirst,
}

pub(crate) struct Plain<W> {
    pub(crate) wide: Arc<W>,
    pub(crate) order: Order,
    known: BTreeMap<(Shard, WriterId), Vec<Arc<Source>>>,
    random: Random,
}

/// Whether a read may take its time between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Slow,
    Fast,
}

impl<W: Wide> Plain<W> {
    pub(crate) fn new(wide: Arc<W>, order: Order, seed: u64) -> Self {
        Self { wide, order, known: BTreeMap::new(), random: Random::new(seed) }
    }

    /// All samples of a bucket; `Err` where what a seal names is not there.
    pub(crate) async fn read(&mut self, place: Place, speed: Pace) -> Result<Answer, String> {
        let early = if self.order == Order::SealFirst { Some(self.seal(place).await) } else { None };
        self.pause(early.is_some(), speed).await;
        let marks = self.marks(place).await;
        self.pause(early.is_none(), speed).await;
        let seal = match early {
            Some(seal) => seal,
            None => self.seal(place).await,
        };
        self.pause(true, speed).await;
        self.learn(place.shard, &marks, seal.as_ref()).await;
        let mut answer = Answer::new();
        if let Some(seal) = &seal {
            self.blocks(place, seal, &mut answer).await?;
        }
        self.pause(true, speed).await;
        if !marks.is_empty() {
            self.segments(place, &marks, seal.as_ref(), &mut answer).await;
        }
        Ok(answer)
    }

    async fn pause(&mut self, is_due: bool, speed: Pace) {
        if is_due && speed == Pace::Slow && self.random.one_in(3) {
            tokio::time::sleep(Duration::from_millis(self.random.below(1_000))).await;
        }
    }

    async fn marks(&self, place: Place) -> Vec<MarkRow> {
        let bounds = MarkRow::between(place.bucket, place.bucket);
        let rows = self.all(Scan::partition(&MARKS, MarkRow::partition(place.shard)).within(bounds)).await;
        rows.iter().map(|row| MarkRow::from_row(row, hour()).unwrap()).collect()
    }

    async fn seal(&self, place: Place) -> Option<SealRow> {
        let partition = SealRow::partition(place.shard, Period::of_seal(place.bucket, hour()));
        let row = self.get(&SEALS, &partition, &SealRow::key(place.bucket)).await;
        row.map(|row| SealRow::from_row(&row, hour()).unwrap())
    }

    async fn learn(&mut self, shard: Shard, marks: &[MarkRow], seal: Option<&SealRow>) {
        let mut needed: BTreeMap<WriterId, CatalogN> =
            marks.iter().map(|mark| (mark.writer, mark.catalog)).collect();
        for (writer, covered) in seal.iter().flat_map(|seal| &seal.covered) {
            let count = needed.entry(*writer).or_default();
            *count = covered.catalog.max(*count);
        }
        for (writer, needed) in needed {
            let from = self.known.get(&(shard, writer)).map_or(0, Vec::len);
            let from = CatalogN::new(u32::try_from(from).unwrap());
            if from < needed {
                let bounds = CatalogRow::between(writer, from, needed);
                let scan = Scan::partition(&CATALOG, CatalogRow::partition(shard)).within(bounds);
                let rows = self.all(scan).await;
                let dense = rows.iter().map(|row| CatalogRow::from_row(row).unwrap()).zip(from.get()..);
                let dense = dense.take_while(|(row, n)| row.n.get() == *n).map(|(row, _)| row.source);
                self.known.entry((shard, writer)).or_default().extend(dense);
            }
        }
    }

    async fn blocks(&self, place: Place, seal: &SealRow, answer: &mut Answer) -> Result<(), String> {
        let scan = Scan::partition(&BLOCKS, BlockRow::partition(place)).within(BlockRow::of(seal.generation));
        let names: BTreeMap<SourceId, &Arc<Source>> =
            self.known.values().flatten().map(|source| (source.id(), source)).collect();
        let mut samples = 0;
        for row in self.all(scan).await {
            let pack = Pack::decode(BlockRow::from_row(&row).unwrap().body, PackLimits::DEFAULT).unwrap();
            for (position, source) in pack.sources().iter().enumerate() {
                for metric in pack.metrics(position) {
                    let run = pack.run(position, metric, TimeRange::ALL).unwrap().unwrap_or_default();
                    samples += u64::try_from(run.len()).unwrap();
                    // A selector finds only sources that the reader knows.
                    let Some(source) = names.get(source) else { continue };
                    for (time, value) in run.iter() {
                        answer.insert((source.device().to_string(), metric.to_string(), time), value);
                    }
                }
            }
        }
        if samples == seal.summary.samples {
            return Ok(());
        }
        Err(format!("{place:?}: {samples} samples in blocks, the seal counts {}", seal.summary.samples))
    }

    async fn segments(&self, place: Place, marks: &[MarkRow], seal: Option<&SealRow>, answer: &mut Answer) {
        let rows = self.all(Scan::partition(&SEGMENTS, SegmentRow::partition(place))).await;
        let mut segments: Vec<SegmentRow> =
            rows.iter().map(|row| SegmentRow::from_row(row).unwrap()).collect();
        segments.retain(|row| {
            marks.iter().any(|mark| mark.writer == row.writer)
                && seal.is_none_or(|seal| !seal.covers(row.writer, row.seq))
        });
        segments.sort_by_key(|row| (row.received_at, row.writer, row.seq));
        for row in segments {
            let segment = Segment::decode(row.body, Limits::DEFAULT).unwrap();
            let known = self.known.get(&(place.shard, row.writer));
            for sample in segment.samples_at(segment.all()).unwrap() {
                let n = usize::try_from(sample.source.get()).unwrap();
                let Some(source) = known.and_then(|known| known.get(n)) else { continue };
                let metric = &segment.metrics()[sample.metric.index()];
                answer.insert((source.device().to_string(), metric.to_string(), sample.time), sample.value);
            }
        }
    }

    async fn get(&self, table: &'static Table, partition: &Key, key: &Key) -> Option<Row> {
        loop {
            match self.wide.get(table, partition, key).await {
                Ok(row) => return row,
                Err(error) => assert!(matches!(error, ReadError::Unavailable { .. }), "{error}"),
            }
        }
    }

    async fn all(&self, scan: Scan) -> Vec<Row> {
        let (mut rows, mut from) = (Vec::new(), None);
        loop {
            match self.wide.scan(&scan, from.clone()).await {
                Ok(page) => {
                    rows.extend(page.rows);
                    if page.next.is_none() {
                        return rows;
                    }
                    from = page.next;
                }
                Err(error) => assert!(matches!(error, ReadError::Unavailable { .. }), "{error}"),
            }
        }
    }
}
