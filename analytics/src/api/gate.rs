//! How many queries run at once, how many wait for their turn, and how much memory answers take until their clients
//! have taken them: all bounded, waits too (I6).
//!
//! Turns go round among the clients that wait, one each, so that one that asks much delays itself and not the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::limits::ApiLimits;
use super::problem::{Problem, ProblemKind};
use super::turns::{Client, Turn, Turns};

/// Lets queries in.
#[derive(Debug)]
pub(super) struct Gate {
    turns: Arc<Turns>,
    /// Room for answers on their way, in KiB.
    room: Arc<Semaphore>,
    room_kib: usize,
    wait_max: Duration,
    /// What a query is told that has no turn.
    full: String,
}

/// Answers up to this size need no room.
const SMALL_BYTES: usize = 64 * 1024;

/// An answer that gives its room back when the last of it is sent.
struct Held {
    answer: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl Gate {
    pub(super) fn new(limits: &ApiLimits) -> Self {
        let room_kib = limits.unsent_bytes_max / 1024;
        Self {
            room: Arc::new(Semaphore::new(room_kib)),
            room_kib,
            turns: Turns::new(limits.queries_max, limits.queue_max),
            wait_max: limits.queue_wait_max,
            full: format!(
                "too many queries: {} run at once, and {} more wait for at most {:?}; try again",
                limits.queries_max, limits.queue_max, limits.queue_wait_max
            ),
        }
    }

    /// Waits for a turn, which lasts until it is dropped. Refuses at once where too many wait, and after a while
    /// where none ends.
    pub(super) async fn enter(&self, client: Client) -> Result<Turn, Problem> {
        match timeout(self.wait_max, self.turns.turn(client)).await {
            Ok(Some(turn)) => Ok(turn),
            Ok(None) | Err(_) => Err(self.overloaded()),
        }
    }

    /// Finds room for an answer, which it keeps until it is sent or dropped. Called within a turn, so that as many
    /// answers as queries wait here at most.
    pub(super) async fn hold(&self, answer: Bytes) -> Result<Bytes, Problem> {
        if answer.len() <= SMALL_BYTES {
            return Ok(answer);
        }
        let kib = u32::try_from(answer.len().div_ceil(1024).min(self.room_kib)).unwrap_or(u32::MAX);
        match timeout(self.wait_max, Arc::clone(&self.room).acquire_many_owned(kib)).await {
            Ok(Ok(room)) => Ok(Bytes::from_owner(Held { answer, _room: room })),
            Ok(Err(_)) | Err(_) => Err(self.overloaded()),
        }
    }

    fn overloaded(&self) -> Problem {
        Problem::new(ProblemKind::Overloaded, self.full.clone())
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
        let first = gate.enter(Client::UNKNOWN).await.unwrap();
        let mut second = Box::pin(gate.enter(Client::UNKNOWN));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(gate.enter(Client::UNKNOWN).await.unwrap_err().kind(), ProblemKind::Overloaded);
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_hold_their_room_until_the_last_of_them_is_gone() {
        let gate = Gate::new(&ApiLimits { unsent_bytes_max: 200 * 1024, ..ApiLimits::default() });
        let large = || Bytes::from(vec![0; 150 * 1024]);
        let mut held = gate.hold(large()).await.unwrap();
        assert_eq!(gate.hold(large()).await.unwrap_err().kind(), ProblemKind::Overloaded);
        assert!(gate.hold(Bytes::from_static(b"small")).await.is_ok());
        drop(held.split_to(100 * 1024));
        assert!(gate.hold(large()).await.is_err());
        drop(held);
        let larger_than_all_room = Bytes::from(vec![0; 300 * 1024]);
        assert!(gate.hold(larger_than_all_room).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_and_gives_its_place_back() {
        let gate = gate();
        let turn = gate.enter(Client::UNKNOWN).await.unwrap();
        for _ in 0..3 {
            assert_eq!(gate.enter(Client::UNKNOWN).await.unwrap_err().kind(), ProblemKind::Overloaded);
        }
        drop(turn);
        assert!(gate.enter(Client::UNKNOWN).await.is_ok());
    }
}
