//! What tells a reader of the segments that its own process writes, before they are acknowledged, so that it need not
//! look for them. Nothing depends on it: what it missed is read from the store.

use std::sync::Arc;

use super::head::Head;
use crate::layout::tables::SEGMENTS;
use crate::layout::{Eras, Place, SegmentRow};
use crate::model::Shard;
use crate::wide::{Key, Layer, Row, Table, Wide, WriteError, WriteTime};

/// Tells one reader. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    head: Arc<Head>,
    eras: Arc<Eras>,
}

impl Feed {
    pub(super) fn new(head: Arc<Head>, eras: Arc<Eras>) -> Self {
        Self { head, eras }
    }

    /// Tells of a segment that is durable and was written by this process.
    pub fn tell(&self, shard: Shard, segment: &SegmentRow) {
        let bucket = self.eras.at(segment.min_time).bucket(segment.min_time);
        self.head.tell(Place { shard, bucket }, segment);
    }

    fn tell_rows(&self, partition: &Key, rows: &[Row]) {
        let shard = partition.part(0).and_then(|shard| u16::try_from(shard.as_int()?).ok());
        for (shard, row) in shard.into_iter().flat_map(|shard| rows.iter().map(move |row| (shard, row))) {
            // What this process wrote it understands; if not, a reader finds it in the store.
            if let Ok(segment) = SegmentRow::from_row(row) {
                self.tell(Shard::new(shard), &segment);
            }
        }
    }
}

/// A store through which one process writes, and whose reader is told of every segment that is durable.
#[derive(Debug)]
pub struct Told<W> {
    inner: Arc<W>,
    feed: Feed,
}

impl<W> Told<W> {
    /// Tells through `feed` of what is written to `inner`.
    pub fn new(inner: Arc<W>, feed: Feed) -> Self {
        Self { inner, feed }
    }
}

impl<W: Wide> Layer for Told<W> {
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
        self.inner().put(table, partition, rows, at).await?;
        if *table == SEGMENTS {
            self.feed.tell_rows(partition, rows);
        }
        Ok(())
    }
}
