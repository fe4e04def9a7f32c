//! The ground samples of a bucket: reading the packs that hold them, and taking runs out of packs.

use hashbrown::HashMap;

use super::ReadFailure;
use super::collect::Budget;
use super::kept::{PackKey, Stock};
use super::overlay::{append, within};
use super::packed::{Extent, Packs};
use super::snapshot::BucketState;
use crate::catalog::SourceIndex;
use crate::codec::Run;
use crate::codec::block::{BlockError, Limits, Pack};
use crate::layout::tables::BLOCKS;
use crate::layout::{BlockRow, Place, SealRow};
use crate::model::{Generation, Metric, SourceId, TimeRange};
use crate::wide::{ReadError, Row, Wide};

/// Runs by series.
pub(super) type Runs = HashMap<(SourceIndex, Metric), Run>;

/// Reads the packs of the seal in force that may hold the ascending `sources`. Where they are not all there, the
/// bucket was ground anew meanwhile.
pub(super) async fn load_blocks<W: Wide>(
    stock: Stock<'_, W, BlockRow>,
    place: Place,
    seal: &SealRow,
    sources: &[SourceId],
    bytes_max: usize,
) -> Result<Vec<BlockRow>, ReadFailure> {
    let extent = Extent { sources: seal.summary.sources, bytes_max };
    if !extent.is_looked_up(sources.len()) {
        return load_all_blocks(stock, place, seal, bytes_max).await;
    }
    let generation = seal.generation;
    let up_to = move |source| BlockRow::up_to(generation, source);
    let packs = packs(place, generation);
    packs.look_up_all(stock, sources, up_to, extent).await
}

/// Reads all packs of the seal in force.
pub(super) async fn load_all_blocks<W: Wide>(
    stock: Stock<'_, W, BlockRow>,
    place: Place,
    seal: &SealRow,
    bytes_max: usize,
) -> Result<Vec<BlockRow>, ReadFailure> {
    let are_all = |rows: &[BlockRow]| {
        rows.iter().map(|row| u64::from(row.samples)).sum::<u64>() == seal.summary.samples
    };
    let rows = packs(place, seal.generation).load_all(stock, bytes_max, are_all).await?;
    if are_all(&rows) { Ok(rows) } else { Err(ReadFailure::Vanished) }
}

fn packs(place: Place, generation: Generation) -> Packs<impl Fn(&Row) -> Result<BlockRow, ReadError> + Sync> {
    Packs {
        table: &BLOCKS,
        partition: BlockRow::partition(place),
        key: PackKey { place, generation, of: None },
        all: BlockRow::of(generation),
        parse: BlockRow::from_row,
    }
}

/// Which samples are wanted of a series.
pub(super) trait Wants {
    /// Ascending ranges; none where nothing is wanted.
    fn ranges(&self, source: SourceIndex, metric: &Metric) -> &[TimeRange];
}

/// Takes what is wanted of ascending `sources` out of packs, which are in order.
pub(super) fn block_runs(
    bucket: &BucketState,
    rows: &[BlockRow],
    sources: &[(SourceId, SourceIndex)],
    wants: &impl Wants,
    budget: &Budget,
) -> Result<Runs, ReadFailure> {
    let mut runs = Runs::new();
    let damaged = |source| ReadFailure::Block { place: bucket.place, source };
    for row in rows {
        let start = sources.partition_point(|(id, _)| *id < row.first_source);
        let end = sources.partition_point(|(id, _)| *id <= row.last_source);
        let wanted = sources.get(start..end).unwrap_or_default();
        if wanted.is_empty() {
            continue;
        }
        let pack = Pack::decode(row.body.clone(), Limits::DEFAULT).map_err(damaged)?;
        for (id, source) in wanted {
            let Some(position) = pack.position(*id) else { continue };
            take_source((&pack, position), *source, wants, budget, &mut runs).map_err(
                |taken| match taken {
                    Taken::Damaged(source) => damaged(source),
                    Taken::Refused(failure) => failure,
                },
            )?;
        }
    }
    Ok(runs)
}

/// Why a source was not taken.
enum Taken {
    Damaged(BlockError),
    Refused(ReadFailure),
}

fn take_source(
    (pack, position): (&Pack, usize),
    source: SourceIndex,
    wants: &impl Wants,
    budget: &Budget,
    runs: &mut Runs,
) -> Result<(), Taken> {
    for metric in pack.metrics(position) {
        let ranges = wants.ranges(source, metric);
        let Some(hull) = hull(ranges) else { continue };
        let Some(run) = pack.run(position, metric, hull).map_err(Taken::Damaged)? else { continue };
        let run = if ranges.len() == 1 { run } else { within(&run, ranges) };
        if run.is_empty() {
            continue;
        }
        budget.spend_run(&run).map_err(Taken::Refused)?;
        match runs.get_mut(&(source, metric.clone())) {
            Some(before) => append(before, &run),
            None => {
                runs.insert((source, metric.clone()), run);
            }
        }
    }
    Ok(())
}

/// From the start of the first to the end of the last of ascending ranges.
fn hull(ranges: &[TimeRange]) -> Option<TimeRange> {
    TimeRange::new(ranges.first()?.start(), ranges.last()?.end()).ok()
}
