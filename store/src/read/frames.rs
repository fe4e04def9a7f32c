//! The rollups of a bucket: reading the frames that hold them.

use super::ReadFailure;
use super::kept::{PackKey, Stock};
use super::packed::{Extent, Packs};
use crate::catalog::Selection;
use crate::layout::tables::FRAMES;
use crate::layout::{Era, FrameRow, Period, Place, Resolution, SealRow};
use crate::model::{Generation, Metric, SourceId};
use crate::wide::{ReadError, Row, Wide};

/// Whose frames are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) selection: &'a Selection,
    /// Every metric that any wanted source is known to have.
    pub(super) metrics: &'a [Metric],
    /// Ascending.
    pub(super) sources: &'a [SourceId],
}

/// Reads the frames of one resolution of the seal in force, by metric.
pub(super) async fn load_frames<W: Wide>(
    stock: Stock<'_, W, FrameRow>,
    (era, place): (Era, Place),
    (seal, resolution): (&SealRow, Resolution),
    wanted: Wanted<'_>,
    bytes_max: usize,
) -> Result<Vec<FrameRow>, ReadFailure> {
    let extent = Extent { sources: seal.summary.sources, bytes_max };
    let is_looked_up = extent.is_looked_up(wanted.sources.len());
    if wanted.selection.metrics.is_empty() && !is_looked_up {
        return load_all_frames(stock, (era, place), (seal, resolution), bytes_max).await;
    }
    let (bucket, generation) = (place.bucket, seal.generation);
    let mut rows = Vec::new();
    for metric in wanted.metrics {
        let packs = packs((era, place), (generation, resolution, Some(metric)));
        let up_to = |source| FrameRow::up_to(bucket, generation, metric, source);
        let of_metric: Vec<FrameRow> = if is_looked_up {
            packs.look_up_all(stock, wanted.sources, up_to, extent).await?
        } else {
            packs.load_all(stock, bytes_max, |_| true).await?
        };
        rows.extend(of_metric);
    }
    Ok(rows)
}

/// Reads all frames of one resolution of the seal in force, by metric.
pub(super) async fn load_all_frames<W: Wide>(
    stock: Stock<'_, W, FrameRow>,
    at: (Era, Place),
    (seal, resolution): (&SealRow, Resolution),
    bytes_max: usize,
) -> Result<Vec<FrameRow>, ReadFailure> {
    packs(at, (seal.generation, resolution, None)).load_all(stock, bytes_max, |_| true).await
}

/// Where the frames of a generation are: of one metric, or of all.
fn packs(
    (era, place): (Era, Place),
    (generation, resolution, metric): (Generation, Resolution, Option<&Metric>),
) -> Packs<impl Fn(&Row) -> Result<FrameRow, ReadError> + Sync> {
    let width = era.bucket_width;
    let period = Period::of_frames(place.bucket, width, resolution);
    let partition = FrameRow::partition(place.shard, resolution, period);
    let all = match metric {
        Some(metric) => FrameRow::of_metric(place.bucket, generation, metric),
        None => FrameRow::of(place.bucket, generation),
    };
    let key = PackKey { place, generation, of: Some((resolution, metric.cloned())) };
    Packs { table: &FRAMES, partition, key, all, parse: move |row: &Row| FrameRow::from_row(row, width) }
}
