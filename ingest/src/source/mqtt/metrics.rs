//! The consumer's own numbers. Messages that reach the pipeline are counted there (I2); what is shed before, here.

use prometheus::{Counter, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::source::window::InFlightGauges;

/// Counters and gauges of one consumer, over all its connections; cloning shares them.
#[derive(Debug, Clone)]
pub struct MqttMetrics {
    pub(super) connected: IntGauge,
    pub(super) backoff_seconds: Counter,
    pub(super) connects: IntCounter,
    pub(super) subscribed: IntCounter,
    pub(super) disconnects: IntCounterVec,
    pub(super) stale_acks: IntCounter,
    pub(super) redelivered: IntCounter,
    pub(super) shed: IntCounter,
    pub(super) retained: IntCounter,
    pub(super) poll_pauses: IntCounter,
    pub(super) in_flight: InFlightGauges,
}

impl MqttMetrics {
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
        let disconnects = IntCounterVec::new(
            Opts::new("tidemill_mqtt_disconnects_total", "Connections to brokers that failed or ended."),
            &["reason"],
        )?;
        registry.register(Box::new(disconnects.clone()))?;
        let backoff_seconds =
            Counter::new("tidemill_mqtt_backoff_seconds_total", "Pauses before connecting again.")?;
        registry.register(Box::new(backoff_seconds.clone()))?;
        Ok(Self {
            connected: gauge("tidemill_mqtt_connected", "Connections to brokers that are up.")?,
            backoff_seconds,
            connects: counter("tidemill_mqtt_connects_total", "Connections that brokers accepted.")?,
            subscribed: counter(
                "tidemill_mqtt_subscribed_total",
                "Times that a broker granted our subscriptions.",
            )?,
            disconnects,
            stale_acks: counter(
                "tidemill_mqtt_stale_acks_total",
                "Acknowledgements dropped because their connection had ended; the broker sends the messages again.",
            )?,
            redelivered: counter(
                "tidemill_mqtt_redelivered_messages_total",
                "Messages that a broker sent once more, since it had no acknowledgement.",
            )?,
            shed: counter(
                "tidemill_mqtt_shed_messages_total",
                "QoS 0 messages dropped before the pipeline, for lack of room or while stopping.",
            )?,
            retained: counter(
                "tidemill_mqtt_retained_messages_total",
                "Messages that a broker kept and sent because of a subscription; ignored or not.",
            )?,
            poll_pauses: counter(
                "tidemill_mqtt_poll_pauses_total",
                "Times that reading from a broker paused because a connection had too much in flight.",
            )?,
            in_flight: InFlightGauges {
                messages: gauge(
                    "tidemill_mqtt_in_flight_messages",
                    "Messages taken from brokers and not yet settled.",
                )?,
                bytes: gauge(
                    "tidemill_mqtt_in_flight_bytes",
                    "Bytes of the messages in flight, with a fixed cost for each.",
                )?,
            },
        })
    }
}
