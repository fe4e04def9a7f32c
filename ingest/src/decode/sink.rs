//! Where decoders put what they read: checks that hold in every format (names, limits, nothing twice) stand here.
//!
//! Knows nothing of any format. What it refuses, it refuses before anything is added.

use std::sync::Arc;

use tidemill_store::model::{NameError, TagKey, TagValue, Timestamp, Value};

use super::names::Seen;
use super::{DecodeLimits, Fault, Message, MetricNames};

/// The message that is being decoded.
#[derive(Debug)]
pub(super) struct Sink<'d> {
    pub(super) limits: &'d DecodeLimits,
    pub(super) names: &'d mut MetricNames,
    pub(super) message: &'d mut Message,
    tags: usize,
}

impl<'d> Sink<'d> {
    /// For the next message.
    pub(super) fn new(
        limits: &'d DecodeLimits,
        names: &'d mut MetricNames,
        message: &'d mut Message,
    ) -> Self {
        message.clear();
        names.start_message();
        Self { limits, names, message, tags: 0 }
    }

    pub(super) fn start_point(&mut self) {
        self.names.start_point();
        self.tags = 0;
    }

    /// Adds a value to the current point.
    pub(super) fn metric(&mut self, name: &str, value: Value) -> Result<(), Fault> {
        match self.names.enter(name)? {
            (_, Seen::Before) => Err(Fault::MetricTwice),
            _ if self.names.in_message() > self.limits.metrics_max => {
                Err(Fault::TooManyMetrics(self.limits.metrics_max))
            }
            (slot, Seen::First) => {
                self.message.value(slot, value);
                Ok(())
            }
        }
    }

    /// The value of a text.
    pub(super) fn text(&self, text: &str) -> Result<Value, Fault> {
        if text.len() > self.limits.text_bytes_max {
            return Err(Fault::TextTooLong(self.limits.text_bytes_max));
        }
        Ok(Value::Text(Arc::from(text)))
    }

    /// Adds a tag to the current point.
    pub(super) fn tag(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        self.tags += 1;
        if self.tags > self.limits.tags_max {
            return Err(Fault::TooManyTags(self.limits.tags_max));
        }
        check_tag(key, value)?;
        self.message.tag(key, value);
        Ok(())
    }

    /// Ends the current point; one without values is not kept.
    pub(super) fn finish_point(&mut self, time: Option<Timestamp>) {
        self.message.finish_point(time);
    }

    /// The end of the message.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        if self.message.samples() == 0 { Err(Fault::NoSamples) } else { Ok(()) }
    }
}

/// Whether `key` and `value` make a tag. Printable ASCII always does and is not copied to find out.
pub(super) fn check_tag(key: &str, value: &str) -> Result<(), NameError> {
    let plain =
        |text: &str, limit| text.len() <= limit && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if key.is_empty() || !plain(key, TagKey::BYTES_MAX) {
        TagKey::new(key)?;
    }
    if value.is_empty() || !plain(value, TagValue::BYTES_MAX) {
        TagValue::new(value)?;
    }
    Ok(())
}
