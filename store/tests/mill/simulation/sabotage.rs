//! What a careless mill, writer or reader would do, done to the honest ones through the store that they see: each
//! departs from one rule of the design's §7, and must be caught.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_store::layout::tables::{BLOCKS, CATALOG, FRAMES, MARKS, SEALS, SEGMENTS, WRITERS};
use tidemill_store::layout::{MarkRow, MarkState, Place, SealRow, SegmentRow};
use tidemill_store::model::{CatalogN, Generation, SealVersion, Shard};
use tidemill_store::wide::{
    Bounds, Datum, Deletion, Exchange, Expected, Key, Layer, Page, PageToken, ReadError, Row, Scan, Table,
    Wide, WriteError, WriteTime,
};

use crate::bench::hour;

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    SameGeneration,
    NoCompareAndSet,
    NoGrace,
    NoNewVersion,
    DeleteBeforeSeal,
    ClearOpenMark,
    DeleteNewerMark,
    ReadSealFirst,
    CatalogAfterSegment,
    CatalogWithoutMark,
    SealWithoutCatalog,
}

/// Rows that wait to be put.
type Put = (Key, Vec<Row>, WriteTime);

/// A store over `W` for which a rule may be broken.
#[derive(Debug)]
pub(crate) struct Sabotaged<W> {
    inner: Arc<W>,
    sabotage: Option<Sabotage>,
    /// Marks as they were last seen, or written.
    marks: Mutex<BTreeMap<(Key, Key), MarkRow>>,
    /// Puts that wait.
    waiting: Arc<Mutex<Vec<Put>>>,
}

impl<W: Wide> Sabotaged<W> {
    pub(crate) fn new(inner: Arc<W>, sabotage: Option<Sabotage>) -> Self {
        Self { inner, sabotage, marks: Mutex::default(), waiting: Arc::default() }
    }

    fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    async fn current(&self, partition: &Key, row: &Row) -> Result<Option<SealRow>, WriteError> {
        match self.inner().get(&SEALS, partition, &row.clustering).await {
            Ok(row) => Ok(row.map(|row| SealRow::from_row(&row, hour()).unwrap())),
            Err(error) => Err(WriteError::Unavailable {
                effect: tidemill_store::wide::Effect::NotApplied,
                reason: error.to_string(),
            }),
        }
    }

    async fn swap_seal(
        &self,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        let mut seal = SealRow::from_row(row, hour()).unwrap();
        let current = self.current(partition, row).await?;
        let is_new = current.as_ref().is_none_or(|current| current.generation != seal.generation);
        let mut expected = expected.clone();
        match self.sabotage {
            Some(Sabotage::SameGeneration) => seal.generation.attempt = 0,
            Some(Sabotage::NoCompareAndSet) => {
                expected = SealRow::expected(current.as_ref().map(|current| current.version));
                seal.version = current.map_or(SealVersion::default(), |current| current.version).next();
            }
            Some(Sabotage::NoNewVersion) if !is_new => {
                let Some(current) = current else { return Ok(Exchange::Applied) };
                if seal.summary.garbage_bytes > 0 {
                    return Ok(Exchange::Applied);
                }
                expected = SealRow::expected(Some(current.version));
                seal.version = current.version.next();
            }
            Some(Sabotage::DeleteBeforeSeal) if is_new => self.delete_covered(partition, &seal).await?,
            Some(Sabotage::SealWithoutCatalog) => {
                seal.covered.values_mut().for_each(|covered| covered.catalog = CatalogN::new(0));
            }
            _ => {}
        }
        let exchange = self.inner().compare_and_set(&SEALS, partition, &expected, &seal.to_row()).await?;
        if is_new && exchange == Exchange::Applied && self.is(Sabotage::ClearOpenMark) {
            self.clear_marks(partition, &seal).await?;
        }
        Ok(exchange)
    }

    async fn delete_covered(&self, partition: &Key, seal: &SealRow) -> Result<(), WriteError> {
        let place = Place { shard: shard_of(partition), bucket: seal.bucket };
        for (writer, covered) in seal.covered.iter().filter(|(_, covered)| covered.segments > 0) {
            let end = Datum::Int(i64::from(covered.segments - 1));
            let bounds = Bounds {
                start: std::ops::Bound::Included(Key::from([Datum::Int(writer.get()), Datum::Int(0)])),
                end: std::ops::Bound::Included(Key::from([Datum::Int(writer.get()), end])),
            };
            let (partition, at) = (SegmentRow::partition(place), WriteTime::from_micros(i64::MAX));
            self.inner().delete(&SEGMENTS, &partition, &Deletion::Range(bounds), at).await?;
        }
        Ok(())
    }

