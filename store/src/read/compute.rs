//! Where a query computes: short work where it runs, long work on a thread that may block, so that the runtime goes
//! on serving others meanwhile.

use super::ReadFailure;

/// What is done in place, in any of these units.
const BYTES_IN_PLACE_MAX: usize = 64 * 1024;
const ITEMS_IN_PLACE_MAX: usize = 5_000;

/// How long work is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Bytes of segments to decode.
    Decode(usize),
    /// Items to name and to sort.
    Sort(usize),
}

impl Work {
    const fn is_short(self) -> bool {
        match self {
            Self::Decode(bytes) => bytes <= BYTES_IN_PLACE_MAX,
            Self::Sort(items) => items <= ITEMS_IN_PLACE_MAX,
        }
    }
}

/// Does `job`. When the future is dropped, long work still goes on to its end.
pub(super) async fn compute<T: Send + 'static>(
    work: Work,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReadFailure> {
    if work.is_short() {
        return Ok(job());
    }
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(ReadFailure::Ending),
        },
    }
}
