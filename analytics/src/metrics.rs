//! What this crate counts. Labels are bounded: a route is one of the routes, a reason one of a few words.

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// From a cached answer to the query timeout.
const DURATION_BUCKETS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// Counters of the HTTP side, shared by the server and the API.
#[derive(Debug)]
pub struct HttpMetrics {
    /// `tidemill_http_requests_total{route,status}`: requests by outcome; status `dropped` where the client left first.
    pub requests: IntCounterVec,
    /// `tidemill_http_request_duration_seconds{route}`: from the parsed head to the whole answer.
    pub duration: HistogramVec,
    /// `tidemill_http_requests_in_flight`: requests being answered.
    pub in_flight: IntGauge,
    /// `tidemill_http_rejected_total{reason}`: what a limit refused (`connections`, `head_timeout`, `idle`,
    /// `write_timeout`, `body`, `uri`, `queue`, `query_timeout`, `too_large`).
    pub rejected: IntCounterVec,
    /// `tidemill_http_connections`: open connections.
    pub connections: IntGauge,
    /// `tidemill_query_samples_read_total`: samples that queries read from the store.
    pub samples_read: IntCounter,
}

impl HttpMetrics {
    /// Makes the counters and enters them in `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vec = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let duration =
            HistogramOpts::new("tidemill_http_request_duration_seconds", "Time to answer a request")
                .buckets(DURATION_BUCKETS.to_vec());
        let metrics = Self {
            requests: vec("tidemill_http_requests_total", "Requests by outcome", &["route", "status"])?,
            duration: HistogramVec::new(duration, &["route"])?,
            in_flight: IntGauge::new("tidemill_http_requests_in_flight", "Requests being answered")?,
            rejected: vec("tidemill_http_rejected_total", "What a limit refused", &["reason"])?,
            connections: IntGauge::new("tidemill_http_connections", "Open connections")?,
            samples_read: IntCounter::new("tidemill_query_samples_read_total", "Samples read by queries")?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.rejected.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.samples_read.clone()))?;
        Ok(metrics)
    }

    /// Counts a refusal.
    pub(crate) fn reject(&self, reason: Rejection) {
        self.rejected.with_label_values(&[reason.name()]).inc();
    }
}

/// Which limit refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Too many connections.
    Connections,
    /// A request's head took too long.
    HeadTimeout,
    /// A connection stayed without a request.
    Idle,
    /// A client did not take its answer.
    WriteTimeout,
    /// A request's body is too large.
    Body,
    /// A request's target is too long.
    Uri,
    /// Too many queries run and wait.
    Queue,
    /// A query ran too long.
    QueryTimeout,
    /// A query touches too much.
    TooLarge,
}

impl Rejection {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::HeadTimeout => "head_timeout",
            Self::Idle => "idle",
            Self::WriteTimeout => "write_timeout",
            Self::Body => "body",
            Self::Uri => "uri",
            Self::Queue => "queue",
            Self::QueryTimeout => "query_timeout",
            Self::TooLarge => "too_large",
        }
    }
}
