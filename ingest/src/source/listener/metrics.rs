//! The listener's own numbers. Messages are counted by the pipeline (I2), not here.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::source::window::InFlightGauges;

/// Counters and gauges of one listener; cloning shares them.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    pub(super) connections: IntGauge,
    pub(super) accepted: IntCounter,
    pub(super) refused: IntCounterVec,
    pub(super) disconnects: IntCounterVec,
    pub(super) accept_errors: IntCounter,
    pub(super) received_bytes: IntCounter,
    pub(super) in_flight: InFlightGauges,
    pub(super) read_pauses: IntCounter,
    pub(super) sent_again: IntCounter,
    pub(super) forgotten: IntCounter,
    pub(super) wills: IntCounter,
}

impl ListenerMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are already registered there.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let by_reason = |name: &str, help: &str| -> prometheus::Result<IntCounterVec> {
            let counters = IntCounterVec::new(Opts::new(name, help), &["reason"])?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        Ok(Self {
            connections: gauge("tidemill_listener_connections", "Connections open.")?,
            accepted: counter("tidemill_listener_accepted_total", "Connections accepted.")?,
            refused: by_reason(
                "tidemill_listener_refused_total",
                "Connections closed before their CONNECT was accepted.",
            )?,
            disconnects: by_reason(
                "tidemill_listener_disconnects_total",
                "Accepted clients that left or were closed.",
            )?,
            accept_errors: counter(
                "tidemill_listener_accept_errors_total",
                "Failures to accept a connection, such as too many open files.",
            )?,
            received_bytes: counter("tidemill_listener_received_bytes_total", "Bytes read.")?,
            in_flight: InFlightGauges {
                messages: gauge(
                    "tidemill_listener_in_flight_messages",
                    "Messages taken from connections and not yet settled.",
                )?,
                bytes: gauge(
                    "tidemill_listener_in_flight_bytes",
                    "Bytes of the messages in flight, with a fixed cost for each.",
                )?,
            },
            read_pauses: counter(
                "tidemill_listener_read_pauses_total",
                "Times that reading from a connection paused because it had too much in flight.",
            )?,
            sent_again: counter(
                "tidemill_listener_repeated_messages_total",
                "Messages that their sender marks as sent before (DUP).",
            )?,
            forgotten: counter(
                "tidemill_listener_forgotten_messages_total",
                "Unacknowledged messages of clients that are away for which there was no room any more: sent again, they \
                 are stored again.",
            )?,
            wills: counter(
                "tidemill_listener_wills_not_published_total",
                "Clients with a will that left without a goodbye.",
            )?,
        })
    }
}
