//! How many queries run at once, and how many wait for their turn: both bounded, the wait too (I6).

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::limits::ApiLimits;
use super::problem::{Problem, ProblemKind};

/// Lets queries in.
#[derive(Debug)]
pub(super) struct Gate {
    running: Semaphore,
    waiting: Semaphore,
    wait_max: Duration,
}

impl Gate {
    pub(super) fn new(limits: &ApiLimits) -> Self {
        Self {
            running: Semaphore::new(limits.queries_max),
            waiting: Semaphore::new(limits.queue_max),
            wait_max: limits.queue_wait_max,
        }
    }

    /// Waits for a turn, which lasts until it is dropped. Refuses at once where too many wait, and after a while
    /// where none ends. Turns come in the order of asking.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, Problem> {
        if let Ok(turn) = self.running.try_acquire() {
            return Ok(turn);
        }
        let _place = self.waiting.try_acquire().map_err(|_| self.overloaded())?;
        match timeout(self.wait_max, self.running.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(self.overloaded()),
        }
    }

    fn overloaded(&self) -> Problem {
        Problem::new(ProblemKind::Overloaded, "too many queries run already; try again")
            .retry_after(self.wait_max.max(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    fn gate() -> Gate {
        Gate::new(&ApiLimits { queries_max: 1, queue_max: 1, ..ApiLimits::default() })
    }

    #[tokio::test]
    async fn one_runs_one_waits_and_the_next_is_refused_at_once() {
        let gate = gate();
        let first = gate.enter().await.unwrap();
        let mut second = Box::pin(gate.enter());
        assert!(poll!(&mut second).is_pending());
        assert_eq!(gate.enter().await.unwrap_err().kind(), ProblemKind::Overloaded);
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_and_gives_its_place_back() {
        let gate = gate();
        let turn = gate.enter().await.unwrap();
        for _ in 0..3 {
            assert_eq!(gate.enter().await.unwrap_err().kind(), ProblemKind::Overloaded);
        }
        drop(turn);
        assert!(gate.enter().await.is_ok());
    }
}
