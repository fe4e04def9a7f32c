//! What devices say: JSON as a gateway writes it, prepared once, with the places where the time of measuring stands.
//!
//! Pure. A time takes exactly 13 digits (milliseconds from 2001 to 2286), so that it can be written in place.

use clap::ValueEnum;
use serde::Serialize;
use tidemill_store::model::Timestamp;

use crate::fleet::{METRICS, Sensors};

/// Digits of a time in milliseconds.
pub(super) const TIME_DIGITS: usize = 13;
/// Any time of 13 digits.
const SOME_TIME_MILLIS: i64 = 1_700_000_000_000;
/// Points of a message that is an array.
const ARRAY_POINTS: u8 = 10;

/// The shape of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// `{"ts":…,"temperature":…,…}`: five metrics, about 110 bytes.
    Flat,
    /// `{"ts":…,"values":{…}}`: the same, metrics apart.
    Nested,
    /// `[{…},…]`: ten points of the flat shape, a millisecond apart.
    Array,
}

impl Shape {
    /// Points of one message.
    pub(crate) const fn points(self) -> u8 {
        match self {
            Self::Flat | Self::Nested => 1,
            Self::Array => ARRAY_POINTS,
        }
    }

    /// Samples of one message.
    pub(crate) fn samples(self) -> u64 {
        METRICS * u64::from(self.points())
    }
}

/// A payload whose times are still to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) text: String,
    /// Where times stand, of the first point first.
    pub(super) times_at: Vec<usize>,
}

impl Payload {
    /// The next message of a device.
    pub(super) fn next(sensors: &mut Sensors, shape: Shape) -> Self {
        let mut payload = Self { text: String::new(), times_at: Vec::new() };
        match shape {
            Shape::Flat => payload.point(&metrics(sensors), "", ""),
            Shape::Nested => payload.point(&metrics(sensors), "\"values\":{", "}"),
            Shape::Array => {
                for point in 0..shape.points() {
                    payload.text.push(if point == 0 { '[' } else { ',' });
                    payload.point(&metrics(sensors), "", "");
                }
                payload.text.push(']');
            }
        }
        payload
    }

    fn point(&mut self, metrics: &str, open: &str, close: &str) {
        self.text.push_str("{\"ts\":");
        self.times_at.push(self.text.len());
        self.text.push_str(&SOME_TIME_MILLIS.to_string());
        for part in [",", open, metrics, close, "}"] {
            self.text.push_str(part);
        }
    }
}

/// What a device measures, as members of an object.
fn metrics(sensors: &mut Sensors) -> String {
    let message = sensors.measure(Timestamp::EPOCH);
    let members = message.split_once(',').map_or("", |(_, members)| members);
    members.trim_end_matches('}').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_json_with_times_where_it_says() {
        let mut sensors = Sensors::new(1);
        for shape in [Shape::Flat, Shape::Nested, Shape::Array] {
            let payload = Payload::next(&mut sensors, shape);
            let parsed: serde_json::Value = serde_json::from_str(&payload.text).unwrap();
            assert_eq!(parsed.is_array(), shape == Shape::Array);
            assert_eq!(payload.times_at.len(), usize::from(shape.points()));
            for at in payload.times_at {
                assert_eq!(&payload.text[at..at + TIME_DIGITS], SOME_TIME_MILLIS.to_string());
            }
        }
    }
}
