//! JSON payloads, in three shapes, decoded in one pass without a tree:
//!
//! - `{"ts": …, "tags": {…}, "temperature": 21.5, "motor": {"current": 3}}`: every other member is a metric,
//!   nested objects flatten with `.` (`motor.current`), nulls are skipped;
//! - `{"ts": …, "tags": {…}, "values": {…}}`: where `values` is an object, the metrics stand in it alone;
//! - an array of either, each element a point of its own; one that has only nulls is skipped.
//!
//! `ts` (a number in the configured unit, or RFC 3339 text; null or missing: the time of receipt) and `tags`
//! (an object of strings) mean something only as members of the point itself. Anything else is refused whole.

mod tokens;
mod walk;

#[cfg(test)]
pub(super) mod oracle;
#[cfg(test)]
mod tests;

pub(super) use tokens::JsonTokens;
use walk::Walk;

use super::cursor::Cursor;
use super::path::Path;
use super::{DecodeError, DecodeLimits, Fault, Message, MetricNames, TimeUnit};

/// Decodes `payload` into `message`.
pub(super) fn decode(
    payload: &[u8],
    unit: Option<TimeUnit>,
    limits: &DecodeLimits,
    (names, path): (&mut MetricNames, &mut Path),
    message: &mut Message,
) -> Result<(), DecodeError> {
    message.clear();
    let text = utf8(payload)?;
    names.start_message();
    path.clear();
    let walk = Walk {
        cursor: Cursor::new(text),
        limits,
        unit,
        names,
        path,
        message,
        element: None,
        in_values: false,
    };
    walk.payload().map_err(|failed| *failed)
}

/// `payload` as text.
pub(super) fn utf8(payload: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(payload).map_err(|error| DecodeError {
        fault: Fault::NotUtf8,
        pointer: String::new(),
        offset: error.valid_up_to(),
    })
}
