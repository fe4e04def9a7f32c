//! What a pipeline is told: checked values and their defaults. Reads no file and no environment.
//!
//! Every bound between socket and store stands here (I6).

use std::time::Duration;

use tidemill_store::append::{AppendLimits, RetryPolicy};
use tidemill_store::rejects::REJECT_SLOTS;

use crate::decode::DecodeLimits;
use crate::reject_gate::RejectRates;
use crate::rejects::waits;
use crate::topic::{TEMPLATE_DEFAULT, TemplateError, TopicTemplates};

/// Everything a pipeline is told.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// How topics name sources, and how their payloads are read.
    pub templates: TopicTemplates,
    /// Bounds on one message.
    pub decode: DecodeLimits,
    /// Messages that may be between socket and store.
    pub memory: MemoryLimits,
    /// How much goes into one write plan of a shard.
    pub batch: BatchLimits,
    /// When a shard that is busy takes its next batch.
    pub pace: BatchPace,
    /// How rejects are kept.
    pub rejects: RejectLimits,
    /// Bounds of the segments, marks and catalog that are written.
    pub append: AppendLimits,
    /// Waits between attempts to write.
    pub retry: RetryPolicy,
}

/// Bounds on what the pipeline holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Most bytes of messages (topic, payload and [`MemoryLimits::MESSAGE_OVERHEAD`] each) that are taken and not
    /// yet settled. Decoded, a message takes a few times its size.
    pub in_flight_bytes_max: usize,
    /// Most bytes of a payload that is looked into; larger ones are kept as rejects.
    pub payload_bytes_max: usize,
    /// Most topics whose sources are kept at hand, for each group that is sorted at the same time; long ones count as
    /// several.
    pub topics_max: usize,
    /// Most metric names that are kept at hand, for each group that is sorted at the same time.
    pub metrics_max: usize,
}

impl MemoryLimits {
    /// A few hundred thousand small messages: seconds of a fast fleet, and no burden to a small machine.
    pub const IN_FLIGHT_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
    /// As large as the packets that sources take.
    pub const PAYLOAD_BYTES_DEFAULT: usize = 1024 * 1024;
    /// Below this a single large packet would take everything.
    pub const IN_FLIGHT_BYTES_MIN: usize = 1024 * 1024;
    /// What a message costs beyond its bytes.
    pub const MESSAGE_OVERHEAD: usize = 64;
    /// As many as the sources that a shard takes by default; some tens of megabytes where topics are short.
    pub const TOPICS_DEFAULT: usize = 200_000;
    /// More than any fleet has by design.
    pub const METRICS_DEFAULT: usize = 10_000;
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            in_flight_bytes_max: Self::IN_FLIGHT_BYTES_DEFAULT,
            payload_bytes_max: Self::PAYLOAD_BYTES_DEFAULT,
            topics_max: Self::TOPICS_DEFAULT,
            metrics_max: Self::METRICS_DEFAULT,
        }
    }
}

/// Bounds on one write plan of a shard. One group of messages is never cut, so a plan passes them by less than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most messages.
    pub messages_max: usize,
    /// Most samples.
    pub samples_max: usize,
    /// Most bytes of messages as received.
    pub bytes_max: usize,
}

impl Default for BatchLimits {
    /// Some tens of segments at most, written in a fraction of a second: above that, batches gain nothing more.
    fn default() -> Self {
        Self { messages_max: 20_000, samples_max: 200_000, bytes_max: 8 * 1024 * 1024 }
    }
}

/// When a shard that is busy takes its next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPace {
    /// Busy shards take what has collected all together, once in this span; zero: each as soon as it has written.
    pub beat: Duration,
    /// A shard is busy that has written a batch of at least so many messages.
    pub busy_messages_min: usize,
}

impl BatchPace {
    /// A few syncs of a disk long, and well within ten milliseconds.
    pub const BEAT_DEFAULT: Duration = Duration::from_millis(4);
}

impl Default for BatchPace {
    /// A shard that has more than a few messages at a time would otherwise sync for each handful, which costs a tenth of
    /// the processor at 25,000 messages a second and three times as many syncs.
    fn default() -> Self {
        Self { beat: Self::BEAT_DEFAULT, busy_messages_min: 4 }
    }
}

