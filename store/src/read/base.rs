//! The last samples of a bucket's ground part, kept from query to query.
//!
//! What is ground never changes under its generation. Correctness does not depend on what is kept; memory is bounded
//! (I6).

use std::sync::{Arc, Mutex, PoisonError};

use super::ReadFailure;
use super::Sample;
use super::blocks::{Wants, block_runs, load_all_blocks};
use super::chosen::Chosen;
use super::collect::Budget;
use super::compute::{Work, compute};
use super::explain::Explain;
use super::frames::{Wanted, load_all_frames, load_frames};
use super::lasts::{Arrival, Lasts};
use super::lru::Lru;
use super::packed::Extent;
use super::reader::Reader;
use super::snapshot::BucketState;
use crate::catalog::{CatalogIndex, SourceIndex, SourceSet};
use crate::codec::frame::{Frame, FrameError};
use crate::layout::{FrameRow, Place, Resolution, SealRow};
use crate::model::{Generation, Metric, SourceId, TimeRange};
use crate::rollup::Fields;
use crate::wide::Wide;

/// A bucket with more sources is not kept whole for the sake of a few of them.
const KEPT_WHOLE_MAX: u64 = 1_000;

/// What is kept of one generation of a bucket.
#[derive(Debug)]
struct Kept<T> {
    generation: Option<Generation>,
    what: Option<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { generation: None, what: None }
    }
}

/// Last samples by bucket.
#[derive(Debug)]
pub(super) struct KeptLasts {
    bases: Mutex<Lru<Kept<Arc<Lasts>>>>,
}

impl KeptLasts {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bases: Mutex::new(Lru::new(bytes_max)) }
    }

    fn base(&self, place: Place, generation: Generation) -> Option<Arc<Lasts>> {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.get(&place).filter(|kept| kept.generation == Some(generation))?.what.clone()
    }

    fn keep_base(&self, place: Place, generation: Generation, lasts: &Arc<Lasts>) {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.update(&place, |kept, _| {
            *kept = Kept { generation: Some(generation), what: Some(Arc::clone(lasts)) };
            lasts.size_bytes()
        });
    }
}

impl<W: Wide> Reader<W> {
    /// The last samples of what is ground in a bucket, of `sources` at least.
    pub(super) async fn base(
        &self,
        chosen: &Chosen,
        bucket: &BucketState,
        sources: &SourceSet,
        explain: &mut Explain,
    ) -> Result<Option<Arc<Lasts>>, ReadFailure> {
        let Some(seal) = &bucket.seal else { return Ok(None) };
        if let Some(kept) = self.lasts.base(bucket.place, seal.generation) {
            return Ok(Some(kept));
        }
        let extent = Extent { sources: seal.summary.sources, bytes_max: 0 };
        let is_narrow = seal.summary.sources > KEPT_WHOLE_MAX && extent.is_looked_up(sources.len());
        let of = chosen.of(bucket);
        let narrow = of.sources.iter().filter(|(_, source)| sources.contains(*source)).map(|(id, _)| *id);
        let narrow: Option<Vec<SourceId>> = is_narrow.then(|| narrow.collect());
        let lasts = Arc::new(self.read_base(chosen, bucket, seal, narrow.as_deref(), explain).await?);
        if !is_narrow {
            self.lasts.keep_base(bucket.place, seal.generation, &lasts);
        }
        Ok(Some(lasts))
    }

    async fn read_base(
        &self,
        chosen: &Chosen,
        bucket: &BucketState,
        seal: &SealRow,
        narrow: Option<&[SourceId]>,
        explain: &mut Explain,
    ) -> Result<Lasts, ReadFailure> {
        let kept = self.options.shelf();
        let there = kept.resolutions(bucket.place.bucket, bucket.era.bucket_width);
        let framed = super::folds::framed(seal).filter(|framed| there.contains(framed));
        let (mut lasts, unframed) = match framed {
            Some(framed) => self.base_of_frames(chosen, bucket, (seal, framed), narrow, explain).await?,
            None => (Lasts::default(), None),
        };
        let is_all_framed = framed.is_some() && unframed.as_ref().is_none_or(Vec::is_empty);
        if is_all_framed {
            return Ok(lasts);
        }
        if kept.raw_expired(bucket.place.bucket) {
            explain.expired_before = Some(bucket.place.bucket.end());
            return Ok(lasts);
        }
        let ids = unframed.as_deref().or(narrow);
        self.add_base_of_blocks(bucket, seal, ids, &mut lasts, explain).await?;
        Ok(lasts)
    }

