//! The listener's own numbers. Messages are counted by the pipeline (I2), not here.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters and gauges of one listener; cloning shares them.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    pub(super) connections: IntGauge,
    pub(super) accepted: IntCounter,
    pub(super) refused: IntCounterVec,
    pub(super) disconnects: IntCounterVec,
    pub(super) accept_errors: IntCounter,
    pub(super) received_bytes: IntCounter,
    pub(super) in_flight_messages: IntGauge,
    pub(super) in_flight_bytes: IntGauge,
    pub(super) read_pauses: IntCounter,
    pub(super) wills: IntCounter,
}

impl ListenerMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are already registered there.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            connections: IntGauge::new("tidemill_listener_connections", "Connections open.")?,
            accepted: IntCounter::new("tidemill_listener_accepted_total", "Connections accepted.")?,
            refused: IntCounterVec::new(
                Opts::new(
                    "tidemill_listener_refused_total",
                    "Connections closed before their CONNECT was accepted.",
                ),
                &["reason"],
            )?,
            disconnects: IntCounterVec::new(
                Opts::new(
                    "tidemill_listener_disconnects_total",
                    "Accepted clients that left or were closed.",
                ),
                &["reason"],
            )?,
            accept_errors: IntCounter::new(
                "tidemill_listener_accept_errors_total",
                "Failures to accept a connection, such as too many open files.",
            )?,
            received_bytes: IntCounter::new("tidemill_listener_received_bytes_total", "Bytes read.")?,
            in_flight_messages: IntGauge::new(
                "tidemill_listener_in_flight_messages",
                "Messages taken from connections and not yet settled.",
            )?,
            in_flight_bytes: IntGauge::new(
                "tidemill_listener_in_flight_bytes",
                "Bytes of the messages in flight, with a fixed cost for each.",
            )?,
            read_pauses: IntCounter::new(
                "tidemill_listener_read_pauses_total",
                "Times that reading from a connection paused because it had too much in flight.",
            )?,
            wills: IntCounter::new(
                "tidemill_listener_wills_not_published_total",
                "Clients with a will that left without a goodbye.",
            )?,
        };
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.disconnects.clone()))?;
        registry.register(Box::new(metrics.accept_errors.clone()))?;
        registry.register(Box::new(metrics.received_bytes.clone()))?;
        registry.register(Box::new(metrics.in_flight_messages.clone()))?;
        registry.register(Box::new(metrics.in_flight_bytes.clone()))?;
        registry.register(Box::new(metrics.read_pauses.clone()))?;
        registry.register(Box::new(metrics.wills.clone()))?;
        Ok(metrics)
    }
}
