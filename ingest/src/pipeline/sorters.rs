//! The sorters of a pipeline: as many as work at the same time, each lent for a group.
//!
//! What they know of topics and names is at hand for every connection, in the processor's caches, and takes as much
//! memory for ten thousand connections as for one (I6).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::sorter::Sorter;
use crate::decode::NamePool;

/// All sorters.
pub(super) struct Sorters {
    /// Those that nobody uses, each with the thread that used it last, whose processor's caches may hold what it knows;
    /// the one that was used last of all comes last.
    idle: Mutex<Vec<(ThreadId, Sorter)>>,
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
        let thread = thread::current().id();
        let mut sorter = self.take(thread).unwrap_or_else(make);
        let done = work(&mut sorter);
        self.idle().push((thread, sorter));
        done
    }

    /// The sorter that `thread` used last, or else the one that anybody did.
    fn take(&self, thread: ThreadId) -> Option<Sorter> {
        let mut idle = self.idle();
        let at = idle.iter().rposition(|(last, _)| *last == thread);
        let at = at.or(idle.len().checked_sub(1))?;
        Some(idle.remove(at).1)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(ThreadId, Sorter)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
