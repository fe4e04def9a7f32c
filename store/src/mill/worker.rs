//! Where the mill's processor time is spent: on a thread of its own where it is much, and never more of one
//! processor than its share.

use std::time::Duration;

use tokio::time::Instant;

use super::MillFailure;

/// Work on fewer bytes is done in place: handing it over would cost more.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// The longest rest after a piece of work.
const REST_MAX: Duration = Duration::from_secs(5);

/// Runs pieces of work one after another, with rests between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worker {
    share: f64,
}

impl Worker {
    /// `share` of one processor; held between a hundredth and all of it.
    pub(super) fn new(share: f64) -> Self {
        Self { share: if share.is_finite() { share.clamp(0.01, 1.0) } else { 1.0 } }
    }

    /// Does `work` over about `bytes`, then rests. A future that is dropped leaves the work to run to its end for
    /// nothing.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, MillFailure> {
        if bytes <= INLINE_BYTES_MAX {
            return Ok(work());
        }
        let began = Instant::now();
        let done = tokio::task::spawn_blocking(work).await;
        let rest = began.elapsed().mul_f64(1.0 / self.share - 1.0).min(REST_MAX);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        match done {
            Ok(done) => Ok(done),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(MillFailure::Ending),
            },
        }
    }
}
