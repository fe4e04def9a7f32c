//! What decoders said, with names spelled out: for tests of every format.

use tidemill_store::model::{Timestamp, Value};

use super::{DecodeError, DecodeLimits, Decoder, Format, Message, Payload, Reading, TimeUnit};

/// A point with its names spelled out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) time: Option<Timestamp>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) values: Vec<(String, Value)>,
}

/// When payloads of tests are received.
pub(super) const RECEIVED_MILLIS: i64 = 1_700_000_000_000;

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub(super) fn decoder() -> Decoder {
    Decoder::new(DecodeLimits::default())
}

pub(super) fn reading(format: &Format) -> Reading {
    Reading::new(format.clone(), Some(TimeUnit::Milliseconds))
}

pub(super) fn payload(bytes: &[u8]) -> Payload<'_> {
    Payload { bytes, metric: Some("topic_metric"), received_at: at(RECEIVED_MILLIS) }
}

pub(super) fn said(decoder: &Decoder, message: &Message) -> Vec<Said> {
    let name = |slot: u32| decoder.names().metric(slot).unwrap().to_string();
    let point = |point: super::MessagePoint<'_>| {
        let mut parts = point.tags.split_terminator('\0').map(str::to_owned);
        let mut tags = Vec::new();
        while let Some(key) = parts.next() {
            tags.push((key, parts.next().unwrap()));
        }
        let values = point.values.iter().map(|(slot, value)| (name(*slot), value.clone())).collect();
        Said { time: point.time, tags, values }
    };
    message.points().map(point).collect()
}

pub(super) fn decode_with(reading: &Reading, bytes: &[u8]) -> Result<Vec<Said>, DecodeError> {
    let (mut decoder, mut message) = (decoder(), Message::default());
    decoder.decode(reading, payload(bytes), &mut message)?;
    Ok(said(&decoder, &message))
}

/// What `bytes` say in `format`, times being in milliseconds.
pub(super) fn decode_as(format: &Format, bytes: &[u8]) -> Result<Vec<Said>, DecodeError> {
    decode_with(&reading(format), bytes)
}

/// The label and the text of what is wrong with `bytes`.
pub(super) fn fault(format: &Format, bytes: &[u8]) -> (&'static str, String) {
    let error = decode_as(format, bytes).expect_err("it was accepted");
    assert!(error.offset <= bytes.len(), "{error}");
    (error.fault.label(), error.to_string())
}

pub(super) fn pairs(list: &[(&str, Value)]) -> Vec<(String, Value)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub(super) fn tags(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