/// As much as a spool has by default: both hold what was acknowledged and cannot be read yet.
const WAITING_BYTES_MAX: u64 = 1 << 30;

/// How rejects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectLimits {
    /// Most bytes of a payload that are kept; the rest is cut off, and the detail says so.
    pub payload_bytes_max: usize,
    /// Partitions that the rejects of a day are spread over.
    pub slots: u16,
    /// How many are kept.
    pub rates: RejectRates,
    /// Most bytes of messages that wait for a birth whatever their senders have used up of `rates`; beyond it they are
    /// subject to those like others. What waits for eras always waits: the spool is its bound.
    pub waiting_bytes_max: u64,
    /// Whether those that wait for something are taken by themselves when it has come.
    pub takes_waiting: bool,
}

impl RejectLimits {
    /// Most bytes of the payload of a reject of this reason that are kept: all where it is taken again by itself.
    pub(crate) fn kept_bytes_max(&self, reason: &str) -> usize {
        if waits(reason) { usize::MAX } else { self.payload_bytes_max }
    }
}

impl Default for RejectLimits {
    /// A payload of 64 KiB is kept whole, and a row stays far below every service's limit.
    fn default() -> Self {
        Self {
            payload_bytes_max: 64 * 1024,
            slots: REJECT_SLOTS,
            rates: RejectRates::default(),
            waiting_bytes_max: WAITING_BYTES_MAX,
            takes_waiting: true,
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestConfigError {
    /// The memory for messages in flight is too small.
    #[error("{given} bytes for messages in flight; at least {least} are needed")]
    Memory {
        /// What was given, in bytes.
        given: usize,
        /// What is needed, in bytes.
        least: usize,
    },
    /// The rejects of a day have no partition.
    #[error("rejects need at least one slot")]
    Slots,
    /// A bound that allows nothing.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl IngestConfig {
    /// Defaults, with these templates.
    pub fn new(templates: TopicTemplates) -> Self {
        Self {
            templates,
            decode: DecodeLimits::default(),
            memory: MemoryLimits::default(),
            batch: BatchLimits::default(),
            pace: BatchPace::default(),
            rejects: RejectLimits::default(),
            append: AppendLimits::default(),
            retry: RetryPolicy::default(),
        }
    }

    /// Defaults throughout: topics as [`TEMPLATE_DEFAULT`] says.
    pub fn with_defaults() -> Result<Self, TemplateError> {
        Ok(Self::new(TopicTemplates::new([TEMPLATE_DEFAULT])?))
    }

    /// Whether the pipeline can work like this.
    pub fn check(&self) -> Result<(), IngestConfigError> {
        let (given, least) = (self.memory.in_flight_bytes_max, MemoryLimits::IN_FLIGHT_BYTES_MIN);
        if given < least {
            return Err(IngestConfigError::Memory { given, least });
        }
        if self.rejects.slots == 0 {
            return Err(IngestConfigError::Slots);
        }
        let bounds = [
            ("the messages of a batch", self.batch.messages_max),
            ("the samples of a batch", self.batch.samples_max),
            ("the bytes of a batch", self.batch.bytes_max),
            ("the topics at hand", self.memory.topics_max),
            ("the metrics at hand", self.memory.metrics_max),
            ("the depth of a message", self.decode.depth_max),
            ("the metrics of a message", self.decode.metrics_max),
            ("the elements of a message", self.decode.elements_max),
        ];
        match bounds.into_iter().find(|&(_, bound)| bound == 0) {
            Some((name, _)) => Err(IngestConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_work_and_bounds_that_allow_nothing_are_refused() {
        let config = IngestConfig::with_defaults().unwrap();
        assert_eq!(config.check(), Ok(()));
        let mut small = config.clone();
        small.memory.in_flight_bytes_max = 1000;
        assert!(matches!(small.check(), Err(IngestConfigError::Memory { given: 1000, .. })));
        let mut empty = config.clone();
        empty.batch.samples_max = 0;
        assert_eq!(empty.check().unwrap_err().to_string(), "the samples of a batch must be at least 1");
        let mut slotless = config;
        slotless.rejects.slots = 0;
        assert_eq!(slotless.check(), Err(IngestConfigError::Slots));
    }
}