    async fn clear_marks(&self, partition: &Key, seal: &SealRow) -> Result<(), WriteError> {
        let partition = MarkRow::partition(shard_of(partition));
        let seen: Vec<MarkRow> = self.marks.lock().unwrap().values().copied().collect();
        for mark in seen.iter().filter(|mark| mark.bucket == seal.bucket) {
            let deletion = Deletion::Row(mark.to_row().clustering);
            self.inner().delete(&MARKS, &partition, &deletion, mark.written_at).await?;
        }
        Ok(())
    }

    /// Whether this mark is an open one over an open one.
    fn is_repeated(&self, partition: &Key, mark: MarkRow) -> bool {
        let key = (partition.clone(), mark.to_row().clustering);
        let before = self.marks.lock().unwrap().insert(key, mark);
        mark.state == MarkState::Open && before.is_some_and(|before| before.state == MarkState::Open)
    }

    /// Writes what waits, some time after it was promised.
    fn flush_late(&self) {
        let (inner, waiting) = (Arc::clone(&self.inner), Arc::clone(&self.waiting));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let waiting = std::mem::take(&mut *waiting.lock().unwrap());
            for (partition, rows, at) in waiting {
                while (*inner).put(&CATALOG, &partition, &rows, at).await.is_err() {}
            }
        });
    }
}

fn shard_of(partition: &Key) -> Shard {
    Shard::new(u16::try_from(partition.part(0).unwrap().as_int().unwrap()).unwrap())
}

/// A row of blocks or frames with its attempt taken away.
fn without_attempt(table: &Table, row: &Row) -> Row {
    let mut parts = row.clustering.parts().to_vec();
    let at = table.clustering.iter().position(|column| column.name == "attempt").unwrap();
    parts[at] = Datum::Int(Generation::default().attempt);
    Row { clustering: Key::new(parts), ..row.clone() }
}

impl<W: Wide> Layer for Sabotaged<W> {
    type Inner = W;

    fn inner(&self) -> &W {
        &self.inner
    }

    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        match self.sabotage {
            Some(Sabotage::SameGeneration) if table == &BLOCKS || table == &FRAMES => {
                let rows: Vec<Row> = rows.iter().map(|row| without_attempt(table, row)).collect();
                self.inner().put(table, partition, &rows, at).await
            }
            Some(Sabotage::SealWithoutCatalog) if table == &WRITERS => Ok(()),
            Some(Sabotage::CatalogAfterSegment) if table == &CATALOG => {
                self.waiting.lock().unwrap().push((partition.clone(), rows.to_vec(), at));
                Ok(())
            }
            Some(Sabotage::CatalogAfterSegment) if table == &SEGMENTS => {
                self.flush_late();
                self.inner().put(table, partition, rows, at).await
            }
            Some(Sabotage::CatalogWithoutMark) if table == &MARKS => {
                let marks = rows.iter().map(|row| (row, MarkRow::from_row(row, hour()).unwrap()));
                let new = marks.filter(|(_, mark)| !self.is_repeated(partition, *mark));
                let new: Vec<Row> = new.map(|(row, _)| row.clone()).collect();
                self.inner().put(table, partition, &new, at).await
            }
            _ => self.inner().put(table, partition, rows, at).await,
        }
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        let page = self.inner().scan(scan, from).await?;
        if scan.table == &MARKS && self.is(Sabotage::ClearOpenMark) {
            for row in &page.rows {
                let mark = MarkRow::from_row(row, hour()).unwrap();
                self.marks.lock().unwrap().insert((scan.partition.clone(), row.clustering.clone()), mark);
            }
        }
        Ok(page)
    }

    async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let is_mark = table == &MARKS && self.is(Sabotage::DeleteNewerMark);
        let at = if is_mark { WriteTime::from_micros(i64::MAX) } else { at };
        self.inner().delete(table, partition, deletion, at).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Exchange, WriteError> {
        if table == &SEALS && self.sabotage.is_some() {
            return self.swap_seal(partition, expected, row).await;
        }
        self.inner().compare_and_set(table, partition, expected, row).await
    }
}
