//! The decoder: one for all formats, because slots of names must mean one thing to all messages of a group.

use std::sync::Arc;

use tidemill_store::model::Timestamp;

use super::cbor::Cbor;
use super::csv::Rows;
use super::format::candidates;
use super::json::{self, JsonTokens, utf8};
use super::line::Lines;
use super::maps;
use super::msgpack::MessagePack;
use super::path::Path;
use super::senml;
use super::sink::Sink;
use super::sparkplug::{self, Facts, Session};
use super::text::Scanner;
use super::tokens::{Key, Tokens};
use super::{DecodeError, DecodeLimits, Fault, Format, Message, MetricNames, NamePool, TimeUnit, scalar};

/// How the payloads of a template are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Their format.
    pub format: Format,
    /// The unit of their times where the format has none of its own; `None` where times are not read at all.
    pub unit: Option<TimeUnit>,
    /// The unit of times in line protocol that is told from a payload, where it is another.
    pub unit_of_lines: Option<TimeUnit>,
}

/// What some programs put before text, for no reason but to say that it is UTF-8; no payload of any format begins so.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Reading {
    /// Payloads of `format` with times in `unit`; in nanoseconds in lines that are told from the payload.
    pub fn new(format: Format, unit: Option<TimeUnit>) -> Self {
        Self { format, unit, unit_of_lines: unit.map(|_| TimeUnit::Nanoseconds) }
    }

    fn unit_of(&self, format: &Format) -> Option<TimeUnit> {
        let is_told_line = self.format == Format::Auto && *format == Format::LineProtocol;
        if is_told_line { self.unit_of_lines } else { self.unit }
    }
}

/// A payload with what it does not say itself.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The metric that its topic names, if it does.
    pub metric: Option<&'a str>,
    /// When it was received: relative times count from here.
    pub received_at: Timestamp,
}

/// Decodes payloads; keeps the names it has seen.
#[derive(Debug)]
pub struct Decoder {
    limits: DecodeLimits,
    names: MetricNames,
    path: Path,
    text: String,
}

impl Decoder {
    /// A decoder that knows no names yet.
    pub fn new(limits: DecodeLimits) -> Self {
        Self { limits, names: MetricNames::default(), path: Path::default(), text: String::new() }
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
    pub fn decode(
        &mut self,
        reading: &Reading,
        payload: Payload<'_>,
        message: &mut Message,
    ) -> Result<(), DecodeError> {
        if let Some(bytes) = payload.bytes.strip_prefix(BYTE_ORDER_MARK) {
            let marked = self.unmarked(reading, Payload { bytes, ..payload }, message);
            let behind =
                |error: DecodeError| DecodeError { offset: error.offset + BYTE_ORDER_MARK.len(), ..error };
            return marked.map_err(behind);
        }
        self.unmarked(reading, payload, message)
    }

    fn unmarked(
        &mut self,
        reading: &Reading,
        payload: Payload<'_>,
        message: &mut Message,
    ) -> Result<(), DecodeError> {
        if reading.format == Format::Auto {
            self.told(reading, payload, message)
        } else {
            self.known(&reading.format, reading.unit, payload, message)
        }
    }

    /// Decodes a payload of Sparkplug B, whose meaning depends on its session.
    pub fn decode_sparkplug(
        &mut self,
        session: Session<'_>,
        payload: &[u8],
        message: &mut Message,
    ) -> Result<Facts, DecodeError> {
        sparkplug::decode(payload, session, Sink::new(&self.limits, &mut self.names, message))
    }

    /// Adds to the message of a node that is gone, which was decoded last, a point for each of its `devices`, which are
    /// gone with it.
    pub fn add_offline(&mut self, devices: usize, message: &mut Message) {
        sparkplug::add_offline(devices, &mut self.names, message);
    }

    /// Decodes a payload of a known format.
    fn known(
        &mut self,
        format: &Format,
        unit: Option<TimeUnit>,
        payload: Payload<'_>,
        message: &mut Message,
    ) -> Result<(), DecodeError> {
        let Self { limits, names, path, text } = self;
        if matches!(format, Format::Json) {
            return json::decode(payload.bytes, unit, limits, (names, path), message);
        }
        let sink = Sink::new(limits, names, message);
        let taken = match format {
            Format::SenmlJson => {
                let tokens = JsonTokens::new(utf8(payload.bytes)?);
                pack(tokens, sink, unit, &payload, |key| matches!(key, Key::Text(_)))
            }
            Format::SenmlCbor => {
                let tokens = Cbor::new(payload.bytes);
                pack(tokens, sink, unit, &payload, |key| matches!(key, Key::Integer(_)))
            }
            Format::LineProtocol => {
                let scanner = Scanner::new(utf8(payload.bytes)?);
                Lines { scanner, sink, unit, name: text }.payload()
            }
            Format::Csv(layout) => {
                let scanner = Scanner::new(utf8(payload.bytes)?);
                Rows { scanner, sink, unit, layout }.payload()
            }
            Format::Cbor => points(Cbor::new(payload.bytes), sink, path, unit),
            Format::MessagePack => points(MessagePack::new(payload.bytes), sink, path, unit),
            Format::Scalar => return scalar::decode(payload.bytes, payload.metric, sink),
            Format::Json | Format::Sparkplug | Format::Auto => Err(Box::new(whole(Fault::Unrecognised))),
        };
        taken.map_err(|failed| *failed)
    }

    /// Decodes a payload of the one format that it can have.
    fn told(
        &mut self,
        reading: &Reading,
        payload: Payload<'_>,
        message: &mut Message,
    ) -> Result<(), DecodeError> {
        if payload.bytes.is_empty() {
            return Err(whole(Fault::EmptyPayload));
        }
        let candidates = candidates(payload.bytes);
        if let [only] = candidates {
            return self.known(only, reading.unit_of(only), payload, message);
        }
        let (mut found, mut first_error) = (None, None);
        for format in candidates {
            match (self.known(format, reading.unit_of(format), payload, message), found) {
                (Ok(()), None) => found = Some(format),
                (Ok(()), Some(other)) => {
                    return Err(whole(Fault::Ambiguous(other.name(), format.name())));
                }
                (Err(error), _) => first_error = first_error.or(Some(error)),
            }
        }
        match found {
            // The message holds what the last candidate left there.
            Some(format) => self.known(format, reading.unit_of(format), payload, message),
            None => Err(first_error.unwrap_or_else(|| whole(Fault::Unrecognised))),
        }
    }
}

fn whole(fault: Fault) -> DecodeError {
    DecodeError { fault, pointer: String::new(), offset: 0 }
}

fn points<'a>(
    tokens: impl Tokens<'a>,
    sink: Sink<'_>,
    path: &mut Path,
    unit: Option<TimeUnit>,
) -> Result<(), maps::Failed> {
    maps::Walk { tokens, sink, path, unit, element: None, in_values: false }.payload()
}

fn pack<'a>(
    tokens: impl Tokens<'a>,
    sink: Sink<'_>,
    unit: Option<TimeUnit>,
    payload: &Payload<'a>,
    is_label: fn(&Key<'_>) -> bool,
) -> Result<(), maps::Failed> {
    senml::Walk::new(tokens, sink, unit.is_some(), payload.received_at).pack(is_label)
}

#[cfg(test)]
mod tests;
