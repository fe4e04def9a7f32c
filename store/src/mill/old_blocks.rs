//! The blocks of the generation in force, read once from the first source to the last, whatever ranges of sources
//! they are asked for in.

use std::collections::VecDeque;
use std::sync::Arc;

use super::persistent::{Pages, Persistent};
use super::{MillFailure, Site};
use crate::codec::block::{Limits, Pack};
use crate::layout::BlockRow;
use crate::layout::tables::BLOCKS;
use crate::model::{Generation, SourceId};
use crate::wide::{Scan, Wide};

/// Rows in a page; bodies are large.
const PAGE_ROWS: u32 = 64;

/// The blocks of one generation.
#[derive(Debug)]
pub(super) struct OldBlocks {
    site: Site,
    pages: Option<Pages>,
    packs: VecDeque<Arc<Pack>>,
    pub(super) bytes: u64,
}

impl OldBlocks {
    /// Of no generation at all where there is none.
    pub(super) fn new(site: Site, generation: Option<Generation>) -> Self {
        let pages = generation.map(|generation| {
            let scan = Scan::partition(&BLOCKS, BlockRow::partition(site.place));
            Pages::of(scan.within(BlockRow::of(generation)).in_pages_of(PAGE_ROWS))
        });
        Self { site, pages, packs: VecDeque::new(), bytes: 0 }
    }

    /// All packs that hold sources before `end`, but for those that were given before and hold nothing from the end
    /// of that range on.
    pub(super) async fn until<W: Wide>(
        &mut self,
        store: &Persistent<W>,
        end: Option<SourceId>,
    ) -> Result<Vec<Arc<Pack>>, MillFailure> {
        let reaches =
            |pack: &Arc<Pack>| end.is_some_and(|end| pack.sources().last().is_some_and(|last| *last >= end));
        while !self.packs.back().is_some_and(reaches) {
            let Some(pages) = &mut self.pages else { break };
            let Some(rows) = pages.next(store).await? else { break };
            for row in &rows {
                let row = BlockRow::from_row(row)?;
                self.bytes += u64::try_from(row.body.len()).unwrap_or(u64::MAX);
                let pack = Pack::decode(row.body, Limits::DEFAULT)
                    .map_err(|source| MillFailure::Block { place: self.site.place, source })?;
                self.packs.push_back(Arc::new(pack));
            }
        }
        let wanted = self.packs.iter().take_while(|pack| {
            end.is_none_or(|end| pack.sources().first().is_some_and(|first| *first < end))
        });
        let wanted: Vec<Arc<Pack>> = wanted.cloned().collect();
        self.packs.retain(reaches);
        Ok(wanted)
    }
}
