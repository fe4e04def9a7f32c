//! The limits of the API (I6), each with its default and the reason for it.

use std::time::Duration;

/// How many rows an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLimit {
    /// Where the request does not say.
    pub default: usize,
    /// The most that a request may ask for.
    pub max: usize,
}

/// What bounds a request and its answer.
#[derive(Debug, Clone)]
pub struct ApiLimits {
    /// Queries that run at once. Each holds at most what the reader's limits allow in memory.
    pub queries_max: usize,
    /// Queries that wait for their turn; more are refused at once.
    pub queue_max: usize,
    /// How long a query waits for its turn.
    pub queue_wait_max: Duration,
    /// How long a query runs.
    pub query_timeout: Duration,
    /// Bytes of a request's target: path and query. Enough for a few hundred devices by name.
    pub uri_bytes_max: usize,
    /// Bytes of an answer, but for its last few fields; it is cut before the row that would pass it.
    pub response_bytes_max: usize,
    /// Bytes of answers that wait for their clients to take them, over all connections; an answer that finds no
    /// room is refused. Those of at most 64 KiB do not count: connections are bounded, too.
    pub unsent_bytes_max: usize,
    /// Samples of `/v1/samples`.
    pub samples: RowLimit,
    /// Windows of `/v1/windows`, over all series.
    pub windows: RowLimit,
    /// Series of `/v1/latest`.
    pub latest: RowLimit,
    /// Entries of `/v1/devices` and `/v1/metrics`.
    pub entries: RowLimit,
    /// Series that `/v1/windows` aggregates, or `/api/v1/series` lists, in one query; more are refused.
    pub series_max: usize,
    /// What bounds a PromQL query, besides the above.
    pub promql: PromqlLimits,
}

/// What bounds a PromQL query, and what it takes for granted.
#[derive(Debug, Clone)]
pub struct PromqlLimits {
    /// How old a value may be to count as current.
    pub lookback_delta: Duration,
    /// At which intervals metrics come that come seldom; their lookback is a quarter longer than that.
    pub intervals: Vec<(String, Duration)>,
    /// Values that a query may hold and make, samples included: 8 bytes each, and 8 for a sample's time.
    pub samples_max: usize,
    /// Steps of a range query.
    pub points_max: usize,
}

impl Default for PromqlLimits {
    fn default() -> Self {
        Self {
            // As Prometheus has it: five intervals of a minute.
            lookback_delta: Duration::from_mins(5),
            intervals: Vec::new(),
            // Up to 320 MB: a day of ten-second samples of two thousand series.
            samples_max: 20_000_000,
            // What Prometheus allows: more than a screen has columns, and clients know the limit.
            points_max: 11_000,
        }
    }
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            queries_max: 16,
            queue_max: 64,
            queue_wait_max: Duration::from_secs(2),
            query_timeout: Duration::from_secs(30),
            uri_bytes_max: 16 * 1024,
            response_bytes_max: 32 * 1024 * 1024,
            unsent_bytes_max: 256 * 1024 * 1024,
            samples: RowLimit { default: 1_000, max: 100_000 },
            windows: RowLimit { default: 10_000, max: 100_000 },
            latest: RowLimit { default: 10_000, max: 100_000 },
            entries: RowLimit { default: 1_000, max: 10_000 },
            series_max: 100_000,
            promql: PromqlLimits::default(),
        }
    }
}
