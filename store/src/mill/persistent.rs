//! A store whose writes are repeated a few times before a piece of work is given up, and whose compare-and-set has
//! no unknown outcome: it is settled by reading back. Knows no tables' meaning but that seals have versions.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::append::RetryPolicy;
use crate::layout::tables::SEALS;
use crate::layout::{BucketWidth, Period, Place, SealRow};
use crate::model::SealVersion;
use crate::wide::{
    Deletion, Effect, Exchange, Expected, Key, Page, PageToken, ReadError, Row, Scan, Table, Wide,
    WriteError, WriteTime,
};

/// Attempts at one operation, within whatever the store itself repeats. What fails so often is tried again with the
/// whole piece of work, later.
const ATTEMPTS_MAX: u32 = 4;

/// How a compare-and-set ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swap {
    /// The row is in force.
    Won,
    /// Another row is in force, or the old one still; this one may come into force later only if the old one is.
    Lost,
}

/// The pages of a scan, one after another.
#[derive(Debug)]
pub(super) struct Pages {
    scan: Scan,
    from: Option<PageToken>,
    is_done: bool,
}

impl Pages {
    pub(super) fn of(scan: Scan) -> Self {
        Self { scan, from: None, is_done: false }
    }

    /// The rows of the next page, perhaps none of them; `None` after the last.
    pub(super) async fn next<W: Wide>(
        &mut self,
        store: &Persistent<W>,
    ) -> Result<Option<Vec<Row>>, ReadError> {
        if self.is_done {
            return Ok(None);
        }
        let page = store.page(&self.scan, self.from.clone()).await?;
        self.is_done = page.next.is_none();
        self.from = page.next;
        Ok(Some(page.rows))
    }
}

/// A store that is asked persistently.
#[derive(Debug)]
pub(super) struct Persistent<W> {
    wide: Arc<W>,
    retry: RetryPolicy,
    jitter: u64,
}

impl<W> Clone for Persistent<W> {
    fn clone(&self) -> Self {
        Self { wide: Arc::clone(&self.wide), retry: self.retry, jitter: self.jitter }
    }
}

impl<W: Wide> Persistent<W> {
    /// `jitter` spreads the waits of processes that fail together.
    pub(super) fn new(wide: Arc<W>, retry: RetryPolicy, jitter: u64) -> Self {
        Self { wide, retry, jitter }
    }

    pub(super) fn wide(&self) -> &Arc<W> {
        &self.wide
    }

    /// Rows of one partition; the same rows may be written again (I5).
    pub(super) async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let mut failures = 0;
        loop {
            match self.wide.put(table, partition, rows, at).await {
                Ok(()) => return Ok(()),
                Err(error) => self.bear(error.is_transient(), error, &mut failures).await?,
            }
        }
    }

    pub(super) async fn delete(
        &self,
        table: &'static Table,
        partition: &Key,
        deletion: &Deletion,
        at: WriteTime,
    ) -> Result<(), WriteError> {
        let mut failures = 0;
        loop {
            match self.wide.delete(table, partition, deletion, at).await {
                Ok(()) => return Ok(()),
                Err(error) => self.bear(error.is_transient(), error, &mut failures).await?,
            }
        }
    }

    pub(super) async fn page(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        let mut failures = 0;
        loop {
            match self.wide.scan(scan, from.clone()).await {
                Ok(page) => return Ok(page),
                Err(error) => self.bear(error.is_transient(), error, &mut failures).await?,
            }
        }
    }

    pub(super) async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        let mut failures = 0;
        loop {
            match self.wide.get(table, partition, clustering).await {
                Ok(row) => return Ok(row),
                Err(error) => self.bear(error.is_transient(), error, &mut failures).await?,
            }
        }
    }

    /// All rows of a scan, converted.
    pub(super) async fn all<T>(
        &self,
        scan: &Scan,
        convert: impl Fn(&Row) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let (mut all, mut pages) = (Vec::new(), Pages::of(scan.clone()));
        while let Some(rows) = pages.next(self).await? {
            for row in &rows {
                all.push(convert(row)?);
            }
        }
        Ok(all)
    }

    /// Compare-and-set, with the outcome settled: where the store does not know, the row that is there decides.
    pub(super) async fn swap(
        &self,
        table: &'static Table,
        partition: &Key,
        expected: &Expected,
        row: &Row,
    ) -> Result<Swap, WriteError> {
        let mut failures = 0;
        loop {
            let error = match self.wide.compare_and_set(table, partition, expected, row).await {
                Ok(Exchange::Applied) => return Ok(Swap::Won),
                // An attempt before this one may have been applied though its answer was lost.
                Ok(Exchange::Refused(Some(current))) if current == *row => return Ok(Swap::Won),
                Ok(Exchange::Refused(_)) => return Ok(Swap::Lost),
                Err(error) => error,
            };
            if error.is_transient() && error.effect() == Effect::Unknown {
                match self.get(table, partition, &row.clustering).await {
                    Ok(Some(current)) if current == *row => return Ok(Swap::Won),
                    Ok(current) if !expected.is_met_by(table, current.as_ref()) => return Ok(Swap::Lost),
                    // Still as expected, or not to be learnt: the same compare-and-set again is harmless.
                    Ok(_) | Err(_) => {}
                }
            }
            self.bear(error.is_transient(), error, &mut failures).await?;
        }
    }

    /// The seal in force.
    pub(super) async fn seal(&self, place: Place, width: BucketWidth) -> Result<Option<SealRow>, ReadError> {
        let partition = SealRow::partition(place.shard, Period::of_seal(place.bucket, width));
        let row = self.get(&SEALS, &partition, &SealRow::key(place.bucket)).await?;
        row.map(|row| SealRow::from_row(&row, width)).transpose()
    }

    /// Puts `seal` in force after `version`.
    pub(super) async fn swap_seal(
        &self,
        (place, width): (Place, BucketWidth),
        version: Option<SealVersion>,
        seal: &SealRow,
    ) -> Result<Swap, WriteError> {
        let partition = SealRow::partition(place.shard, Period::of_seal(place.bucket, width));
        self.swap(&SEALS, &partition, &SealRow::expected(version), &seal.to_row()).await
    }

    /// Waits before the next attempt, or gives the error up.
    async fn bear<E>(&self, is_transient: bool, error: E, failures: &mut u32) -> Result<(), E> {
        *failures += 1;
        if !is_transient || *failures >= ATTEMPTS_MAX {
            return Err(error);
        }
        let random = xxh3_64_with_seed(&failures.to_le_bytes(), self.jitter);
        tokio::time::sleep(self.retry.wait(*failures, random)).await;
        Ok(())
    }
}
