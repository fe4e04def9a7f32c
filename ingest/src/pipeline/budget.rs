//! The room for messages between socket and store: one bound, in bytes, for all connections (I6).
//!
//! A quarter of it is for suspects: connections whose last group held rejects. However fast bad messages come, they
//! wait for each other, and the rest of the room is for those who send good ones (I7).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::config::MemoryLimits;
use crate::source::Closed;

/// Bytes of one permit: the least that a message costs.
const UNIT: usize = MemoryLimits::MESSAGE_OVERHEAD;

/// Whom a connection shares its room with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everybody.
    Good,
    /// Those whose last group held rejects, as its own did.
    Suspect,
}

/// All of the room.
#[derive(Debug)]
pub(super) struct Budget {
    good: Room,
    suspect: Room,
}

/// Room in bytes, rounded up to units.
#[derive(Debug)]
struct Room {
    units: Arc<Semaphore>,
    total: u32,
}

impl Budget {
    /// Room for `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let suspect = bytes / 4;
        Self { good: Room::new(bytes - suspect), suspect: Room::new(suspect) }
    }

    /// As many messages as can be in flight at most: each costs a unit or more.
    pub(super) fn messages_max(&self) -> usize {
        self.good.units_max() + self.suspect.units_max()
    }

    fn of(&self, standing: Standing) -> &Room {
        match standing {
            Standing::Good => &self.good,
            Standing::Suspect => &self.suspect,
        }
    }

    /// Room for `bytes`, if there is some now.
    pub(super) fn try_reserve(
        &self,
        standing: Standing,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        let room = self.of(standing);
        Arc::clone(&room.units).try_acquire_many_owned(room.units(bytes))
    }

    /// Room for `bytes` as soon as there is some, in the order of asking.
    pub(super) async fn reserve(
        &self,
        standing: Standing,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, Closed> {
        let room = self.of(standing);
        Arc::clone(&room.units).acquire_many_owned(room.units(bytes)).await.map_err(|_| Closed)
    }

    /// Gives no more room.
    pub(super) fn close(&self) {
        self.good.units.close();
        self.suspect.units.close();
    }

    /// Whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        [&self.good, &self.suspect].iter().all(|room| room.units.available_permits() == room.units_max())
    }
}

impl Room {
    fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        let permits = usize::try_from(total).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(permits)), total }
    }

    fn units_max(&self) -> usize {
        usize::try_from(self.total).unwrap_or(usize::MAX)
    }

    /// A group larger than all of the room takes all of it: it waits for everything else, and not for ever.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.total)
    }
}
