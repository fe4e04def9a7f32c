//! What the driver may repeat by itself: only what provably changes nothing, once, on the next node.
//!
//! A write goes to the next node only after an answer that says it did not take place, so the last attempt's verdict
//! is the whole request's. Whatever is unknown goes back to the caller, who repeats it under a deadline of its own.
//! A read may always be asked again. An exchange is a write here; repeating one after silence would let it refuse
//! itself.

use scylla::errors::RequestAttemptError;
use scylla::policies::retry::{RequestInfo, RetryDecision, RetryPolicy, RetrySession};

use super::error::{Verdict, of_attempt};

/// Which requests a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnceElsewhere {
    /// Requests that change something.
    Writes,
    /// Requests that do not.
    Reads,
}

impl OnceElsewhere {
    fn allows(self, error: &RequestAttemptError) -> bool {
        match of_attempt(error) {
            Verdict::NotApplied => true,
            Verdict::Unknown => self == Self::Reads,
            Verdict::Refused => false,
        }
    }
}

impl RetryPolicy for OnceElsewhere {
    fn new_session(&self) -> Box<dyn RetrySession> {
        Box::new(Attempts { policy: *self, repeated: false })
    }
}

struct Attempts {
    policy: OnceElsewhere,
    repeated: bool,
}

impl Attempts {
    fn decide(&mut self, error: &RequestAttemptError) -> RetryDecision {
        if self.repeated || !self.policy.allows(error) {
            return RetryDecision::DontRetry;
        }
        self.repeated = true;
        RetryDecision::RetryNextTarget(None)
    }
}

impl RetrySession for Attempts {
    fn decide_should_retry(&mut self, request: RequestInfo<'_>) -> RetryDecision {
        self.decide(request.error)
    }

    fn reset(&mut self) {
        self.repeated = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::DbError;

    fn decisions(policy: OnceElsewhere, error: &RequestAttemptError) -> [RetryDecision; 2] {
        let mut attempts = Attempts { policy, repeated: false };
        [attempts.decide(error), attempts.decide(error)]
    }

    fn answer(error: DbError) -> RequestAttemptError {
        RequestAttemptError::DbError(error, String::new())
    }

    const ONCE: [RetryDecision; 2] = [RetryDecision::RetryNextTarget(None), RetryDecision::DontRetry];
    const NEVER: [RetryDecision; 2] = [RetryDecision::DontRetry, RetryDecision::DontRetry];

    #[test]
    fn a_write_is_repeated_only_where_it_did_not_take_place() {
        assert_eq!(decisions(OnceElsewhere::Writes, &answer(DbError::Overloaded)), ONCE);
        assert_eq!(decisions(OnceElsewhere::Writes, &answer(DbError::ServerError)), NEVER);
        assert_eq!(decisions(OnceElsewhere::Writes, &answer(DbError::Invalid)), NEVER);
    }

    #[test]
    fn a_read_is_repeated_once_unless_it_is_wrong() {
        assert_eq!(decisions(OnceElsewhere::Reads, &answer(DbError::ServerError)), ONCE);
        assert_eq!(decisions(OnceElsewhere::Reads, &answer(DbError::Unauthorized)), NEVER);
    }
}
