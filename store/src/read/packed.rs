//! Reads rows that hold consecutive sources: for a few sources the rows that may hold them, one by one, for many all
//! rows there are. The same for blocks and for frames. What is kept of earlier queries is not read again.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::kept::{PackKey, Stock};
use super::{Excess, ReadFailure};
use crate::layout::{BlockRow, FrameRow};
use crate::model::{Metric, SourceId};
use crate::wide::{Bounds, Key, Order, ReadError, Row, Scan, Table, Wide};

/// Rows in a page of a scan over all; backends bound a page in bytes as well.
const PAGE_ROWS: u32 = 256;
/// Rows in a page of the further parts of a source.
const PARTS_PAGE_ROWS: u32 = 16;
/// Sources are looked up one by one where the rows hold so many times as many.
const LOOKED_UP_ONE_IN: u64 = 8;
/// Runs of sources looked up at once.
const LOOKUPS_IN_FLIGHT_MAX: usize = 4;

/// A row that holds consecutive sources.
pub(super) trait Packed: Clone + Send + Sync {
    /// The metric that it is of, where it is of one.
    fn metric(&self) -> Option<&Metric>;
    /// The first and the last source in it.
    fn sources(&self) -> (SourceId, SourceId);
    /// Which part of its first source it is.
    fn part(&self) -> u32;
    /// Bytes of its body.
    fn bytes(&self) -> usize;
    /// The same, holding on to no more memory than it needs.
    fn dense(&self) -> Self;
}

impl Packed for BlockRow {
    fn metric(&self) -> Option<&Metric> {
        None
    }

    fn sources(&self) -> (SourceId, SourceId) {
        (self.first_source, self.last_source)
    }

    fn part(&self) -> u32 {
        self.part
    }

    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn dense(&self) -> Self {
        Self { body: Bytes::copy_from_slice(&self.body), ..self.clone() }
    }
}

impl Packed for FrameRow {
    fn metric(&self) -> Option<&Metric> {
        Some(&self.metric)
    }

    fn sources(&self) -> (SourceId, SourceId) {
        (self.first_source, self.last_source)
    }

    fn part(&self) -> u32 {
        0
    }

    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn dense(&self) -> Self {
        Self { body: Bytes::copy_from_slice(&self.body), ..self.clone() }
    }
}

/// Where rows are.
pub(super) struct Packs<P> {
    pub(super) table: &'static Table,
    pub(super) partition: Key,
    pub(super) key: PackKey,
    /// The bounds of all of them.
    pub(super) all: Bounds,
    pub(super) parse: P,
}

/// What is read at most, and how many sources the rows are said to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) sources: u64,
    pub(super) bytes_max: usize,
}

impl Extent {
    /// Whether few enough sources are wanted to look them up one by one.
    pub(super) fn is_looked_up(&self, wanted: usize) -> bool {
        u64::try_from(wanted).unwrap_or(u64::MAX).saturating_mul(LOOKED_UP_ONE_IN) <= self.sources
    }
}

impl<P> Packs<P> {
    /// The rows that may hold the ascending `sources`, in order, each looked up; `up_to` gives the bounds of the rows
    /// whose first source is at most the one given.
    pub(super) async fn look_up_all<W: Wide, R: Packed>(
        &self,
        stock: Stock<'_, W, R>,
        sources: &[SourceId],
        up_to: impl Fn(SourceId) -> Bounds + Sync,
        extent: Extent,
    ) -> Result<Vec<R>, ReadFailure>
    where
        P: Fn(&Row) -> Result<R, ReadError> + Sync,
    {
        let per_run = sources.len().div_ceil(LOOKUPS_IN_FLIGHT_MAX).max(1);
        let runs: Vec<Vec<SourceId>> = sources.chunks(per_run).map(<[_]>::to_vec).collect();
        let mut found = stream::iter(runs)
            .map(|run| self.look_up(stock, run, &up_to, extent))
            .buffered(LOOKUPS_IN_FLIGHT_MAX);
        let mut rows: Vec<R> = Vec::new();
        while let Some(of_run) = found.try_next().await? {
            for row in of_run {
                // Two runs may meet in one row.
                let key = |row: &R| (row.sources().0, row.part());
                if rows.last().is_none_or(|last| key(last) < key(&row)) {
                    rows.push(row);
                }
            }
        }
        Ok(rows)
    }

