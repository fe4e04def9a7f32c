//! The sorters of a pipeline: as many as work at the same time, each lent for a group.
//!
//! What they know of topics and names is at hand for every connection, in the processor's caches, and takes as much
//! memory for ten thousand connections as for one (I6).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sorter::Sorter;
use crate::decode::NamePool;

/// All sorters.
pub(super) struct Sorters {
    /// Those that nobody uses; the one that was used last is the first to be used again.
    idle: Mutex<Vec<Sorter>>,
    /// What they share.
    pub(super) names: Arc<NamePool>,
}

impl Sorters {
    /// None yet; those to come share `names`.
    pub(super) fn new(names: NamePool) -> Self {
        Self { idle: Mutex::default(), names: Arc::new(names) }
    }

    /// Lends a sorter, which `make` makes where all are in use. One that `work` panicked with does not come back.
    pub(super) fn with<T>(&self, make: impl FnOnce() -> Sorter, work: impl FnOnce(&mut Sorter) -> T) -> T {
        let idle = self.idle().pop();
        let mut sorter = idle.unwrap_or_else(make);
        let done = work(&mut sorter);
        self.idle().push(sorter);
        done
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sorter>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
