//! Which source a writer's catalog row is about: ids alone, dense from row 0 on. All that grinding needs of the
//! catalog. A cache, bounded in rows (I6): what was used longest ago is read again when it is needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::MillFailure;
use super::persistent::Persistent;
use crate::layout::CatalogRow;
use crate::layout::tables::CATALOG;
use crate::model::{CatalogN, Shard, SourceId, WriterId};
use crate::wide::{Scan, Wide};

/// Rows of the catalog in a page; they are small.
const PAGE_ROWS: u32 = 1_000;

/// Source ids by catalog row.
#[derive(Debug)]
pub(super) struct Sources {
    rows_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<(Shard, WriterId), Log>,
    rows: usize,
    clock: u64,
}

#[derive(Debug, Default)]
struct Log {
    ids: Arc<Vec<SourceId>>,
    used: u64,
}

impl Sources {
    pub(super) fn new(rows_max: usize) -> Self {
        Self { rows_max, state: Mutex::default() }
    }

    /// The ids of at least the first `needed` rows of a writer.
    pub(super) async fn of<W: Wide>(
        &self,
        store: &Persistent<W>,
        (shard, writer): (Shard, WriterId),
        needed: CatalogN,
    ) -> Result<Arc<Vec<SourceId>>, MillFailure> {
        let known = self.known((shard, writer));
        let from = CatalogN::new(u32::try_from(known.len()).unwrap_or(u32::MAX));
        if from >= needed {
            return Ok(known);
        }
        let scan = Scan::partition(&CATALOG, CatalogRow::partition(shard))
            .within(CatalogRow::between(writer, from, needed))
            .in_pages_of(PAGE_ROWS);
        let rows = store.all(&scan, CatalogRow::from_row).await?;
        let dense = rows.iter().zip(from.get()..).take_while(|(row, n)| row.n.get() == *n);
        let new: Vec<SourceId> = dense.map(|(row, _)| row.source.id()).collect();
        let ids = self.extend((shard, writer), from, &new);
        let known = CatalogN::new(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        if known < needed {
            return Err(MillFailure::CatalogHole { shard, writer, known, needed });
        }
        Ok(ids)
    }

    fn known(&self, of: (Shard, WriterId)) -> Arc<Vec<SourceId>> {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        state.logs.get_mut(&of).map_or_else(Arc::default, |log| {
            log.used = clock;
            Arc::clone(&log.ids)
        })
    }

    fn extend(&self, of: (Shard, WriterId), from: CatalogN, new: &[SourceId]) -> Arc<Vec<SourceId>> {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        let log = state.logs.entry(of).or_default();
        let (before, from) = (log.ids.len(), usize::try_from(from.get()).unwrap_or(usize::MAX));
        // Somebody else may have read the same rows meanwhile.
        let unknown = before.checked_sub(from).and_then(|known| new.get(known..)).unwrap_or_default();
        Arc::make_mut(&mut log.ids).extend_from_slice(unknown);
        log.used = clock;
        let ids = Arc::clone(&log.ids);
        state.rows += unknown.len();
        state.forget(self.rows_max, clock);
        ids
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets the logs used longest ago until the rest fits; the one used at `clock` stays.
    fn forget(&mut self, rows_max: usize, clock: u64) {
        while self.rows > rows_max {
            let oldest =
                self.logs.iter().filter(|(_, log)| log.used != clock).min_by_key(|(_, log)| log.used);
            let Some((&of, _)) = oldest else { return };
            self.rows -= self.logs.remove(&of).map_or(0, |log| log.ids.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: std::ops::Range<u128>) -> Vec<SourceId> {
        numbers.map(SourceId::new).collect()
    }

    #[test]
    fn what_was_used_longest_ago_is_forgotten_first() {
        let sources = Sources::new(5);
        let of = |n: u64| (Shard::new(0), WriterId::from_random(n * 2));
        sources.extend(of(1), CatalogN::new(0), &ids(0..2));
        sources.extend(of(2), CatalogN::new(0), &ids(0..3));
        sources.known(of(1));
        sources.extend(of(3), CatalogN::new(0), &ids(0..1));
        let known = [1, 2, 3].map(|n| sources.known(of(n)).len());
        assert_eq!(known, [2, 0, 1]);
        assert_eq!(sources.extend(of(4), CatalogN::new(0), &ids(0..9)).len(), 9, "what is in use stays");
    }

    #[test]
    fn rows_that_two_tasks_read_are_entered_once() {
        let sources = Sources::new(100);
        let of = (Shard::new(0), WriterId::from_random(2));
        sources.extend(of, CatalogN::new(0), &ids(0..2));
        sources.extend(of, CatalogN::new(0), &ids(0..4));
        assert_eq!(*sources.extend(of, CatalogN::new(3), &ids(3..5)), ids(0..5));
    }
}
