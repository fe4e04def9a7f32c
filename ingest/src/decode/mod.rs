//! Decoders: the bytes of a payload → the points they state, or why not and where.
//!
//! [`Decoder`] chooses by [`Format`]: [`json`] in one hand-tuned pass; CBOR and MessagePack through one walker (maps)
//! over their values (tokens), as [`senml`] in both its encodings; [`mod@line`] and [`csv`] line by line; scalars.
//!
//! Pure: no clock, no shard, no store. A decoder fills a [`Message`] that its caller keeps and uses again, so a
//! message costs no allocation of its own. A message is atomic: it gives all of its points or an error (I7).

mod cbor;
pub mod csv;
mod cursor;
mod decoder;
mod error;
pub mod format;
pub mod json;
pub mod line;
mod maps;
mod message;
mod msgpack;
mod names;
mod number;
mod path;
mod scalar;
pub mod senml;
mod sink;
pub mod sparkplug;
mod text;
mod time;
mod tokens;

#[cfg(test)]
mod testing;

pub use csv::{CsvLayout, CsvLayoutError};
pub use decoder::{Decoder, Payload, Reading};
pub use error::{DecodeError, Fault, NO_BIRTH};
pub use format::Format;
pub use message::{Message, MessagePoint};
pub use names::{MetricNames, NamePool};
pub use time::TimeUnit;

/// Bounds on what one message may hold (I6). Passing one is a reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Objects and arrays inside of each other.
    pub depth_max: usize,
    /// Different metrics of a message.
    pub metrics_max: usize,
    /// Elements of the outermost array.
    pub elements_max: usize,
    /// Tags of a point.
    pub tags_max: usize,
    /// Bytes of a text value.
    pub text_bytes_max: usize,
}

impl DecodeLimits {
    /// Deeper than devices nest, far below what a stack holds.
    pub const DEPTH_DEFAULT: usize = 8;
    /// Above this a message is a dump, and every metric is a series that somebody pays for.
    pub const METRICS_DEFAULT: usize = 1_000;
    /// An hour of seconds with room to spare.
    pub const ELEMENTS_DEFAULT: usize = 10_000;
    /// What a source can carry.
    pub const TAGS_DEFAULT: usize = tidemill_store::model::TAGS_MAX;
    /// Text values are states and short messages, not documents.
    pub const TEXT_BYTES_DEFAULT: usize = 4096;
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            depth_max: Self::DEPTH_DEFAULT,
            metrics_max: Self::METRICS_DEFAULT,
            elements_max: Self::ELEMENTS_DEFAULT,
            tags_max: Self::TAGS_DEFAULT,
            text_bytes_max: Self::TEXT_BYTES_DEFAULT,
        }
    }
}
