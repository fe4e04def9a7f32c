//! Errors as RFC 9457 problem details: what went wrong, and what to change.
//!
//! `type` is `urn:tidemill:problem:` and a stable code; clients may rely on it and on `status`, not on `detail`.
//! What only operators should see is logged here, once, and never sent.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use crate::query::QueryError;

/// What kind of problem; each has a stable code, a status and a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A request that is no proper HTTP.
    InvalidRequest,
    /// A query parameter that the route does not know.
    UnknownParameter,
    /// A query parameter with a value that it cannot have.
    InvalidParameter,
    /// A cursor that this query did not give.
    InvalidCursor,
    /// No such path.
    NotFound,
    /// Something that only some clients may ask for.
    Forbidden,
    /// A path that does not answer this method.
    MethodNotAllowed,
    /// The request's head did not arrive in time.
    RequestTimeout,
    /// The request's body is larger than any request needs.
    BodyTooLarge,
    /// The request's target is longer than allowed.
    UriTooLong,
    /// The query touches more than a query may.
    TooLarge,
    /// The query needs samples that have expired.
    Expired,
    /// Too many queries or connections at once.
    Overloaded,
    /// The query took too long.
    QueryTimeout,
    /// The store cannot be read now.
    StoreUnavailable,
    /// A fault of the server.
    Internal,
}

impl ProblemKind {
    /// The stable end of `type`.
    pub const fn code(self) -> &'static str {
        self.parts().0
    }

    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        self.parts().1
    }

    const fn parts(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidRequest => ("invalid-request", S::BAD_REQUEST, "Invalid request"),
            Self::UnknownParameter => ("unknown-parameter", S::BAD_REQUEST, "Unknown query parameter"),
            Self::InvalidParameter => ("invalid-parameter", S::BAD_REQUEST, "Invalid query parameter"),
            Self::InvalidCursor => ("invalid-cursor", S::BAD_REQUEST, "Invalid cursor"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "No such path"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "Not allowed"),
            Self::MethodNotAllowed => ("method-not-allowed", S::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::RequestTimeout => ("request-timeout", S::REQUEST_TIMEOUT, "Request too slow"),
            Self::BodyTooLarge => ("body-too-large", S::PAYLOAD_TOO_LARGE, "Request body too large"),
            Self::UriTooLong => ("uri-too-long", S::URI_TOO_LONG, "Request target too long"),
            Self::TooLarge => ("query-too-large", S::UNPROCESSABLE_ENTITY, "Query touches too much"),
            Self::Expired => ("expired", S::UNPROCESSABLE_ENTITY, "Samples have expired"),
            Self::Overloaded => ("overloaded", S::SERVICE_UNAVAILABLE, "Too many queries"),
            Self::QueryTimeout => ("query-timeout", S::SERVICE_UNAVAILABLE, "Query took too long"),
            Self::StoreUnavailable => ("store-unavailable", S::SERVICE_UNAVAILABLE, "Store unavailable"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}

/// A problem on its way to a client.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    parameter: Option<String>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem; `detail` says what to change.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), parameter: None, retry_after: None }
    }

    /// A problem with the value of a query parameter.
    pub fn invalid(parameter: &str, why: impl std::fmt::Display) -> Self {
        Self::new(ProblemKind::InvalidParameter, format!("`{parameter}` {why}")).about(parameter)
    }

    /// Names the query parameter that is to be changed.
    #[must_use]
    pub fn about(mut self, parameter: &str) -> Self {
        self.parameter = Some(parameter.to_owned());
        self
    }

    /// Says after how long to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Its kind.
    pub const fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// What to change.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The body: `application/problem+json`.
    pub fn body(&self) -> Bytes {
        let (code, status, title) = self.kind.parts();
        let mut body = serde_json::json!({
            "type": format!("urn:tidemill:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
        });
        if let (Some(parameter), Some(fields)) = (&self.parameter, body.as_object_mut()) {
            fields.insert("parameter".to_owned(), parameter.as_str().into());
        }
        Bytes::from(body.to_string())
    }
}

/// The media type of [`Problem::body`].
pub const PROBLEM_JSON: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body().into());
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

/// How long a client should wait where the store is away: about as long as a node takes to be noticed as down.
const STORE_RETRY: Duration = Duration::from_secs(5);

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::TooLarge { why, .. } => Self::new(ProblemKind::TooLarge, why),
            QueryError::Expired(why) => Self::new(ProblemKind::Expired, why),
            QueryError::Unavailable(why) => {
                tracing::warn!(error = why, "a query found the store unavailable");
                Self::new(ProblemKind::StoreUnavailable, "the store cannot be read now; try again")
                    .retry_after(STORE_RETRY)
            }
            QueryError::Broken(why) => {
                tracing::error!(error = why, "a query failed");
                Self::new(ProblemKind::Internal, "the query failed; the server's log says why")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_to_change_and_where() {
        let problem =
            Problem::invalid("limit", "must be between 1 and 10").retry_after(Duration::from_millis(1));
        assert_eq!(
            String::from_utf8(problem.body().to_vec()).unwrap(),
            r#"{"detail":"`limit` must be between 1 and 10","parameter":"limit","status":400,"title":"Invalid query parameter","type":"urn:tidemill:problem:invalid-parameter"}"#
        );
        let response = problem.into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }

    #[test]
    fn what_the_store_said_stays_inside() {
        let secret = "node 10.0.0.7 said no".to_owned();
        for error in [QueryError::Unavailable(secret.clone()), QueryError::Broken(secret)] {
            let body = Problem::from(error).body();
            assert!(!String::from_utf8_lossy(&body).contains("10.0.0.7"));
        }
    }
}
