//! Errors as Prometheus answers them: `{"status":"error","errorType":…,"error":…}`. Pure but for its conversion.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::super::problem::{Problem, ProblemKind};
use crate::promql::{EvalError, ParseError, SourceError};
use crate::query::QueryError;

/// What kind of error; clients tell them apart by its name and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorType {
    /// The request makes no sense.
    BadData,
    /// The query cannot be evaluated, or takes too much.
    Execution,
    /// It took too long, or its turn did not come.
    Timeout,
    /// Nobody waits for it any more.
    Canceled,
    /// The store cannot be read now.
    Unavailable,
    /// A fault of the server.
    Internal,
    /// There is no such thing.
    NotFound,
}

impl ErrorType {
    const fn parts(self) -> (&'static str, u16) {
        match self {
            Self::BadData => ("bad_data", 400),
            Self::Execution => ("execution", 422),
            Self::Timeout => ("timeout", 503),
            Self::Canceled => ("canceled", 499),
            Self::Unavailable => ("unavailable", 503),
            Self::Internal => ("internal", 500),
            Self::NotFound => ("not_found", 404),
        }
    }

    fn status(self) -> StatusCode {
        StatusCode::from_u16(self.parts().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: ErrorType,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(kind: ErrorType, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn bad_data(text: impl Into<String>) -> Self {
        Self::new(ErrorType::BadData, text)
    }

    /// A parameter with a value that it cannot have.
    pub(super) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {why}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (kind, text) = (self.kind.parts().0, serde_json::Value::from(self.text));
        let body = format!("{{\"status\":\"error\",\"errorType\":\"{kind}\",\"error\":{text}}}");
        let mut response = Response::new(body.into());
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Self::parameter("query", error)
    }
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        let kind = match error {
            EvalError::Stopped => ErrorType::Canceled,
            EvalError::TooManySamples(_) | EvalError::Invalid(_) => ErrorType::Execution,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::TooMuch(why) => Self::new(ErrorType::Execution, why),
            SourceError::Unavailable(why) => Problem::from(QueryError::Unavailable(why)).into(),
            SourceError::Broken(why) => Problem::from(QueryError::Broken(why)).into(),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let kind = match problem.kind() {
            ProblemKind::QueryTimeout | ProblemKind::RequestTimeout => ErrorType::Timeout,
            ProblemKind::Overloaded | ProblemKind::StoreUnavailable => ErrorType::Unavailable,
            ProblemKind::TooLarge | ProblemKind::Expired => ErrorType::Execution,
            ProblemKind::Internal => ErrorType::Internal,
            ProblemKind::NotFound => ErrorType::NotFound,
            ProblemKind::InvalidRequest
            | ProblemKind::UnknownParameter
            | ProblemKind::InvalidParameter
            | ProblemKind::InvalidCursor
            | ProblemKind::Forbidden
            | ProblemKind::MethodNotAllowed
            | ProblemKind::BodyTooLarge
            | ProblemKind::UriTooLong => ErrorType::BadData,
        };
        Self::new(kind, problem.detail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_that_clients_of_prometheus_know() {
        for (kind, status) in [
            (ErrorType::BadData, 400),
            (ErrorType::Execution, 422),
            (ErrorType::Timeout, 503),
            (ErrorType::Canceled, 499),
            (ErrorType::Unavailable, 503),
            (ErrorType::Internal, 500),
        ] {
            assert_eq!(Failure::new(kind, "x").into_response().status(), status);
        }
    }

    #[test]
    fn what_the_store_said_stays_inside() {
        let failure = Failure::from(SourceError::Unavailable("node 10.0.0.7".into()));
        assert!(!failure.text.contains("10.0.0.7"));
    }
}
