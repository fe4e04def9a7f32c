//! Where long computations run: beside the threads that serve connections and devices, not on them.

use tokio::task::spawn_blocking;

use super::problem::{Problem, ProblemKind};

/// Up to so many samples or rows, about a millisecond, are computed in place: cheaper than another thread.
const IN_PLACE_MAX: usize = 5_000;

/// Does `work` over `size` samples or rows. Once begun on another thread it ends, also where nobody waits any more:
/// its size is bounded.
pub(super) async fn compute<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if size <= IN_PLACE_MAX {
        return Ok(work());
    }
    match spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(Problem::new(ProblemKind::Overloaded, "the server is stopping")),
        },
    }
}