    /// What frames say, and the sources that they say to look for in blocks.
    async fn base_of_frames(
        &self,
        chosen: &Chosen,
        bucket: &BucketState,
        (seal, framed): (&SealRow, Resolution),
        narrow: Option<&[SourceId]>,
        explain: &mut Explain,
    ) -> Result<(Lasts, Option<Vec<SourceId>>), ReadFailure> {
        let (at, bytes_max) = ((bucket.era, bucket.place), self.limits.bucket_bytes_max);
        let rows = match narrow {
            Some(sources) => {
                let wanted = Wanted { selection: &chosen.selection, metrics: &chosen.metrics, sources };
                load_frames(self.frame_stock(bucket), at, (seal, framed), wanted, bytes_max).await?
            }
            None => load_all_frames(self.frame_stock(bucket), at, (seal, framed), bytes_max).await?,
        };
        explain.frame_rows += rows.len();
        explain.resolutions.insert(framed);
        let bytes = rows.iter().map(|row| row.body.len()).sum();
        explain.bytes_read += bytes;
        let (catalog, place) = (Arc::clone(self.catalog()), bucket.place);
        let only: Option<Vec<SourceId>> = narrow.map(<[_]>::to_vec);
        compute(Work::Decode(bytes), move || {
            let mut lasts = Lasts::default();
            let mut unframed = Vec::new();
            for row in &rows {
                let damaged = |source| ReadFailure::Frame { place, source };
                let of_frame = last_of_frame(row, &catalog, only.as_deref(), &mut lasts);
                unframed.extend(of_frame.map_err(damaged)?);
            }
            unframed.sort_unstable();
            unframed.dedup();
            Ok((lasts, Some(unframed)))
        })
        .await?
    }

    async fn add_base_of_blocks(
        &self,
        bucket: &BucketState,
        seal: &SealRow,
        ids: Option<&[SourceId]>,
        lasts: &mut Lasts,
        explain: &mut Explain,
    ) -> Result<(), ReadFailure> {
        let rows = if let Some(ids) = ids {
            self.blocks(bucket, ids, explain).await?
        } else {
            let bytes_max = self.limits.bucket_bytes_max;
            let rows = load_all_blocks(self.block_stock(bucket), bucket.place, seal, bytes_max).await?;
            explain.block_rows += rows.len();
            explain.bytes_read += rows.iter().map(|row| row.body.len()).sum::<usize>();
            rows
        };
        explain.raw = true;
        let (catalog, bucket, budget) =
            (Arc::clone(self.catalog()), bucket.clone(), Budget::new(self.limits));
        let ids = ids.map(<[_]>::to_vec);
        let runs = compute(Work::Decode(rows.iter().map(|row| row.body.len()).sum()), move || {
            let ids = ids.unwrap_or_else(|| catalog.ids());
            let known = catalog.positions(&ids).into_iter().zip(&ids);
            let mut sources: Vec<(SourceId, SourceIndex)> =
                known.filter_map(|(at, id)| Some((*id, at?))).collect();
            sources.sort_unstable();
            block_runs(&bucket, &rows, &sources, &Everything, &budget)
        });
        for ((source, metric), run) in runs.await?? {
            if let Some((time, value)) = run.iter().last() {
                lasts.put(source, &metric, Sample { time, value }, Arrival::Ground);
            }
        }
        Ok(())
    }
}

struct Everything;

impl Wants for Everything {
    fn ranges(&self, _: SourceIndex, _: &Metric) -> &[TimeRange] {
        &[TimeRange::ALL]
    }
}

/// Takes in the last samples of a frame; gives the sources of which it has none.
fn last_of_frame(
    row: &FrameRow,
    catalog: &CatalogIndex,
    only: Option<&[SourceId]>,
    lasts: &mut Lasts,
) -> Result<Vec<SourceId>, FrameError> {
    let frame = Frame::decode(row.body.clone())?;
    let is_wanted = |id: &SourceId| only.is_none_or(|only| only.binary_search(id).is_ok());
    let ids = frame.sources().iter().enumerate().filter(|(_, id)| is_wanted(id));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for (position, id) in ids {
        if frame.is_without_windows(position) { without.push(*id) } else { with.push((position, *id)) }
    }
    let mut found: Vec<Option<Sample>> = vec![None; frame.sources().len()];
    let last =
        |state: &crate::rollup::WindowState| state.interior.last().or(state.boundary.as_ref()).cloned();
    if with.len() * 2 > frame.sources().len() {
        frame.fold_all(Fields::FIRST_LAST, |position, _, state| {
            if let Some(slot) = found.get_mut(position) {
                *slot = last(state);
            }
        })?;
    } else {
        for (position, _) in &with {
            let windows = frame.windows(*position, 0..u32::MAX, Fields::FIRST_LAST)?;
            if let (Some(slot), Some((_, state))) = (found.get_mut(*position), windows.last()) {
                *slot = last(state);
            }
        }
    }
    let ids: Vec<SourceId> = with.iter().map(|(_, id)| *id).collect();
    for ((position, _), source) in with.iter().zip(catalog.positions(&ids)) {
        if let (Some(source), Some(Some(sample))) = (source, found.get_mut(*position).map(Option::take)) {
            lasts.put(source, &row.metric, sample, Arrival::Ground);
        }
    }
    Ok(without)
}
