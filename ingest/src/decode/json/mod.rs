//! JSON payloads, in three shapes, decoded in one pass without a tree:
//!
//! - `{"ts": …, "tags": {…}, "temperature": 21.5, "motor": {"current": 3}}`: every other member is a metric,
//!   nested objects flatten with `.` (`motor.current`), nulls are skipped;
//! - `{"ts": …, "tags": {…}, "values": {…}}`: where `values` is an object, the metrics stand in it alone;
//! - an array of either, each element a point of its own; one that has only nulls is skipped.
//!
//! `ts` (a number in the configured unit, or RFC 3339 text; null or missing: the time of receipt) and `tags`
//! (an object of strings) mean something only as members of the point itself. Anything else is refused whole.

mod walk;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use walk::Walk;

use super::cursor::Cursor;
use super::{DecodeError, DecodeLimits, Fault, Message, MetricNames, NamePool, TimeUnit};

/// Decodes JSON payloads of one connection; keeps the names it has seen.
#[derive(Debug)]
pub struct JsonDecoder {
    limits: DecodeLimits,
    unit: TimeUnit,
    names: MetricNames,
    path: Path,
}

/// The names of the objects around the current member, joined with `.`, and where each starts.
#[derive(Debug, Default)]
struct Path {
    text: String,
    segments: Vec<usize>,
}

impl JsonDecoder {
    /// A decoder that knows no names yet.
    pub fn new(limits: DecodeLimits, unit: TimeUnit) -> Self {
        Self { limits, unit, names: MetricNames::default(), path: Path::default() }
    }

    /// The same decoder, sharing its names through `pool`.
    #[must_use]
    pub fn sharing(mut self, pool: Arc<NamePool>) -> Self {
        self.names = MetricNames::sharing(pool);
        self
    }

    /// The names that slots in a [`Message`] refer to.
    pub fn names(&self) -> &MetricNames {
        &self.names
    }

    /// Forgets the names: slots given before mean nothing after.
    pub fn forget_names(&mut self) {
        self.names.clear();
    }

    /// Decodes `payload` into `message`, which is cleared first and means nothing after an error.
    pub fn decode(&mut self, payload: &[u8], message: &mut Message) -> Result<(), DecodeError> {
        message.clear();
        let text = std::str::from_utf8(payload).map_err(|error| DecodeError {
            fault: Fault::NotUtf8,
            pointer: String::new(),
            offset: error.valid_up_to(),
        })?;
        self.names.start_message();
        self.path.clear();
        let walk = Walk {
            cursor: Cursor::new(text),
            limits: &self.limits,
            unit: self.unit,
            names: &mut self.names,
            path: &mut self.path,
            message,
            element: None,
            in_values: false,
        };
        walk.payload().map_err(|failed| *failed)
    }
}

impl Path {
    fn clear(&mut self) {
        self.text.clear();
        self.segments.clear();
    }

    /// Enters the object `name`; gives what [`Path::leave`] needs.
    fn enter(&mut self, name: &str) -> usize {
        let before = self.text.len();
        if !self.segments.is_empty() {
            self.text.push('.');
        }
        self.segments.push(self.text.len());
        self.text.push_str(name);
        before
    }

    fn leave(&mut self, before: usize) {
        self.segments.pop();
        self.text.truncate(before);
    }

    /// The segments in order.
    fn iter(&self) -> impl Iterator<Item = &str> {
        let ends = self.segments.iter().skip(1).map(|start| start - 1).chain([self.text.len()]);
        self.segments.iter().zip(ends).map(|(&start, end)| self.text.get(start..end).unwrap_or_default())
    }
}
