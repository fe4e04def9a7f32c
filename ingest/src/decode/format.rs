//! Which formats payloads may have, and how one is chosen where the template says `auto`.
//!
//! `auto` takes a format only where no other could be meant. A payload that reads as two formats is refused, and says
//! so: as a reject it is kept, and can be replayed once the template names its format.
//!
//! | the payload begins with | it may be |
//! |---|---|
//! | `{` | JSON |
//! | `[` | JSON points, or a SenML pack where it cannot be points |
//! | a number, `true`, `false`, and nothing else | a scalar, where the topic names its metric |
//! | other text | line protocol |
//! | 0xa0–0xbf, or the tag 55799 | a CBOR map |
//! | 0xdc–0xdf | MessagePack |
//! | 0x80–0x9f | CBOR points, SenML in CBOR, or MessagePack: the one of them that it can be read as |
//!
//! CSV, Sparkplug B and scalars that are text are never guessed.

use super::csv::CsvLayout;
use super::scalar;

/// The format of payloads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    /// JSON points.
    #[default]
    Json,
    /// SenML in JSON.
    SenmlJson,
    /// SenML in CBOR.
    SenmlCbor,
    /// Influx line protocol.
    LineProtocol,
    /// CBOR points.
    Cbor,
    /// MessagePack points.
    MessagePack,
    /// One value.
    Scalar,
    /// Lines of separated values.
    Csv(CsvLayout),
    /// Sparkplug B.
    Sparkplug,
    /// Told from each payload, and refused where it could be two.
    Auto,
}

impl Format {
    /// How configuration calls it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::SenmlJson => "senml_json",
            Self::SenmlCbor => "senml_cbor",
            Self::LineProtocol => "line_protocol",
            Self::Cbor => "cbor",
            Self::MessagePack => "msgpack",
            Self::Scalar => "scalar",
            Self::Csv(_) => "csv",
            Self::Sparkplug => "sparkplug",
            Self::Auto => "auto",
        }
    }

    /// Whether the metric is named outside of the payload.
    pub const fn takes_metric_from_topic(&self) -> bool {
        matches!(self, Self::Scalar | Self::Auto)
    }
}

/// The self-describing tag of CBOR.
const CBOR_TAG: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// The formats that `payload` may have by how it begins: of several, exactly one must be able to read it.
pub(super) fn candidates(payload: &[u8]) -> &'static [Format] {
    let text = payload.trim_ascii_start();
    match (payload.first(), text.first()) {
        (_, Some(b'{')) => &[Format::Json],
        (_, Some(b'[')) => &[Format::Json, Format::SenmlJson],
        (Some(0xa0..=0xbf), _) => &[Format::Cbor],
        (Some(0xdc..=0xdf), _) => &[Format::MessagePack],
        (Some(0x80..=0x9f), _) => &[Format::Cbor, Format::SenmlCbor, Format::MessagePack],
        _ if payload.starts_with(&CBOR_TAG) => &[Format::Cbor, Format::SenmlCbor],
        _ if scalar::is_certain(payload) => &[Format::Scalar],
        (_, Some(b' '..=b'~')) => &[Format::LineProtocol],
        _ => &[],
    }
}