    /// All rows, in order. Those that `are_all` tells to be whole are kept.
    pub(super) async fn load_all<W: Wide, R: Packed>(
        &self,
        stock: Stock<'_, W, R>,
        bytes_max: usize,
        are_all: impl Fn(&[R]) -> bool + Send,
    ) -> Result<Vec<R>, ReadFailure>
    where
        P: Fn(&Row) -> Result<R, ReadError> + Sync,
    {
        if let Some(kept) = stock.kept.all(&self.key) {
            check(kept.iter().map(Packed::bytes).sum(), bytes_max)?;
            return Ok(kept);
        }
        let scan = Scan::partition(self.table, self.partition.clone())
            .within(self.all.clone())
            .in_pages_of(PAGE_ROWS);
        let (mut rows, mut bytes, mut from) = (Vec::new(), 0, None);
        loop {
            let page = stock.wide.scan(&scan, from).await?;
            for row in &page.rows {
                let row = (self.parse)(row)?;
                bytes += row.bytes();
                rows.push(row);
            }
            check(bytes, bytes_max)?;
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        if are_all(&rows) {
            stock.keep(&self.key, &rows, true);
        }
        Ok(rows)
    }

    /// The rows that may hold ascending sources, one by one: a row that was found tells of all sources in it.
    async fn look_up<W: Wide, R: Packed>(
        &self,
        stock: Stock<'_, W, R>,
        sources: Vec<SourceId>,
        up_to: &(impl Fn(SourceId) -> Bounds + Sync),
        extent: Extent,
    ) -> Result<Vec<R>, ReadFailure>
    where
        P: Fn(&Row) -> Result<R, ReadError> + Sync,
    {
        let (mut rows, mut bytes): (Vec<R>, usize) = (Vec::new(), 0);
        for source in sources {
            if rows.last().is_some_and(|row| source <= row.sources().1) {
                continue;
            }
            let found = if let Some(kept) = stock.kept.holding(&self.key, source) {
                kept
            } else {
                let read = self.parts_of(stock.wide, (source, up_to(source))).await?;
                stock.keep(&self.key, &read, false);
                read
            };
            bytes += found.iter().map(Packed::bytes).sum::<usize>();
            check(bytes, extent.bytes_max)?;
            rows.extend(found);
        }
        Ok(rows)
    }

    /// The row that may hold `source`, with the parts before it.
    async fn parts_of<W: Wide, R: Packed>(
        &self,
        wide: &W,
        (source, up_to): (SourceId, Bounds),
    ) -> Result<Vec<R>, ReadFailure>
    where
        P: Fn(&Row) -> Result<R, ReadError> + Sync,
    {
        let mut scan = Scan::partition(self.table, self.partition.clone())
            .within(up_to)
            .in_order(Order::Descending)
            .in_pages_of(1);
        let (mut parts, mut from): (Vec<R>, _) = (Vec::new(), None);
        loop {
            let page = wide.scan(&scan, from).await?;
            for row in &page.rows {
                let row: R = (self.parse)(row)?;
                if row.sources().1 < source {
                    break;
                }
                let is_first = row.part() == 0;
                parts.push(row);
                if is_first {
                    break;
                }
            }
            let is_whole = parts.last().is_none_or(|row| row.part() == 0);
            match page.next.filter(|_| !is_whole || page.rows.is_empty()) {
                Some(next) => from = Some(next),
                None => break,
            }
            scan = scan.in_pages_of(PARTS_PAGE_ROWS);
        }
        parts.reverse();
        let is_whole = parts.iter().zip(0..).all(|(row, part)| row.part() == part);
        if is_whole { Ok(parts) } else { Err(ReadFailure::Vanished) }
    }
}

fn check(bytes: usize, bytes_max: usize) -> Result<(), ReadFailure> {
    if bytes > bytes_max {
        return Err(ReadFailure::TooLarge { what: Excess::BucketBytes, limit: bytes_max });
    }
    Ok(())
}
