//! Blocks and frames on their way into the store: bounded writes, a bounded number of them at once. All rows of a
//! bucket have one write time that its bucket decides, so that what one mill writes another can delete whatever
//! their clocks say.

use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};

use super::compose::Made;
use super::frames::FramesOfMetric;
use super::persistent::Persistent;
use super::{MillFailure, MillOptions, Site};
use crate::codec::block::PackBody;
use crate::layout::tables::{BLOCKS, FRAMES};
use crate::layout::{BlockRow, FrameRow, Period, Resolution};
use crate::model::{Generation, Timestamp};
use crate::wide::{Key, Row, Table, Wide, WriteTime};

/// Bytes of bodies that were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) blocks: u64,
    pub(super) frames: u64,
}

/// Where the output of one attempt goes.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) site: Site,
    pub(super) generation: Generation,
    /// Whether blocks are still worth writing.
    pub(super) blocks: bool,
}

/// The write time of all blocks and frames of a bucket.
pub(super) fn write_time(site: Site) -> WriteTime {
    WriteTime::from_micros(site.place.bucket.start().micros_floor())
}

/// The partition of a bucket's frames in a resolution.
pub(super) fn frames_partition(site: Site, resolution: Resolution) -> Key {
    let period = Period::of_frames(site.place.bucket, site.width, resolution);
    FrameRow::partition(site.place.shard, resolution, period)
}

impl Output {
    /// Writes all of `made`; `Ok`: it is durable.
    pub(super) async fn write<W: Wide>(
        &self,
        store: &Persistent<W>,
        options: &MillOptions,
        made: Made,
    ) -> Result<Written, MillFailure> {
        let mut written = Written::default();
        let mut writes: Vec<(&'static Table, Key, Vec<Row>)> = Vec::new();
        if self.blocks {
            let rows: Vec<Row> = made.packs.into_iter().map(|pack| self.block(pack).to_row()).collect();
            written.blocks = bytes(&rows);
            writes.extend(cut(&BLOCKS, &BlockRow::partition(self.site.place), rows, options.write_bytes_max));
        }
        for frames in made.frames {
            let partition = frames_partition(self.site, frames.resolution);
            let rows = self.frames(frames);
            written.frames += bytes(&rows);
            writes.extend(cut(&FRAMES, &partition, rows, options.write_bytes_max));
        }
        let at = write_time(self.site);
        stream::iter(writes.iter().map(Ok))
            .try_for_each_concurrent(options.writes_in_flight_max.max(1), |(table, partition, rows)| {
                store.put(table, partition, rows, at)
            })
            .await?;
        Ok(written)
    }

    fn ends_at(&self) -> Timestamp {
        self.site.place.bucket.end().floor_to_millis()
    }

    fn block(&self, pack: PackBody) -> BlockRow {
        BlockRow {
            generation: self.generation,
            first_source: pack.first_source,
            part: pack.part,
            last_source: pack.last_source,
            min_time: pack.min_time,
            max_time: pack.max_time,
            samples: u32::try_from(pack.samples).unwrap_or(u32::MAX),
            ends_at: self.ends_at(),
            body: Bytes::from(pack.body),
        }
    }

    fn frames(&self, frames: FramesOfMetric) -> Vec<Row> {
        let FramesOfMetric { metric, bodies, .. } = frames;
        let row = |body: crate::codec::frame::FrameBody| FrameRow {
            bucket: self.site.place.bucket,
            generation: self.generation,
            metric: metric.clone(),
            first_source: body.first_source,
            last_source: body.last_source,
            windows: body.windows,
            ends_at: self.ends_at(),
            body: Bytes::from(body.body),
        };
        bodies.into_iter().map(|body| row(body).to_row()).collect()
    }
}

fn bytes(rows: &[Row]) -> u64 {
    let body = |row: &Row| row.cells.last().map_or(0, crate::wide::Datum::size_bytes);
    rows.iter().map(|row| u64::try_from(body(row)).unwrap_or(u64::MAX)).sum()
}

/// Cuts `rows` into writes of about `bytes_max`.
fn cut(
    table: &'static Table,
    partition: &Key,
    rows: Vec<Row>,
    bytes_max: usize,
) -> Vec<(&'static Table, Key, Vec<Row>)> {
    let mut writes: Vec<(&'static Table, Key, Vec<Row>)> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        bytes += row.size_bytes();
        if let Some((_, _, rows)) = writes.last_mut().filter(|_| bytes <= bytes_max) {
            rows.push(row);
        } else {
            bytes = row.size_bytes();
            writes.push((table, partition.clone(), vec![row]));
        }
    }
    writes
}

impl Written {
    pub(super) fn add(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.frames += other.frames;
    }

    pub(super) const fn all(self) -> u64 {
        self.blocks + self.frames
    }
}
