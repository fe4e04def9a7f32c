//! What a failed request means: the one place that decides whether a write may have taken place.
//!
//! The rule: a write is *not applied* only where the server says that it never began, or where it provably never
//! left this process. Silence, a broken connection and every answer that some replicas may contradict are *unknown*.

use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};

use crate::wide::{Effect, ReadError, WriteError};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) verdict: Verdict,
    pub(super) reason: String,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did not take place; it may succeed later.
    NotApplied,
    /// It may have taken place; it may succeed later.
    Unknown,
    /// It did not take place and never will.
    Refused,
}

impl Failure {
    pub(super) fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into() }
    }

    /// The failure of one part of a write whose other parts may have taken place.
    pub(super) fn of_a_part(mut self) -> Self {
        if self.verdict == Verdict::NotApplied {
            self.verdict = Verdict::Unknown;
        }
        self
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        let verdict = match &error {
            ExecutionError::BadQuery(_) => Verdict::Refused,
            ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => Verdict::NotApplied,
            ExecutionError::PrepareError(prepare) => of_prepare(prepare),
            ExecutionError::LastAttemptError(attempt) => of_attempt(attempt),
            // Silence; and the driver's list may grow: what is not known here is taken for the worst.
            ExecutionError::RequestTimeout(_)
            | ExecutionError::UseKeyspaceError(_)
            | ExecutionError::SchemaAgreementError(_)
            | ExecutionError::MetadataError(_)
            | _ => Verdict::Unknown,
        };
        Self::new(verdict, error.to_string())
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        Self::new(of_prepare(&error), error.to_string())
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        let reason = failure.reason;
        match failure.verdict {
            Verdict::NotApplied => Self::Unavailable { effect: Effect::NotApplied, reason },
            Verdict::Unknown => Self::Unavailable { effect: Effect::Unknown, reason },
            Verdict::Refused => Self::Refused { reason },
        }
    }
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        let reason = failure.reason;
        match failure.verdict {
            Verdict::NotApplied | Verdict::Unknown => Self::Unavailable { reason },
            Verdict::Refused => Self::Refused { reason },
        }
    }
}

/// Preparing comes before executing: whatever goes wrong, nothing was applied.
fn of_prepare(error: &PrepareError) -> Verdict {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt }
            if of_attempt(first_attempt) == Verdict::Refused =>
        {
            Verdict::Refused
        }
        PrepareError::AllAttemptsFailed { .. }
        | PrepareError::ConnectionPoolError(_)
        | PrepareError::PreparedStatementIdsMismatch
        | _ => Verdict::NotApplied,
    }
}

/// The verdict on one attempt.
pub(super) fn of_attempt(error: &RequestAttemptError) -> Verdict {
    match error {
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => {
            Verdict::Refused
        }
        RequestAttemptError::UnableToAllocStreamId
        | RequestAttemptError::RepreparedIdMissingInBatch
        | RequestAttemptError::RepreparedIdChanged { .. } => Verdict::NotApplied,
        RequestAttemptError::DbError(error, _) => of_answer(error),
        // A broken connection, or an answer that cannot be read.
        RequestAttemptError::BrokenConnectionError(_)
        | RequestAttemptError::BodyExtensionsParseError(_)
        | RequestAttemptError::CqlResultParseError(_)
        | RequestAttemptError::CqlErrorParseError(_)
        | RequestAttemptError::UnexpectedResponse(_)
        | RequestAttemptError::NonfinishedPagingState
        | _ => Verdict::Unknown,
    }
}

/// The verdict on a server's answer.
fn of_answer(error: &DbError) -> Verdict {
    match error {
        // A write that replicas must not see: refused before it was sent to any.
        DbError::Unavailable { .. }
        | DbError::Overloaded
        | DbError::IsBootstrapping
        | DbError::Unprepared { .. }
        | DbError::RateLimitReached { rejected_by_coordinator: true, .. } => Verdict::NotApplied,
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError
        | DbError::ProtocolError => Verdict::Refused,
        // Timeouts, failures of some replicas, errors inside a server, codes of later protocols.
        DbError::WriteTimeout { .. }
        | DbError::WriteFailure { .. }
        | DbError::ReadTimeout { .. }
        | DbError::ReadFailure { .. }
        | DbError::TruncateError
        | DbError::ServerError
        | DbError::RateLimitReached { .. }
        | DbError::Other(_)
        | _ => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::WriteType;
    use scylla::statement::Consistency;

    fn answered(error: DbError) -> Verdict {
        Failure::from(ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new())))
            .verdict
    }

    const CONSISTENCY: Consistency = Consistency::LocalQuorum;

    #[test]
    fn a_write_that_timed_out_at_replicas_may_have_taken_place() {
        let (consistency, write_type) = (CONSISTENCY, WriteType::Simple);
        let timeout = DbError::WriteTimeout { consistency, received: 1, required: 2, write_type };
        assert_eq!(answered(timeout), Verdict::Unknown);
        let write_type = WriteType::Cas;
        let failure =
            DbError::WriteFailure { consistency, received: 0, required: 2, numfailures: 2, write_type };
        assert_eq!(answered(failure), Verdict::Unknown);
        assert_eq!(answered(DbError::ServerError), Verdict::Unknown);
        assert_eq!(answered(DbError::Other(0x1700)), Verdict::Unknown);
    }

    #[test]
    fn a_write_that_was_turned_away_at_the_door_did_not_take_place() {
        let unavailable = DbError::Unavailable { consistency: CONSISTENCY, required: 2, alive: 1 };
        assert_eq!(answered(unavailable), Verdict::NotApplied);
        assert_eq!(answered(DbError::Overloaded), Verdict::NotApplied);
        assert_eq!(Failure::from(ExecutionError::EmptyPlan).verdict, Verdict::NotApplied);
        let unsent = ExecutionError::LastAttemptError(RequestAttemptError::UnableToAllocStreamId);
        assert_eq!(Failure::from(unsent).verdict, Verdict::NotApplied);
    }

    #[test]
    fn what_a_server_calls_wrong_is_not_worth_repeating() {
        for error in [DbError::Invalid, DbError::SyntaxError, DbError::Unauthorized] {
            let failure = Failure::new(answered(error), "no");
            assert!(matches!(WriteError::from(failure.clone()), WriteError::Refused { .. }));
            assert!(matches!(ReadError::from(failure), ReadError::Refused { .. }));
        }
    }

    #[test]
    fn silence_may_hide_a_write() {
        let silence = ExecutionError::RequestTimeout(std::time::Duration::from_secs(1));
        assert_eq!(WriteError::from(Failure::from(silence)).effect(), Effect::Unknown);
    }

    #[test]
    fn a_part_that_was_not_applied_says_nothing_of_the_others() {
        assert_eq!(Failure::new(Verdict::NotApplied, "").of_a_part().verdict, Verdict::Unknown);
        assert_eq!(Failure::new(Verdict::Refused, "").of_a_part().verdict, Verdict::Refused);
    }
}
