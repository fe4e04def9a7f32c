//! PUBLISH packets of many devices, prepared once: sending one is a copy with its packet identifier and times written
//! into it, some tens of nanoseconds.
//!
//! Pure: bytes and offsets. A device repeats its prepared measurements in a circle.

use super::payload::{Payload, Shape, TIME_DIGITS};
use super::wire::{Qos, Version, put_remaining_length};
use crate::fleet::Sensors;

/// Packets prepared in all: enough for values not to repeat soon, few enough to stay in a cache.
const PREPARED: u32 = 32_768;
/// Packets of one device at least and at most.
const PREPARED_PER_DEVICE: (u32, u32) = (4, 512);

/// How packets look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) version: Version,
    pub(super) qos: Qos,
    pub(super) shape: Shape,
}

/// A prepared packet.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    times_at: Vec<usize>,
}

/// One device and its prepared packets.
#[derive(Debug)]
pub(super) struct Device {
    frames: Vec<Frame>,
    turn: usize,
    /// The times of the message before, first and last; 0 before there was one.
    before: (i64, i64),
}

/// When a message says that it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measured {
    /// Now, or just after what the device measured before.
    Now(i64),
    /// At a time of the past.
    At(i64),
    /// As the message before: the device repeats itself. Where there was none, at the time given.
    Again(i64),
}

impl Device {
    /// The device with this number, of so many in all.
    pub(super) fn new(number: u32, devices: u32, style: Style) -> Self {
        let (least, most) = PREPARED_PER_DEVICE;
        let mut sensors = Sensors::new(number);
        let topic = format!("devices/{}/telemetry", sensors.name());
        let frames = (0..(PREPARED / devices.max(1)).clamp(least, most))
            .map(|_| Frame::new(&topic, &Payload::next(&mut sensors, style.shape), style))
            .collect();
        Self { frames, turn: 0, before: (0, 0) }
    }

    /// Appends the next message to `out`.
    pub(super) fn publish(&mut self, measured: Measured, packet_id: u16, out: &mut Vec<u8>) {
        let mut millis = match (measured, self.before) {
            (Measured::Again(_), (first @ 1.., _)) => first,
            (Measured::Now(now) | Measured::Again(now), (_, last)) => now.max(last + 1),
            (Measured::At(past), _) => past,
        };
        if matches!(measured, Measured::Now(_)) {
            self.turn = (self.turn + 1) % self.frames.len().max(1);
        }
        let Some(frame) = self.frames.get(self.turn) else { return };
        let start = out.len();
        out.extend_from_slice(&frame.bytes);
        let Some(packet) = out.get_mut(start..) else { return };
        if let Some(at) = frame.packet_id_at {
            write(packet, at, &packet_id.to_be_bytes());
        }
        let first = millis;
        for (index, at) in frame.times_at.iter().enumerate() {
            millis += i64::from(index > 0);
            write(packet, *at, &digits(millis));
        }
        if !matches!(measured, Measured::At(_)) {
            self.before = (first, millis);
        }
    }
}

impl Frame {
    fn new(topic: &str, payload: &Payload, style: Style) -> Self {
        let Style { version, qos, .. } = style;
        let mut body = Vec::new();
        body.extend(u16::try_from(topic.len()).unwrap_or(0).to_be_bytes());
        body.extend(topic.as_bytes());
        let id_at = (qos == Qos::AtLeastOnce).then_some(body.len());
        if id_at.is_some() {
            body.extend([0, 0]);
        }
        if version == Version::V5 {
            body.push(0);
        }
        let payload_at = body.len();
        body.extend(payload.text.as_bytes());
        let mut bytes = vec![if id_at.is_some() { 0x32 } else { 0x30 }];
        put_remaining_length(body.len(), &mut bytes);
        let header = bytes.len();
        bytes.extend(body);
        Self {
            bytes,
            packet_id_at: id_at.map(|at| header + at),
            times_at: payload.times_at.iter().map(|at| header + payload_at + at).collect(),
        }
    }
}

fn write(packet: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = packet.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// `millis` as 13 digits.
fn digits(millis: i64) -> [u8; TIME_DIGITS] {
    let (mut rest, mut digits) = (millis.unsigned_abs(), [b'0'; TIME_DIGITS]);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn style(version: Version, qos: Qos, shape: Shape) -> Style {
        Style { version, qos, shape }
    }

    fn published(device: &mut Device, measured: Measured) -> Vec<u8> {
        let mut out = Vec::new();
        device.publish(measured, 0x1234, &mut out);
        out
    }

    fn times(packet: &[u8]) -> Vec<i64> {
        let text = String::from_utf8_lossy(packet).into_owned();
        text.split("\"ts\":").skip(1).map(|rest| rest[..TIME_DIGITS].parse().unwrap()).collect()
    }

    #[test]
    fn a_packet_has_its_length_topic_identifier_and_payload() {
        let mut device = Device::new(3, 1, style(Version::V5, Qos::AtLeastOnce, Shape::Flat));
        let packet = published(&mut device, Measured::Now(NOW));
        let length = usize::from(packet[1] & 0x7F) + usize::from(packet[2]) * 128;
        assert_eq!((packet[0], length), (0x32, packet.len() - 3));
        let topic = b"devices/sensor-00003/telemetry";
        assert_eq!(packet[3..5], [0, 30]);
        assert_eq!(&packet[5..35], topic);
        assert_eq!(packet[35..38], [0x12, 0x34, 0]);
        let payload: serde_json::Value = serde_json::from_slice(&packet[38..]).unwrap();
        assert_eq!(payload["ts"], NOW);
    }

    #[test]
    fn a_device_measures_once_at_a_time_and_repeats_itself_only_when_asked() {
        let mut device = Device::new(0, 1, style(Version::V311, Qos::AtMostOnce, Shape::Flat));
        let first = published(&mut device, Measured::Now(NOW));
        let second = published(&mut device, Measured::Now(NOW));
        assert_eq!((times(&first), times(&second)), (vec![NOW], vec![NOW + 1]));
        assert_eq!(published(&mut device, Measured::Again(NOW)), second);
        assert_eq!(times(&published(&mut device, Measured::At(5_000))), [5_000]);
        assert_eq!(times(&published(&mut device, Measured::Now(NOW))), [NOW + 2]);
        let mut silent = Device::new(1, 1, style(Version::V311, Qos::AtMostOnce, Shape::Flat));
        assert_eq!(times(&published(&mut silent, Measured::Again(NOW))), [NOW]);
    }

    #[test]
    fn points_of_an_array_are_a_millisecond_apart() {
        let mut device = Device::new(0, 1, style(Version::V311, Qos::AtLeastOnce, Shape::Array));
        for _ in 0..2 {
            let times = times(&published(&mut device, Measured::Now(NOW)));
            assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 1), "{times:?}");
        }
        let third = published(&mut device, Measured::Now(NOW));
        assert_eq!(times(&third)[0], NOW + 20);
        assert_eq!(published(&mut device, Measured::Again(NOW)), third);
    }
}
