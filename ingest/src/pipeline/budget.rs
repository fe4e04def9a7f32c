//! The room for messages between socket and store: one bound, in bytes, for all connections (I6).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::config::MemoryLimits;
use crate::source::Closed;

/// Bytes of one permit: the least that a message costs.
const UNIT: usize = MemoryLimits::MESSAGE_OVERHEAD;

/// Room in bytes, rounded up to units.
#[derive(Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

impl Budget {
    /// Room for `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        let permits = usize::try_from(total).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(permits)), total }
    }

    /// As many messages as can be in flight at most: each costs a unit or more.
    pub(super) fn messages_max(&self) -> usize {
        usize::try_from(self.total).unwrap_or(usize::MAX)
    }

    /// A group larger than all of the room takes all of it: it waits for everything else, and not for ever.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.total)
    }

    /// Room for `bytes`, if there is some now.
    pub(super) fn try_reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.units).try_acquire_many_owned(self.units(bytes))
    }

    /// Room for `bytes` as soon as there is some, in the order of asking.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Closed> {
        Arc::clone(&self.units).acquire_many_owned(self.units(bytes)).await.map_err(|_| Closed)
    }

    /// Gives no more room.
    pub(super) fn close(&self) {
        self.units.close();
    }

    /// Whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.units.available_permits() == self.messages_max()
    }
}
