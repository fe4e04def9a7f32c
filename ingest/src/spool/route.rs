//! Whether the writes of one shard go to the store or to the spool. Pure: the time is given.
//!
//! A shard leaves the store when a write passes its deadline, and comes back once the store has taken something since
//! and a wait has passed. The wait doubles where coming back fails soon, so that a store that is slow for ever costs a
//! deadline now and then, and not with every write.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait before the store is tried again.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Where a shard's writes go.
#[derive(Debug)]
pub(crate) struct Route {
    /// Since when they go to the spool.
    left_at: Option<Instant>,
    returned_at: Option<Instant>,
    wait: Duration,
}

impl Route {
    /// To the store.
    pub(crate) const fn new() -> Self {
        Self { left_at: None, returned_at: None, wait: WAIT_FIRST }
    }

    /// Whether they go to the spool.
    pub(crate) const fn is_spooling(&self) -> bool {
        self.left_at.is_some()
    }

    /// The store did not take a write in time.
    pub(crate) fn leave(&mut self, now: Instant) {
        let lasted = self.returned_at.map(|at| now.saturating_duration_since(at));
        let is_soon = lasted.is_some_and(|lasted| lasted < WAIT_MAX);
        self.wait = if is_soon { (self.wait * 2).min(WAIT_MAX) } else { WAIT_FIRST };
        self.left_at = Some(now);
    }

    /// Whether the store may be tried again, which took something last at `answered_at`.
    pub(crate) fn may_return(&self, now: Instant, answered_at: Option<Instant>) -> bool {
        match (self.left_at, answered_at) {
            (Some(left), Some(answered)) => {
                answered > left && now.saturating_duration_since(left) >= self.wait
            }
            (Some(_), None) | (None, _) => false,
        }
    }

    /// The store is tried again.
    pub(crate) fn come_back(&mut self, now: Instant) {
        self.left_at = None;
        self.returned_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_comes_back_when_the_store_answered_since_and_waits_longer_where_that_fails() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut route = Route::new();
        assert!(!route.may_return(at(0), Some(at(0))));
        route.leave(at(1_000));
        assert!(!route.may_return(at(9_000), Some(at(900))), "the store answered before only");
        assert!(!route.may_return(at(1_100), Some(at(1_050))), "too early");
        assert!(route.may_return(at(1_600), Some(at(1_050))));
        route.come_back(at(1_600));
        assert!(!route.is_spooling());
        route.leave(at(3_600));
        assert!(!route.may_return(at(4_500), Some(at(4_000))));
        assert!(route.may_return(at(4_600), Some(at(4_000))));
        for _ in 0..20 {
            route.come_back(at(5_000));
            route.leave(at(6_000));
        }
        assert!(!route.may_return(at(35_999), Some(at(7_000))));
        assert!(route.may_return(at(36_000), Some(at(7_000))));
        route.come_back(at(36_000));
        route.leave(at(100_000));
        assert!(route.may_return(at(100_500), Some(at(100_001))), "a good while ends the doubling");
    }
}
