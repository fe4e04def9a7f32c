//! The blocks of one generation of a bucket, by source, with those that cannot be read told apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::persistent::{Pages, Persistent};
use super::super::{MillFailure, Site};
use super::Difference;
use crate::codec::Run;
use crate::codec::block::{BlockError, Limits, Pack};
use crate::layout::BlockRow;
use crate::layout::tables::BLOCKS;
use crate::model::{Generation, Metric, SourceId, TimeRange};
use crate::wide::{Scan, Wide};

/// Rows in a page; bodies are large.
const PAGE_ROWS: u32 = 64;

/// A row whose pack cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    row: BlockRow,
    error: String,
}

/// The blocks of a bucket, by source.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    packs: Vec<(BlockRow, Arc<Pack>)>,
    places: BTreeMap<SourceId, Vec<(usize, usize)>>,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) bytes: usize,
    /// Samples in the packs that can be read; known once all were decoded.
    pub(super) samples: u64,
}

impl Blocks {
    /// Reads all rows of a generation.
    pub(super) async fn read<W: Wide>(
        store: &Persistent<W>,
        site: Site,
        generation: Generation,
    ) -> Result<Self, MillFailure> {
        let scan = Scan::partition(&BLOCKS, BlockRow::partition(site.place));
        let mut pages = Pages::of(scan.within(BlockRow::of(generation)).in_pages_of(PAGE_ROWS));
        let mut blocks = Self::default();
        while let Some(rows) = pages.next(store).await? {
            for row in &rows {
                blocks.add(BlockRow::from_row(row)?);
            }
        }
        Ok(blocks)
    }

    fn add(&mut self, row: BlockRow) {
        match Pack::decode(row.body.clone(), Limits::DEFAULT) {
            Ok(pack) => {
                self.bytes += pack.samples();
                self.packs.push((row, Arc::new(pack)));
            }
            Err(error) => self.unreadable.push(Unreadable { row, error: error.to_string() }),
        }
    }

    /// Decodes all samples, sets aside the packs that cannot be, and says which those are.
    pub(super) fn sound(mut self) -> (Self, Vec<Difference>) {
        for (row, pack) in std::mem::take(&mut self.packs) {
            match samples(&pack) {
                Ok(samples) => {
                    self.samples += samples;
                    self.packs.push((row, pack));
                }
                Err(error) => self.unreadable.push(Unreadable { row, error: error.to_string() }),
            }
        }
        for (at, (_, pack)) in self.packs.iter().enumerate() {
            for (position, &source) in pack.sources().iter().enumerate() {
                self.places.entry(source).or_default().push((at, position));
            }
        }
        let difference = |unreadable: &Unreadable| Difference::Block {
            first_source: unreadable.row.first_source,
            error: unreadable.error.clone(),
        };
        let differences = self.unreadable.iter().map(difference).collect();
        (self, differences)
    }

    /// Samples that rows which cannot be read say they hold.
    pub(super) fn unreadable_samples(&self) -> u64 {
        self.unreadable.iter().map(|unreadable| u64::from(unreadable.row.samples)).sum()
    }

    /// Whether samples of `source` may lie in a row that cannot be read.
    pub(super) fn is_unreadable(&self, source: SourceId) -> bool {
        let may_hold = |row: &BlockRow| row.first_source <= source && source <= row.last_source;
        self.unreadable.iter().any(|unreadable| may_hold(&unreadable.row))
    }

    /// The series of all sources.
    pub(super) fn series(&self) -> u64 {
        let of_source = |places: &Vec<(usize, usize)>| {
            let mut metrics: Vec<&Metric> = places
                .iter()
                .filter_map(|(pack, position)| Some(self.packs.get(*pack)?.1.metrics(*position)))
                .flatten()
                .collect();
            metrics.sort_unstable();
            metrics.dedup();
            u64::try_from(metrics.len()).unwrap_or(u64::MAX)
        };
        self.places.values().map(of_source).sum()
    }

    /// A series; blocks that two attempts have written over each other are an error, too.
    pub(super) fn run(&self, source: SourceId, metric: &Metric) -> Result<Run, String> {
        let mut run = Run::default();
        for (pack, position) in self.places.get(&source).map(Vec::as_slice).unwrap_or_default() {
            let Some((_, pack)) = self.packs.get(*pack) else { continue };
            let part = pack.run(*position, metric, TimeRange::ALL).map_err(|error| error.to_string())?;
            let part = part.unwrap_or_default();
            if run.last_time().is_some_and(|last| part.first_time().is_some_and(|first| first <= last)) {
                return Err(format!("the blocks of {source:?} overlap in time"));
            }
            part.iter().for_each(|(time, value)| run.push(time, value));
        }
        Ok(run)
    }
}

/// How many samples there are, all decoded.
fn samples(pack: &Pack) -> Result<u64, BlockError> {
    let mut samples = 0;
    for position in 0..pack.sources().len() {
        for metric in pack.metrics(position) {
            let run = pack.run(position, metric, TimeRange::ALL)?;
            samples += u64::try_from(run.map_or(0, |run| run.len())).unwrap_or(u64::MAX);
        }
    }
    Ok(samples)
}
