//! Why a payload was refused, and where: text for the people who fix the device, a word for metrics.

use std::fmt;

use tidemill_store::model::NameError;

/// Why data waits that refers to a birth which was not seen.
pub const NO_BIRTH: &str = "no_birth";

/// Longest pointer that an error carries, in bytes; what is beyond is cut.
const POINTER_BYTES_MAX: usize = 256;

/// A fault with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub fault: Fault,
    /// JSON pointer (RFC 6901) of the value at fault, or its line in formats of lines; empty for the whole payload.
    pub pointer: String,
    /// Byte of the payload at which decoding stopped.
    pub offset: usize,
}

/// What is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The payload has no bytes.
    #[error("the payload is empty")]
    EmptyPayload,
    /// The payload is not text.
    #[error("the payload is not UTF-8")]
    NotUtf8,
    /// The payload breaks the grammar.
    #[error("not JSON: {0}")]
    Syntax(&'static str),
    /// The payload breaks the grammar of another format.
    #[error("not {format}: {what}")]
    Malformed {
        /// The format.
        format: &'static str,
        /// How.
        what: &'static str,
    },
    /// The format is to be told from the payload, and it is none of those that can be.
    #[error("no format that can be told from a payload; set the template's format")]
    Unrecognised,
    /// The payload means different things in two formats.
    #[error("it reads as {0} and as {1}; set the template's format")]
    Ambiguous(&'static str, &'static str),
    /// Something follows the value.
    #[error("something follows the end of the value")]
    Trailing,
    /// Neither an object nor an array of objects.
    #[error("expected an object{0}")]
    NotAnObject(&'static str),
    /// An array where a value of a metric belongs.
    #[error("an array cannot be the value of a metric")]
    Array,
    /// Bytes where a value of a metric belongs.
    #[error("a byte string cannot be the value of a metric")]
    Bytes,
    /// A time where a value of a metric belongs.
    #[error("a time cannot be the value of a metric")]
    TimeValue,
    /// A key that is no text.
    #[error("the name of a member must be text")]
    KeyNotText,
    /// Something that is passed over is nested too deep.
    #[error("nested too deep")]
    SkippedTooDeep,
    /// A SenML record breaks the rules of RFC 8428.
    #[error("not SenML: {0}")]
    Senml(&'static str),
    /// The name of a SenML record, base name and name together, breaks the rules of RFC 8428.
    #[error("not SenML: {0}")]
    SenmlName(&'static str),
    /// A SenML record has a label that must be understood.
    #[error("the SenML label {0:?} must be understood and is not")]
    SenmlLabel(String),
    /// A SenML record with binary data.
    #[error("binary data (\"vd\") cannot be stored")]
    SenmlData,
    /// The names of columns are not known.
    #[error("the line has {found} fields where there are {expected} columns")]
    Columns {
        /// Columns.
        expected: usize,
        /// Fields of the line.
        found: usize,
    },
    /// Data refers to a birth that was not seen; with the alias of the metric.
    #[error(
        "the alias {0} or its type is not known: no birth that names it was seen, a rebirth is asked for"
    )]
    NoBirth(u64),
    /// A value that is no number, truth or text.
    #[error("a metric holds {0}, which no series can hold; what else the message says is stored")]
    Unstorable(&'static str),
    /// The topic names no metric.
    #[error("neither topic nor template name the metric")]
    NoMetricName,
    /// An object without members.
    #[error("the object is empty")]
    EmptyObject,
    /// A member without a name.
    #[error("the name of a member is empty")]
    EmptyKey,
    /// Nothing to store.
    #[error("there is no value to store")]
    NoSamples,
    /// A metric stands twice in a point.
    #[error("the metric stands twice")]
    MetricTwice,
    /// A member with a meaning of its own stands twice.
    #[error("{0} stands twice")]
    MemberTwice(&'static str),
    /// A metric beside of `values`.
    #[error("a metric beside of \"values\"")]
    BesideValues,
    /// Nested too deep.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// Too many metrics.
    #[error("more than {0} different metrics")]
    TooManyMetrics(usize),
    /// Too many elements.
    #[error("more than {0} elements")]
    TooManyElements(usize),
    /// Too many tags.
    #[error("more than {0} tags")]
    TooManyTags(usize),
    /// A text value is too long.
    #[error("a text of more than {0} bytes")]
    TextTooLong(usize),
    /// A number that no double can hold.
    #[error("a number out of the range of a double")]
    NumberOutOfRange,
    /// An integer outside of 64 bits with a sign that a double would change.
    #[error("an integer outside of 64 bits with a sign, and no double represents it exactly")]
    IntegerInexact,
    /// An integer of more bits than are looked at.
    #[error("an integer of more than 120 bits")]
    IntegerTooLong,
    /// The name of a metric or tag is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The value of a tag is not a string.
    #[error("the value of a tag must be a string")]
    TagNotText,
    /// `tags` is not an object.
    #[error("\"tags\" must be an object")]
    TagsNotAnObject,
    /// `ts` is neither a number nor a string.
    #[error("\"ts\" must be a number or an RFC 3339 string")]
    TimeKind,
    /// A time is text that is not RFC 3339.
    #[error("the time is not RFC 3339, such as 2024-05-01T12:00:00Z")]
    TimeText,
    /// A time that cannot be stored.
    #[error("the time lies outside of the years 1684 to 2255; is its unit right?")]
    TimeOutOfRange,
}

impl Fault {
    /// Whether it is of the value or the name of one metric: the others around it can be understood all the same.
    pub(super) const fn is_of_one_value(&self) -> bool {
        matches!(
            self,
            Self::Unstorable(_)
                | Self::IntegerInexact
                | Self::NumberOutOfRange
                | Self::TextTooLong(_)
                | Self::TimeOutOfRange
                | Self::Name(_)
        )
    }

    /// A word for metrics and for the `reason` of a reject: one of a few.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::EmptyPayload
            | Self::NotUtf8
            | Self::Syntax(_)
            | Self::Malformed { .. }
            | Self::Trailing => "syntax",
            Self::Unrecognised | Self::Ambiguous(..) => "format",
            Self::NotAnObject(_)
            | Self::Array
            | Self::Bytes
            | Self::TimeValue
            | Self::KeyNotText
            | Self::EmptyObject
            | Self::EmptyKey
            | Self::Senml(_)
            | Self::SenmlLabel(_)
            | Self::SenmlData
            | Self::Columns { .. }
            | Self::NoMetricName
            | Self::BesideValues => "shape",
            Self::NoSamples => "no_samples",
            Self::MetricTwice | Self::MemberTwice(_) => "duplicate_member",
            Self::TooDeep(_)
            | Self::SkippedTooDeep
            | Self::TooManyMetrics(_)
            | Self::TooManyElements(_)
            | Self::TooManyTags(_)
            | Self::TextTooLong(_) => "limit",
            Self::NoBirth(_) => NO_BIRTH,
            Self::Unstorable(_) => "unsupported_type",
            Self::NumberOutOfRange | Self::IntegerInexact | Self::IntegerTooLong => "number",
            Self::Name(_) | Self::SenmlName(_) => "name",
            Self::TagNotText | Self::TagsNotAnObject => "tags",
            Self::TimeKind | Self::TimeText | Self::TimeOutOfRange => "time",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => write!(f, "at byte {}: {}", self.offset, self.fault),
            pointer => write!(f, "at {pointer} (byte {}): {}", self.offset, self.fault),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Appends `segment` to a JSON pointer, escaped, cut where the pointer grows too long.
pub(super) fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for character in segment.chars() {
        if pointer.len() >= POINTER_BYTES_MAX {
            return;
        }
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}
