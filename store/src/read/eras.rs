//! The eras as a reader knows them, read again now and then. A failure to read them fails the query: a reader that
//! went by old eras would look where nobody writes any more (I3).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::layout::{Eras, ErasFailure, load_eras};
use crate::wide::Wide;

/// The eras, at most so old.
#[derive(Debug)]
pub(super) struct KnownEras {
    age_max: Duration,
    known: Mutex<Option<(Instant, Arc<Eras>)>>,
}

impl KnownEras {
    pub(super) fn new(age_max: Duration) -> Self {
        Self { age_max, known: Mutex::new(None) }
    }

    /// The eras, read where they are not known or too old; one task reads, others wait for it.
    pub(super) async fn get<W: Wide>(&self, wide: &W) -> Result<Arc<Eras>, ErasFailure> {
        let mut known = self.known.lock().await;
        let asked_at = Instant::now();
        match &*known {
            Some((at, eras)) if asked_at.duration_since(*at) < self.age_max => Ok(Arc::clone(eras)),
            Some(_) | None => {
                let eras = Arc::new(load_eras(wide).await?);
                *known = Some((asked_at, Arc::clone(&eras)));
                Ok(eras)
            }
        }
    }
}
