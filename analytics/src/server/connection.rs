//! One connection: hyper's HTTP/1 over a guarded stream, and a router behind it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::Limited;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::ServerLimits;
use super::guarded::{Guarded, Phase, Phases};
use crate::api::{CURRENT, Client, Problem, ProblemKind};
use crate::metrics::{HttpMetrics, Rejection};

/// What a connection is told for which there is no place.
pub(super) const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 139\r\n\r\n\
    {\"detail\":\"too many connections are open; try again\",\"status\":503,\
    \"title\":\"Too many connections\",\"type\":\"urn:tidemill:problem:overloaded\"}\n";

/// What a client is told whose request's head takes too long.
pub(super) const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/problem+json\r\nconnection: close\r\ncontent-length: 146\r\n\r\n\
    {\"detail\":\"the head of the request did not arrive in time\",\"status\":408,\
    \"title\":\"Request too slow\",\"type\":\"urn:tidemill:problem:request-timeout\"}\n";

/// Serves `router` on `stream`.
pub(super) fn serve(
    stream: TcpStream,
    router: Router,
    limits: Arc<ServerLimits>,
    metrics: Arc<HttpMetrics>,
) -> http1::Connection<TokioIo<Guarded>, Requests> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "answers may wait for more to send");
    }
    let client = stream.peer_addr().ok().map(|address| Client::at(address.ip()));
    let phases = Phases::default();
    let body_bytes_max = limits.body_bytes_max;
    let head_bytes_max = limits.head_bytes_max.max(HEAD_BYTES_MIN);
    let guarded = Guarded::new(stream, limits, phases.clone(), Arc::clone(&metrics));
    let requests = Requests { router, client, phases, metrics, body_bytes_max };
    http1::Builder::new()
        // The guard keeps the time of heads: hyper's own timer runs while a connection is idle, too.
        .header_read_timeout(None)
        .max_buf_size(head_bytes_max)
        .serve_connection(TokioIo::new(guarded), requests)
}

/// The least that hyper takes.
const HEAD_BYTES_MIN: usize = 8 * 1024;

/// Hands the requests of one connection to the router.
pub(super) struct Requests {
    router: Router,
    client: Option<Client>,
    phases: Phases,
    metrics: Arc<HttpMetrics>,
    body_bytes_max: u64,
}

impl Service<Request<Incoming>> for Requests {
    type Response = hyper::Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let guard = Answering::start(&self.phases);
        let answer = |response: Response| response.map(|body| Answer { body, _guard: guard });
        if let Err(problem) = self.check(&request) {
            return std::future::ready(Ok(answer(problem.into_response()))).boxed();
        }
        let limit = usize::try_from(self.body_bytes_max).unwrap_or(usize::MAX);
        let request = request.map(|body| Body::new(Limited::new(body, limit)));
        let answered = self.router.clone().oneshot(request).map(|response| response.map(answer));
        match self.client {
            Some(client) => CURRENT.scope(client, answered).boxed(),
            None => answered.boxed(),
        }
    }
}

impl Requests {
    fn check(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let hosts = request.headers().get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            let detail = "a request must have one Host header (RFC 9112, section 3.2)";
            return Err(Problem::new(ProblemKind::InvalidRequest, detail));
        }
        if request.body().size_hint().lower() > self.body_bytes_max {
            self.metrics.reject(Rejection::Body);
            let detail = format!("the request's body may have at most {} bytes", self.body_bytes_max);
            return Err(Problem::new(ProblemKind::BodyTooLarge, detail));
        }
        Ok(())
    }
}

/// Tells the guard when a request is being answered, and when its answer is complete.
struct Answering(Phases);

impl Answering {
    fn start(phases: &Phases) -> Self {
        phases.enter(Phase::Answering);
        Self(phases.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    _guard: Answering,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_answers_are_well_formed() {
        for (canned, status) in [(NO_PLACE, 503), (TOO_SLOW, 408)] {
            let text = std::str::from_utf8(canned).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = head.split("content-length: ").nth(1).unwrap();
            assert_eq!(length.parse::<usize>().unwrap(), body.len());
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["status"], status);
        }
    }
}
